"""CPU packages and memory through RAPL: the processor's own energy counters, as the kernel's powercap tree shows them.

One zone is a folder with a ``name``, a counter ``energy_uj`` and its largest value ``max_energy_range_uj``
(https://docs.kernel.org/power/powercap/powercap.html). Packages, their dies and their memory (``dram``) are apart from
each other and may be added up: ``DeviceKind.CPU``. ``core`` and ``uncore`` are parts of a package and ``psys`` holds
more than all packages: ``DeviceKind.CPU_ZONE``, never to be added to anything. The same zone may be there twice, by MSR
(``intel-rapl``) and by MMIO (``intel-rapl-mmio``): the first is taken. AMD's processors are in the same tree.

What it does not know: which process used the energy, what is outside of the package (fans, disks, voltage regulators),
and how well the processor's model of its own power fits; a zone that wraps twice between two readings (over a minute
at 1 kW) looks as if it had wrapped once.
"""

import logging
import os
import re
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from perjoule.errors import DeviceLostError, NoMeterError
from perjoule_exporter.clock import Clock, Moment
from perjoule_exporter.meters import MICRO, Device, DeviceKind, Reading, Status
from perjoule_exporter.meters.procstat import CPU_INFO, CpuTimes, Use, processor

_LOG = logging.getLogger(__name__)

SYSFS = Path("/sys")

_FOLDER = re.compile(r"intel-rapl(?P<mmio>-mmio)?:(?P<top>[0-9a-f]+)(?P<sub>:[0-9a-f]+)?")
"""Zones are numbered in hexadecimal: ``intel-rapl:c:0`` is the first below ``intel-rapl:c``."""

_PACKAGE = re.compile(r"package-(?P<package>\d+)(?:-die-(?P<die>\d+))?")
_PSYS = re.compile(r"psys(?:-(?P<package>\d+))?")

_ONE_COUNTER_A_PACKAGE = ("AuthenticAMD", "HygonGenuine")
"""Vendors whose dies all show the package's counter (``rapl_msrs_are_pkg_scope`` of the kernel's
``drivers/powercap/intel_rapl_common.c``); Linux 6.10 and 6.11 list it once for each die all the same."""

_STEPS = 2**32 - 1
"""The largest value that the hardware counts to (``ENERGY_STATUS_MASK`` of the same file)."""

_AVERAGE_SECONDS = 1.0
"""Average power is taken over at least this, as the estimate's is."""

_MOST_WATTS = 10_000.0
"""No zone draws more: above it the counter did not wrap but was reset, and the average is unknown."""

_LOOKS, _LOOK_SECONDS = 20, 0.01
"""At start every counter is given this many looks to move. The hardware counts about every millisecond (Intel SDM,
volume 3B, "RAPL Interfaces")."""

_HOW_TO_READ = (
    "energy_uj is readable by root alone since CVE-2020-8694: run as root, give the program CAP_DAC_READ_SEARCH, or "
    "make energy_uj readable to its group (exporter/README.md, RAPL without root)"
)


class _Counter:
    """An open ``energy_uj``: one system call a reading. Closed when nobody holds it any more, in whatever thread."""

    def __init__(self, folder: Path) -> None:
        self._descriptor = os.open(folder / "energy_uj", os.O_RDONLY | os.O_CLOEXEC)
        self.close = weakref.finalize(self, os.close, self._descriptor)

    def microjoules(self) -> int:
        return int(os.pread(self._descriptor, 32, 0))


@dataclass(slots=True)
class _Zone:
    """One zone that counts, and what its last readings left. Read by one thread at a time."""

    device: Device
    folder: Path
    counter: _Counter | None = None
    last: int | None = None
    moved_at: float | None = None
    anchor: tuple[float, int] | None = None  # (time, microjoules) that average power is counted from
    average_watts: float | None = None

    def microjoules(self) -> int:
        """Read the counter; after a failure it is opened anew, since a zone that comes back is another file."""
        counter, self.counter = self.counter or _Counter(self.folder), None
        energy = counter.microjoules()
        self.counter = counter
        return energy


class RaplMeter:
    """Every zone of the powercap tree whose counter may be read and moves."""

    def __init__(
        self,
        clock: Clock,
        sysfs: Path = SYSFS,
        cpu_info: Path = CPU_INFO,
        pause: Callable[[float], object] = time.sleep,
        times: CpuTimes | None = None,
    ) -> None:
        """Find the zones, and give their counters a fifth of a second to move.

        Raises:
            NoMeterError: there is no zone, none may be read, or none moves.
        """
        self._clock = clock
        self._tree = sysfs / "class/powercap"
        self._use = Use(times or CpuTimes(), sysfs / "devices/system/cpu")
        self._model = processor("model name", cpu_info)
        self._die_is_package = processor("vendor_id", cpu_info) in _ONE_COUNTER_A_PACKAGE
        self._zones: dict[str, _Zone] = {}
        self._waiting: dict[str, int] = {}  # microjoules at first sight of those that have not moved yet
        self._denied: dict[str, PermissionError] = {}
        self._look_around()
        for _ in range(_LOOKS):
            if not self._waiting:
                break
            pause(_LOOK_SECONDS)
            self._look_around()
        if not self._zones:
            raise NoMeterError(self._why_none()) from next(iter(self._denied.values()), None)
        self._tell()

    def devices(self) -> list[Device]:
        """Return the zones that are there now, packages first. One that starts to move is found at the next call."""
        self._look_around()
        return [zone.device for zone in self._zones.values()]

    def read(self, device: Device) -> Reading:
        """Read the counter of one zone, and the average power of the last second."""
        zone = self._zones.get(device.uuid)
        if zone is None:
            raise DeviceLostError(f"{device.uuid}: the RAPL zone is gone")
        try:
            energy = zone.microjoules()
        except (OSError, ValueError) as error:
            raise DeviceLostError(f"{device.uuid}: {error}") from error
        now = self._clock.now()
        _note(zone, energy, now)
        return Reading(energy_microjoules=energy, energy_time=zone.moved_at, average_power_watts=zone.average_watts)

    def status(self, device: Device) -> Status:
        """Return how busy a package was since the last call; RAPL itself tells of nothing but energy."""
        if not device.scope.startswith("package"):
            return Status()
        return Status(utilization_ratio=self._use.ratio(device.index, self._clock.monotonic()))

    def close(self) -> None:
        """Close the counters."""
        for zone in self._zones.values():
            if zone.counter is not None:
                zone.counter.close()

    def _look_around(self) -> None:
        """Take in the zones that move, and forget those that are gone. The reading threads see one dict or the next."""
        found: dict[str, _Zone] = {}
        waiting: dict[str, int] = {}
        self._denied = {}
        for device, folder in sorted(self._described(), key=_order):
            if device.uuid in found or device.uuid in waiting:
                continue  # by MMIO what is there by MSR, or another die with the package's counter
            known = self._zones.get(device.uuid)
            if known is not None and known.folder == folder:
                found[device.uuid] = known
                continue
            try:
                energy = _Counter(folder).microjoules()
            except PermissionError as error:
                self._denied[device.uuid] = error
            except (OSError, ValueError):
                continue  # it went while we looked, or the processor did not answer
            else:
                first = self._waiting.get(device.uuid, energy)
                if energy == first:
                    waiting[device.uuid] = first
                else:
                    found[device.uuid] = _Zone(device, folder)
        self._zones, self._waiting = found, waiting

    def _described(self) -> Iterator[tuple[Device, Path]]:
        """Give every zone of the tree that has a name we understand."""
        try:
            folders = [entry for entry in self._tree.iterdir() if _FOLDER.fullmatch(entry.name)]
        except OSError:
            return
        for folder in folders:
            name = _text(folder / "name")
            top = folder.with_name(":".join(folder.name.split(":")[:2]))
            parent = name if top == folder else _text(top / "name")
            device = self._device(name, parent, _range(folder))
            if device is not None:
                yield device, folder

    def _device(self, name: str, parent: str, counter_range: int | None) -> Device | None:
        place = self._place(name, parent)
        if place is None:
            return None
        index, zone, scope = place
        return Device(
            kind=DeviceKind.CPU if zone in {"package", "dram"} else DeviceKind.CPU_ZONE,
            uuid=f"cpu-{index}" if scope == "package" else f"cpu-{index}-{scope}",
            index=index,
            method="counter",
            scope=scope,
            name=self._model,
            lasting=True,
            counter_range_microjoules=counter_range,
        )

    def _place(self, name: str, parent: str) -> tuple[int, str, str] | None:
        """Return (package, zone, scope). The scope names the die where dies count apart, so that it is of one zone."""
        if psys := _PSYS.fullmatch(name):
            return int(psys["package"] or 0), "psys", "psys"
        package = _PACKAGE.fullmatch(parent)
        if package is None:
            return None
        zone = "package" if name == parent else name
        alone = package["die"] is None or self._die_is_package
        return int(package["package"]), zone, zone if alone else f"{zone}-die-{package['die']}"

    def _why_none(self) -> str:
        if self._denied:
            return f"RAPL counters are there but may not be read: {_HOW_TO_READ}"
        if self._waiting:
            return f"the RAPL counters of this machine stand still ({_list(self._waiting)}), as they do in some guests"
        return (
            f"no RAPL: {self._tree} shows no package (a virtual machine, a container without the host's /sys, or ARM)"
        )

    def _tell(self) -> None:
        if self._denied:
            _LOG.warning("RAPL zones that may not be read are left out: %s; %s", _list(self._denied), _HOW_TO_READ)
        if self._waiting:
            _LOG.info("RAPL counters that stand still are absent until they move: %s", _list(self._waiting))


def _order(zone: tuple[Device, Path]) -> tuple[bool, int, str, bool, str]:
    """Sort disjoint zones first, then by package; MSR comes before MMIO."""
    device, folder = zone
    return device.kind is not DeviceKind.CPU, device.index, device.uuid, "-mmio" in folder.name, folder.name


def _note(zone: _Zone, energy: int, now: Moment) -> None:
    # Packages and memory never rest, so that a counter that moved did so within the last millisecond. Parts do rest.
    if zone.last is not None and energy != zone.last and zone.device.kind is DeviceKind.CPU:
        zone.moved_at = now.wall
    zone.last = energy
    if zone.anchor is None:
        zone.anchor = (now.monotonic, energy)
    elapsed = now.monotonic - zone.anchor[0]
    if elapsed >= _AVERAGE_SECONDS:
        zone.average_watts = _watts(energy - zone.anchor[1], elapsed, zone.device.counter_range_microjoules)
        zone.anchor = (now.monotonic, energy)


def _watts(delta: int, seconds: float, counter_range: int | None) -> float | None:
    if delta < 0:
        if counter_range is None:
            return None
        delta %= counter_range
    watts = delta / MICRO / seconds
    return watts if watts <= _MOST_WATTS else None


def _range(folder: Path) -> int | None:
    """Return after how many microjoules the counter starts again: one step of the hardware above its largest value.

    ``max_energy_range_uj`` is the energy of 2**32 - 1 steps (``get_max_energy_counter`` of the kernel's
    ``drivers/powercap/intel_rapl_common.c``), while the counter takes 2**32 steps to come round.
    """
    try:
        most = int(_text(folder / "max_energy_range_uj"))
    except ValueError:
        return None
    if most <= 0:
        return None
    nanojoules = -(-most * 1000 // _STEPS)  # of one step: a whole number, of which the kernel rounds the product down
    return (_STEPS + 1) * nanojoules // 1000 if _STEPS * nanojoules // 1000 == most else most + 1


def _text(path: Path) -> str:
    """Return the one line of a file of sysfs; empty where it cannot be read."""
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""


def _list(uuids: Iterable[str]) -> str:
    return ", ".join(sorted(uuids))
