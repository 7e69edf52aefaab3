"""Runs on disk: printed again as they were, after a crash too, and files that are none explained."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from perjoule_loadgen.__main__ import main
from perjoule_loadgen.archive import PARTIAL_POWER, PARTIAL_REQUESTS, PARTIAL_RUN
from tests.loadgen.conftest import Bench

DEADLINE_SECONDS = 20


def test_a_report_is_what_the_run_printed(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    """Table, JSON and CSV of the files are byte for byte those of the run, and no partial file is left."""
    code, _ = bench.run()
    table = capsys.readouterr().out
    folder = bench.folder / "out"
    assert {path.name for path in folder.iterdir()} >= {"run.json", "requests.csv", "power.csv", "report.html"}
    assert not list(folder.glob("*partial*"))
    (folder / "report.html").unlink()
    assert main(["report", str(folder)]) == code == 0
    assert capsys.readouterr().out == table
    assert "Energy and CO2e" in (folder / "report.html").read_text()
    assert main(["report", str(folder), "--format", "json"]) == 0
    assert capsys.readouterr().out == (folder / "run.json").read_text()
    assert main(["report", str(folder), "--format", "html"]) == 0
    assert capsys.readouterr().out == (folder / "report.html").read_text()


def test_requests_a_day_are_a_flag(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    """``--per-day`` is in the table's last line and in the page."""
    bench.run()
    main(["report", str(bench.folder / "out"), "--per-day", "5000"])
    assert "at 5,000 requests a day:" in capsys.readouterr().out
    assert "At 5,000 requests a day:" in (bench.folder / "out" / "report.html").read_text()


def killed(bench: Bench, rows: int) -> Path:
    """Start a long run, kill it with SIGKILL once so many requests of its window are written; return its folder."""
    folder = bench.folder / "out"
    urls = ["--target", bench.target.url, "--energy", bench.energy.url, "--output", str(folder)]
    flags = ["--task", "summarization", "--duration", "60s", "--warmup", "0.2s", "--idle", "0.3s"]
    process = subprocess.Popen([sys.executable, "-m", "perjoule_loadgen", *urls, *flags], stderr=subprocess.DEVNULL,
                               env=os.environ | {"PYTHONPATH": ".:loadgen"})  # fmt: skip
    written, until = folder / PARTIAL_REQUESTS, time.monotonic() + DEADLINE_SECONDS
    try:
        while not (written.exists() and written.read_text().count("\nsteady,") >= rows):
            assert time.monotonic() < until, "nothing is written"
            assert process.poll() is None
            time.sleep(0.05)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(10)
    return folder


def test_a_run_that_was_killed(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    """SIGKILL leaves what was measured; the report gives its figures, labelled, and they are the truth."""
    folder = killed(bench, rows=100)
    assert {path.name for path in folder.iterdir()} == {PARTIAL_RUN, PARTIAL_REQUESTS, PARTIAL_POWER}
    assert main(["report", str(folder), "--format", "json"]) == 3
    run = json.loads(capsys.readouterr().out)
    assert run["verdict"] == "invalid"
    assert run["reasons"] == [
        "the program ended in the steady window: the figures are of what had been written until then"
    ]
    assert run["requests"]["ok"] >= 60  # not those after the last reading of the counter
    start, end = run["window"]["start"], run["window"]["end"]
    truth = (bench.exporter.power.joules(end) - bench.exporter.power.joules(start)) / run["requests"]["ok"]
    assert run["joules_per_inference"]["gross"]["value"] == pytest.approx(truth, rel=1e-3)
    assert run["joules_per_inference"]["active"]["value"] == pytest.approx(truth - 50 * (end - start) /
                                                                           run["requests"]["ok"], rel=0.05)  # fmt: skip
    assert "UNFINISHED" in (folder / "report.html").read_text()


def test_a_row_that_was_cut_off(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    """The last line of a file that was being written is left out; a damaged one elsewhere is named."""
    folder = killed(bench, rows=20)
    rows = (folder / PARTIAL_REQUESTS).read_text()
    (folder / PARTIAL_REQUESTS).write_text(rows + "steady,17")
    assert main(["report", str(folder), "--format", "json"]) == 3
    whole = json.loads(capsys.readouterr().out)["requests"]["ok"]
    assert whole > 0
    (folder / PARTIAL_REQUESTS).write_text(rows + "steady,x,y,z,,200,,12,a,counter\n")
    assert main(["report", str(folder)]) == 2
    assert f"{PARTIAL_REQUESTS}, line" in capsys.readouterr().err


def test_a_folder_with_an_unfinished_run_is_not_written_into(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    """What a crash left is a run too."""
    bench.run()
    folder = bench.folder / "out"
    (folder / "run.json").rename(folder / PARTIAL_RUN)
    assert main(["--task", "summarization", "--output", str(folder)]) == 2
    assert "holds a run already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "says"),
    [("", "is not JSON"), ("[1]", "its schema is None"), ('{"schema": "other/9"}', "its schema is 'other/9'"),
     ('{"schema": "perjoule.run/1", "verdict": "valid"}', "'reasons' is missing"), ("[" * 100_000, "is not JSON")],
)  # fmt: skip
def test_a_file_that_is_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str, says: str) -> None:
    """One clear line, exit code 2."""
    (tmp_path / "run.json").write_text(content)
    assert main(["report", str(tmp_path)]) == 2
    shown = capsys.readouterr().err
    assert says in shown
    assert len(shown.splitlines()) == 1


@pytest.mark.parametrize(
    "arguments",
    [["report"], ["report", "/nowhere"], ["report", "."], ["report", "x", "--per-day", "0"], ["merge", "a"],
     ["compare", "a"], ["report", "x", "--nonsense"]],
)  # fmt: skip
def test_usage(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is missing or does not exist is told on one line, with exit code 2."""
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_folder_that_cannot_be_written(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    """A report of somebody else's run is printed all the same, with one line about the page."""
    bench.run()
    (bench.folder / "out" / "report.html").unlink()
    (bench.folder / "out" / "report.html").mkdir()
    capsys.readouterr()
    assert main(["report", str(bench.folder / "out")]) == 0
    shown = capsys.readouterr()
    assert "summarization" in shown.out
    assert "cannot be written" in shown.err
