"""The fake NVIDIA driver seen from Python: how it is scripted, and what it truly drew."""

from pathlib import Path

HALF_PERIOD_SECONDS = 0.25
GPU_IS_LOST, RESET_REQUIRED, UNKNOWN_ERROR = 15, 16, 999
LIB_RM_VERSION_MISMATCH = 18


class FakeDriver:
    """Switches of ``fake_nvml.c``. All are 0 (one GPU, a 20 ms tick) until set."""

    def __init__(self, folder: Path, control: Path) -> None:
        self.environment = {"LD_LIBRARY_PATH": str(folder), "FAKE_NVML_CONTROL": str(control)}
        self._control = control
        self._switches: dict[str, int] = {}
        self.set()

    def set(self, **switches: int) -> None:
        """Set some switches; the others stay as they are."""
        self._switches |= switches
        new = self._control.with_suffix(".new")
        new.write_text("".join(f"{name} {value}\n" for name, value in self._switches.items()), encoding="ascii")
        new.replace(self._control)  # at once, so that the driver never reads half a script


def joules(gpu: int, start: float, end: float) -> float:
    """Return what a GPU drew between two Unix times: 100 W and 300 W in turn, and 10 W more for each index."""
    return _work(gpu, end) - _work(gpu, start)


def _work(gpu: int, time: float) -> float:
    halves = int(time / HALF_PERIOD_SECONDS)
    rest = time - halves * HALF_PERIOD_SECONDS
    low, high = 100.0 + 10 * gpu, 300.0 + 10 * gpu
    whole = (halves - halves // 2) * low + (halves // 2) * high
    return whole * HALF_PERIOD_SECONDS + rest * (high if halves % 2 else low)
