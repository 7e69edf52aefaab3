"""The fake NVIDIA driver seen from Python: how it is scripted, and what it truly drew."""

import mmap
import re
import struct
import time
from pathlib import Path

HALF_PERIOD_SECONDS = 0.25
MODULE_WATTS = 80.0
"""What the CPU of a superchip draws beside its GPU."""
GPU_IS_LOST, RESET_REQUIRED, UNKNOWN_ERROR = 15, 16, 999
LIB_RM_VERSION_MISMATCH = 18

_BYTES = 1 << 16  # as fake_nvml.c maps it
_HEADER = struct.Struct("=QqQQ")  # generation, µs at which the driver was loaded, inits and other calls so far
_LOADED_BEFORE_SECONDS = 3600

_NOW_SWITCHES = re.compile(r"(reset|frozen)(_mask|_\d+)?")


class FakeDriver:
    """Switches of ``fake_nvml.c``, which says what each does. By default there is one healthy GPU with a 20 ms tick.

    Two are said here in another way, because the driver itself keeps no history: ``reset`` set to a new number restarts
    the counter now, ``frozen`` set to 1 stops it now (and 0 lets it go on, as if it had never stood).
    """

    def __init__(self, folder: Path, control: Path) -> None:
        self.environment = {"LD_LIBRARY_PATH": str(folder), "FAKE_NVML_CONTROL": str(control)}
        loaded = time.time() - _LOADED_BEFORE_SECONDS
        control.write_bytes(_HEADER.pack(0, int(loaded * 1e6), 0, 0).ljust(_BYTES, b"\0"))
        with control.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), _BYTES)
        self._said: dict[str, int] = {}
        self._switches: dict[str, int] = {}

    def set(self, **switches: int) -> None:
        """Set some switches; the others stay as they are. The driver sees them from its next call on."""
        for name, value in switches.items():
            changed, self._said[name] = self._said.get(name, 0) != value, value
            moment = _NOW_SWITCHES.fullmatch(name)
            if moment is None:
                self._switches[name] = value
            elif changed:
                self._now(moment[1], moment[2] or "", value)
        self._write("".join(f"{name} {value}\n" for name, value in self._switches.items()).encode("ascii"))

    @property
    def inits(self) -> int:
        """How often NVML was initialised, by all programs."""
        return int(_HEADER.unpack_from(self._memory)[2])

    @property
    def calls(self) -> int:
        """How many calls were made about a GPU, by all programs."""
        return int(_HEADER.unpack_from(self._memory)[3])

    def _now(self, what: str, whose: str, value: int) -> None:
        moment = int(time.time() * 1e6) if value else 0
        if whose != "_mask":
            self._switches[f"{what}_us{whose}"] = moment
            return
        for gpu in range(value.bit_length()):
            if value >> gpu & 1:
                self._switches[f"{what}_us_{gpu}"] = moment

    def _write(self, text: bytes) -> None:
        assert len(text) < _BYTES - _HEADER.size, "too many switches"
        generation = struct.unpack_from("=Q", self._memory)[0]
        struct.pack_into("=Q", self._memory, 0, generation + 1)  # odd: being written
        self._memory[_HEADER.size : _HEADER.size + len(text) + 1] = text + b"\0"
        struct.pack_into("=Q", self._memory, 0, generation + 2)


def joules(gpu: int, start: float, end: float, *, module: bool = False) -> float:
    """Return what a GPU drew between two Unix times: 100 W and 300 W in turn, and 10 W more for each index.

    With ``module`` its CPU is in it.
    """
    return _work(gpu, end) - _work(gpu, start) + (MODULE_WATTS * (end - start) if module else 0.0)


def _work(gpu: int, time: float) -> float:
    halves = int(time / HALF_PERIOD_SECONDS)
    rest = time - halves * HALF_PERIOD_SECONDS
    low, high = 100.0 + 10 * gpu, 300.0 + 10 * gpu
    whole = (halves - halves // 2) * low + (halves // 2) * high
    return whole * HALF_PERIOD_SECONDS + rest * (high if halves % 2 else low)
