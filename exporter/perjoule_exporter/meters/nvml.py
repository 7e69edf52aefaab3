"""NVIDIA GPUs through NVML: the driver's energy counter, power, and the state of the board.

The only file that imports pynvml. Energy (field 83), average power (185) and instant power (186) come from one
``nvmlDeviceGetFieldValues``; where a field is not there the older calls are asked, each on its own. NVML counts
millijoules since the driver was loaded. What this file does not know: whether the counter integrates all of the time
(no publication says so), and what a MIG slice uses (the counter is the board's).
"""

import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import Any

import pynvml

from perjoule.errors import DeviceLostError, NoMeterError
from perjoule_exporter.clock import Clock
from perjoule_exporter.meters import Device, DeviceKind, Reading, Status

_LOG = logging.getLogger(__name__)

_ENERGY, _AVERAGE_POWER, _INSTANT_POWER = (
    83,
    185,
    186,
)  # NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION, …_POWER_AVERAGE, …_INSTANT
_FIELDS = (_ENERGY, _AVERAGE_POWER, _INSTANT_POWER)

_NEVER = frozenset({pynvml.NVML_ERROR_NOT_SUPPORTED, pynvml.NVML_ERROR_FUNCTION_NOT_FOUND})
"""Answers that will not change while the device is there: the call is not made again."""

_NOT_NOW = frozenset(
    {
        pynvml.NVML_ERROR_INVALID_ARGUMENT,  # an older driver does not know the field or the clock
        pynvml.NVML_ERROR_NO_PERMISSION,
        pynvml.NVML_ERROR_NOT_FOUND,
        pynvml.NVML_ERROR_TIMEOUT,
        pynvml.NVML_ERROR_IN_USE,
        pynvml.NVML_ERROR_MEMORY,
        pynvml.NVML_ERROR_NO_DATA,
        pynvml.NVML_ERROR_INSUFFICIENT_RESOURCES,
        pynvml.NVML_ERROR_ARGUMENT_VERSION_MISMATCH,
        pynvml.NVML_ERROR_DEPRECATED,
        pynvml.NVML_ERROR_NOT_READY,
    }
)
"""Answers after which the value is absent and the device is still there. Any other error means that it is lost."""

_UNION_MEMBER = ("dVal", "uiVal", "ulVal", "ullVal", "sllVal", "siVal", "usVal")
"""Member of NVML's value union by ``nvmlValueType_t``."""

_CLOCKS = MappingProxyType({"graphics": 0, "sm": 1, "memory": 2, "video": 3})  # nvmlClockType_t
_REASON_BITS = MappingProxyType(
    {
        0x02: "applications_clocks_setting",
        0x04: "sw_power_cap",
        0x08: "hw_slowdown",
        0x10: "sync_boost",
        0x20: "sw_thermal_slowdown",
        0x40: "hw_thermal_slowdown",
        0x80: "hw_power_brake_slowdown",
    }
)

_MAX_STAMP_AGE = 1.0  # seconds; a driver's timestamp further from our clock than this is of another clock


@dataclass(slots=True)
class _Board:
    """What is remembered of one GPU between calls."""

    handle: Any
    absent: set[str] = field(default_factory=set)  # calls that answered "never"
    energy: int | None = None  # millijoules of the last reading
    stamp: int | None = None  # its timestamp, µs since the epoch
    stamp_marks_tick: bool = False  # whether stamps were seen to stand still while the counter did


class NvmlMeter:
    """Every GPU that NVML lists."""

    def __init__(self, clock: Clock) -> None:
        """Load the driver's library and enumerate.

        Raises:
            NoMeterError: no driver, a driver that does not match its library, or no GPU that answers.
        """
        self._clock = clock
        _start()
        self._boards: dict[str, _Board] = {}
        self._devices: list[Device] = []
        self._enumerate()
        if not self._devices:
            self.close()
            raise NoMeterError("the NVIDIA driver is loaded but lists no GPU that answers")

    def devices(self) -> list[Device]:
        """Return the GPUs in NVML's order."""
        return list(self._devices)

    def read(self, device: Device) -> Reading:
        """Read the energy counter and the power of one GPU."""
        board = self._board(device)
        try:
            return self._read(board)
        except pynvml.NVMLError as error:
            raise self._lost(device, error) from error

    def status(self, device: Device) -> Status:
        """Read limits, clocks, memory, temperature and throttling of one GPU."""
        board = self._board(device)
        try:
            return _status(board)
        except pynvml.NVMLError as error:
            raise self._lost(device, error) from error

    def close(self) -> None:
        """Shut NVML down."""
        with suppress(pynvml.NVMLError):  # a driver that is gone cannot be given back
            pynvml.nvmlShutdown()

    def _enumerate(self) -> None:
        try:
            driver = _text(pynvml.nvmlSystemGetDriverVersion())
            count = pynvml.nvmlDeviceGetCount()
        except pynvml.NVMLError as error:
            raise NoMeterError(f"the NVIDIA driver does not answer: {error}") from error
        for index in range(count):
            try:
                board = _probed(pynvml.nvmlDeviceGetHandleByIndex(index))
                device = _identity(board, index, driver)
            except pynvml.NVMLError as error:  # already lost: it has no name to publish it under, the others have
                _LOG.warning("GPU %d does not answer and is left out: %s", index, error)
                continue
            self._boards[device.uuid] = board
            self._devices.append(device)

    def _board(self, device: Device) -> _Board:
        board = self._boards.get(device.uuid)
        if board is not None:
            return board
        try:
            board = _probed(pynvml.nvmlDeviceGetHandleByUUID(device.uuid))
        except pynvml.NVMLError as error:
            raise DeviceLostError(f"{device.uuid}: {error}") from error
        self._boards[device.uuid] = board
        return board

    def _lost(self, device: Device, error: pynvml.NVMLError) -> DeviceLostError:
        # The handle is of no use any more: if the GPU comes back it is looked up by its uuid.
        self._boards.pop(device.uuid, None)
        return DeviceLostError(f"{device.uuid}: {error}")

    def _read(self, board: _Board) -> Reading:
        fields = _field_values(board)
        energy = fields.get(_ENERGY)
        millijoules = energy[0] if energy else _ask(board, "energy", pynvml.nvmlDeviceGetTotalEnergyConsumption)
        instant = fields.get(_INSTANT_POWER)
        average = fields.get(_AVERAGE_POWER)
        milliwatts = instant[0] if instant else _ask(board, "power", pynvml.nvmlDeviceGetPowerUsage)
        return Reading(
            energy_microjoules=None if millijoules is None else millijoules * 1000,
            energy_time=_tick_time(board, energy, self._clock.wall()) if energy else None,
            power_watts=None if milliwatts is None else milliwatts / 1000,
            average_power_watts=average[0] / 1000 if average else None,
        )


def _start() -> None:
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError_LibraryNotFound as error:
        raise NoMeterError("no NVIDIA driver: libnvidia-ml.so.1 was not found") from error
    except pynvml.NVMLError as error:
        raise NoMeterError(f"the NVIDIA driver does not answer: {error}") from error


def _probed(handle: Any) -> _Board:
    """Return a board of which is known, where two calls in a row can tell, whether its stamps mark the ticks."""
    board = _Board(handle)
    for _ in range(3):  # a tick may fall between two of them, hardly between all
        energy = _field_values(board).get(_ENERGY)
        if energy:
            _tick_time(board, energy, 0.0)
    return board


def _identity(board: _Board, index: int, driver: str) -> Device:
    return Device(
        kind=DeviceKind.GPU,
        uuid=_text(pynvml.nvmlDeviceGetUUID(board.handle)),
        index=index,
        method="counter" if _energy_is_counted(board) else "integrated",
        scope="gpu",
        name=_text(_ask(board, "name", pynvml.nvmlDeviceGetName)),
        vendor="NVIDIA",
        driver=driver,
        pci_bus_id=_text(_ask(board, "pci", lambda handle: pynvml.nvmlDeviceGetPciInfo(handle).busId)),
    )


def _energy_is_counted(board: _Board) -> bool:
    if _field_values(board).get(_ENERGY):
        return True
    return _ask(board, "energy", pynvml.nvmlDeviceGetTotalEnergyConsumption) is not None


def _ask(board: _Board, name: str, call: Callable[[Any], Any]) -> Any:
    """Return what ``call`` answers for the board, or None where it has no answer; other errors pass."""
    if name in board.absent:
        return None
    try:
        return call(board.handle)
    except pynvml.NVMLError as error:
        if error.value in _NEVER:
            board.absent.add(name)
        elif error.value not in _NOT_NOW:
            raise
        return None


def _field_values(board: _Board) -> Mapping[int, tuple[int, int]]:
    """Return (value, timestamp in µs) of those of the three fields that the driver has."""
    answer = _ask(board, "fields", lambda handle: pynvml.nvmlDeviceGetFieldValues(handle, _FIELDS))
    found: dict[int, tuple[int, int]] = {}
    for entry in answer or ():
        if entry.nvmlReturn == pynvml.NVML_SUCCESS and entry.valueType < len(_UNION_MEMBER):
            found[entry.fieldId] = (int(getattr(entry.value, _UNION_MEMBER[entry.valueType])), entry.timestamp)
        elif entry.nvmlReturn not in _NEVER | _NOT_NOW:
            raise pynvml.NVMLError(entry.nvmlReturn)
    return found


def _tick_time(board: _Board, energy: tuple[int, int], wall: float) -> float | None:
    """Return the Unix time at which the counter last moved, if the driver's timestamps tell it.

    They do where two readings of the same count carry the same timestamp. Elsewhere they are the time of the call.
    """
    millijoules, stamp = energy
    if board.energy == millijoules:
        board.stamp_marks_tick = board.stamp == stamp
    board.energy, board.stamp = millijoules, stamp
    seconds = stamp / 1e6
    return seconds if board.stamp_marks_tick and abs(wall - seconds) < _MAX_STAMP_AGE else None


def _status(board: _Board) -> Status:
    limit = _ask(board, "limit", pynvml.nvmlDeviceGetEnforcedPowerLimit)
    used = _ask(board, "utilization", pynvml.nvmlDeviceGetUtilizationRates)
    memory = _ask(board, "memory", pynvml.nvmlDeviceGetMemoryInfo)
    temperature = _ask(board, "temperature", lambda handle: pynvml.nvmlDeviceGetTemperature(handle, 0))
    return Status(
        limit_watts=None if limit is None else limit / 1000,
        utilization_ratio=None if used is None else used.gpu / 100,
        memory_used_bytes=None if memory is None else memory.used,
        memory_total_bytes=None if memory is None else memory.total,
        temperature_celsius=None if temperature is None else float(temperature),
        clocks_hertz=MappingProxyType(dict(_clocks(board))),
        throttle_reasons=_throttle_reasons(board),
    )


def _clocks(board: _Board) -> Iterable[tuple[str, float]]:
    for domain, number in _CLOCKS.items():
        megahertz = _ask(board, domain, partial(_clock, number))
        if megahertz is not None:
            yield domain, megahertz * 1e6


def _clock(number: int, handle: Any) -> Any:
    return pynvml.nvmlDeviceGetClockInfo(handle, number)


def _throttle_reasons(board: _Board) -> frozenset[str] | None:
    bits = _ask(board, "event reasons", pynvml.nvmlDeviceGetCurrentClocksEventReasons)
    if bits is None:  # the same call under its name before driver 535
        bits = _ask(board, "throttle reasons", pynvml.nvmlDeviceGetCurrentClocksThrottleReasons)
    if bits is None:
        return None
    return frozenset(name for bit, name in _REASON_BITS.items() if bits & bit)


def _text(answer: Any) -> str:
    """Return a string of NVML, which old bindings give as bytes; unknown is empty."""
    if answer is None:
        return ""
    return answer.decode("utf-8", "replace") if isinstance(answer, bytes) else str(answer)
