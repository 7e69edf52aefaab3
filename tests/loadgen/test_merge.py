"""Shards of one load, real processes against one stub, merged into what one instance would have measured."""

import csv
import json
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from perjoule_loadgen.__main__ import main
from perjoule_loadgen.stats import latency
from tests.loadgen.conftest import SHORT, Bench
from tests.loadgen.stubs import IDLE_WATTS

SHARDS = 3
LEAD_SECONDS = 12
"""Three processes start on a machine that does other things too."""
RUN = """
import sys
from perjoule_loadgen.__main__ import main
from tests.loadgen.conftest import SHORT
sys.exit(main(sys.argv[1:], SHORT))
"""


def started(bench: Bench, *flags: str) -> list[Path]:
    """Run the shards, each a process of its own, and return their folders."""
    at = f"{time.time() + LEAD_SECONDS:.3f}"
    folders = [bench.folder / f"shard-{index}" for index in range(SHARDS)]
    urls = ["--target", bench.target.url, "--energy", bench.energy.url, "--start-at", at, "--task", "summarization"]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", RUN, *urls, "--idle", "0.3s", "--warmup", "0.2s", "--shard", f"{index + 1}/{SHARDS}",
             "--output", str(folder), *flags],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env={"PYTHONPATH": ".:loadgen", "PATH": ""},
        )
        for index, folder in enumerate(folders)
    ]  # fmt: skip
    for process in processes:
        _, err = process.communicate(timeout=60)
        assert process.returncode in {0, 3}, err
    return folders


@pytest.mark.slow
def test_shards_are_one_load(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    """Counts add up, percentiles are those of all requests, and the device that all read is counted once."""
    bench.server.service = 0.002
    folders = started(bench, "--rate", "60", "--duration", "2s")
    whole = bench.folder / "whole"
    code = main(["merge", *map(str, folders), "--output", str(whole)], SHORT)
    run = json.loads((whole / "run.json").read_text())
    assert (code, run["verdict"], run["reasons"]) == (0, "valid", [])
    parts = [json.loads((folder / "run.json").read_text()) for folder in folders]
    assert run["requests"]["ok"] == sum(part["requests"]["ok"] for part in parts) == 120
    start, end = run["window"]["start"], run["window"]["end"]
    assert (start, end) == (min(p["window"]["start"] for p in parts), max(p["window"]["end"] for p in parts))
    truth = bench.exporter.power.joules(end) - bench.exporter.power.joules(start)
    (device,) = run["devices"]
    assert device["joules"] == pytest.approx(truth, rel=1e-6)
    assert run["joules_per_inference"]["gross"]["value"] == pytest.approx(truth / 120, rel=1e-6)
    active = run["joules_per_inference"]["active"]
    assert active["low"] <= (truth - IDLE_WATTS * (end - start)) / 120 <= active["high"]
    assert run["joules_per_unit"]["units"] == 120 * 12
    assert run["work"] == parts[0]["work"]
    assert run["load"]["shard"] is None
    with (whole / "requests.csv").open() as lines:
        steady = [row for row in csv.DictReader(lines) if row["phase"] == "steady"]
    exactly = latency(sorted(float(row["latency_seconds"]) for row in steady))
    assert run["latency_seconds"]["p50"] == pytest.approx(exactly.p50, rel=1e-3)
    times = sorted(float(row["intended"]) for row in steady)  # one schedule, but for when each of them woke up
    assert max(abs(b - a - 1 / 60) for a, b in pairwise(times)) < 1e-2
    assert "VALID" in capsys.readouterr().out
    assert "Power over time" in (whole / "report.html").read_text()
    assert main(["report", str(whole)]) == 0


@pytest.fixture
def pair(bench: Bench) -> list[Path]:
    """Two runs of one instance's, one after the other, made to look like shards that ran at once."""
    folders = []
    for name in ("a", "b"):
        bench.run()
        folders.append((bench.folder / "out").rename(bench.folder / name))
    return folders


def change(folder: Path, *path: str, to: Any) -> None:
    made = json.loads((folder / "run.json").read_text())
    place = made
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = to
    (folder / "run.json").write_text(json.dumps(made))


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda _a, _b: None, "did not run at the same time"),
        (lambda _a, b: change(b, "model", to="other"), "no shards of one load: model is 'other'"),
        (lambda _a, b: change(b, "load", "rate", to=3.0), "no shards of one load: rate is 3.0"),
        (lambda _a, b: change(b, "window", to={"start": None, "end": None, "seconds": None}), "has no window"),
        (lambda _a, b: (b / "run.json").rename(b / "run.partial.json"), "did not finish"),
        (lambda _a, b: change(b, "devices", to=[{"device": "x"}]), "did not run at the same time"),
    ],
)
def test_what_does_not_belong_together(
    pair: list[Path], capsys: pytest.CaptureFixture[str], spoil: Callable[[Path, Path], None], says: str
) -> None:
    """Is refused with the difference, exit code 2, and nothing is written."""
    spoil(*pair)
    assert main(["merge", *map(str, pair), "--output", str(pair[0].parent / "whole")]) == 2
    assert says in capsys.readouterr().err
    assert not (pair[0].parent / "whole").exists()


def test_a_shard_twice(pair: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    """Its requests would be counted twice."""
    assert main(["merge", str(pair[0]), str(pair[0]), "--output", str(pair[0].parent / "whole")]) == 2
    assert "the same run twice" in capsys.readouterr().err


def moved(folder: Path, seconds: float, device: str) -> None:
    """Move a run in time, and onto another board."""
    made = json.loads((folder / "run.json").read_text())
    for key in ("start", "end", "load_start", "load_end"):
        made["window"][key] += seconds
    (charged,) = made["devices"]
    charged["device"] = device
    for edge in ("start", "end"):
        charged["counter"][edge]["at"] += seconds
    for idle in made["host"]["idle"]:
        idle["device"] = device
    (folder / "run.json").write_text(json.dumps(made))


def test_other_devices_are_added(pair: list[Path]) -> None:
    """Two shards at once, each with a board of its own: the joules of both, over the inferences of both."""
    first, second = (json.loads((folder / "run.json").read_text()) for folder in pair)
    moved(pair[1], first["window"]["start"] - second["window"]["start"], "GPU-z")
    main(["merge", *map(str, pair), "--output", str(pair[0].parent / "whole")], SHORT)
    whole = json.loads((pair[0].parent / "whole" / "run.json").read_text())
    joules = sum(run["devices"][0]["joules"] for run in (first, second))
    answered = sum(run["requests"]["ok"] for run in (first, second))
    assert [device["device"] for device in whole["devices"]] == ["GPU-a", "GPU-z"]
    assert whole["joules_per_inference"]["gross"]["value"] == pytest.approx(joules / answered)
