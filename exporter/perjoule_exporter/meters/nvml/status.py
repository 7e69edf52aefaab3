"""The slow values of a board: limit, utilisation, memory, temperature, clocks, and what holds the clocks down."""

import ctypes
from collections.abc import Iterator
from types import MappingProxyType

from perjoule_exporter.meters import Status
from perjoule_exporter.meters.nvml.driver import Handle
from perjoule_exporter.meters.nvml.power import watts_of

_GPU_SENSOR = 0  # NVML_TEMPERATURE_GPU
_ALL_PERCENT = 100
_NO_BYTES = 2**63  # NVML_VALUE_NOT_AVAILABLE, or a difference that went below 0
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


def status_of(board: Handle) -> Status:
    """Read the slow values.

    Raises:
        DeviceLostError: the GPU does not answer.
    """
    limit = board.ask("nvmlDeviceGetEnforcedPowerLimit")
    used = board.ask("nvmlDeviceGetUtilizationRates")
    memory = board.ask("nvmlDeviceGetMemoryInfo")
    temperature = board.ask("nvmlDeviceGetTemperature", _GPU_SENSOR)
    return Status(
        limit_watts=watts_of(limit),
        utilization_ratio=None if used is None or used.gpu > _ALL_PERCENT else used.gpu / _ALL_PERCENT,
        memory_used_bytes=None if memory is None else _bytes(memory.used),
        memory_total_bytes=None if memory is None else _bytes(memory.total),
        temperature_celsius=None if temperature is None else float(ctypes.c_int32(temperature).value),
        clocks_hertz=MappingProxyType(dict(_clocks(board))),
        throttle_reasons=_throttle_reasons(board),
    )


def _bytes(number: int) -> int | None:
    return number if number < _NO_BYTES else None


def _clocks(board: Handle) -> Iterator[tuple[str, float]]:
    for domain, number in _CLOCKS.items():
        megahertz = board.ask("nvmlDeviceGetClockInfo", number, which=domain)
        if megahertz is not None:
            yield domain, megahertz * 1e6


def _throttle_reasons(board: Handle) -> frozenset[str] | None:
    bits = board.ask("nvmlDeviceGetCurrentClocksEventReasons")
    if bits is None:  # the same call under its name before driver 535
        bits = board.ask("nvmlDeviceGetCurrentClocksThrottleReasons")
    if bits is None:
        return None
    return frozenset(name for bit, name in _REASON_BITS.items() if bits & bit)
