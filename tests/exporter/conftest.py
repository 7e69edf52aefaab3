"""Fixtures: the exporter as a process, and a fake NVIDIA driver compiled from C."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.exporter.driver import FakeDriver
from tests.exporter.nvml_remote import RemoteMeter
from tests.exporter.running import RunningExporter, StartClient, StartExporter

_CLIENT = """
import sys, time
from perjoule.spans import Spans
spans = Spans("client", device=sys.argv[2], socket=sys.argv[1], owners=[("summarization", sys.argv[3])])
number = 0
while True:
    with spans.span("summarization", sys.argv[3], "decode", requests=[(f"request-{number}", 1)]):
        time.sleep(float(sys.argv[4]))
    number += 1
"""


@pytest.fixture
def start_exporter(tmp_path: Path) -> Iterator[StartExporter]:
    """Give a function that starts exporters; they end with the test."""
    started: list[RunningExporter] = []

    def start(*flags: str, environment: dict[str, str] | None = None) -> RunningExporter:
        log = tmp_path / f"exporter-{len(started)}.log"
        started.append(RunningExporter(log, *flags, environment=environment))
        return started[-1]

    yield start
    for exporter in started:
        exporter.kill()


@pytest.fixture
def start_client(tmp_path: Path) -> Iterator[StartClient]:
    """Give a function that starts a client that runs one batch after the other."""
    script = tmp_path / "client.py"
    script.write_text(_CLIENT)
    started: list[subprocess.Popen[bytes]] = []

    def start(path: Path, device: str, model: str, seconds: float) -> subprocess.Popen[bytes]:
        started.append(subprocess.Popen([sys.executable, str(script), str(path), device, model, str(seconds)]))
        return started[-1]

    yield start
    for client in started:
        client.kill()
        client.wait()


@pytest.fixture(scope="session")
def driver_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compile the fake driver and return the folder that holds it as ``libnvidia-ml.so.1``."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        reason = "no C compiler for the fake NVIDIA driver (Debian: apt install gcc libc6-dev)"
        if os.environ.get("CI"):
            pytest.fail(f"{reason}, and CI must not pass without it", pytrace=False)
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("driver")
    source, library = Path(__file__).with_name("fake_nvml.c"), folder / "libnvidia-ml.so.1"
    flags = ["-Wall", "-Wextra", "-shared", "-fPIC", "-Wl,-soname,libnvidia-ml.so.1"]
    subprocess.run([compiler, *flags, "-o", library, source], check=True, timeout=60)
    return folder


@pytest.fixture
def driver(driver_folder: Path, tmp_path: Path) -> FakeDriver:
    """A fake driver with one healthy GPU, to be scripted."""
    return FakeDriver(driver_folder, tmp_path / "driver-control")


@pytest.fixture
def nvml_kernel(tmp_path: Path) -> Path:
    """Give the folder in which the NVML meter's kernel lists its GPUs. It has one."""
    folder = tmp_path / "gpus"
    (folder / "0000:01:00.0").mkdir(parents=True)
    return folder


@pytest.fixture
def nvml_meter(driver: FakeDriver, nvml_kernel: Path) -> Iterator[RemoteMeter]:
    """Give an NVML meter in a process of its own, not yet opened. Its driver aborts when it is shut down in use."""
    driver.set(strict=1)
    remote = RemoteMeter(driver, nvml_kernel)
    yield remote
    remote.end()
