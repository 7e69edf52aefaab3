"""The fake NVIDIA driver of the tests, compiled for the benchmarks with the calls that other programs make as well.

How the driver is scripted and what it truly draws is ``tests/exporter/driver.py``'s business.
"""

import shutil
import subprocess
from pathlib import Path

from tests.exporter.driver import HALF_PERIOD_SECONDS, FakeDriver

ROOT = Path(__file__).resolve().parent.parent
SOURCES = (ROOT / "tests" / "exporter" / "fake_nvml.c", Path(__file__).with_name("peer_calls.c"))
LIBRARY = "libnvidia-ml.so.1"

LOW_WATTS, HIGH_WATTS, STEP_WATTS = 100.0, 300.0, 10.0
"""The square wave of ``fake_nvml.c``: GPU 0's power, and what each further GPU draws more."""

_SCRIPTS_TAKE_TURNS = "-Dmalloc=script_place"  # peer_calls.c says why

TICK_SECONDS = 0.1
"""Tick of the energy counter in the benchmarks: the slowest of the field, as on A100 and H100."""


class CompilerError(Exception):
    """The fake driver cannot be compiled."""


def compiled(folder: Path) -> Path:
    """Compile the driver into ``folder`` and return it.

    Raises:
        CompilerError: there is no compiler, or it refuses.
    """
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise CompilerError("no C compiler for the fake NVIDIA driver (Debian: apt install gcc libc6-dev)")
    folder.mkdir(parents=True, exist_ok=True)
    objects = [folder / f"{source.stem}.o" for source in SOURCES]
    shape = ["-O2", "-Wall", "-Wextra", "-fPIC"]
    for source, made, more in zip(SOURCES, objects, ([_SCRIPTS_TAKE_TURNS], []), strict=True):
        _run([compiler, *shape, *more, "-c", "-o", str(made), str(source)])
    _run([compiler, "-shared", f"-Wl,-soname,{LIBRARY}", "-pthread", "-o", str(folder / LIBRARY), *map(str, objects)])
    return folder


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 (the compiler, our files)
    if done.returncode:
        raise CompilerError(f"the fake NVIDIA driver does not compile:\n{done.stderr}")


def scripted(library: Path, control: Path, **switches: int) -> FakeDriver:
    """Return a driver under a script of its own, with the tick of the benchmarks."""
    driver = FakeDriver(library, control)
    driver.set(tick_us=round(TICK_SECONDS * 1e6), **switches)
    return driver


def edge_watts(gpu: int, time: float) -> float:
    """Return the most that a GPU draws within a tick of a Unix time."""
    high = any(int((time + shift) / HALF_PERIOD_SECONDS) % 2 for shift in (-TICK_SECONDS, 0.0, TICK_SECONDS))
    return (HIGH_WATTS if high else LOW_WATTS) + STEP_WATTS * gpu
