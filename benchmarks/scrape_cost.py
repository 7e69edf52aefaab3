"""What a scrape of eight GPUs costs: latency and CPU a sample, ours beside nvitop-exporter's, in turn.

Each program is scraped once in each round, as Prometheus does and then as curl does. CPU is that of the whole process
during all rounds, less what it uses without scrapes, measured right before and after.
"""

import gc
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from benchmarks.fleet import OURS, Bench, Exporter, Fleet
from benchmarks.peers import NVITOP
from benchmarks.programs import cpu_shares
from benchmarks.report import Section, Table
from benchmarks.scraping import Scraper, sample_count
from benchmarks.summary import Check, digits, median, quantile, scaled, times

GPUS = 8
MOST_CPU_SECONDS_PER_SAMPLE = 12e-6
MODES = {"as Prometheus 2.42": True, "as curl": False}


@contextmanager
def quiet_collector() -> Iterator[None]:
    """Keep the garbage collector of the measuring process out of the latencies."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def scrape_cost(bench: Bench) -> Section:
    """Measure it."""
    with Fleet(bench) as fleet:
        driver = bench.driver("scrape", gpus=GPUS)
        exporters = [fleet.ours(driver), *([fleet.nvitop(driver)] if bench.peers else [])]
        time.sleep(bench.seconds(3, 1.5))
        found = {mode: _mode(bench, exporters, as_prometheus=how) for mode, how in MODES.items()}
    rows = [_row(mode, name, figures) for mode, both in found.items() for name, figures in both.items()]
    return Section(
        "scrape",
        [
            Table(
                f"Scrape of {GPUS} GPUs",
                ("scraped", "program", "samples", "on the wire", "p50", "p99", "p50 / sample", "CPU / sample"),
                [*rows, *_ratios(found)],
                (
                    f"{bench.count(*_ROUNDS)} rounds, each program once a round, in turn.",
                    "Prometheus keeps the connection where the program does (nvitop-exporter does not) and takes gzip.",
                    "curl opens a connection for each scrape and takes no gzip.",
                    "CPU is the whole process's, less what it uses without scrapes.",
                ),
            )
        ],
        [check for mode, both in found.items() for check in _checks(mode, both)],
        found,
    )


_ROUNDS = (1000, 120)
_IDLE_SECONDS = (4.0, 1.5)

Figures = dict[str, float]


def _mode(bench: Bench, exporters: Sequence[Exporter], *, as_prometheus: bool) -> dict[str, Figures]:
    idle = bench.seconds(*_IDLE_SECONDS)
    programs = [exporter.program for exporter in exporters]
    before = cpu_shares(programs, idle, 1)
    start = time.monotonic()
    used = [program.cpu_seconds() for program in programs]
    scraped = _rounds(exporters, bench.count(*_ROUNDS), as_prometheus=as_prometheus)
    seconds = time.monotonic() - start
    used = [program.cpu_seconds() - at_start for program, at_start in zip(programs, used, strict=True)]
    after = cpu_shares(programs, idle, 1)
    found = {}
    for exporter, cpu in zip(exporters, used, strict=True):
        figures = scraped[exporter.name]
        resting = (before[exporter.name][0] + after[exporter.name][0]) / 2
        scrapes = bench.count(*_ROUNDS) + _WARM_UP
        figures["cpu_seconds_per_sample"] = (cpu - resting * seconds) / scrapes / figures["samples"]
        figures["cpu_seconds_per_sample_gross"] = cpu / scrapes / figures["samples"]
        found[exporter.name] = figures
    return found


_WARM_UP = 5


def _rounds(exporters: Sequence[Exporter], count: int, *, as_prometheus: bool) -> dict[str, Figures]:
    scrapers = {exporter.name: Scraper(exporter.port, as_prometheus=as_prometheus) for exporter in exporters}
    taken: dict[str, list[float]] = {name: [] for name in scrapers}
    last = {}
    with quiet_collector():
        for _ in range(_WARM_UP + count):
            for name, scraper in scrapers.items():
                last[name] = scraper.scrape()
                taken[name].append(last[name].seconds)
    for scraper in scrapers.values():
        scraper.close()
    found = {}
    for name, seconds in taken.items():
        samples = sample_count(last[name].text)
        kept = seconds[_WARM_UP:]
        found[name] = {
            "samples": float(samples),
            "wire_bytes": float(last[name].wire_bytes),
            "p50_seconds": median(kept),
            "p99_seconds": quantile(kept, 0.99),
            "p50_seconds_per_sample": median(kept) / samples,
        }
    return found


def _row(mode: str, name: str, figures: Figures) -> tuple[str, ...]:
    return (
        mode,
        name,
        f"{figures['samples']:.0f}",
        scaled(figures["wire_bytes"], "B"),
        scaled(figures["p50_seconds"], "s"),
        scaled(figures["p99_seconds"], "s"),
        scaled(figures["p50_seconds_per_sample"], "s"),
        scaled(figures["cpu_seconds_per_sample"], "s"),
    )


_RATIOS = ("samples", "wire_bytes", "p50_seconds", "p99_seconds", "p50_seconds_per_sample", "cpu_seconds_per_sample")


def _ratios(found: dict[str, dict[str, Figures]]) -> list[tuple[str, ...]]:
    return [
        (mode, "ours ÷ nvitop's", *(times(both[OURS][key], both[NVITOP][key]) for key in _RATIOS))
        for mode, both in found.items()
        if NVITOP in both
    ]


def _checks(mode: str, both: dict[str, Figures]) -> Iterator[Check]:
    ours, theirs = both[OURS], both.get(NVITOP)
    for what, key in (("p50 a sample", "p50_seconds_per_sample"), ("p99", "p99_seconds")):
        if theirs is not None:
            target = f"≤ {scaled(theirs[key], 's')} (nvitop-exporter's)"
            yield Check(f"scrape {mode}, {what}", scaled(ours[key], "s"), target, ours[key] <= theirs[key])
    cpu = ours["cpu_seconds_per_sample"]
    target = f"< {digits(MOST_CPU_SECONDS_PER_SAMPLE * 1e6)} µs"
    yield Check(f"scrape {mode}, CPU a sample", scaled(cpu, "s"), target, cpu < MOST_CPU_SECONDS_PER_SAMPLE)
