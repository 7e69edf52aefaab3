"""A day of the exporter's life in minutes: does it leak memory, threads, files or series, or let a counter go back?

    make soak                                     or, a hundredth of it, as the tests do:
    .venv/bin/python benchmarks/soak.py --scale 0.01

The exporter reads a fake NVIDIA driver as often as it can be told to and is scraped back to back, until it has done
the readings of a day of one GPU at 25 ms (3,456,000, spread over four GPUs) and the scrapes of a day at 15 s (5,760).
All the while GPUs are lost, hang, restart their counters and come back, settings are read again on SIGHUP, and clients
are slow, silent or gone. The exit code is 1 when something was not as it should be.
"""

import argparse
import contextlib
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

if __package__ in {None, ""}:  # called by its file name: its neighbours are found from the repository's root
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.disturbances import (
    DISTURBANCES,
    FIRST_PUE,
    GPUS,
    UNDISTURBED,
    Life,
    SoakError,
    write_settings,
)
from benchmarks.driver import HIGH_WATTS, STEP_WATTS, TICK_SECONDS, CompilerError, compiled
from benchmarks.fleet import Bench, Exporter, Fleet
from benchmarks.peers import say
from benchmarks.programs import ProgramError
from benchmarks.report import checks_table, plain
from benchmarks.scraping import Answer, Scraper
from benchmarks.summary import MILLION, Check, digits, scaled
from benchmarks.watching import Monotone, Usage, difference
from tests.exporter.driver import joules

DAY_SECONDS, INTERVAL_SECONDS, SCRAPE_SECONDS = 86_400, 0.025, 15
DAY_READINGS, DAY_SCRAPES = round(DAY_SECONDS / INTERVAL_SECONDS), DAY_SECONDS // SCRAPE_SECONDS
FASTEST = "1ms"

WARM_UP_CYCLES = 2
"""Rounds of all disturbances before the memory is first read: after them every path has been taken twice."""

MOST_GROWTH_BYTES = 4 * MILLION
"""What the resident memory may grow by after the warm-up. Python takes memory by the mebibyte and the C library keeps
some for each thread, so that two or three steps say nothing. The smallest object of Python has 16 bytes: one left
behind at each reading would be 55 MB in a day, one of a kilobyte at each scrape 6 MB."""

SIGNALS = "signals not noticed within a second"

SETTLE_SECONDS = 20.0
"""Silent clients are cut off after ten seconds."""

_PAUSE_SECONDS = 0.005


class Scrapes:
    """Scrapes an exporter back to back in a thread and keeps the latest answer."""

    def __init__(self, exporter: Exporter) -> None:
        self.monotone = Monotone()
        self.count = 0
        self.longest = 0.0
        self.wrong: Exception | None = None
        self._scraper = Scraper(exporter.port, as_prometheus=True)
        self._stop = threading.Event()
        self._latest = self._scrape()
        self._thread = threading.Thread(target=self._run, name="scrapes", daemon=True)
        self._thread.start()

    def latest(self) -> Answer:
        """Return the latest answer."""
        if self.wrong is not None:
            raise SoakError(f"a scrape failed: {self.wrong!r}")
        return self._latest

    def readings(self) -> float:
        """Return how many readings of GPUs the exporter has counted so far."""
        return self.monotone.total("gpu_samples_total", 'outcome="ok"')

    def close(self) -> None:
        """Stop scraping."""
        self._stop.set()
        self._thread.join()
        self._scraper.close()

    def _run(self) -> None:
        while not self._stop.wait(_PAUSE_SECONDS):
            try:
                self._latest = self._scrape()
            except Exception as error:  # noqa: BLE001 (the thread's edge: the main thread raises it)
                self.wrong = error
                return

    def _scrape(self) -> Answer:
        answer = self._scraper.scrape()
        self.monotone.see(answer.text)
        self.count += 1
        self.longest = max(self.longest, answer.seconds)
        return answer


@dataclass(frozen=True, slots=True)
class Done:
    """What a soak did and found."""

    readings: float
    scrapes: int
    cycles: int
    seconds: float
    longest_scrape: float
    start: Usage
    end: Usage
    went_back: list[str]
    energy_error: float
    signals: tuple[int, int]  # sent, and of these not noticed
    log: str


def soak(folder: Path, library: Path, scale: float) -> Done:
    """Live through ``scale`` days.

    Raises:
        SoakError: the exporter did not recover from a disturbance.
        ProgramError: it did not start, or ended.
    """
    bench = Bench(folder, library, {}, quick=False)
    driver = bench.driver("soak", gpus=GPUS)
    settings = folder / "settings.toml"
    write_settings(settings, FIRST_PUE)
    with Fleet(bench) as fleet:
        exporter = fleet.ours(driver, "--sampling.interval", FASTEST, "--config.file", str(settings))
        with contextlib.closing(Scrapes(exporter)) as scrapes:
            life = Life(exporter, driver, settings, scrapes.latest)
            for _ in range(WARM_UP_CYCLES):
                _cycle(life)
            start = _quiet(life)
            readings, count = scrapes.readings(), scrapes.count
            first, began, cycles = scrapes.latest(), time.monotonic(), 0
            while scrapes.readings() - readings < scale * DAY_READINGS or scrapes.count - count < scale * DAY_SCRAPES:
                _cycle(life)
                cycles += 1
                _progress(scrapes.readings() - readings, scale * DAY_READINGS, cycles)
            seconds = time.monotonic() - began
            end = _quiet(life, start)
            return Done(
                scrapes.readings() - readings,
                scrapes.count - count,
                cycles,
                seconds,
                scrapes.longest,
                start,
                end,
                scrapes.monotone.went_back,
                _energy_error(first, scrapes.latest()),
                (life.signals_sent, life.signals_lost),
                exporter.program.log.read_text(encoding="utf-8"),
            )


def _cycle(life: Life) -> None:
    for disturbance in DISTURBANCES:
        disturbance(life)


def _quiet(life: Life, start: Usage | None = None) -> Usage:
    """Let go of everything and return what the exporter uses once it uses as little as it will."""
    life.let_go()
    end = time.monotonic() + SETTLE_SECONDS
    usage = Usage.of(life.exporter.program, life.latest().text)
    while time.monotonic() < end:
        time.sleep(0.25)
        before, usage = usage, Usage.of(life.exporter.program, life.latest().text)
        if usage.settled(start or before):
            break
    return usage


def _energy_error(first: Answer, last: Answer) -> float:
    """Return the joules that the counter of the undisturbed GPU is off over the whole run."""
    names = ("gpu_energy_joules_total", "gpu_energy_timestamp_seconds")
    values = [answer.of(name, gpu=str(UNDISTURBED)) or float("nan") for answer in (first, last) for name in names]
    return values[2] - values[0] - joules(UNDISTURBED, values[1], values[3])


def _progress(done: float, wanted: float, cycles: int) -> None:
    if cycles % 10 == 0:
        say(f"{done / wanted:.0%} of the readings, {cycles} rounds of disturbances")


def checks(done: Done) -> list[Check]:
    """Return what must hold after a soak."""
    growth = done.end.rss_bytes - done.start.rss_bytes
    bound = 2 * TICK_SECONDS * (HIGH_WATTS + UNDISTURBED * STEP_WATTS)
    threads, files = (done.start.threads, done.end.threads), (done.start.descriptors, done.end.descriptors)
    return [
        Check(
            "memory after the warm-up",
            f"{scaled(done.start.rss_bytes, 'B')}, then {scaled(done.end.rss_bytes, 'B')}",
            f"at most {scaled(MOST_GROWTH_BYTES, 'B')} more",
            growth <= MOST_GROWTH_BYTES,
        ),
        Check("threads", f"{threads[0]}, then {threads[1]}", "the same", threads[0] == threads[1]),
        Check("open files", f"{files[0]}, then {files[1]}", "the same", files[0] == files[1]),
        Check(
            "series",
            f"{len(done.start.series)}: {difference(done.start.series, done.end.series)}",
            "the same",
            done.start.series == done.end.series,
        ),
        Check("counters", "; ".join(done.went_back) or "none went back", "none goes back", not done.went_back),
        Check(
            "energy of the undisturbed GPU",
            f"{scaled(done.energy_error, 'J')} off",
            f"within {scaled(bound, 'J')}",
            abs(done.energy_error) <= bound,
        ),
        Check(SIGNALS, f"{done.signals[1]} of {done.signals[0]}", "none", not done.signals[1]),
        Check("tracebacks in the log", str(done.log.count("Traceback")), "0", "Traceback" not in done.log),
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """Soak, print what was found and return the exit code."""
    parser = argparse.ArgumentParser(prog="benchmarks/soak.py", description=__doc__.partition("\n")[0])
    parser.add_argument("--scale", type=float, default=1.0, help="how many days (default: %(default)g)")
    scale = parser.parse_args(argv).scale
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # by way of everything that was started and must end
    folder = Path(tempfile.mkdtemp(prefix="perjoule-soak-"))
    try:
        done = soak(folder, compiled(folder / "driver"), scale)
    except (CompilerError, ProgramError, SoakError) as error:
        print(f"soak: {error}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(folder)
    found = checks(done)
    print(_summary(done))
    print(plain(checks_table(found)))
    return int(not all(check.passed for check in found))


def _summary(done: Done) -> str:
    days = done.readings / DAY_READINGS
    return (
        f"{done.readings:,.0f} readings ({days:.3g} days of one GPU at 25 ms) and {done.scrapes:,} scrapes "
        f"({done.scrapes / DAY_SCRAPES:.3g} days at 15 s)\nin {scaled(done.seconds, 's')}: "
        f"{digits(days * DAY_SECONDS / done.seconds)} times as fast. {done.cycles} rounds of "
        f"{len(DISTURBANCES)} disturbances; longest scrape {scaled(done.longest_scrape, 's')}.\n"
    )


if __name__ == "__main__":
    sys.exit(main())
