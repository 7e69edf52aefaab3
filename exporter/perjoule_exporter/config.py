"""Settings of the exporter: from flags to one frozen value, checked before anything is opened.

It knows flags and what they mean together. Whether a meter finds anything, or a port is free, shows when it is opened.
"""

import argparse
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from perjoule import __version__
from perjoule.carbon import static_intensity
from perjoule.errors import UsageError
from perjoule_exporter.address import Address, parse_address
from perjoule_exporter.intensity import Factors
from perjoule_exporter.logs import LEVELS
from perjoule_exporter.meters.estimate import IDLE_WATTS_PER_THREAD, MAX_WATTS_PER_THREAD, EstimateSettings

PROGRAM = "gpu-energy-exporter"
AUTO = "auto"
METERS = ("nvml", "estimate", "simulated")

_SHORTEST_INTERVAL, _LONGEST_INTERVAL = 0.001, 0.5  # a reading must come well within the second that it stays fresh

_EXAMPLES = """examples:
  gpu-energy-exporter                                        what this machine has, on 127.0.0.1:10101
  gpu-energy-exporter --carbon.zone FRA --carbon.pue 1.2     with emissions
  gpu-energy-exporter --meter nvml --meter estimate          GPUs, and an estimate of the CPUs beside them
  gpu-energy-exporter --meter simulated --web.listen-address :10101
"""


@dataclass(frozen=True, slots=True)
class Config:
    """All settings. ``meters`` is ("auto",) or some of ``METERS``."""

    meters: tuple[str, ...]
    address: Address
    telemetry_path: str
    factors: Factors
    estimate: EstimateSettings
    simulated_truth: Path | None
    interval_seconds: float
    log_level: str


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see --help)")


def parse(argv: Sequence[str] | None) -> Config:
    """Return the settings that ``argv`` asks for.

    Raises:
        UsageError: a flag that does not exist, a value that cannot be honoured, or two that contradict each other.
    """
    given = _parser().parse_args(argv)
    config = Config(
        meters=_meters(given.meter or [AUTO]),
        address=parse_address(given.listen_address),
        telemetry_path=_telemetry_path(given.telemetry_path),
        factors=Factors(static_intensity(given.zone) if given.zone is not None else None, _pue(given.pue)),
        estimate=EstimateSettings(given.idle_watts, given.max_watts),
        simulated_truth=given.truth,
        interval_seconds=_interval(given.interval),
        log_level=given.log_level,
    )
    _check_together(config)
    return config


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog=PROGRAM,
        description="Reads the joules of every GPU (and CPU) of this machine and publishes them for Prometheus.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    _add_web(parser)
    _add_energy(parser)
    parser.add_argument(
        "--log.level",
        dest="log_level",
        choices=LEVELS,
        default="info",
        help="least important lines to log (default: %(default)s)",
    )
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    return parser


def _add_web(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--web.listen-address",
        dest="listen_address",
        metavar="HOST:PORT",
        default="127.0.0.1:10101",
        help="where to listen; :PORT listens on every interface (default: %(default)s)",
    )
    add(
        "--web.telemetry-path",
        dest="telemetry_path",
        metavar="PATH",
        default="/metrics",
        help="where the metrics are (default: %(default)s)",
    )


def _add_energy(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--meter",
        action="append",
        choices=(AUTO, *METERS),
        help="where energy comes from, repeatable (default: auto, every hardware meter that answers, else estimate)",
    )
    add("--carbon.zone", dest="zone", metavar="ZONE", help="carbon intensity of a country (FRA) or US state (US-CA)")
    add(
        "--carbon.pue",
        dest="pue",
        metavar="RATIO",
        type=float,
        default=1.0,
        help="power usage effectiveness of the site, applied to emissions (default: %(default)s)",
    )
    add(
        "--estimate.idle-watts",
        dest="idle_watts",
        metavar="W",
        type=float,
        help=f"CPU power of the whole machine when idle (default: {IDLE_WATTS_PER_THREAD} W per hardware thread)",
    )
    add(
        "--estimate.max-watts",
        dest="max_watts",
        metavar="W",
        type=float,
        help=f"CPU power of the whole machine at full load (default: {MAX_WATTS_PER_THREAD} W per hardware thread)",
    )
    add(
        "--simulated.truth",
        dest="truth",
        metavar="FILE",
        type=Path,
        help="write the true joules of every tick of the simulated GPU there, as JSON lines",
    )
    add(
        "--sampling.interval",
        dest="interval",
        metavar="TIME",
        default="25ms",
        help="how often devices are read (default: %(default)s)",
    )


def _meters(names: Sequence[str]) -> tuple[str, ...]:
    chosen = tuple(dict.fromkeys(names))
    if AUTO in chosen and len(chosen) > 1:
        raise UsageError("--meter auto chooses by itself: name it alone, or name the meters without it")
    return chosen


def _telemetry_path(path: str) -> str:
    if not re.fullmatch(r"/[A-Za-z0-9._~/-]+", path) or path == "/healthz":
        raise UsageError(f"--web.telemetry-path {path!r} must start with / and be neither / nor /healthz")
    return path


def _pue(ratio: float) -> float:
    if not (math.isfinite(ratio) and ratio >= 1):
        raise UsageError(f"--carbon.pue {ratio:g} is impossible: a site uses at least what its machines use (1.0)")
    return ratio


def _interval(text: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s)", text.strip())
    seconds = float(match.group(1)) * {"ms": 1e-3, "s": 1.0}[match.group(2)] if match else 0.0
    if not _SHORTEST_INTERVAL <= seconds <= _LONGEST_INTERVAL:
        raise UsageError(f"--sampling.interval {text!r} must be a time from 1ms to 500ms, such as 25ms")
    return seconds


def _check_together(config: Config) -> None:
    if config.simulated_truth is not None and "simulated" not in config.meters:
        raise UsageError("--simulated.truth needs --meter simulated")
    if config.estimate != EstimateSettings() and not {"estimate", AUTO} & set(config.meters):
        raise UsageError("--estimate.idle-watts and --estimate.max-watts need --meter estimate")
