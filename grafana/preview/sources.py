"""Where the data of the pictures is from: a made-up fleet, the demo, or a Prometheus of your own."""

import math
import shutil
import tempfile
import time
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy import demo
from perjoule_grafana.queries import FIVE_MINUTES, ONE_HOUR
from preview.page import PreviewError, View
from tests.grafana import store, world

SWING, PERIOD = 0.55, 5400.0
"""By how much a task's load varies, as a part of itself, and in how many seconds it comes again."""

SETTLED = 30.0
"""Seconds after the demo's load until the rules have recorded the last of it: two evaluations."""

SCRAPED = 8.0
"""Seconds until Prometheus, just started, has scraped everything; loadgen rests for ten before its first load."""


def varying(task: str, elapsed: float) -> float:
    """Return ∫ 1 + SWING · sin(2π(t / PERIOD + φ)) dt: a load that swings around 1, each task at its own time φ."""
    tasks = sorted({load.task for load in world.LOADS})
    phase, turn = tasks.index(task) / len(tasks), 2 * math.pi
    swung = math.cos(turn * phase) - math.cos(turn * (elapsed / PERIOD + phase))
    return elapsed + SWING * PERIOD / turn * swung


def sunny(elapsed: float) -> float:
    """Return a carbon intensity that falls and rises again over six hours."""
    return world.GRAMS_PER_KWH * (1 - 0.35 * math.sin(math.pi * elapsed / (6 * 3600)))


@contextmanager
def made_up(hours: int) -> Iterator[View]:
    """Run a Prometheus on the fleet of the tests, with a load that varies and what the rules record of it."""
    found = [shutil.which(name) for name in ("prometheus", "promtool")]
    if None in found:
        raise PreviewError("prometheus and promtool are not on PATH (Debian: apt install prometheus)")
    programs = store.Programs(*(Path(path) for path in found if path))
    with tempfile.TemporaryDirectory(prefix="perjoule-preview-") as name:
        lines = world.openmetrics(hours + 2, varying, sunny)
        store.fill(Path(name), programs, lines, hours * 3600, (FIVE_MINUTES, ONE_HOUR))
        with store.running(Path(name), programs.prometheus) as filled:
            words = f"a made-up fleet, {hours} h: no measurement"
            yield View(filled.url, world.END - hours * 3600, world.END, words)


@contextmanager
def demonstrated(meter: str) -> Iterator[View]:
    """Run what ``make demo`` runs, and look at its Prometheus before it is stopped."""
    words = {"auto": "make demo: tiny models, random weights", "simulated": "make demo: a simulated GPU, no hardware"}
    with tempfile.TemporaryDirectory(prefix="perjoule-preview-") as name, demo.programs() as started:
        try:
            energy, target, prometheus = demo.start_all(meter, Path(name), started)
        except demo.DemoError as error:
            raise PreviewError(str(error)) from error
        if prometheus is None:
            raise PreviewError("prometheus is not on PATH (Debian: apt install prometheus)")
        began = time.time() + SCRAPED
        demo.run_loadgen(energy, target, prometheus, Path(name) / "run", Namespace(task="all", duration="10s"))
        time.sleep(SETTLED)
        yield View(prometheus, began, time.time(), words[meter])


@contextmanager
def existing(url: str, hours: float, end: float | None) -> Iterator[View]:
    """Look at a Prometheus that runs already."""
    last = end or time.time()
    yield View(url.rstrip("/"), last - hours * 3600, last, f"{hours:g} h")
