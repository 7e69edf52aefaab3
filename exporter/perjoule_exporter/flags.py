"""The command line: which flags there are, what they are called and what their help says.

Every flag is a setting of the configuration file too, by its name without the dashes. What values mean together, and
whether they can be honoured, is ``config.py``'s.
"""

import argparse
from pathlib import Path
from typing import Any, NoReturn

from perjoule import __version__
from perjoule.errors import UsageError
from perjoule.spans.path import SYSTEM
from perjoule_exporter.collector.groups import collector_names
from perjoule_exporter.configfile import SEE_HELP
from perjoule_exporter.intensity.flags import add_carbon_flags, number
from perjoule_exporter.logs import FORMATS, LEVELS
from perjoule_exporter.meters.estimate import IDLE_WATTS_PER_THREAD, MAX_WATTS_PER_THREAD
from perjoule_exporter.meters.rapl import SYSFS
from perjoule_exporter.meters.replay import FASTEST, SLOWEST
from perjoule_exporter.processes.settings import MAX_SERIES, PROC

PROGRAM = "gpu-energy-exporter"
AUTO = "auto"
METERS = ("nvml", "amd", "rapl", "estimate", "simulated", "replay")

_EPILOG = """examples:
  gpu-energy-exporter                                                what this machine has, on 127.0.0.1:10101
  gpu-energy-exporter --carbon.zone FRA --carbon.pue 1.2             with emissions
  gpu-energy-exporter --carbon.zone GBR --carbon.provider uk         with the intensity of each half hour
  gpu-energy-exporter --meter nvml --meter rapl                      GPUs, and the CPUs' own counters beside them
  gpu-energy-exporter --meter nvml --meter estimate                  GPUs, and an estimate of the CPUs beside them
  gpu-energy-exporter --state.file /var/lib/perjoule/counters.json   counters go on after a restart
  gpu-energy-exporter --config.file exporter.toml                    settings from a file, read again on SIGHUP
  gpu-energy-exporter --meter simulated --web.listen-address :10101  a GPU that does not exist, on every interface

exit codes: 0 ended by SIGTERM or SIGINT, 1 failed, 2 a setting that cannot be honoured
documentation: exporter/README.md and docs/ of Perjoule's source; docs/operations.md for running it as a service
"""


class Parser(argparse.ArgumentParser):
    """A parser that raises instead of ending the program."""

    def error(self, message: str) -> NoReturn:
        """Raise UsageError."""
        raise UsageError(f"{message}{SEE_HELP}")


def parser() -> Parser:
    """Return the parser of all flags."""
    made = Parser(
        prog=PROGRAM,
        description="Reads the joules of every GPU (and CPU) of this machine and publishes them for Prometheus.",
        epilog=_EPILOG,
        usage="%(prog)s [flags]",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    made.add_argument(
        "--config.file",
        dest="config_file",
        metavar="FILE",
        type=Path,
        help='TOML file of these same settings, such as carbon.zone = "FRA"; flags win; read again on SIGHUP',
    )
    _add_meters(made.add_argument_group("energy"))
    _add_unreal_meters(made.add_argument_group("simulation and replay"))
    _add_factors(made.add_argument_group("carbon and price"))
    _add_collectors(made.add_argument_group("families"))
    _add_processes(made.add_argument_group("processes (with --collector.enable process)"))
    _add_inferences(made.add_argument_group("inferences"))
    _add_web(made.add_argument_group("web"))
    _add_logs(made.add_argument_group("logs"))
    made.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    return made


Group = Any
"""argparse's argument group, whose class is private."""


def _add_meters(group: Group) -> None:
    add = group.add_argument
    add(
        "--meter",
        action="append",
        choices=(AUTO, *METERS),
        help="where energy comes from, repeatable (default: auto, every hardware meter that answers, else estimate)",
    )
    add(
        "--path.sysfs",
        dest="sysfs",
        metavar="DIR",
        type=Path,
        default=SYSFS,
        help="where RAPL's counters are, such as a container's mount of the host's /sys (default: %(default)s)",
    )
    add(
        "--state.file",
        dest="state_file",
        metavar="FILE",
        type=Path,
        help="keep counters there, so that they go on after a restart (default: they start at 0)",
    )
    add(
        "--sampling.interval",
        dest="interval",
        metavar="TIME",
        default="25ms",
        help="how often devices are read (default: %(default)s)",
    )
    add(
        "--sampling.idle-interval",
        dest="idle_interval",
        metavar="TIME",
        default="100ms",
        help="how often while nothing has run on them for 5 s (default: %(default)s)",
    )
    add(
        "--estimate.idle-watts",
        dest="idle_watts",
        metavar="W",
        type=number,
        help=f"CPU power of the whole machine when idle (default: {IDLE_WATTS_PER_THREAD} W per hardware thread)",
    )
    add(
        "--estimate.max-watts",
        dest="max_watts",
        metavar="W",
        type=number,
        help=f"CPU power of the whole machine at full load (default: {MAX_WATTS_PER_THREAD} W per hardware thread)",
    )


def _add_unreal_meters(group: Group) -> None:
    add = group.add_argument
    add(
        "--simulated.script",
        dest="simulated_script",
        metavar="FILE",
        type=Path,
        help="TOML file of the GPUs to simulate and what happens to them (default: one that follows the CPUs' load)",
    )
    add(
        "--simulated.truth",
        dest="truth",
        metavar="FILE",
        type=Path,
        help="write the true joules of every tick of the simulated GPUs there, as JSON lines",
    )
    add(
        "--replay.file",
        dest="replay_file",
        metavar="TRACE",
        type=Path,
        help="recording to replay, made by python -m perjoule_exporter.record",
    )
    add(
        "--replay.speed",
        dest="replay_speed",
        metavar="FACTOR",
        type=number,
        default=1.0,
        help=f"how much faster than recorded, {SLOWEST:g} to {FASTEST:g} (default: %(default)g)",
    )
    add("--replay.loop", dest="replay_loop", action="store_true", help="begin again at the end, counters going on")


def _add_factors(group: Group) -> None:
    add = group.add_argument
    add_carbon_flags(group)
    add(
        "--embodied.kg",
        dest="embodied_kg",
        metavar="KG",
        type=number,
        help="CO2e of one GPU's manufacture in kilograms; needs --embodied.years",
    )
    add(
        "--embodied.years",
        dest="embodied_years",
        metavar="YEARS",
        type=number,
        help="lifetime over which it is spread",
    )
    add(
        "--price.per-kwh",
        dest="price_per_kwh",
        metavar="PRICE",
        type=number,
        help="what a kWh costs, published as electricity_price_per_kwh; needs --price.currency",
    )
    add("--price.currency", dest="price_currency", metavar="CODE", help="ISO 4217 code of its currency, such as EUR")


def _add_collectors(group: Group) -> None:
    add = group.add_argument
    for flag, text in (("enable", "show"), ("disable", "leave out")):
        add(
            f"--collector.{flag}",
            dest=f"collectors_{flag}d",
            metavar="NAME",
            action="append",
            help=f"{text} this group of families, repeatable: {collector_names(unasked=flag == 'disable')}",
        )
    add(
        "--compat.dcgm",
        dest="compat_dcgm",
        action="store_true",
        help="show dcgm-exporter's names, labels and units beside ours; the same as --collector.enable dcgm",
    )


def _add_processes(group: Group) -> None:
    add = group.add_argument
    add(
        "--process.interval",
        dest="process_interval",
        metavar="TIME",
        default="1s",
        help="how often drivers are asked who uses their boards (default: %(default)s)",
    )
    add(
        "--process.max-series",
        dest="process_max_series",
        metavar="N",
        type=int,
        default=MAX_SERIES,
        help="rows of processes for each board; all further ones are kind=other (default: %(default)s)",
    )
    add(
        "--process.procfs",
        dest="process_procfs",
        metavar="DIR",
        type=Path,
        default=PROC,
        help="the /proc in which drivers' pids are looked up; in a container, the host's (default: %(default)s)",
    )


def _add_inferences(group: Group) -> None:
    add = group.add_argument
    add(
        "--span.socket",
        dest="span_socket",
        metavar="PATH",
        type=Path,
        help=f"where servers tell of their batches (default: {SYSTEM}, else the user's runtime directory)",
    )
    add(
        "--span.group",
        dest="span_group",
        metavar="GROUP",
        help="who may connect to it beside the exporter's own user and group (default: nobody)",
    )
    add(
        "--ledger.idle-watts",
        dest="ledger_idle_watts",
        metavar="W",
        action="append",
        help="power of each GPU without work, or DEVICE=W of one device, repeatable (default: learned)",
    )


def _add_web(group: Group) -> None:
    add = group.add_argument
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
    add(
        "--web.config.file",
        dest="web_config_file",
        metavar="FILE",
        type=Path,
        help="YAML file for TLS and basic auth, in the exporter-toolkit's format (default: plain HTTP for everyone)",
    )


def _add_logs(group: Group) -> None:
    add = group.add_argument
    add(
        "--log.level",
        dest="log_level",
        choices=LEVELS,
        default="info",
        help="least important lines to log (default: %(default)s)",
    )
    add(
        "--log.format",
        dest="log_format",
        choices=FORMATS,
        default="logfmt",
        help="how log lines are written (default: %(default)s)",
    )
