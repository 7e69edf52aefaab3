"""What stands in for hardware and time in the sampler's tests: a scripted meter and a clock that is set by hand."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from perjoule.errors import DeviceLostError
from perjoule_exporter.clock import Clock
from perjoule_exporter.meters import MICRO, Device, DeviceKind, Reading, Status

WALL = 1.8e9


class Hands:
    """A clock's hands. ``clock`` reads them; moving them is up to the test."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.clock = Clock(lambda: 1000.0 + self.seconds, lambda: WALL + self.seconds)


def gpu(index: int) -> Device:
    return Device(DeviceKind.GPU, f"GPU-{index}", index, "counter", "gpu", name="Board", vendor="Vendor")


@dataclass
class ScriptedMeter:
    """GPUs at 100 W each, some of them lost; ``takes`` seconds a read. Counts the calls.

    Their counters move every ``tick`` seconds, or all of the time.
    """

    hands: Hands
    gpus: int = 1
    takes: float = 0.0
    tick: float | None = None
    utilization: float | None = None
    lost: set[str] = field(default_factory=set)
    calls: list[tuple[str, str]] = field(default_factory=list)
    read_at: list[float] = field(default_factory=list)
    fault: Exception | None = None
    closed: bool = False

    def devices(self) -> Sequence[Device]:
        return [gpu(index) for index in range(self.gpus)]

    def read(self, device: Device) -> Reading:
        self._called("read", device)
        self.read_at.append(self.hands.seconds)
        watts, counted = 100.0, self.hands.seconds
        if self.tick is not None:
            counted = int(counted / self.tick + 1e-9) * self.tick
        return Reading(energy_microjoules=round(counted * watts * MICRO), power_watts=watts)

    def status(self, device: Device) -> Status:
        self._called("status", device)
        return Status(temperature_celsius=40.0, utilization_ratio=self.utilization)

    def close(self) -> None:
        self.closed = True

    def count(self, call: str, uuid: str) -> int:
        return self.calls.count((call, uuid))

    def _called(self, call: str, device: Device) -> None:
        self.calls.append((call, device.uuid))
        self.hands.seconds += self.takes
        if self.fault is not None:
            raise self.fault
        if device.uuid in self.lost:
            raise DeviceLostError(f"{device.uuid}: fell off the bus")
