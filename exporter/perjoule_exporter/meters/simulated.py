"""A simulated GPU: a board whose every joule is known, to hold everything that measures against.

Its power is 70 W + 330 W × load, its counter ticks every 100 ms, and a tick becomes readable 200 ms after the time that
it is stamped with, as a driver's does. The counter is the exact integral: no noise, no gain, no gaps. It says
``method="simulated"`` everywhere, and no figure from it means anything outside a test or a demonstration.

The load comes from one function, mean utilisation over an interval: the node's CPUs now, whatever is to drive it later.
"""

import json
import logging
import os
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from perjoule.errors import UsageError
from perjoule_exporter.clock import Clock, Moment
from perjoule_exporter.meters import MICRO, Device, DeviceKind, Reading, Status
from perjoule_exporter.meters.procstat import CpuTimes

_LOG = logging.getLogger(__name__)

UUID = "GPU-simulated-0"
IDLE_WATTS = 70.0
RANGE_WATTS = 330.0
TICK_SECONDS = 0.1
DELAY_SECONDS = 0.2
_TICKS_AVERAGED = 10  # 1 s, as the drivers' average power

Load = Callable[[float, float], float]
"""(start, end) of an interval on the monotonic clock → mean utilisation in it, 0 to 1.

Called once for each interval, the intervals follow each other without a gap, and ``end`` is the time of the call.
"""


@dataclass(frozen=True, slots=True)
class Tick:
    """One update of the counter: Unix times, and microjoules of the tick and since the start."""

    number: int
    start: float
    end: float
    microjoules: int
    total_microjoules: int
    readable_at: float  # on the monotonic clock

    def as_json(self) -> str:
        """Return the tick as one line of the truth file."""
        return json.dumps(
            {
                "tick": self.number,
                "start_seconds": self.start,
                "end_seconds": self.end,
                "joules": self.microjoules / MICRO,
                "total_joules": self.total_microjoules / MICRO,
            }
        )


class NodeLoad:
    """The utilisation of the node's CPUs as a load."""

    def __init__(self, times: CpuTimes | None = None) -> None:
        self._times = times or CpuTimes()
        self._busy = dict(self._times.busy_seconds())

    def __call__(self, start: float, end: float) -> float:
        """Return the mean utilisation since the call before, over all CPUs."""
        busy = dict(self._times.busy_seconds())
        spent = sum(max(0.0, seconds - self._busy.get(cpu, seconds)) for cpu, seconds in busy.items())
        self._busy = busy
        return min(1.0, spent / (len(busy) * (end - start))) if end > start and busy else 0.0


class TruthFile:
    """JSON lines of every tick, each written whole, so that a reader never sees half a line but at the very end."""

    def __init__(self, path: Path) -> None:
        """Create or empty the file.

        Raises:
            UsageError: it cannot be written.
        """
        self._path = path
        try:
            self._file: int | None = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o644)
        except OSError as error:
            raise UsageError(f"cannot write the truth file {path}: {error.strerror}") from error

    def write(self, tick: Tick) -> None:
        """Append one tick. The first failure is said and ends the file, not the measurement."""
        if self._file is None:
            return
        try:
            line = tick.as_json().encode() + b"\n"
            if os.write(self._file, line) != len(line):
                raise OSError(None, "the disk took only part of a line")  # noqa: TRY301 (one place says what happened)
        except OSError as error:
            _LOG.warning("the truth file %s ends here: %s", self._path, error.strerror)
            self.close()

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


class SimulatedMeter:
    """One simulated GPU."""

    def __init__(self, load: Load, clock: Clock, truth: TruthFile | None = None) -> None:
        now = clock.now()
        self._load = load
        self._clock = clock
        self._truth = truth
        self._start = now.monotonic
        self._read_at = now.monotonic
        self._joules = 0.0  # exact integral until the last reading
        self._latest = Tick(0, now.wall, now.wall, 0, 0, now.monotonic)  # newest tick, readable or not
        self._readable = self._latest
        self._coming: deque[Tick] = deque()
        self._recent: deque[Tick] = deque(maxlen=_TICKS_AVERAGED)

    def devices(self) -> list[Device]:
        """Return the one GPU."""
        return [
            Device(
                kind=DeviceKind.GPU,
                uuid=UUID,
                index=0,
                method="simulated",
                scope="gpu",
                name="Simulated GPU",
                vendor="Perjoule",
                driver="simulated",
                pci_bus_id="00000000:00:00.0",
            )
        ]

    def read(self, device: Device) -> Reading:  # noqa: ARG002 (there is one device)
        """Advance the simulation to now, and return the newest tick that is readable."""
        now = self._clock.now()
        if now.monotonic > self._read_at:
            self._advance(now)
        while self._coming and self._coming[0].readable_at <= now.monotonic:
            self._readable = self._coming.popleft()
            self._recent.append(self._readable)
        return Reading(
            energy_microjoules=self._readable.total_microjoules,
            energy_time=self._readable.end,
            power_watts=_watts([self._readable]) if self._recent else None,
            average_power_watts=_watts(list(self._recent)) if self._recent else None,
        )

    def status(self, device: Device) -> Status:  # noqa: ARG002 (there is one device)
        """Return what the simulation has: load and limit. It has no memory, clocks or temperature."""
        if not self._recent:
            return Status(limit_watts=IDLE_WATTS + RANGE_WATTS)
        load = (_watts([self._readable]) - IDLE_WATTS) / RANGE_WATTS
        return Status(limit_watts=IDLE_WATTS + RANGE_WATTS, utilization_ratio=min(1.0, max(0.0, load)))

    def close(self) -> None:
        """Close the truth file."""
        if self._truth is not None:
            self._truth.close()

    def _advance(self, now: Moment) -> None:
        watts = IDLE_WATTS + RANGE_WATTS * self._load(self._read_at, now.monotonic)
        while (end := self._start + (self._latest.number + 1) * TICK_SECONDS) <= now.monotonic:
            self._tick(end, self._joules + watts * (end - self._read_at), now)
        self._joules += watts * (now.monotonic - self._read_at)
        self._read_at = now.monotonic

    def _tick(self, end: float, joules: float, now: Moment) -> None:
        total = round(joules * MICRO)
        before = self._latest
        self._latest = Tick(
            number=before.number + 1,
            start=before.end,
            end=now.wall - (now.monotonic - end),
            microjoules=total - before.total_microjoules,
            total_microjoules=total,
            readable_at=end + DELAY_SECONDS,
        )
        self._coming.append(self._latest)
        if self._truth is not None:
            self._truth.write(self._latest)


def _watts(ticks: list[Tick]) -> float:
    return sum(tick.microjoules for tick in ticks) / MICRO / (TICK_SECONDS * len(ticks))
