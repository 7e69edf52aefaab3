"""Settings of the exporter: one frozen value, checked before anything is opened.

It knows settings and what they mean together. Whether a meter finds anything, or a port is free, shows when it is
opened.
"""

import argparse
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from perjoule.errors import UsageError
from perjoule_exporter.address import Address, parse_address
from perjoule_exporter.charging.settings import IdleWatts, SpanSettings, idle_watts
from perjoule_exporter.collector import chosen_groups
from perjoule_exporter.configfile import settings
from perjoule_exporter.embodied import Embodied
from perjoule_exporter.flags import AUTO, parser
from perjoule_exporter.intensity import CarbonSettings, carbon_settings
from perjoule_exporter.meters.estimate import EstimateSettings
from perjoule_exporter.meters.rapl import SYSFS
from perjoule_exporter.meters.replay import ReplaySettings
from perjoule_exporter.pace import Pace
from perjoule_exporter.price import Price, price_of
from perjoule_exporter.processes.settings import LONGEST_SECONDS, SHORTEST_SECONDS, ProcessSettings

_SHORTEST_INTERVAL, _LONGEST_INTERVAL = 0.001, 0.5  # a reading must come well within the second that it stays fresh


@dataclass(frozen=True, slots=True)
class Config:
    """All settings. ``meters`` is ("auto",) or some of ``flags.METERS``; ``file`` is where some of them come from."""

    meters: tuple[str, ...]
    address: Address
    telemetry_path: str
    web_config_file: Path | None
    carbon: CarbonSettings
    price: Price | None
    embodied: Embodied | None
    collectors: frozenset[str]
    processes: ProcessSettings
    spans: SpanSettings
    idle: IdleWatts
    sysfs: Path
    estimate: EstimateSettings
    simulated_script: Path | None
    simulated_truth: Path | None
    replay: ReplaySettings | None
    state_file: Path | None
    pace: Pace
    log_level: str
    log_format: str
    file: Path | None = field(default=None, compare=False)


NEEDS_RESTART = {
    "meters": "--meter",
    "address": "--web.listen-address",
    "telemetry_path": "--web.telemetry-path",
    "web_config_file": "--web.config.file",
    "processes": "--process.*",
    "spans": "--span.*",
    "idle": "--ledger.*",
    "sysfs": "--path.sysfs",
    "estimate": "--estimate.*",
    "simulated_script": "--simulated.script",
    "simulated_truth": "--simulated.truth",
    "replay": "--replay.*",
    "state_file": "--state.file",
}
"""Settings that a running exporter cannot change, by the flags that they come from."""


def parse(argv: Sequence[str] | None) -> Config:
    """Return the settings that ``argv`` asks for, and the file that it names.

    Raises:
        UsageError: a flag that does not exist, a value that cannot be honoured, or two that contradict each other.
    """
    given = settings(parser, argv)
    config = Config(
        meters=_meters(given.meter or [AUTO]),
        address=parse_address(given.listen_address),
        telemetry_path=_telemetry_path(given.telemetry_path),
        web_config_file=given.web_config_file,
        carbon=carbon_settings(given),
        price=price_of(given.price_per_kwh, given.price_currency),
        embodied=_embodied(given),
        collectors=_collectors(given),
        processes=_processes(given),
        spans=SpanSettings(given.span_socket, given.span_group),
        idle=idle_watts(given.ledger_idle_watts or []),
        sysfs=given.sysfs,
        estimate=EstimateSettings(given.idle_watts, given.max_watts),
        simulated_script=given.simulated_script,
        simulated_truth=given.truth,
        replay=_replay(given),
        state_file=given.state_file,
        pace=Pace(
            _interval("--sampling.interval", given.interval), _interval("--sampling.idle-interval", given.idle_interval)
        ),
        log_level=given.log_level,
        log_format=given.log_format,
        file=given.config_file,
    )
    _check_together(config)
    return config


def _meters(names: Sequence[str]) -> tuple[str, ...]:
    chosen = tuple(dict.fromkeys(names))
    if AUTO in chosen and len(chosen) > 1:
        raise UsageError("--meter auto chooses by itself: name it alone, or name the meters without it")
    return chosen


def _telemetry_path(path: str) -> str:
    if not re.fullmatch(r"/[A-Za-z0-9._~/-]+", path) or path in {"/healthz", "/readyz"}:
        raise UsageError(f"--web.telemetry-path {path!r} must start with / and be neither / nor /healthz nor /readyz")
    return path


def _embodied(given: argparse.Namespace) -> Embodied | None:
    if (given.embodied_kg is None) != (given.embodied_years is None):
        raise UsageError("--embodied.kg and --embodied.years need each other: emissions are spread over a lifetime")
    return None if given.embodied_kg is None else Embodied(given.embodied_kg, given.embodied_years)


def _collectors(given: argparse.Namespace) -> frozenset[str]:
    compatible = ["dcgm"] if given.compat_dcgm else []
    return chosen_groups([*compatible, *(given.collectors_enabled or [])], given.collectors_disabled or [])


def _processes(given: argparse.Namespace) -> ProcessSettings:
    seconds = _seconds(given.process_interval)
    if not SHORTEST_SECONDS <= seconds <= LONGEST_SECONDS:
        raise UsageError(f"--process.interval {given.process_interval!r} must be a time from 500ms to 10s, such as 1s")
    if given.process_max_series < 1:
        raise UsageError(f"--process.max-series {given.process_max_series} must be 1 or more")
    return ProcessSettings(seconds, given.process_procfs, given.process_max_series)


def _replay(given: argparse.Namespace) -> ReplaySettings | None:
    if given.replay_file is not None:
        return ReplaySettings(given.replay_file, given.replay_speed, loop=given.replay_loop)
    if given.replay_loop or given.replay_speed != 1:
        raise UsageError("--replay.speed and --replay.loop need --replay.file")
    return None


def _interval(flag: str, text: str) -> float:
    seconds = _seconds(text)
    if not _SHORTEST_INTERVAL <= seconds <= _LONGEST_INTERVAL:
        raise UsageError(f"{flag} {text!r} must be a time from 1ms to 500ms, such as 25ms")
    return seconds


def _seconds(text: str) -> float:
    """Return a time such as 25ms or 1.5s in seconds, 0 for what is none."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s)", text.strip())
    return float(match.group(1)) * {"ms": 1e-3, "s": 1.0}[match.group(2)] if match else 0.0


def _check_together(config: Config) -> None:
    meters = set(config.meters)
    for flag, value in (("truth", config.simulated_truth), ("script", config.simulated_script)):
        if value is not None and "simulated" not in meters:
            raise UsageError(f"--simulated.{flag} needs --meter simulated")
    if (config.replay is None) == ("replay" in meters):
        raise UsageError("--meter replay and --replay.file need each other")
    if config.estimate != EstimateSettings() and not {"estimate", AUTO} & meters:
        raise UsageError("--estimate.idle-watts and --estimate.max-watts need --meter estimate")
    if config.sysfs != SYSFS and not {"rapl", AUTO} & meters:
        raise UsageError("--path.sysfs needs --meter rapl or auto: nothing else is read there")
    if config.embodied is not None and meters <= {"rapl", "estimate"}:
        raise UsageError("--embodied.kg and --embodied.years are of GPUs: no meter that is named has any")
