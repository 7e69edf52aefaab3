"""A running stack, and how to ask it: the three programs and a real Prometheus, or an exporter that knows the truth."""

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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import pytest

from tests.exporter.running import Scrape

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


class StartProgram(Protocol):
    """Starts a program under a name, with its command, and waits until the URL ``ready`` answers."""

    def __call__(self, name: str, *command: str | Path, ready: str) -> subprocess.Popen[bytes]: ...


DEVICE = "GPU-simulated-0"


@dataclass
class Ledgered:
    """An exporter of one simulated board, servers that tell it of their batches, and what the board truly drew."""

    folder: Path
    start: StartProgram
    port: int
    exporter: subprocess.Popen[bytes] | None = None
    servers: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def energy(self) -> str:
        """URL of the exporter's metrics."""
        return f"http://127.0.0.1:{self.port}/metrics"

    def start_exporter(self) -> None:
        """Start it, or start it again."""
        self.exporter = self.start(
            "exporter", BIN / "gpu-energy-exporter", "--meter", "simulated", "--carbon.zone", "FRA",
            "--simulated.truth", self.folder / "truth.jsonl", "--state.file", self.folder / "state.json",
            "--span.socket", self.folder / "spans.sock", "--web.listen-address", f"127.0.0.1:{self.port}",
            ready=f"http://127.0.0.1:{self.port}/readyz",
        )  # fmt: skip

    def start_server(self, tasks: str) -> str:
        """Start a server of tiny models on the board; return its URL."""
        url = f"http://127.0.0.1:{(port := free_port())}"
        self.servers[url] = self.start(
            f"server-{port}", BIN / "inference-server", "--models", "tiny", "--tasks", tasks, "--port", str(port),
            "--span.socket", self.folder / "spans.sock", ready=f"{url}/readyz",
        )  # fmt: skip
        return url

    def scrape(self) -> Scrape:
        """Scrape the exporter, and hold it against conservation: every joule is in one place."""
        scrape = Scrape(get(self.energy))
        parts = [
            sample.value for sample in scrape.samples if sample.labels.get("device") == DEVICE and sample.name in _PARTS
        ]
        counter = scrape.value("inference_counter_energy_joules_total", device=DEVICE)
        assert counter is None or counter == pytest.approx(sum(parts), rel=0, abs=1e-5)
        return scrape

    def loadgen(self, target: str, task: str, output: str, *arguments: str) -> subprocess.Popen[str]:
        """Start loadgen against a server of this stack."""
        command = [BIN / "loadgen", "--target", target, "--energy", self.energy, "--task", task, "--output", output]
        return subprocess.Popen(
            [*map(str, command), *arguments], cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def run(self, output: str) -> dict[str, Any]:
        """Return the ``run.json`` that a loadgen wrote."""
        loaded: dict[str, Any] = json.loads((self.folder / output / "run.json").read_text())
        return loaded

    def drawn(self, run: dict[str, Any]) -> float:
        """Return what the board truly drew for the work of a run's task in its window, per answered request."""
        lines = [json.loads(line) for line in (self.folder / "truth.jsonl").read_text().splitlines()]
        start, end = run["window"]["start"], run["window"]["end"]
        joules = [
            line["span_joules"]
            for line in lines
            if line.get("task") == run["task"] and start < line["start_seconds"] < end
        ]
        return float(sum(joules) / run["requests"]["ok"])


_PARTS = frozenset(
    {
        "inference_energy_joules_total",
        "inference_idle_energy_joules_total",
        "inference_unattributed_energy_joules_total",
        "inference_open_energy_joules",
    }
)
"""What adds up to the counter."""
