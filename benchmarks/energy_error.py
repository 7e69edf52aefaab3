"""How far each program's joules are from what the GPUs truly drew, over the same windows.

The truth is the integral of the fake's square wave between two times: for ours the times that stand beside the counter
(and, in another row, the times of the scrapes), for the others the middle of their own calls at the edges.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from benchmarks import driver as fake
from benchmarks.fleet import START_SECONDS, Bench, Child, Exporter, Fleet
from benchmarks.peers import CODECARBON, ZEUS
from benchmarks.report import Section, Table
from benchmarks.scraping import Answer, Scraper
from benchmarks.summary import Check, percent, relative_error, scaled, tick_bound
from tests.exporter.driver import joules

GPUS = 8
LONG_SECONDS, SHORT_SECONDS, SHORT_WINDOWS = 60.0, 5.0, 3
MOST_ERROR = 0.001
"""Over a minute, of the energy of any GPU."""

TICK = scaled(fake.TICK_SECONDS, "s")

ROUNDING_JOULES = 0.01
"""A millijoule counter at both edges, and times in microseconds of a GPU of 400 W: well below this."""

PAIRS = "ours, (energy, time) pairs"
MIDDLES = "the same, stamps that mark no tick"
SCRAPES = "ours, energy at the scrapes' times"


@dataclass(slots=True)
class Errors:
    """What one way of measuring was off: ratios of the true energy, for each GPU and window and for all GPUs."""

    of_gpus: list[float] = field(default_factory=list)
    of_sums: list[float] = field(default_factory=list)
    beyond_bound: int = 0
    bound: float = 0.0
    said: str = ""

    def add(self, measured: Mapping[int, float], spans: Mapping[int, tuple[float, float]]) -> None:
        """Hold the joules of each GPU, and their sum, against the truth and the bound that the tick allows."""
        true = {gpu: joules(gpu, *spans[gpu]) for gpu in measured}
        for gpu, value in measured.items():
            bound = tick_bound([fake.edge_watts(gpu, edge) for edge in spans[gpu]], fake.TICK_SECONDS)
            self.of_gpus.append(relative_error(value, true[gpu]))
            self.bound = max(self.bound, bound / true[gpu])
            self.beyond_bound += abs(value - true[gpu]) > bound + ROUNDING_JOULES
        self.of_sums.append(relative_error(sum(measured.values()), sum(true.values())))

    def add_sum(self, measured: float, start: float, end: float) -> None:
        """Hold the joules of all GPUs together against the truth."""
        self.of_sums.append(relative_error(measured, sum(joules(gpu, start, end) for gpu in range(GPUS))))

    @property
    def worst(self) -> float:
        """The largest error of any GPU, or of the sum where that is all there is."""
        return max(map(abs, self.of_gpus or self.of_sums), default=float("nan"))


Found = dict[str, Errors]


def energy_error(bench: Bench) -> Section:
    """Measure it."""
    with Fleet(bench) as fleet:
        exporters, children = _started(bench, fleet)
        time.sleep(bench.seconds(2, 1))
        windows = bench.count(SHORT_WINDOWS, 1)
        short = _windows(exporters, children, SHORT_SECONDS, windows)
        long = _windows(exporters, children, bench.seconds(LONG_SECONDS, 10), 1)
    lengths = {f"{SHORT_SECONDS:g} s × {windows}": short, f"{bench.seconds(LONG_SECONDS, 10):g} s": long}
    rows = [_row(length, way, errors) for length, found in lengths.items() for way, errors in found.items()]
    headings = ("window", "program", "worst GPU", "all GPUs, worst", "tick bound", "outside the bound")
    table = Table(f"Energy of {GPUS} GPUs against what they truly drew", headings, rows, _NOTES)
    figures = {
        length: {way: {"of_gpus": e.of_gpus, "of_sums": e.of_sums, "bound": e.bound} for way, e in found.items()}
        for length, found in lengths.items()
    }
    return Section("energy", [table], _checks(bench, short, long), figures)


_NOTES = (
    f"Square waves of {fake.LOW_WATTS:g} to {fake.HIGH_WATTS:g} W and more; counters tick every {TICK}.",
    "Tick bound: power × tick at each edge ÷ energy, the largest of the windows.",
    "Pairs: gpu_energy_joules_total beside gpu_energy_timestamp_seconds.",
    "codecarbon tells one sum of all GPUs. nvitop-exporter has no energy.",
)


def _started(bench: Bench, fleet: Fleet) -> tuple[dict[str, Exporter], dict[str, Child]]:
    driver = bench.driver("energy", gpus=GPUS)
    children = {}
    if bench.peers:
        children = {ZEUS: fleet.zeus(driver, "zeus-energy"), CODECARBON: fleet.codecarbon(driver)}
    unstamped = bench.driver("energy-unstamped", gpus=GPUS, call_stamps=1)
    exporters = {PAIRS: fleet.ours(driver), MIDDLES: fleet.ours(unstamped, name="ours, no tick stamps")}
    for child in children.values():
        child.ready()
    return exporters, children


def _windows(exporters: dict[str, Exporter], children: dict[str, Child], seconds: float, count: int) -> Found:
    found: Found = {way: Errors() for way in (PAIRS, MIDDLES, SCRAPES, *children)}
    for number in range(count):
        begun = {name: child.ask("begin", START_SECONDS) or {} for name, child in children.items()}
        start = {way: _edge(exporter) for way, exporter in exporters.items()}
        # A little longer each time, so that the edges fall on other places of the tick and of the wave.
        time.sleep(seconds + 0.037 * number)
        end = {way: _edge(exporter) for way, exporter in exporters.items()}
        for way in exporters:
            found[way].add(*_by_pairs(start[way][0], end[way][0]))
        found[SCRAPES].add(*_by_scrapes(start[PAIRS], end[PAIRS]))
        for name, child in children.items():
            _add_child(found[name], begun[name], child.ask("end", START_SECONDS) or {})
    return found


def _edge(exporter: Exporter) -> tuple[Answer, float]:
    scraper = Scraper(exporter.port, as_prometheus=False)
    before = time.time()
    answer = scraper.scrape()
    return answer, (before + time.time()) / 2


def _value(answer: Answer, name: str, gpu: int) -> float:
    value = answer.of(name, gpu=str(gpu))
    return float("nan") if value is None else value


def _energies(start: Answer, end: Answer) -> dict[int, float]:
    name = "gpu_energy_joules_total"
    return {gpu: _value(end, name, gpu) - _value(start, name, gpu) for gpu in range(GPUS)}


def _by_pairs(start: Answer, end: Answer) -> tuple[dict[int, float], dict[int, tuple[float, float]]]:
    name = "gpu_energy_timestamp_seconds"
    return _energies(start, end), {gpu: (_value(start, name, gpu), _value(end, name, gpu)) for gpu in range(GPUS)}


def _by_scrapes(
    start: tuple[Answer, float], end: tuple[Answer, float]
) -> tuple[dict[int, float], dict[int, tuple[float, float]]]:
    return _energies(start[0], end[0]), dict.fromkeys(range(GPUS), (start[1], end[1]))


def _add_child(errors: Errors, begun: dict[str, Any], ended: dict[str, Any]) -> None:
    wrong = begun.get("error") or ended.get("error")
    if wrong is not None or not begun or not ended:
        errors.said = str(wrong or "no answer")
    elif "gpus" in ended:
        edges = begun["at"], ended["at"]
        errors.add({int(gpu): value for gpu, value in ended["gpus"].items()}, dict.fromkeys(range(GPUS), edges))
    else:
        errors.add_sum(ended["joules"], begun["at"], ended["at"])


def _row(length: str, way: str, errors: Errors) -> tuple[str, ...]:
    if errors.said:
        return length, way, errors.said, "", "", ""
    return (
        length,
        way,
        percent(errors.worst) if errors.of_gpus else "—",
        percent(max(map(abs, errors.of_sums))),
        percent(errors.bound) if errors.of_gpus else "—",
        f"{errors.beyond_bound} of {len(errors.of_gpus)}" if errors.of_gpus else "—",
    )


def _checks(bench: Bench, short: Found, long: Found) -> list[Check]:
    seconds = bench.seconds(LONG_SECONDS, 10)
    most = MOST_ERROR * LONG_SECONDS / seconds
    checks = [
        Check(
            f"energy over {seconds:g} s, {way}", percent(long[way].worst), f"≤ {percent(most)}", long[way].worst <= most
        )
        for way in (PAIRS, MIDDLES)
    ]
    for way in (PAIRS, MIDDLES, SCRAPES):
        outside, all_of = short[way].beyond_bound, len(short[way].of_gpus)
        checks.append(
            Check(
                f"energy over {SHORT_SECONDS:g} s, {way}",
                f"{outside} of {all_of}",
                "0 outside ± power × tick",
                not outside,
            )
        )
    return checks
