"""What the recording rules and alerts cost: how long a group takes on fleets of 100, 1,000 and 5,000 GPUs.

    .venv/bin/python benchmarks/rules.py --quick --check          (--help tells the rest; whole it takes half an hour)

A real Prometheus has two hours of raw series and seven days of one-hour series in blocks that promtool wrote, scrapes
the fleet every 30 s and evaluates the committed rules; the time of a group is what Prometheus itself says. The largest
fleet has the groups of the short window alone.
"""

import argparse
import itertools
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

if __package__ in {None, ""}:  # called by its file name: its neighbours are found from the repository's root
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    sys.path.insert(1, str(Path(__file__).resolve().parent.parent / "grafana"))

from benchmarks import rules_world as world
from benchmarks.driver import ROOT
from benchmarks.machine import described
from benchmarks.peers import say
from benchmarks.programs import ProgramError
from benchmarks.report import Section, Table, add_output, told
from benchmarks.rules_store import Fleet, Store, Tools, found, rules_file, running, write, write_past
from benchmarks.summary import Check, digits, median, scaled
from perjoule_grafana.queries import ONE_HOUR, SEVEN_DAYS
from perjoule_grafana.recording import increase_rules
from perjoule_grafana.rules import ALERTS_EVERY, energy_groups
from perjoule_grafana.sharing import timed_rules

FILES = tuple(ROOT / "prometheus" / "rules" / name for name in ("energy.yml", "alerts.yml"))
EVERY = {group.name: group.every for group in energy_groups()} | {"perjoule-alerts": ALERTS_EVERY}
"""The groups, and how often each is evaluated."""

DEVICES, SHORT, HOUR, LONG = "perjoule-devices", "perjoule-energy-5m", "perjoule-energy-1h", "perjoule-energy-7d"
RECORDED = '{__name__=~".+:.+"}'
MEASURED = dict.fromkeys(EVERY, "30s")
"""The same here: no group's work depends on its interval, and seven days' would be seen once in three minutes."""

SHORT_GROUPS = {DEVICES: "30s", SHORT: "30s"}
MOST_SECONDS = {SHORT: 2.0, LONG: 10.0}
"""Targets at 1,000 GPUs."""

JUDGED_GPUS = 1000
LINEAR_SLACK = 1.5
RAW_SECONDS, HOURS = 2 * 3600, 7 * 24


@dataclass(frozen=True, slots=True)
class Plan:
    """A fleet to measure: its GPUs, the groups with their intervals, and how often each is to be seen."""

    gpus: int
    groups: Mapping[str, str]
    times: int
    settle_seconds: float

    @property
    def weeks(self) -> bool:
        """Whether it has the one-hour series of a week."""
        return LONG in self.groups


@dataclass(slots=True)
class Cost:
    """What was found of one fleet."""

    gpus: int
    raw: int
    recorded: int = 0
    rss_bytes: int = 0
    weekly: float = 0.0
    """Tasks that have a seven-day figure: those of all machines, or the week was not read."""

    of_node: list[dict[str, str]] = field(default_factory=list)
    seconds: dict[str, list[float]] = field(default_factory=dict)
    cpu: dict[str, float] = field(default_factory=dict)
    """CPU seconds of the expressions of each group, one after the other."""

    @property
    def weeks(self) -> bool:
        """Whether the group of seven days was measured."""
        return LONG in self.seconds


_SETTLED = 330.0
"""Seconds after which the five minutes are in memory alone, as in a Prometheus that runs: in blocks they cost more."""

FULL = (Plan(104, MEASURED, 3, _SETTLED), Plan(1000, MEASURED, 3, _SETTLED), Plan(5000, SHORT_GROUPS, 3, _SETTLED))
QUICK = (Plan(16, MEASURED, 2, 0.0), Plan(160, MEASURED, 2, 0.0))


Samples = Sequence[tuple[str, str]]
"""Series of the first machine as written, with their values."""


def main(argv: Sequence[str] | None = None) -> int:
    """Measure the fleets and return the exit code."""
    asked = _parser().parse_args(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # by way of everything that was started and must end
    plans = QUICK if asked.quick else FULL
    try:
        tools = found()
        with _folder() as folder:
            hourly = _hourly(tools, folder)
        costs = []
        for plan in plans:
            with _folder() as folder:
                costs.append(_measured(tools, folder, plan, hourly))
    except ProgramError as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return 1
    command = f"benchmarks/rules.py{' --quick' if asked.quick else ''} --markdown FILE"
    return told(asked, described({"prometheus": _version()}), [_section(costs)], _HEAD, command)


@contextmanager
def _folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="perjoule-benchmark-"))
    try:
        yield path
    finally:
        shutil.rmtree(path)


def _fleet(gpus: int) -> Fleet:
    origin = int(time.time()) - RAW_SECONDS
    return Fleet(world.fleet(gpus, origin), origin)


def _hourly(tools: Tools, folder: Path) -> Samples:
    """Return what the one-hour group records of one machine and the seven-day group adds up."""
    fleet = _fleet(world.GPUS)
    write_past(tools, folder, fleet)
    rules = rules_file(folder, FILES, dict.fromkeys((SHORT, HOUR), "5s"))
    names = [rule.record for rule in (*increase_rules(ONE_HOUR), *timed_rules(ONE_HOUR))]
    with running(tools, folder, fleet, rules) as store:
        _watched(store, (SHORT, HOUR), 2)
        return [(_written(sample["metric"]), sample["value"][1]) for name in names for sample in store.vector(name)]


def _written(labels: Mapping[str, str]) -> str:
    pairs = ",".join(f'{key}="{value}"' for key, value in labels.items() if key != "__name__")
    return f"{labels['__name__']}{{{pairs}}}"


def _measured(tools: Tools, folder: Path, plan: Plan, hourly: Samples) -> Cost:
    start = time.monotonic()
    say(f"{plan.gpus} GPUs ...")
    fleet = _fleet(plan.gpus)
    cost = Cost(plan.gpus, len(fleet.series))
    if plan.weeks:
        write(tools, folder, _week(plan.gpus // world.GPUS, hourly, fleet.origin))
    write_past(tools, folder, fleet)
    with running(tools, folder, fleet, rules_file(folder, FILES, plan.groups)) as store:
        time.sleep(plan.settle_seconds)
        cost.seconds = _watched(store, plan.groups, plan.times)
        cost.recorded = int(store.number(f"count({RECORDED})"))
        cost.rss_bytes = store.program.rss_bytes()
        cost.of_node = [sample["metric"] for sample in store.vector(f'{{__name__=~".+:.+", node="{world.NODE}"}}')]
        cost.weekly = store.number(f"count({SEVEN_DAYS.joules_per_inference})")
        store.without_rules()
        rules = {group.name: group.rules for group in energy_groups() if group.name in plan.groups}
        cost.cpu = {name: sum(store.cpu_seconds(rule.expr) for rule in each) for name, each in rules.items()}
    say(f"{plan.gpus} GPUs: {time.monotonic() - start:.0f} s")
    return cost


def _week(nodes: int, hourly: Samples, before: int) -> Iterator[str]:
    """Yield a week of one-hour series at whole hours, the last a while before the raw series begin."""
    last = before // 3600 * 3600 - 3600
    for at in range(last - (HOURS - 1) * 3600, last + 1, 3600):
        for number in range(nodes):
            yield "".join([f"{world.of_node(text, number)} {value} {at}\n" for text, value in hourly])


def _watched(store: Store, groups: Iterable[str], times: int) -> dict[str, list[float]]:
    """Return the seconds of the evaluations of each group, as many as asked for; the first, cold one does not count."""
    seen: dict[str, dict[str, float]] = {group: {} for group in groups}
    end = time.monotonic() + _WATCH_SECONDS
    while any(len(each) <= times for each in seen.values()):
        if not store.program.alive() or time.monotonic() > end:
            raise store.program.failed("its rule groups are not evaluated in time")
        time.sleep(1)
        for each in store.evaluations():
            seen[each.group][each.began] = each.seconds
    return {group: list(each.values())[1:] for group, each in seen.items()}


_WATCH_SECONDS = 480.0


_HEAD = """# What the rules cost Prometheus

Written by `{command}`. A fleet of machines with eight GPUs and two models each, in a real Prometheus that scrapes it
every 30 s and evaluates the committed rules.

{machine}
"""


def _version() -> str:
    done = subprocess.run([found().prometheus, "--version"], capture_output=True, text=True, check=True)  # noqa: S603
    return (done.stdout + done.stderr).split()[2]


def _section(costs: Sequence[Cost]) -> Section:
    figures = {str(cost.gpus): {name: min(each) for name, each in cost.seconds.items()} for cost in costs}
    cpu = {str(cost.gpus): cost.cpu for cost in costs}
    tables = [_cpu(costs), _times(costs), _series(costs), _kinds(costs[0])]
    return Section("rules", tables, list(_checks(costs)), {"least_seconds": figures, "cpu_seconds": cpu})


def _cpu(costs: Sequence[Cost]) -> Table:
    rows = [
        (name, EVERY[name], *(scaled(cost.cpu[name], "s") if name in cost.cpu else "—" for cost in costs))
        for name in (DEVICES, SHORT, HOUR, LONG)
    ]
    return Table(
        "CPU time of the groups' expressions",
        ("group", "every", *(f"{cost.gpus:,} GPUs" for cost in costs)),
        rows,
        (
            "One after the other, as a group evaluates them: its time on a machine with nothing else to do, which is",
            "what the targets judge. What else ran makes it longer by its use of the caches alone.",
        ),
    )


def _times(costs: Sequence[Cost]) -> Table:
    rows = [(name, EVERY[name], *(_time(cost.seconds.get(name)) for cost in costs)) for name in EVERY]
    return Table(
        "Evaluation time of the groups: least, and median",
        ("group", "every", *(f"{cost.gpus:,} GPUs" for cost in costs)),
        rows,
        (
            "As Prometheus tells it, waiting for what else ran on the machine included. All groups run beside each",
            "other, as in use; on the largest fleet the short ones alone.",
            "The week has one value an hour, which is what the seven-day group takes; where the one-hour group has run",
            "every minute for a week there are sixty, and it reads past the others.",
        ),
    )


def _time(seconds: Sequence[float] | None) -> str:
    return f"{scaled(min(seconds), 's')}, {scaled(median(seconds), 's')}" if seconds else "—"


def _series(costs: Sequence[Cost]) -> Table:
    rows = [
        (
            f"{cost.gpus:,}",
            f"{cost.raw:,}",
            f"{cost.recorded:,}",
            digits(cost.recorded / cost.gpus),
            f"{sum(_LEVEL in name for name in cost.seconds)}",
            scaled(cost.rss_bytes, "B"),
        )
        for cost in costs
    ]
    headings = ("GPUs", "raw series that rules read", "recorded series", "a GPU", "windows", "Prometheus's memory")
    return Table("Series of a fleet", headings, rows)


_LEVEL = "perjoule-energy"


def _kinds(cost: Cost) -> Table:
    """Return how many series there are for each thing of a machine; recorded ones with all three windows."""
    raw = [_labels(each.text) for each in world.node(0)]
    rows = []
    for kind in ("machine", "GPU", "model", "model on a GPU", "server"):
        cells = (_count(raw, kind), _count(cost.of_node, kind))
        rows.append((kind, *(cell for pair in cells for cell in pair)))
    headings = ("for each", "raw, each", "raw, of a machine", "recorded, each", "recorded, of a machine")
    note = "Of raw series only those that the rules read. A model on a GPU is recorded only where it ran."
    return Table("Series of one machine with eight GPUs and two models", headings, rows, (note,))


def _count(series: Sequence[Mapping[str, str]], kind: str) -> tuple[str, str]:
    """Return the series for each thing of a kind, and all of them."""
    of_kind = [labels for labels in series if _kind(labels) == kind]
    things = {tuple(labels.get(name) for name in _IDENTITY[kind]) for labels in of_kind}
    return (digits(len(of_kind) / len(things)), str(len(of_kind))) if of_kind else ("—", "—")


_IDENTITY: Mapping[str, Sequence[str]] = {
    "machine": (),
    "GPU": ("device",),
    "model": ("task", "model"),
    "model on a GPU": ("task", "model", "device"),
    "server": ("instance",),
}


def _kind(labels: Mapping[str, str]) -> str:
    if labels.get("job") == "inference-server":
        return "server"
    if "task" in labels:
        return "model on a GPU" if "device" in labels else "model"
    return "GPU" if "device" in labels else "machine"


def _labels(text: str) -> dict[str, str]:
    labels = dict(re.findall(r'(\w+)="([^"]*)"', text))
    return labels | {"device": labels["uuid"]} if "uuid" in labels else labels


def _checks(costs: Sequence[Cost]) -> Iterator[Check]:
    for cost in costs:
        for name, most in MOST_SECONDS.items():
            if cost.gpus == JUDGED_GPUS and name in cost.cpu:
                took = cost.cpu[name]
                yield Check(f"{name}, {cost.gpus:,} GPUs", scaled(took, "s"), f"< {most:g} s", took < most)
        if cost.weeks:
            what = f"series of seven days, {cost.gpus:,} GPUs"
            yield Check(what, f"{cost.weekly:g} tasks", "each task of each machine", cost.weekly == _tasks(cost.gpus))
    for smaller, larger in itertools.pairwise(costs):
        for name in (SHORT, LONG):
            if name in larger.cpu:
                yield _linear(name, smaller, larger)


def _tasks(gpus: int) -> int:
    return gpus // world.GPUS * len(world.MODELS)


def _linear(name: str, smaller: Cost, larger: Cost) -> Check:
    size = larger.gpus / smaller.gpus
    grown = larger.cpu[name] / smaller.cpu[name]
    target = f"≤ {digits(size * LINEAR_SLACK)}× (linear: {digits(size)}×)"
    what = f"{name}, from {smaller.gpus:,} to {larger.gpus:,} GPUs"
    return Check(what, f"{digits(grown)}×", target, grown <= size * LINEAR_SLACK)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="benchmarks/rules.py", description="Measures how long the rule groups take.", allow_abbrev=False
    )
    parser.add_argument("--quick", action="store_true", help="16 and 160 GPUs: two minutes")
    add_output(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
