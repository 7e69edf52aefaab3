"""The command line: flags turned into the one ``Config``. Fails before anything is sent."""

import argparse
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit, urlunsplit

from perjoule import __version__
from perjoule.carbon import static_intensity
from perjoule.errors import PerjouleError, UsageError
from perjoule.workloads import workload
from perjoule_loadgen.config import (
    DEFAULT_ENERGY,
    DEFAULT_SECONDS,
    DEFAULT_TARGET,
    Arrival,
    Config,
    Format,
    Rules,
    parse_duration,
)

_EXAMPLES = """\
examples:
  loadgen --task summarization                            one at a time for 60 s
  loadgen --task all --duration 10s --zone FRA            every task that the server serves
  loadgen --task text-generation --rate 10 --arrival poisson --requests 1000
  loadgen --task fill-mask --concurrency 8 --prometheus http://127.0.0.1:9090
  loadgen tasks                                           the tasks, their units and the study's figures

exit codes: 0 valid, 1 failed, 2 usage or nothing reachable, 3 INVALID, 130 interrupted
"""


def _checked(check: Callable[[str], object], name: str) -> Callable[[str], object]:
    """Return ``check`` as an argparse type, so that its error is one clear line about the flag."""

    def convert(text: str) -> object:
        try:
            return check(text)
        except (PerjouleError, ValueError) as error:
            message = str(error) if isinstance(error, PerjouleError) else f"{text!r} is not {name}"
            raise argparse.ArgumentTypeError(message) from None

    return convert


def _positive(text: str) -> float:
    value = float(text)
    if not (math.isfinite(value) and value > 0):
        raise UsageError(f"{text!r} is not a positive number")
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise UsageError(f"{text!r} is not a positive whole number")
    return value


def _some_time(text: str) -> float:
    seconds = parse_duration(text)
    if seconds == 0:
        raise UsageError("0 is no time to measure in")
    return seconds


def _base_url(text: str) -> str:
    """Return an http URL without a trailing slash; a bare ``host:port`` gets the scheme."""
    url = text if "://" in text else f"http://{text}"
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise UsageError(f"{text!r} is no http URL")
    return url.rstrip("/")


def energy_url(text: str) -> str:
    """Return the URL of an exporter's metrics; a bare host gets ``/metrics``."""
    parts = urlsplit(_base_url(text))
    return urlunsplit(parts._replace(path="/metrics")) if parts.path in {"", "/"} else urlunsplit(parts)


def _tasks(text: str) -> tuple[str, ...]:
    """Return the ids of ``a,b``; nothing for ``all``."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise UsageError("name a task, or all")
    if names == ["all"]:
        return ()
    return tuple(dict.fromkeys(workload(name).id for name in names))


def _zone(text: str) -> str:
    return static_intensity(text).zone


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
    _add_what(made)
    _add_load(made)
    _add_energy(made)
    _add_output(made)
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
        made.error(f"unknown command {given.command!r}: there is 'tasks', and without a command --task is measured")
    return given


def _add_what(made: argparse.ArgumentParser) -> None:
    group = made.add_argument_group("what is asked")
    group.add_argument("--task", type=_checked(_tasks, "a task"), metavar="TASK[,TASK…]|all", help="what to measure")
    group.add_argument("--target", type=_checked(_base_url, "a URL"), default=DEFAULT_TARGET, metavar="URL",
                       help="base URL of the server (default %(default)s)")  # fmt: skip
    group.add_argument("--model", metavar="ID", help="model to ask for (default: the server's own for the task)")
    group.add_argument("--inputs", type=Path, metavar="FILE.jsonl", help="your own inputs instead of the built-in ones")
    group.add_argument("--timeout", type=_checked(_some_time, "a duration"), default=60.0, metavar="TIME",
                       help="after which a request has failed (default 60s)")  # fmt: skip
    group.add_argument("--seed", type=_checked(int, "a whole number"), default=0, metavar="N",
                       help="of arrivals and of the order of inputs (default 0)")  # fmt: skip


def _add_load(made: argparse.ArgumentParser) -> None:
    group = made.add_argument_group("load")
    group.add_argument("--duration", type=_checked(_some_time, "a duration"), metavar="TIME",
                       help=f"the steady window: 60s, 2m; at least 10s (default {DEFAULT_SECONDS:g}s)")  # fmt: skip
    group.add_argument("--requests", type=_checked(_count, "a number"), metavar="N",
                       help="at least so many; the window also lasts 10 s and 100 updates of the counter")  # fmt: skip
    group.add_argument("--concurrency", type=_checked(_count, "a number"), metavar="N",
                       help="closed loop: requests in flight (default 1)")  # fmt: skip
    group.add_argument("--rate", type=_checked(_positive, "a number"), metavar="N",
                       help="open loop: requests per second, whatever the answers do")  # fmt: skip
    group.add_argument("--arrival", choices=[Arrival.CONSTANT.value, Arrival.POISSON.value],
                       help="how an open loop's requests are spaced (default constant)")  # fmt: skip
    group.add_argument("--warmup", type=_checked(parse_duration, "a duration"), default=30.0, metavar="TIME",
                       help="the most that warm-up takes; it ends once throughput settles (default 30s)")  # fmt: skip
    group.add_argument("--idle", type=_checked(parse_duration, "a duration"), default=10.0, metavar="TIME",
                       help="length of each idle baseline, before and after; 0 for none (default 10s)")  # fmt: skip


def _add_energy(made: argparse.ArgumentParser) -> None:
    group = made.add_argument_group("energy and carbon")
    group.add_argument("--energy", type=_checked(energy_url, "a URL"), action="append", metavar="URL",
                       help=f"metrics of the energy exporter, repeatable (default {DEFAULT_ENERGY})")  # fmt: skip
    group.add_argument("--device", action="append", metavar="NAME",
                       help="device that pays, repeatable (default: the one that the server says)")  # fmt: skip
    group.add_argument("--prometheus", type=_checked(_base_url, "a URL"), metavar="URL",
                       help="cross-check with this Prometheus")  # fmt: skip
    group.add_argument("--zone", type=_checked(_zone, "a zone"), metavar="ZONE",
                       help="carbon intensity of this zone (FRA, US-CA) instead of the exporter's")  # fmt: skip


def _add_output(made: argparse.ArgumentParser) -> None:
    group = made.add_argument_group("output")
    group.add_argument("--output", type=Path, metavar="DIR",
                       help="new folder for run.json and two CSV files (default runs/<time>/<task>)")  # fmt: skip
    group.add_argument("--format", choices=[f.value for f in Format], default=Format.TABLE.value,
                       help="of stdout (default %(default)s); progress goes to stderr")  # fmt: skip


def config(given: argparse.Namespace, rules: Rules) -> Config:
    """Return the configuration.

    Raises:
        UsageError: flags that contradict each other, or none that says what to measure.
    """
    if given.task is None:
        raise UsageError("nothing to measure: give --task (loadgen tasks lists them), or --task all")
    if given.rate is not None and given.concurrency is not None:
        raise UsageError("--rate is an open loop and --concurrency a closed one: give one of them")
    if given.arrival is not None and given.rate is None:
        raise UsageError(f"--arrival {given.arrival} needs --rate")
    if given.inputs is not None and len(given.task) != 1:
        raise UsageError("--inputs is of one task: name it with --task")
    open_loop = given.rate is not None
    return Config(
        tasks=given.task,
        target=given.target,
        energy=_unique(given.energy) or (DEFAULT_ENERGY,),
        prometheus=given.prometheus,
        model=given.model,
        device=_unique(given.device),
        requests=given.requests,
        duration=given.duration,
        arrival=Arrival(given.arrival or Arrival.CONSTANT) if open_loop else Arrival.CLOSED,
        rate=given.rate,
        concurrency=given.concurrency or 1,
        warmup=given.warmup,
        idle=given.idle,
        inputs=given.inputs,
        zone=given.zone,
        output=given.output,
        format=Format(given.format),
        seed=given.seed,
        timeout=given.timeout,
        rules=rules,
    )


def _unique(values: Sequence[str] | None) -> tuple[str, ...]:
    return tuple(dict.fromkeys(values or ()))
