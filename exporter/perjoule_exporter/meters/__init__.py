"""What a meter is: the devices it finds, and the frozen values that one reading of a device gives.

A meter talks to one source (a driver, /proc, a simulation) and translates it: microjoules, watts, bytes, hertz, Unix
seconds. It knows nothing of sums, resets, scrapes or carbon: those are the sampler's. Whatever the source does not tell
is ``None``, never 0 and never the last value.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple, Protocol, runtime_checkable

MICRO = 1_000_000
"""Microjoules in a joule. Counters are integers of microjoules, so that no sum ever rounds."""

THROTTLE_REASONS = (
    "applications_clocks_setting",
    "sw_power_cap",
    "hw_slowdown",
    "sync_boost",
    "sw_thermal_slowdown",
    "hw_thermal_slowdown",
    "hw_power_brake_slowdown",
)
"""Why clocks may be held down, in NVML's words. An idle GPU's low clocks are not among them: nothing is held down."""


class DeviceKind(StrEnum):
    """Which families a device is published in.

    ``CPU`` is a zone that no other one overlaps (package, dram): those may be added up. ``CPU_ZONE`` is a part or a
    whole of others (core, uncore, psys), which may not.
    """

    GPU = "gpu"
    CPU = "cpu"
    CPU_ZONE = "cpu_zone"


@dataclass(frozen=True, slots=True)
class Slice:
    """One MIG slice of a GPU. It has no energy of its own: the counter is the board's."""

    uuid: str
    name: str
    gpu_instance: int
    compute_instance: int


@dataclass(frozen=True, slots=True)
class Device:
    """Identity of one device, as labels show it.

    ``uuid`` is the device's name everywhere in Perjoule and never changes: the GPU's uuid as its driver spells it,
    ``cpu-<package>``, or ``cpu-<package>-<zone>`` for another zone than the package. ``index`` is the GPU's number or
    the package's. ``method``, one of ``perjoule.metrics.METHODS``, says how energy comes about, and ``scope`` what it
    covers: ``gpu``, ``module``, or the zone of a CPU (``package``). Unknown texts are empty, which to Prometheus is a
    label that is absent.

    ``lasting``: the counter goes on without this program, so that a restart can tell what was used meanwhile.
    ``counter_range_microjoules``: the counter starts again at 0 when it would reach this; None where it never wraps.
    ``idle_watts``: what the device draws without work, where the method itself says so.
    """

    kind: DeviceKind
    uuid: str
    index: int
    method: str
    scope: str
    name: str = ""
    vendor: str = ""
    driver: str = ""
    pci_bus_id: str = ""
    slices: tuple[Slice, ...] = ()
    lasting: bool = False
    counter_range_microjoules: int | None = None
    idle_watts: float | None = None


class Reading(NamedTuple):
    """What changes fast: energy and power, read at every sample.

    ``energy_microjoules`` is the source's own counter, with whatever origin it has. ``energy_time`` is the Unix time at
    which that counter last moved, and is there only where the source really says so.
    """

    energy_microjoules: int | None = None
    energy_time: float | None = None
    power_watts: float | None = None
    average_power_watts: float | None = None


@dataclass(frozen=True, slots=True)
class Status:
    """What changes slowly, read a few times a second. ``clocks_hertz`` maps a clock domain to its frequency.

    ``throttle_reasons`` are the active ones of ``THROTTLE_REASONS``; empty means that none is, ``None`` that nobody
    knows.
    """

    limit_watts: float | None = None
    utilization_ratio: float | None = None
    memory_used_bytes: int | None = None
    memory_total_bytes: int | None = None
    temperature_celsius: float | None = None
    clocks_hertz: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    throttle_reasons: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class ProcessUse:
    """What one process has of a GPU: share of the time that its kernels ran in, 0 to 1, and device memory in bytes."""

    pid: int
    utilization_ratio: float | None
    memory_bytes: int | None


class Meter(Protocol):
    """One source of energy readings.

    One device is read by one thread at a time, different devices perhaps by different threads; ``devices`` has a
    thread of its own. A call may hang in a driver: no method may hold a lock during a driver's call that the reading of
    another device needs.
    """

    def devices(self) -> Sequence[Device]:
        """Return the devices that are there now, in a stable order. Asked again every few seconds.

        Raises:
            DeviceLostError: nobody can tell now.
        """
        ...

    def read(self, device: Device) -> Reading:
        """Read energy and power now.

        Raises:
            DeviceLostError: the device no longer answers.
        """
        ...

    def status(self, device: Device) -> Status:
        """Read the slow values now.

        Raises:
            DeviceLostError: the device no longer answers.
        """
        ...

    def close(self) -> None:
        """Give the source back. No method is called afterwards."""
        ...


class Glance(NamedTuple):
    """How a device is read with hardly any work, and how readings are made of that later, several in a row.

    Attributes:
        look: reads the device now; None where it has to be read in full. Raises nothing.
        made: makes the reading of what ``look`` returned, and of its Unix time; None where that was no reading, and the
            device has to be read in full. Called once for each look, in their order, by any thread; may not hang.
    """

    look: Callable[[], bytes | None]
    made: Callable[[bytes, float], Reading | None]


@runtime_checkable
class Glances(Protocol):
    """A meter whose devices can be read at a glance."""

    def glance(self, device: Device) -> Glance | None:
        """Return how the device is read in the next moments; None where it has to be read in full."""
        ...


@runtime_checkable
class SeesProcesses(Protocol):
    """A meter that knows which processes use a device. Asked by a thread of its own, beside who reads the device."""

    def processes(self, device: Device) -> tuple[ProcessUse, ...] | None:
        """Return the processes that used the device since the last call; None where the driver does not tell.

        Raises:
            DeviceLostError: the device no longer answers.
        """
        ...


class Work(NamedTuple):
    """What runs in a span: its task, model and phase."""

    task: str
    model: str
    phase: str


@runtime_checkable
class FollowsWork(Protocol):
    """A meter of boards that do not exist, which draw what the spans on them say. No call waits for anything.

    A span is named by its client and its number there; times are in monotonic seconds.
    """

    def work_opened(self, device: str, span: tuple[int, int], work: Work, start: float) -> None:
        """Take over that a span has begun on a device."""
        ...

    def work_closed(self, device: str, span: tuple[int, int], end: float) -> None:
        """Take over that it has ended."""
        ...

    def work_left(self, client: int, now: float) -> None:
        """Take over that a client is gone, and its work with it."""
        ...
