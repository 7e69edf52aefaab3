"""Several processes that send one load, and several machines: together they are what one would have been."""

import csv
import multiprocessing
import os
import signal
import threading
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from perjoule_loadgen.config import Arrival, Shard
from perjoule_loadgen.pacer import Schedule
from tests.loadgen.conftest import Bench

SHORTLY = ("--warmup", "0", "--idle", "0")


def intended(folder: Path) -> list[float]:
    """When the requests of the window were meant to be sent, in seconds from the first."""
    with (folder / "out" / "requests.csv").open() as lines:
        times = sorted(float(row["intended"]) for row in csv.DictReader(lines) if row["phase"] == "steady")
    return [at - times[0] for at in times]


def workers() -> list[Any]:
    return [child for child in multiprocessing.active_children() if child.is_alive()]


def test_two_processes_send_one_schedule(bench: Bench) -> None:
    """Each time of the constant schedule once, and every result is back."""
    code, run = bench.run("--rate", "40", "--workers", "2", *SHORTLY)
    assert (code, run["reasons"]) == (0, [])
    assert run["requests"]["sent"] == run["requests"]["ok"] == run["requests"]["scheduled"] == 24
    assert intended(bench.folder) == pytest.approx([n / 40 for n in range(24)], abs=1e-5)
    assert run["load"]["workers"] == 2
    assert workers() == []


def test_two_processes_send_one_poisson_process(bench: Bench) -> None:
    """The very times that one process would have sent, with the same seed."""
    bench.run("--rate", "40", "--arrival", "poisson", "--seed", "5", "--workers", "2", *SHORTLY)
    seed = "5/summarization/steady/arrivals"
    whole = list(Schedule(Arrival.POISSON, 40.0, 0.6, seed=seed).offsets())
    assert intended(bench.folder) == pytest.approx([at - whole[0] for at in whole], abs=1e-5)


def test_a_closed_loop_is_divided(bench: Bench) -> None:
    """Three in flight over two processes, and at least as many requests as were asked for."""
    bench.server.service = 0.02
    code = bench.loadgen("--task", "summarization", "--requests", "40", "--concurrency", "3", "--workers", "2")
    assert code == 0
    assert max(bench.exporter.power.working, 3) == 3
    assert bench.server.served >= 40
    assert workers() == []


def test_a_process_that_dies_ends_the_run(bench: Bench) -> None:
    """It is the reason, and nothing hangs."""

    def kill() -> None:
        os.kill(workers()[0].pid, signal.SIGKILL)

    def odd(number: int) -> None:
        if number == 10:
            threading.Thread(target=kill).start()

    bench.server.odd = odd
    began = time.monotonic()
    code, run = bench.run("--duration", "20s", "--concurrency", "2", "--workers", "2", *SHORTLY)
    assert (code, run["reasons"]) == (3, ["a worker process died"])
    assert time.monotonic() - began < 15
    assert workers() == []


def test_a_server_that_dies_ends_all_processes(bench: Bench) -> None:
    """The first that finds it out is enough."""

    def odd(number: int) -> None:
        if number == 10:
            threading.Thread(target=bench.target.close).start()

    bench.server.odd = odd
    code, run = bench.run("--duration", "20s", "--concurrency", "4", "--workers", "2", *SHORTLY)
    assert code == 3
    assert "the server accepted no connection" in run["reasons"][0]


def test_more_processes_than_requests_in_flight(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    """It is refused, since one would have nothing to do."""
    assert bench.loadgen("--task", "summarization", "--workers", "2") == 2
    assert "--concurrency 1 is of all 2 workers of all shards together" in capsys.readouterr().err


# --- Several machines


def test_shards_start_together(bench: Bench) -> None:
    """The window starts to send when it was told to, to a tenth of a second, and holds its part of the load alone."""
    start = time.time() + 7.5
    arguments = ("--rate", "40", "--shard", "2/2", "--start-at", f"{start}", "--idle", "0")
    code, run = bench.run(*arguments)
    assert (code, run["reasons"]) == (0, [])
    with (bench.folder / "out" / "requests.csv").open() as lines:
        first = min(float(row["intended"]) for row in csv.DictReader(lines) if row["phase"] == "steady")
    assert first - start == pytest.approx(1 / 40, abs=0.1)  # part 2 of 2 begins one interval later
    times = intended(bench.folder)
    assert len(times) == 12
    assert [b - a for a, b in pairwise(times)] == pytest.approx([0.05] * 11, abs=1e-5)
    assert (run["load"]["shard"], run["load"]["start_at"]) == ("2/2", start)


def test_a_shard_that_is_late_measures_nothing(bench: Bench) -> None:
    """Another window than the others' would be wrong: it says how late it is."""
    code, run = bench.run("--rate", "40", "--shard", "1/2", "--start-at", f"{time.time() - 3}", *SHORTLY)
    assert code == 3
    assert "s after --start-at: give all shards a later time" in run["reasons"][0]
    assert run["requests"]["sent"] == 0


def test_parts_of_parts() -> None:
    """Two workers of each of three shards are six parts of one load."""
    parts = [Shard(i, 3).split(w, 2) for i in range(3) for w in range(2)]
    assert sorted((part.index, part.count) for part in parts) == [(n, 6) for n in range(6)]
