"""The program as a process: signals, and a terminal."""

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.loadgen.conftest import Bench

ROOT = Path(__file__).resolve().parents[2]
ENV = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "loadgen")])}
COMMAND = [sys.executable, "-m", "perjoule_loadgen", "--task", "summarization", "--warmup", "0"]


def arguments(bench: Bench, *more: str) -> list[str]:
    urls = ["--target", bench.target.url, "--energy", bench.energy.url]
    return [*COMMAND, *urls, "--output", str(bench.folder / "out"), *more]


def wait_for_requests(bench: Bench, number: int) -> None:
    deadline = time.monotonic() + 20
    while bench.server.served < number:
        assert time.monotonic() < deadline, "no request came"
        time.sleep(0.01)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_keeps_what_was_measured(bench: Bench, number: signal.Signals) -> None:
    """Ctrl-C in the window: the table and the files of what there is, labelled, and exit code 130."""
    process = subprocess.Popen(
        arguments(bench, "--duration", "60s", "--idle", "200ms"), env=ENV, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    wait_for_requests(bench, 100)
    process.send_signal(number)
    out, err = process.communicate(timeout=10)
    assert process.returncode == 130, err
    assert "interrupted: the figures are of what had been measured until then" in out
    assert "Traceback" not in err
    run = json.loads((bench.folder / "out" / "run.json").read_text())
    assert (run["verdict"], run["interrupted"]) == ("invalid", True)
    assert run["requests"]["ok"] >= 90
    assert run["joules_per_inference"]["gross"]["value"] > 0


def test_an_interruption_before_anything_was_measured(bench: Bench) -> None:
    """During the first baseline there is nothing to keep: exit code 130 and no folder."""
    process = subprocess.Popen(arguments(bench, "--idle", "60s"), env=ENV, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    while "idle baseline" not in process.stderr.readline():
        pass
    process.send_signal(signal.SIGINT)
    err = process.communicate(timeout=10)[1]
    assert process.returncode == 130
    assert "interrupted before anything was measured" in err
    assert not (bench.folder / "out").exists()


def on_terminal(command: list[str], columns: int) -> tuple[int, str]:
    """Run a command on a pseudo-terminal and return its exit code and all that it wrote."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ.update(ENV | {"COLUMNS": str(columns), "TERM": "xterm-256color"})
        os.execv(command[0], command)  # noqa: S606 (our own program, no shell)
    written = b""
    while select.select([terminal], [], [], 30)[0]:
        try:
            chunk = os.read(terminal, 65536)
        except OSError:  # the other end is closed
            break
        written += chunk
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), written.decode()


@pytest.mark.parametrize("columns", [80, 160])
def test_on_a_terminal(bench: Bench, columns: int) -> None:
    """On a terminal there is a live display with colours, and a table that cuts neither figure nor verdict."""
    code, shown = on_terminal(arguments(bench, "--duration", "600ms", "--idle", "100ms"), columns)
    assert code == 3  # too short a window
    assert "\x1b[" in shown
    assert "J/inference so far" in shown
    assert "INVALID 1" in shown
    assert "177 J" in shown
    assert "…" not in shown
    assert ("a wider terminal also shows" in shown) == (columns < 120)


def test_output_into_a_closed_pipe(bench: Bench) -> None:
    """``loadgen | head -1`` ends without a traceback, and the files are written."""
    command = " ".join([*arguments(bench, "--duration", "300ms", "--idle", "0"), "| head -c 1"])
    ended = subprocess.run(command, shell=True, env=ENV, capture_output=True, text=True, timeout=30, check=False)  # noqa: S602 (a pipe is the point)
    assert "Traceback" not in ended.stderr
    assert (bench.folder / "out" / "run.json").exists()


def test_a_disk_that_is_full(bench: Bench) -> None:
    """When the files cannot be written the figures are printed all the same, with one clear line and exit code 1."""
    command = "ulimit -f 4; exec " + " ".join(arguments(bench, "--duration", "1s", "--idle", "0"))
    ended = subprocess.run(["bash", "-c", command], env=ENV, capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == 1
    assert "summarization" in ended.stdout
    assert "cannot be written: File too large" in ended.stderr
    assert "Traceback" not in ended.stderr
    kept = {path.name for path in (bench.folder / "out").iterdir()}
    assert kept <= {"run.json", "run.partial.json", "requests.partial.csv", "power.partial.csv"}  # no half file
    assert "what is measured is kept in memory alone" in ended.stderr
