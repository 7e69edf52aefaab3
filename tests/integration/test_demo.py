"""``make demo`` as a person runs it, on one workload."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MARK = "PERJOULE_TEST_MARK"

pytestmark = pytest.mark.slow


def running_with(mark: str) -> list[str]:
    """Return the command lines of running processes that inherited the mark in their environment."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):  # it ended while we looked
                if mark.encode() in (entry / "environ").read_bytes():
                    found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return found


def test_demo_prints_the_table_on_other_ports_and_leaves_nothing_running() -> None:
    """With its port taken the demo takes another and says so, bannered as simulated, and stops all it started."""
    mark = uuid.uuid4().hex
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):  # somebody's exporter has it already, which serves as well
            taken.bind(("127.0.0.1", 10101))
            taken.listen()
        ended = subprocess.run(
            [sys.executable, ROOT / "deploy/demo.py", "--meter", "simulated", "--task", "text-classification"],
            capture_output=True, text=True, timeout=115, check=False, env=os.environ | {MARK: mark},
        )  # fmt: skip
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "port 10101 is taken: exporter listens on" in ended.stderr
    assert "SIMULATED" in ended.stderr
    assert "SIMULATED" in ended.stdout
    assert "FRA" in ended.stdout
    row = next(line for line in ended.stdout.splitlines() if "text" in line and "classification" in line)
    assert row.split()[-1] == "VALID" or "reason 1" in ended.stdout
    assert "attributed what the exporter's ledger charged" in ended.stdout
    assert "attributed —" not in ended.stdout
    assert running_with(mark) == []


def test_a_terminated_demo_leaves_nothing_running() -> None:
    """SIGTERM to the demo alone, in the middle of a measurement, ends loadgen too, and then what it measured."""
    mark = uuid.uuid4().hex
    command: list[str | Path] = [
        sys.executable,
        ROOT / "deploy/demo.py",
        "--meter",
        "simulated",
        "--task",
        "text-classification",
    ]
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=os.environ | {MARK: mark}
    ) as demo:
        assert demo.stderr is not None
        assert any("idle baseline" in line for line in demo.stderr)
        demo.send_signal(signal.SIGTERM)
        demo.communicate(timeout=40)
    assert demo.returncode == 128 + signal.SIGTERM
    assert running_with(mark) == []
