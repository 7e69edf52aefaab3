"""How the costs grow from one GPU to 128: CPU while sampling, memory, the scrape."""

import time

from benchmarks.fleet import OURS, Bench, Exporter, Fleet
from benchmarks.peers import NVITOP
from benchmarks.programs import cpu_shares
from benchmarks.report import Section, Table
from benchmarks.scrape_cost import quiet_collector
from benchmarks.scraping import Scraper, sample_count
from benchmarks.summary import median, percent, quantile, scaled

SIZES = (1, 8, 16, 64, 128)
_WINDOW_SECONDS = 2.0

Figures = dict[str, float]


def growth(bench: Bench) -> Section:
    """Measure it."""
    found = {str(gpus): _at(bench, gpus) for gpus in SIZES}
    rows = [
        _row(gpus, name, figures)
        for name in (OURS, NVITOP)
        for gpus, both in found.items()
        for figures in _of(both, name)
    ]
    headings = ("program", "GPUs", "samples", "CPU of a core", "RSS", "scrape p50", "scrape p99", "scrape p50 / sample")
    notes = (
        "Ours reads energy and power every 25 ms, nvitop-exporter all but energy every second. CPU is without scrapes.",
        f"{bench.count(60, 15)} scrapes each, in turn, as Prometheus does.",
    )
    return Section("growth", [Table("How it grows", headings, rows, notes)], [], found)


def _of(both: dict[str, Figures], name: str) -> list[Figures]:
    return [both[name]] if name in both else []


def _at(bench: Bench, gpus: int) -> dict[str, Figures]:
    with Fleet(bench) as fleet:
        driver = bench.driver(f"growth-{gpus}", gpus=gpus)
        exporters = [fleet.ours(driver), *([fleet.nvitop(driver)] if bench.peers else [])]
        time.sleep(bench.seconds(3, 0.5))
        shares = cpu_shares([each.program for each in exporters], _WINDOW_SECONDS, bench.count(5, 1))
        scrapes = _scrapes(exporters, bench.count(60, 15))
        return {
            each.name: {
                **scrapes[each.name],
                "share": median(shares[each.name]),
                "rss_bytes": each.program.rss_bytes(),
            }
            for each in exporters
        }


def _scrapes(exporters: list[Exporter], count: int) -> dict[str, Figures]:
    scrapers = {each.name: Scraper(each.port, as_prometheus=True) for each in exporters}
    taken: dict[str, list[float]] = {name: [] for name in scrapers}
    samples = {}
    with quiet_collector():
        for _ in range(count):
            for name, scraper in scrapers.items():
                answer = scraper.scrape()
                taken[name].append(answer.seconds)
                samples[name] = sample_count(answer.text)
    for scraper in scrapers.values():
        scraper.close()
    return {
        name: {"samples": samples[name], "p50_seconds": median(seconds), "p99_seconds": quantile(seconds, 0.99)}
        for name, seconds in taken.items()
    }


def _row(gpus: str, name: str, figures: Figures) -> tuple[str, ...]:
    return (
        name,
        gpus,
        f"{figures['samples']:.0f}",
        percent(figures["share"]),
        scaled(figures["rss_bytes"], "B"),
        scaled(figures["p50_seconds"], "s"),
        scaled(figures["p99_seconds"], "s"),
        scaled(figures["p50_seconds"] / figures["samples"], "s"),
    )
