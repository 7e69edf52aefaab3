"""A running stack, and how to ask it: the three programs and a real Prometheus."""

import contextlib
import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def get(url: str, seconds: float = 5.0) -> str:
    with urllib.request.urlopen(url, timeout=seconds) as reply:
        return str(reply.read().decode())


def wait_for(url: str, process: subprocess.Popen[bytes], log: Path, seconds: float = 90.0) -> None:
    """Wait until ``url`` answers 200; fail with the program's log when it ends or takes too long."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError):
            get(url, 2.0)
            return
        time.sleep(0.1)
    pytest.fail(f"{url} did not answer: exit code {process.poll()}\n{log.read_text(errors='replace')}")


@dataclass(frozen=True)
class Stack:
    """URLs of a running stack, and where it writes."""

    energy: str
    target: str
    prometheus: str
    folder: Path

    def query(self, expression: str, at: float | None = None) -> list[dict[str, Any]]:
        """Evaluate PromQL at ``at`` (Unix seconds; now without) and return the vector."""
        arguments = {"query": expression} | ({} if at is None else {"time": f"{at:.3f}"})
        reply = json.loads(get(f"{self.prometheus}/api/v1/query?{urllib.parse.urlencode(arguments)}"))
        assert reply["status"] == "success", reply
        return list(reply["data"]["result"])

    def value(self, expression: str) -> float:
        """Evaluate PromQL that gives exactly one sample and return it."""
        vector = self.query(expression)
        assert len(vector) == 1, f"{expression} gave {vector}"
        return float(vector[0]["value"][1])

    def loadgen(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run loadgen against this stack with Prometheus as cross-check."""
        urls = ["--target", self.target, "--energy", self.energy, "--prometheus", self.prometheus]
        command = [str(BIN / "loadgen"), *urls, *arguments]
        return subprocess.run(command, cwd=self.folder, capture_output=True, text=True, timeout=110, check=False)


StartStack = Callable[[list[str], str, str], Stack]
"""Start a stack: exporter flags, the server's tasks, the device that pays for them."""
