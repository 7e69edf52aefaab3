"""One simulated board as pure functions of time: what its counter, its sensors and its status say, and what is true.

Times are seconds since the script began. The truth is the integral of the power curve; the counter is that integral
through a sensor with a gain, between resets, jumps and freezes; power is its mean over the end of a tick. A board knows
neither clocks nor who asks, nor how often.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from perjoule_exporter.meters import MICRO, Device, ProcessUse, Status
from perjoule_exporter.meters.simulated.curve import Curve, Power
from perjoule_exporter.meters.simulated.events import Events, Window

READING_FIELDS = ("energy", "energy_time", "power", "average_power")
STATUS_FIELDS = (
    "limit_watts",
    "utilization_ratio",
    "memory_used_bytes",
    "memory_total_bytes",
    "temperature_celsius",
    "clocks_hertz",
    "throttle_reasons",
)


@dataclass(frozen=True, slots=True)
class Sensor:
    """How energy becomes figures: the counter's tick, and when a tick is readable, in seconds.

    ``instant_seconds``: the instant power is the mean over this much of the end of a tick; ``average_seconds``: the
    average power over this much before it. ``gain`` is the sensor's error, a factor on all that it tells.
    """

    tick_seconds: float = 0.1
    delay_seconds: float = 0.2
    instant_seconds: float = 0.1
    average_seconds: float = 1.0
    gain: float = 1.0
    start_joules: float = 0.0

    @property
    def lookback_seconds(self) -> float:
        """How far before now a reading reaches."""
        return self.delay_seconds + 2 * self.tick_seconds + self.average_seconds


@dataclass(frozen=True, slots=True)
class Process:
    """A process that uses the board during a window. Its utilisation is while it does."""

    pid: int
    utilization_ratio: float | None
    memory_bytes: int | None
    window: Window


@dataclass(frozen=True, slots=True)
class Gpu:
    """What a script says of one board. ``power`` None: the board follows the load of the node."""

    device: Device
    idle_watts: float = 70.0
    max_watts: float = 400.0
    power: Curve | None = None
    cpu_power: Curve | None = None  # what of a module is not the GPU
    sensor: Sensor = field(default_factory=Sensor)
    events: Events = field(default_factory=Events)
    statuses: tuple[tuple[float, Mapping[str, Any]], ...] = ()  # (from when, values that hold from then on), in order
    status_period: float | None = None
    processes: tuple[Process, ...] | None = None
    unsupported: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Board:
    """A GPU of a script, and the power that drives it."""

    gpu: Gpu
    power: Power

    def true_joules(self, time: float) -> float:
        """Return the energy that the board has used, the module's CPU part included."""
        cpu = self.gpu.cpu_power
        return self.power.joules(time) + (cpu.joules(time) if cpu is not None else 0.0)

    def counter_microjoules(self, time: float) -> int:
        """Return the counter that was taken at ``time``. It never shows less than 0."""
        sensor, events = self.gpu.sensor, self.gpu.events
        reset = events.last_reset(time)
        since = 0.0 if reset is None else reset
        joules = self.true_joules(time) - self.true_joules(since) - self._hidden(since, time)
        joules = joules * sensor.gain + events.jumped(since if reset is not None else -math.inf, time)
        return max(0, round((joules + (sensor.start_joules if reset is None else 0.0)) * MICRO))

    def instant_watts(self, time: float) -> float | None:
        """Return the sensor's instant power of the tick that ended at ``time``; None before the first."""
        if time <= 0 or "power" in self.gpu.unsupported:
            return None
        return self._mean_watts(time - self.gpu.sensor.instant_seconds, time)

    def average_watts(self, time: float) -> float | None:
        """Return the sensor's average power at ``time``, over less than its window only at the start."""
        if time <= 0 or "average_power" in self.gpu.unsupported:
            return None
        return self._mean_watts(max(0.0, time - self.gpu.sensor.average_seconds), time)

    def told_watts(self, time: float) -> float | None:
        """Return the better of the two powers that the sensor tells."""
        instant = self.instant_watts(time)
        return instant if instant is not None else self.average_watts(time)

    def status(self, time: float, tick: float) -> Status:
        """Return the slow values at ``time``; utilisation follows the power of the tick that ended at ``tick``."""
        gpu = self.gpu
        values: dict[str, Any] = {"limit_watts": gpu.max_watts, "utilization_ratio": self._utilization(tick)}
        within = time % gpu.status_period if gpu.status_period is not None else time
        for start, row in gpu.statuses:
            if start <= within:
                values.update(row)
        return Status(**{key: value for key, value in values.items() if key not in gpu.unsupported})

    def processes(self, start: float, end: float) -> tuple[ProcessUse, ...] | None:
        """Return who used the board in an interval; utilisation is the mean over it. None: the board does not tell."""
        if self.gpu.processes is None:
            return None
        uses = ((process, _share(process.window, start, end)) for process in self.gpu.processes)
        return tuple(
            ProcessUse(p.pid, None if p.utilization_ratio is None else p.utilization_ratio * share, p.memory_bytes)
            for p, share in uses
            if share > 0
        )

    def _hidden(self, since: float, time: float) -> float:
        joules = 0.0
        for frozen in self.gpu.events.frozen:
            start = max(frozen.start, since)
            if start < time and start < frozen.stop and not (frozen.catch_up and time >= frozen.stop):
                joules += self.true_joules(min(time, frozen.stop)) - self.true_joules(start)
        return joules

    def _mean_watts(self, start: float, end: float) -> float:
        joules = self.true_joules(end) - self.true_joules(start)
        return round(self.gpu.sensor.gain * joules / (end - start), 6)  # the difference of two floats is no finer

    def _utilization(self, tick: float) -> float | None:
        swing = self.gpu.max_watts - self.gpu.idle_watts
        if tick <= 0 or swing <= 0:
            return None
        length = self.gpu.sensor.tick_seconds
        watts = (self.power.joules(tick) - self.power.joules(tick - length)) / length
        return min(1.0, max(0.0, (watts - self.gpu.idle_watts) / swing))


def status_values(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return status values as a reading holds them: nothing in them can be changed."""
    frozen: dict[str, Any] = dict(values)
    if "clocks_hertz" in frozen:
        frozen["clocks_hertz"] = MappingProxyType(dict(frozen["clocks_hertz"]))
    if "throttle_reasons" in frozen:
        frozen["throttle_reasons"] = frozenset(frozen["throttle_reasons"])
    return MappingProxyType(frozen)


def _share(window: Window, start: float, end: float) -> float:
    if end <= start:
        return float(window.holds(end))
    return (window.covered(end) - window.covered(start)) / (end - start)
