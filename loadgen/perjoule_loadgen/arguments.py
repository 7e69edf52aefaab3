"""The command line: flags turned into the one ``Config``. Fails before anything is sent."""

import argparse
from collections.abc import Sequence
from typing import NoReturn

from perjoule import __version__
from perjoule.errors import UsageError
from perjoule_loadgen import flag_values as values
from perjoule_loadgen.config import DEFAULT_ENERGY, Config, Rules
from perjoule_loadgen.load_flags import add_load, load_of
from perjoule_loadgen.output_flags import add_output, output_of
from perjoule_loadgen.target_flags import add_what, add_work, target_of

_EXAMPLES = """\
examples:
  loadgen --task summarization                            one at a time for 60 s
  loadgen --task all --duration 10s --zone FRA            every task that the server serves
  loadgen --task text-generation --rate 10 --arrival poisson --requests 1000
  loadgen --task text-generation --stages 1-10:30s,10:60s --burstiness 0.5
  loadgen --task fill-mask --concurrency 8 --prometheus http://127.0.0.1:9090
  loadgen --task text-generation --url http://127.0.0.1:8000 --api openai-chat --stream --output-tokens 128
  loadgen tasks                                           the tasks, their units and the study's figures

runs on disk (each with its own --help):
  loadgen report RUN                                      the table again, and report.html drawn anew
  loadgen compare A B --fail-if "active>+5%"              whether two runs differ
  loadgen merge SHARD… --output DIR                       the shards of one load as one run

exit codes: 0 valid, 1 failed, 2 usage or nothing reachable, 3 INVALID, 4 --fail-if, 130 interrupted
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see --help)")


def parser() -> argparse.ArgumentParser:
    """Return the parser of ``loadgen``."""
    made = _Parser(
        prog="loadgen",
        description="Drive one inference task, or all, and print joules and gCO2e per inference with their uncertainty"
        " and a verdict.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    made.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    made.add_argument("command", nargs="?", metavar="tasks", help="list the tasks and leave")
    add_what(made)
    add_work(made)
    add_load(made)
    _add_energy(made)
    add_output(made)
    return made


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line.

    Raises:
        UsageError: a flag or command that does not exist, or a value that cannot be; the message names it.
    """
    made = parser()
    given, unknown = made.parse_known_args(argv)
    if unknown:  # said before the command: the value of an unknown flag looks like one
        made.error(f"unrecognized arguments: {' '.join(unknown)}")
    if given.command not in {None, "tasks"}:
        made.error(f"unknown command {given.command!r}: there are tasks, report, compare, merge, and --task to measure")
    return given


def _add_energy(made: argparse.ArgumentParser) -> None:
    group = made.add_argument_group("energy and carbon")
    group.add_argument("--energy", type=values.checked(values.energy_url, "a URL"), action="append", metavar="URL",
                       help=f"metrics of the energy exporter, repeatable (default {DEFAULT_ENERGY})")  # fmt: skip
    group.add_argument("--device", action="append", metavar="NAME",
                       help="device that pays, repeatable (default: the one that the server says)")  # fmt: skip
    group.add_argument("--prometheus", type=values.checked(values.base_url, "a URL"), metavar="URL",
                       help="cross-check with this Prometheus")  # fmt: skip
    group.add_argument("--zone", type=values.checked(values.zone, "a zone"), metavar="ZONE",
                       help="carbon intensity of this zone (FRA, US-CA) instead of the exporter's")  # fmt: skip


def config(given: argparse.Namespace, rules: Rules) -> Config:
    """Return the configuration.

    Raises:
        UsageError: flags that contradict each other, or none that says what to measure.
    """
    return Config(
        energy=_unique(given.energy) or (DEFAULT_ENERGY,),
        prometheus=given.prometheus,
        device=_unique(given.device),
        zone=given.zone,
        rules=rules,
        **output_of(given),
        **target_of(given),
        **load_of(given),
    )


def _unique(values: Sequence[str] | None) -> tuple[str, ...]:
    return tuple(dict.fromkeys(values or ()))
