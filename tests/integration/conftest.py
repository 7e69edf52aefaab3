"""Starts the programs as a user starts them, and ends them by their own process ids."""

import contextlib
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.stack import BIN, ROOT, Ledgered, Stack, StartProgram, StartStack, free_port, wait_for


@pytest.fixture
def start_program(tmp_path: Path) -> Iterator[StartProgram]:
    """Give a function that starts a program and waits until it is ready; everything it started ends with the test."""
    started: list[subprocess.Popen[bytes]] = []

    def start(name: str, *command: str | Path, ready: str) -> subprocess.Popen[bytes]:
        log = tmp_path / f"{name}.log"
        with log.open("ab") as out:
            process = subprocess.Popen(
                [str(part) for part in command], stdout=out, stderr=subprocess.STDOUT, cwd=tmp_path
            )
        started.append(process)
        wait_for(ready, process, log)
        return process

    yield start
    for process in reversed(started):
        process.send_signal(signal.SIGTERM)
    for process in reversed(started):
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
        process.kill()
        process.wait()


@pytest.fixture
def start_stack(tmp_path: Path, prometheus_binary: Path, start_program: StartProgram) -> StartStack:
    """Give a function that starts exporter, server and Prometheus."""

    def stack(meter: list[str], tasks: str, device: str) -> Stack:
        exporter, server, prometheus = f"127.0.0.1:{free_port()}", free_port(), f"127.0.0.1:{free_port()}"
        socket = ["--span.socket", str(tmp_path / "spans.sock")]
        start_program("exporter", BIN / "gpu-energy-exporter", "--web.listen-address", exporter, "--carbon.zone", "FRA",
                      *socket, *meter, ready=f"http://{exporter}/healthz")  # fmt: skip
        start_program("server", BIN / "inference-server", "--models", "tiny", "--tasks", tasks, "--port", str(server),
                      *socket, "--energy-device", device, ready=f"http://127.0.0.1:{server}/readyz")  # fmt: skip
        text = (ROOT / "prometheus.yml").read_text()
        text = text.replace("127.0.0.1:10101", exporter).replace("127.0.0.1:8080", f"127.0.0.1:{server}")
        config = tmp_path / "prometheus.yml"
        config.write_text(text.replace("prometheus/rules/", f"{ROOT}/prometheus/rules/"))
        data = f"--storage.tsdb.path={tmp_path / 'tsdb'}"
        start_program("prometheus", prometheus_binary, f"--config.file={config}", data, "--log.level=warn",
                      f"--web.listen-address={prometheus}", ready=f"http://{prometheus}/-/ready")  # fmt: skip
        return Stack(f"http://{exporter}/metrics", f"http://127.0.0.1:{server}", f"http://{prometheus}", tmp_path)

    return stack


@pytest.fixture
def ledgered(tmp_path: Path, start_program: StartProgram) -> Ledgered:
    """An exporter with a simulated board whose truth is written down; servers can be added to it."""
    made = Ledgered(tmp_path, start_program, free_port())
    made.start_exporter()
    return made
