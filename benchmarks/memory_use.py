"""What the programs hold in memory after a minute of eight GPUs, and that ours never imports what it must not."""

import contextlib
import os
import subprocess
import sys
import time

from benchmarks.fleet import OURS, START_SECONDS, Bench, Exporter, Fleet
from benchmarks.report import Section, Table
from benchmarks.scraping import Scraper, answers, free_port
from benchmarks.summary import MILLION, Check, scaled, times
from tests.exporter.driver import FakeDriver

GPUS = 8
MOST_RSS_BYTES = 45 * MILLION
SCRAPE_SECONDS = 5.0
HEAVY = ("torch", "numpy", "pandas", "transformers", "scipy")
"""What an exporter has no use for."""


def memory_use(bench: Bench) -> Section:
    """Measure it."""
    with Fleet(bench) as fleet:
        driver = bench.driver("memory", gpus=GPUS)
        exporters = [fleet.ours(driver)]
        programs = [exporters[0].program]
        if bench.peers:
            zeus, codecarbon = fleet.zeus(driver, "zeus-energy"), fleet.codecarbon(driver)
            exporters.append(fleet.nvitop(driver))
            zeus.ready()
            codecarbon.ready().ask("begin", START_SECONDS)
            programs += [exporters[1].program, zeus.program, codecarbon.program]
        _scrape_for(exporters, bench.seconds(60, 6))
        found = {
            program.name: {
                "rss_bytes": program.rss_bytes(),
                "pss_bytes": program.pss_bytes(),
                "threads": program.threads(),
            }
            for program in programs
        }
    modules = imported(bench.driver("modules", gpus=GPUS))
    heavy = [name for name in HEAVY if name in {module.partition(".")[0] for module in modules}]
    return Section(
        "memory",
        [_table(bench, found, len(modules))],
        _checks(found[OURS]["rss_bytes"], heavy),
        {"programs": found, "modules": len(modules), "heavy": heavy},
    )


def imported(driver: FakeDriver) -> list[str]:
    """Return every module that our exporter imports from its start until it has been scraped, and ended."""
    port = free_port()
    command = [sys.executable, "-X", "importtime", "-m", "perjoule_exporter", "--meter", "nvml"]
    process = subprocess.Popen(  # noqa: S603 (our own program)
        [*command, "--web.listen-address", f"127.0.0.1:{port}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, **driver.environment},
        text=True,
    )
    deadline = time.monotonic() + 30
    while not answers(port) and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.05)
    process.terminate()
    _, said = process.communicate(timeout=10)
    return [line.rpartition("|")[2].strip() for line in said.splitlines() if line.startswith("import time:")][1:]


def _scrape_for(exporters: list[Exporter], seconds: float) -> None:
    end = time.monotonic() + seconds
    with contextlib.ExitStack() as stack:
        scrapers = [
            stack.enter_context(contextlib.closing(Scraper(exporter.port, as_prometheus=True)))
            for exporter in exporters
        ]
        while time.monotonic() < end:
            for scraper in scrapers:
                scraper.scrape()
            time.sleep(max(0.0, min(SCRAPE_SECONDS, end - time.monotonic())))


def _table(bench: Bench, found: dict[str, dict[str, int]], modules: int) -> Table:
    ours = found[OURS]["rss_bytes"]
    rows = [
        (
            name,
            scaled(figures["rss_bytes"], "B"),
            scaled(figures["pss_bytes"], "B"),
            str(figures["threads"]),
            "" if name == OURS else times(ours, figures["rss_bytes"]),
        )
        for name, figures in found.items()
    ]
    return Table(
        f"Memory with {GPUS} GPUs",
        ("program", "RSS", "PSS", "threads", "ours ÷ its"),
        rows,
        (
            f"After {bench.seconds(60, 6):g} s; exporters are scraped every {SCRAPE_SECONDS:g} s.",
            "zeus is a ZeusMonitor and codecarbon a started tracker, each in a program of nothing else.",
            f"Ours imports {modules} modules.",
        ),
    )


def _checks(rss: int, heavy: list[str]) -> list[Check]:
    target = f"< {scaled(MOST_RSS_BYTES, 'B')}"
    return [
        Check(f"RSS with {GPUS} GPUs", scaled(rss, "B"), target, rss < MOST_RSS_BYTES),
        Check("heavy imports", ", ".join(heavy) or "none", f"none of {', '.join(HEAVY)}", not heavy),
    ]
