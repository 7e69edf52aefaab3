"""What measuring costs while nobody scrapes: CPU of each program at the interval that it has by default, on busy GPUs.

All programs run at once and are measured over the same windows; CPU time, unlike wall time, is the program's own.
"""

import time
from dataclasses import dataclass

from benchmarks.fleet import OURS, START_SECONDS, Bench, Fleet
from benchmarks.peers import CODECARBON, NVITOP, say
from benchmarks.programs import Program, ProgramError, cpu_shares
from benchmarks.report import Section, Table
from benchmarks.summary import Check, digits, median, percent, quantile, times
from tests.exporter.driver import FakeDriver

MOST_SHARE = {8: 0.04, 1: 0.01}
"""Cores that ours may use while it samples this many GPUs at 25 ms."""

INTERVAL = "25ms"
ZEUS_PERIODIC, ZEUS_INFERRED = "zeus, PowerMonitor(1 s)", "zeus, PowerMonitor()"
BARE = "a bare loop of sleep(25 ms)"
READS = {
    BARE: "",
    OURS: f"{INTERVAL}: energy, power",
    NVITOP: "1 s: all but energy",
    ZEUS_PERIODIC: "1 s, as its command line: power",
    ZEUS_INFERRED: "without a pause: power",
    CODECARBON: "15 s: energy; 1 s: CPU load",
}
_WINDOW_SECONDS = 2.0

Figures = dict[str, float]


@dataclass(frozen=True, slots=True)
class _Measured:
    """A program and the driver that it alone asks."""

    program: Program
    driver: FakeDriver


def sampling_cost(bench: Bench) -> Section:
    """Measure it for eight GPUs and for one."""
    found: dict[str, dict[str, Figures]] = {}
    for gpus in MOST_SHARE:
        beside_peers = bool(bench.peers) and not (bench.quick and found)  # in a hurry, once is enough
        with Fleet(bench) as fleet:
            found[str(gpus)] = _shares(bench, _started(bench, fleet, gpus, beside_peers=beside_peers))
        if beside_peers:
            with Fleet(bench) as fleet:
                found[str(gpus)] |= _zeus_inferred(bench, fleet, gpus)
    rows = [_row(gpus, name, figures, both[OURS]) for gpus, both in found.items() for name, figures in both.items()]
    headings = ("GPUs", "program", "reads every", "CPU of a core", "highest window", "driver calls / s", "ours ÷ its")
    table = Table("CPU while measuring busy GPUs, nobody scraping", headings, rows, _NOTES)
    checks = [_check(gpus, found[str(gpus)][OURS]["share"]) for gpus in MOST_SHARE]
    return Section("sampling", [table], checks, {"programs": found})


_NOTES = (
    "The bare loop is Python that does nothing forty times a second: what waking up alone costs on this machine.",
    "Medians of windows of 2 s; a program's processes count together. Driver calls are counted by the fake driver.",
    "zeus's PowerMonitor() infers how often to read; it infers 0 s, so that its processes read without a pause.",
    "It ran alone, because it takes what cores there are; where it is missing, it did not start in its own 10 s.",
)


def _started(bench: Bench, fleet: Fleet, gpus: int, *, beside_peers: bool) -> list[_Measured]:
    drivers = {name: bench.driver(f"sampling-{gpus}-{name}", gpus=gpus) for name in READS}
    started = [
        _Measured(fleet.ours(drivers[OURS], "--sampling.interval", INTERVAL).program, drivers[OURS]),
        _Measured(fleet.bare(BARE, "import time\nwhile True: time.sleep(0.025)"), drivers[BARE]),
    ]
    if beside_peers:
        periodic = fleet.zeus(drivers[ZEUS_PERIODIC], "zeus-power", "1", name=ZEUS_PERIODIC)
        codecarbon = fleet.codecarbon(drivers[CODECARBON])
        started.append(_Measured(fleet.nvitop(drivers[NVITOP]).program, drivers[NVITOP]))
        codecarbon.ready().ask("begin", START_SECONDS)
        started += [
            _Measured(periodic.ready().program, drivers[ZEUS_PERIODIC]),
            _Measured(codecarbon.program, drivers[CODECARBON]),
        ]
    return started


def _zeus_inferred(bench: Bench, fleet: Fleet, gpus: int) -> dict[str, Figures]:
    driver = bench.driver(f"sampling-{gpus}-inferred", gpus=gpus)
    try:
        child = fleet.zeus(driver, "zeus-power", "inferred", name=ZEUS_INFERRED).ready()
    except ProgramError as error:  # its own processes take the cores, so that some do not start in its own ten seconds
        say(str(error).splitlines()[-1].strip())
        return {}
    return _shares(bench, [_Measured(child.program, driver)])


def _shares(bench: Bench, measured: list[_Measured]) -> dict[str, Figures]:
    alone = len(measured) == 1 and measured[0].program.name == ZEUS_INFERRED
    time.sleep(bench.seconds(3.0, 1.0))
    start, calls = time.monotonic(), [each.driver.calls for each in measured]
    windows = bench.count(2, 1) if alone else bench.count(12, 3)
    shares = cpu_shares([each.program for each in measured], _WINDOW_SECONDS, windows)
    seconds = time.monotonic() - start
    return {
        each.program.name: {
            "share": median(shares[each.program.name]),
            "highest_share": quantile(shares[each.program.name], 1.0),
            "calls_per_second": (each.driver.calls - before) / seconds,
        }
        for each, before in zip(measured, calls, strict=True)
    }


def _row(gpus: str, name: str, figures: Figures, ours: Figures) -> tuple[str, ...]:
    return (
        gpus,
        name,
        READS[name],
        percent(figures["share"]),
        percent(figures["highest_share"]),
        digits(figures["calls_per_second"]),
        "" if name in {OURS, BARE} else times(ours["share"], figures["share"]),
    )


def _check(gpus: int, share: float) -> Check:
    what = f"CPU while sampling {gpus} GPU{'s' if gpus > 1 else ''} every 25 ms"
    return Check(what, percent(share), f"< {MOST_SHARE[gpus] * 100:g} % of a core", share < MOST_SHARE[gpus])
