"""Starts the programs as a user starts them, and ends them by their own process ids."""

import contextlib
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.stack import BIN, ROOT, Stack, StartStack, free_port, wait_for


@pytest.fixture
def start_stack(tmp_path: Path, prometheus_binary: Path) -> Iterator[StartStack]:
    """Give a function that starts exporter, server and Prometheus; everything it started ends with the test."""
    started: list[subprocess.Popen[bytes]] = []

    def start(name: str, *command: str | Path, ready: str) -> None:
        log = tmp_path / f"{name}.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                [str(part) for part in command], stdout=out, stderr=subprocess.STDOUT, cwd=tmp_path
            )
        started.append(process)
        wait_for(ready, process, log)

    def stack(meter: list[str], tasks: str, device: str) -> Stack:
        exporter, server, prometheus = f"127.0.0.1:{free_port()}", free_port(), f"127.0.0.1:{free_port()}"
        start("exporter", BIN / "gpu-energy-exporter", "--web.listen-address", exporter, "--carbon.zone", "FRA", *meter,
              ready=f"http://{exporter}/healthz")  # fmt: skip
        start("server", BIN / "inference-server", "--models", "tiny", "--tasks", tasks, "--port", str(server),
              "--energy-device", device, ready=f"http://127.0.0.1:{server}/readyz")  # fmt: skip
        text = (ROOT / "prometheus.yml").read_text()
        text = text.replace("127.0.0.1:10101", exporter).replace("127.0.0.1:8080", f"127.0.0.1:{server}")
        config = tmp_path / "prometheus.yml"
        config.write_text(text.replace("prometheus/rules/", f"{ROOT}/prometheus/rules/"))
        data = f"--storage.tsdb.path={tmp_path / 'tsdb'}"
        start("prometheus", prometheus_binary, f"--config.file={config}", data, "--log.level=warn",
              f"--web.listen-address={prometheus}", ready=f"http://{prometheus}/-/ready")  # fmt: skip
        return Stack(f"http://{exporter}/metrics", f"http://127.0.0.1:{server}", f"http://{prometheus}", tmp_path)

    yield stack
    for process in reversed(started):
        process.send_signal(signal.SIGTERM)
    for process in reversed(started):
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
        process.kill()
        process.wait()
