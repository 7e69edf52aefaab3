"""The boards that AMD SMI lists, counted where the counter is to be believed and integrated where it is not."""

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from perjoule.errors import DeviceLostError, NoMeterError
from perjoule_exporter.clock import Clock
from perjoule_exporter.meters import MICRO, Device, DeviceKind, Reading, Status
from perjoule_exporter.meters.amd.counter import MOST_STEPS, Count, CounterCheck, Stamps, microjoules
from perjoule_exporter.meters.amd.driver import Handle, Smi, below, entry, text
from perjoule_exporter.meters.integral import PowerIntegral

_LOG = logging.getLogger(__name__)

_CHECKS, _CHECK_READINGS, _CHECK_SECONDS = 2, 21, 0.5

_CAP_IN_MICROWATTS = 100_000
"""From here on a power cap is in microwatts, as the C library documents for Linux; below it in watts, as for hosts."""

_NO_MEGAHERTZ = 2**16 - 1
"""Clocks are below it: this, or the largest 32-bit number, stands where there is none (packages before 6.4 show it)."""

_CLOCKS = MappingProxyType({"graphics": "GFX", "memory": "MEM", "video": "VCLK0"})  # names of AmdSmiClkType
_SENSORS = ("HOTSPOT", "EDGE")  # names of AmdSmiTemperatureType; data center boards have the first alone


@dataclass(slots=True)
class _Board:
    """What is remembered of one GPU between calls."""

    handle: Handle
    device: Device
    resolution: float | None = None  # microjoules of one step of the counter; None: power is integrated
    stamps: Stamps = field(default_factory=Stamps)
    integral: PowerIntegral = field(default_factory=PowerIntegral)

    def believe(self, resolution: float) -> None:
        """Take the counter for the board's energy from now on."""
        self.resolution = resolution
        counter_range = microjoules(MOST_STEPS, resolution)
        self.device = replace(self.device, method="counter", lasting=True, counter_range_microjoules=counter_range)


class AmdMeter:
    """Every board that AMD SMI lists, and that tells energy or power."""

    def __init__(
        self,
        clock: Clock,
        pause: Callable[[float], object] = time.sleep,
        boottime: Callable[[], float] = lambda: time.clock_gettime(time.CLOCK_BOOTTIME),
    ) -> None:
        """Load the library, enumerate, and hold the counters against power for half a second.

        ``boottime`` is the clock, in seconds, that the driver takes its time stamps from.

        Raises:
            NoMeterError: no package, no library, versions that do not fit, no driver, or no GPU that answers.
        """
        self._clock = clock
        self._pause = pause
        self._boottime = boottime
        self._boards: dict[str, _Board] = {}
        self._left_out: dict[int, str] = {}  # by address, and why
        self._smi = Smi()
        try:
            self._enumerate()
        except DeviceLostError as error:
            self.close()
            raise NoMeterError(f"the AMD driver does not answer: {error}") from error
        if not self._boards:
            self.close()
            raise NoMeterError("the AMD driver is loaded but lists no GPU that answers")

    def devices(self) -> list[Device]:
        """Return the boards in AMD SMI's order. One that was left out because it did not answer is tried again."""
        self._enumerate()
        return [board.device for board in self._boards.values()]

    def read(self, device: Device) -> Reading:
        """Read the energy counter and the power of one GPU."""
        board = self._board(device)
        try:
            count = self._smi.count(board.handle) if board.resolution is not None else None
            instant, average = self._smi.power(board.handle)
        except DeviceLostError as error:
            raise DeviceLostError(f"{device.uuid}: {error}") from error
        energy, moved_at = self._energy(board, count, average if instant is None else instant)
        if energy is None and instant is None and average is None:
            raise DeviceLostError(f"{device.uuid}: neither energy nor power can be read")
        return Reading(energy, moved_at, instant, average)

    def status(self, device: Device) -> Status:
        """Read limit, clocks, memory, temperature and utilisation of one GPU."""
        board = self._board(device)
        try:
            return self._status(board.handle)
        except DeviceLostError as error:
            raise DeviceLostError(f"{device.uuid}: {error}") from error

    def close(self) -> None:
        """Shut AMD SMI down."""
        self._smi.close()

    def _board(self, device: Device) -> _Board:
        board = self._boards.get(device.uuid)
        if board is None:
            raise DeviceLostError(f"{device.uuid}: AMD SMI lists it no more")
        return board

    def _energy(self, board: _Board, count: Count | None, watts: float | None) -> tuple[int | None, float | None]:
        """Return (microjoules, when they last moved)."""
        now = self._clock.now()
        if board.resolution is not None:
            if count is None:
                return None, None
            moved_at = board.stamps.moved_at(count, self._boottime(), now.wall)
            return microjoules(count.steps, board.resolution), moved_at
        if watts is None:
            board.integral.break_off()
            return None, None
        board.integral.add(now.monotonic, watts)
        return board.integral.microjoules, now.wall

    def _status(self, handle: Handle) -> Status:
        ask, name = self._smi.ask, self._smi.name
        memory = name("AmdSmiMemoryType", "VRAM")
        cap = below(10**12, entry(ask(handle, "amdsmi_get_power_cap_info"), "power_cap"))
        busy = below(101, entry(ask(handle, "amdsmi_get_gpu_activity"), "gfx_activity"))
        clocks = (
            (domain, entry(ask(handle, "amdsmi_get_clock_info", name("AmdSmiClkType", clock)), "clk", "cur_clk"))
            for domain, clock in _CLOCKS.items()
        )
        megahertz = ((domain, below(_NO_MEGAHERTZ, value)) for domain, value in clocks)
        return Status(
            limit_watts=None if cap is None else cap / MICRO if cap >= _CAP_IN_MICROWATTS else float(cap),
            utilization_ratio=None if busy is None else busy / 100,
            memory_used_bytes=below(2**63, ask(handle, "amdsmi_get_gpu_memory_usage", memory)),
            memory_total_bytes=below(2**63, ask(handle, "amdsmi_get_gpu_memory_total", memory)),
            temperature_celsius=self._celsius(handle),
            clocks_hertz=MappingProxyType({domain: mhz * 1e6 for domain, mhz in megahertz if mhz is not None}),
        )

    def _celsius(self, handle: Handle) -> float | None:
        """Return the temperature of the first sensor that the board has, and of no other when that one fails once."""
        current = self._smi.name("AmdSmiTemperatureMetric", "CURRENT")
        for sensor in _SENSORS:
            question = ("amdsmi_get_temp_metric", self._smi.name("AmdSmiTemperatureType", sensor), current)
            degrees = self._smi.ask(handle, *question)
            if degrees is not None:
                return float(degrees)
            if question not in handle.absent:
                return None
        return None

    def _enumerate(self) -> None:
        """Take in the boards that are new, and forget those that AMD SMI lists no more."""
        known = {board.handle.address: board for board in self._boards.values()}
        boards: list[_Board] = []
        fresh: list[_Board] = []
        for index, handle in enumerate(self._smi.handles()):
            board = known.get(handle.address)
            if board is None:
                board = self._found(index, handle, [other.device for other in boards])
                fresh += [board] if board is not None else []
            boards += [board] if board is not None else []
        lost = self._check(fresh)
        self._boards = {board.device.uuid: board for board in boards if board.device.uuid not in lost}

    def _found(self, index: int, handle: Handle, others: Sequence[Device]) -> _Board | None:
        """Return a board that has a name and tells energy or power; of another one say once why it is left out."""
        device, flaw = self._looked_at(index, handle, others)
        if flaw is None and device is not None:
            self._left_out.pop(handle.address, None)
            if device.uuid in {other.uuid for other in others}:  # boards without a serial number share one
                device = replace(device, uuid=f"{device.uuid}-{device.pci_bus_id}")
            return _Board(handle, device)
        if flaw is not None and self._left_out.get(handle.address) != flaw:
            self._left_out[handle.address] = flaw
            _LOG.warning("AMD GPU %d is left out: it %s", index, flaw)
        return None

    def _looked_at(self, index: int, handle: Handle, others: Sequence[Device]) -> tuple[Device | None, str | None]:
        """Return a board's identity, and what keeps it from being published."""
        try:
            device = _identity(self._smi, index, handle)
            silent = self._smi.count(handle) is None and self._smi.power(handle) == (None, None)
        except DeviceLostError as error:
            return None, f"does not answer: {error}"
        if _slot(device) and _slot(device) in map(_slot, others):
            return device, "is a part of a board whose energy is published as a whole"
        if silent:
            return device, "tells neither energy nor power"
        return device, None if device.uuid else "has no uuid"

    def _check(self, boards: Iterable[_Board]) -> set[str]:
        """Believe the counters that agree with their power in one of two tries. Return the uuids of boards lost now."""
        doubted = {board.device.uuid: board for board in boards}
        lost: set[str] = set()
        complaints: Mapping[str, str] = {}
        for _ in range(_CHECKS):
            if not doubted:
                break
            checks = self._observed(doubted, lost)
            complaints = {uuid: complaint for uuid, check in checks.items() if (complaint := check.complaint())}
            for uuid in checks.keys() - complaints.keys():
                resolution = checks[uuid].resolution
                if resolution is not None:
                    doubted[uuid].believe(resolution)
            doubted = {uuid: doubted[uuid] for uuid in complaints}
        for uuid, complaint in complaints.items():
            _LOG.warning("%s: %s; its power is integrated instead (method=integrated)", uuid, complaint)
        return lost

    def _observed(self, boards: Mapping[str, _Board], lost: set[str]) -> dict[str, CounterCheck]:
        """Read counters and powers for half a second."""
        checks = {uuid: CounterCheck() for uuid in boards}
        for reading in range(_CHECK_READINGS):
            if reading:
                self._pause(_CHECK_SECONDS / (_CHECK_READINGS - 1))
            for uuid in list(checks):
                handle = boards[uuid].handle
                try:
                    count, (instant, average) = self._smi.count(handle), self._smi.power(handle)
                except DeviceLostError:
                    lost.add(uuid)
                    del checks[uuid]
                    continue
                checks[uuid].add(self._clock.monotonic(), count, average if instant is None else instant)
                if count is not None:
                    boards[uuid].stamps.moved_at(count, self._boottime(), self._clock.wall())
        return checks


def _identity(smi: Smi, index: int, handle: Handle) -> Device:
    return Device(
        kind=DeviceKind.GPU,
        uuid=text(smi.ask(handle, "amdsmi_get_gpu_device_uuid")),
        index=index,
        method="integrated",
        scope="gpu",
        name=text(entry(smi.ask(handle, "amdsmi_get_gpu_asic_info"), "market_name")),
        vendor="AMD",
        driver=text(entry(smi.ask(handle, "amdsmi_get_gpu_driver_info"), "driver_version")),
        pci_bus_id=text(smi.ask(handle, "amdsmi_get_gpu_device_bdf")),
    )


def _slot(device: Device) -> str:
    """Return where the board is, without the function: partitions of one board differ in that alone."""
    return device.pci_bus_id.rpartition(".")[0]
