"""The CPUs of this machine: how busy they are (``/proc/stat``), their packages, and what the processor is called.

Linux counts in ticks of usually 10 ms, so that short intervals are coarse and their sum is not. What it does not know
is how hard a busy CPU works: a busy second counts the same at any clock and any instruction.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from perjoule.errors import DeviceLostError, NoMeterError

PROC_STAT = Path("/proc/stat")
CPU_FOLDER = Path("/sys/devices/system/cpu")
CPU_INFO = Path("/proc/cpuinfo")

_BUSY_COLUMNS = (0, 1, 2, 5, 6)
"""user (guests included), nice, system, irq, softirq. Neither idle nor iowait, nor steal: stolen time ran elsewhere."""


@dataclass(frozen=True, slots=True)
class CpuTimes:
    """Where busy times are read from. Tests point it at recorded files."""

    stat: Path = PROC_STAT
    ticks_per_second: int = os.sysconf("SC_CLK_TCK")

    def busy_seconds(self) -> Mapping[int, float]:
        """Return the busy seconds of every online CPU since boot, by CPU number.

        Raises:
            DeviceLostError: the file cannot be read or is not what the kernel writes.
        """
        try:
            lines = self.stat.read_bytes().split(b"\n")
            return {
                int(fields[0][3:]): sum(int(fields[1 + column]) for column in _BUSY_COLUMNS) / self.ticks_per_second
                for fields in (line.split() for line in lines if line.startswith(b"cpu"))
                if fields[0] != b"cpu"
            }
        except (OSError, ValueError, IndexError) as error:
            raise DeviceLostError(f"cannot read CPU times from {self.stat}: {error}") from error


class Use:
    """How busy the packages are between two looks. A package is asked for by one thread at a time."""

    def __init__(self, times: CpuTimes, folder: Path = CPU_FOLDER) -> None:
        self._times = times
        try:
            self._packages = packages(times, folder)
        except NoMeterError:
            self._packages = {}
        self._seen: dict[int, tuple[float, Mapping[int, float]]] = {}

    def ratio(self, package: int, now: float) -> float | None:
        """Return the busy share of a package's threads since the last call, 0 to 1; None where nobody knows."""
        cpus, before = self._packages.get(package, ()), self._seen.pop(package, None)
        try:
            busy = self._times.busy_seconds() if cpus else {}
        except DeviceLostError:
            return None
        self._seen[package] = now, busy
        if before is None or now <= before[0]:
            return None
        there = [cpu for cpu in cpus if cpu in busy and cpu in before[1]]
        seconds = sum(max(0.0, busy[cpu] - before[1][cpu]) for cpu in there)
        return min(1.0, seconds / (len(there) * (now - before[0]))) if there else None


def packages(times: CpuTimes, folder: Path = CPU_FOLDER) -> Mapping[int, tuple[int, ...]]:
    """Return the CPU numbers of every package. CPUs whose package the kernel does not tell are package 0.

    Raises:
        NoMeterError: there are no CPU times to read.
    """
    try:
        cpus = sorted(times.busy_seconds())
    except DeviceLostError as error:
        raise NoMeterError(str(error)) from error
    if not cpus:
        raise NoMeterError(f"{times.stat} lists no CPU")
    found: dict[int, list[int]] = {}
    for cpu in cpus:
        found.setdefault(_package_of(folder / f"cpu{cpu}"), []).append(cpu)
    return {package: tuple(found[package]) for package in sorted(found)}


def _package_of(folder: Path) -> int:
    try:
        number = int((folder / "topology/physical_package_id").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return 0
    return max(number, 0)  # some virtual machines say -1


def processor(field: str, cpu_info: Path = CPU_INFO) -> str:
    """Return a field of the first CPU as the kernel shows it ("model name"); empty where it shows none."""
    try:
        text = cpu_info.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    match = re.search(rf"^{re.escape(field)}\s*:\s*(.+)$", text, re.MULTILINE)
    return match.group(1).strip() if match else ""
