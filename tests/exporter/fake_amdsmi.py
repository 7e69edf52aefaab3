"""The fake AMD driver seen from Python: how it is built and scripted, and what its boards truly drew."""

import importlib.util
import re
import shutil
import subprocess
from pathlib import Path

from tests.exporter.driver import HALF_PERIOD_SECONDS
from tests.exporter.fakes import WALL, Hands

NOT_SUPPORTED, TIMEOUT, IO, NOT_FOUND, DRIVER_NOT_LOADED = 2, 8, 12, 31, 34
STEP_MICROJOULES = 15.259
BOOTTIME = 5000.0

_SYMBOL = re.compile(r"_libraries\['libamd_smi\.so'\]\.(\w+)")


def build(folder: Path, compiler: str, *, without: str = "") -> Path:
    """Compile the driver as ``lib/libamd_smi.so`` below ``folder``, all symbols that the package wants but one.

    Returns:
        The folder, for ``ROCM_PATH``.
    """
    package = importlib.util.find_spec("amdsmi")  # importing it would load a library
    assert package is not None, "the amdsmi package is among the developers' dependencies"
    assert package.origin is not None
    wanted = set(_SYMBOL.findall((Path(package.origin).parent / "amdsmi_wrapper.py").read_text(encoding="utf-8")))
    stubs = folder / "stubs.c"
    stub = "__attribute__((weak)) int {}(void) {{ return 2; }}\n"
    stubs.write_text("".join(stub.format(name) for name in sorted(wanted - {without})), encoding="ascii")
    (folder / "lib").mkdir()
    library = folder / "lib/libamd_smi.so"
    source = Path(__file__).with_name("fake_amdsmi.c")
    flags = ["-Wall", "-Wextra", "-O1", "-shared", "-fPIC"]
    subprocess.run([compiler, *flags, "-o", library, source, stubs], check=True, timeout=60)
    return folder


def compiler() -> str | None:
    """Return a C compiler, if there is one."""
    return shutil.which("cc") or shutil.which("gcc")


class FakeAmd:
    """Switches of ``fake_amdsmi.c``. All are 0 (one GPU, a 1 ms tick) until set."""

    def __init__(self, folder: Path, control: Path) -> None:
        self.environment = {"ROCM_HOME": str(folder), "FAKE_AMDSMI_CONTROL": str(control)}
        self._control = control
        self._switches: dict[str, int] = {}
        self.set()

    def set(self, **switches: int) -> None:
        """Set some switches; the others stay as they are."""
        self._switches |= switches
        new = self._control.with_suffix(".new")
        new.write_text("".join(f"{name} {value}\n" for name, value in self._switches.items()), encoding="ascii")
        new.replace(self._control)  # at once, so that the driver never reads half a script

    def follow(self, hands: Hands) -> None:
        """Take the time from a clock that is set by hand."""
        seconds = round(hands.seconds * 1e6)
        self.set(now_us=round(WALL * 1e6) + seconds, boottime_us=round(BOOTTIME * 1e6) + seconds)


def joules(gpu: int, start: float, end: float) -> float:
    """Return what a GPU drew between two Unix times: 100 W and 300 W in turn, and 10 W more for each index."""
    return _work(gpu, end) - _work(gpu, start)


def _work(gpu: int, time: float) -> float:
    halves = int(time / HALF_PERIOD_SECONDS)
    rest = time - halves * HALF_PERIOD_SECONDS
    low, high = 100.0 + 10 * gpu, 300.0 + 10 * gpu
    whole = (halves - halves // 2) * low + (halves // 2) * high
    return whole * HALF_PERIOD_SECONDS + rest * (high if halves % 2 else low)
