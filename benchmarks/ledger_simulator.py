"""A device whose truth is known: streams of work, the power they draw, and the counter that a driver makes of it.

Virtual time: nothing here waits. Readings go through the exporter's own ``Energy`` at the exporter's own pace, so that
intervals end where they would. It knows nothing of how energy is split.
"""

import random
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from math import cos, pi
from typing import NamedTuple

from perjoule_exporter.clock import Moment
from perjoule_exporter.energy import Energy, Interval, Used
from perjoule_exporter.meters import MICRO
from perjoule_exporter.pace import Pace

IDLE_WATTS = 70.0
DRIFT_WATTS = 20.0
SEEN = 0.25
"""What a part-time sensor sees of each tick: its end (arXiv 2312.02741)."""

_UTILIZATION_SECONDS = 0.2  # a driver's utilisation is of so long ago
_AVERAGE_SECONDS = 1.0
_SPREAD = 0.1  # of durations
_STEP_SECONDS = 1.0  # of drifting idle power
_AFTER_SECONDS = 2.0  # that the device is read for after the end


class Task(NamedTuple):
    """What is run: seconds, and the watts of the device while it runs alone at the usual idle power."""

    seconds: float
    watts: float


TASKS: Mapping[str, Task] = {"8 ms": Task(0.008, 250.0), "30 ms": Task(0.030, 400.0), "600 ms": Task(0.600, 650.0)}
TWINS: Mapping[str, Task] = {"30 ms, 250 W": Task(0.030, 250.0), "30 ms, 400 W": Task(0.030, 400.0)}
"""Two tasks that always run at the same time: nobody can tell them apart."""


@dataclass(frozen=True, slots=True)
class Case:
    """One run.

    Attributes:
        load: share of time in which a stream works; 1 is never idle.
        streams: that work at the same time.
        tick_seconds: of the counter.
        full: whether the sensor sees all of the time; else the last quarter of each tick.
        drift: whether idle power drifts, by ``DRIFT_WATTS`` over five minutes.
        stamps: whether the driver's stamps mark the ticks; else they are between two readings.
        twins: whether both streams do the same at the same times, one of ``TWINS`` each.
    """

    load: float = 0.5
    streams: int = 1
    tick_seconds: float = 0.1
    full: bool = True
    drift: bool = False
    stamps: bool = True
    twins: bool = False
    seconds: float = 300.0
    seed: int = 1

    @property
    def tasks(self) -> Mapping[str, Task]:
        """The tasks that run."""
        return TWINS if self.twins else TASKS


class Work(NamedTuple):
    """One run of a task."""

    start: float
    end: float
    task: str


class Poll(NamedTuple):
    """One reading of the device: what it used since its counter moved before, if it moved."""

    time: float
    used: Used | None
    idle: bool


@dataclass(slots=True)
class Curve:
    """Power as steps, and its integral."""

    times: list[float] = field(default_factory=list)
    watts: list[float] = field(default_factory=list)
    joules: list[float] = field(default_factory=list)

    def add(self, time: float, watts: float) -> None:
        """Go on with other watts from a time on."""
        before = self.joules[-1] + self.watts[-1] * (time - self.times[-1]) if self.times else 0.0
        self.times.append(time)
        self.watts.append(watts)
        self.joules.append(before)

    def until(self, time: float) -> float:
        """Return the joules until a time."""
        index = bisect_right(self.times, time) - 1
        return 0.0 if index < 0 else self.joules[index] + self.watts[index] * (time - self.times[index])


class Device:
    """What runs in a case, what it truly draws, and what the driver shows of it."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self._rng = random.Random(case.seed)  # noqa: S311 (a schedule, not a secret)
        self.work = sorted(self._schedule())
        self.power = Curve()
        self.truth = dict.fromkeys(case.tasks, 0.0)
        self._draw()
        self._phase = -self._rng.random() * case.tick_seconds
        self.counter = Curve()
        self._count()

    def polls(self, pace: Pace | None = None) -> Iterator[Poll]:
        """Read the device until two seconds after the end, as the exporter does with spans open."""
        pace, rng, energy, now = pace or Pace(), self._rng, Energy(), 0.0
        ends = sorted(work.end for work in self.work)
        starts = sorted(work.start for work in self.work)
        most = Interval(None, lambda: 1e9, None)
        while now < self.case.seconds + _AFTER_SECONDS:
            at = self._phase + int((now - self._phase) / self.case.tick_seconds) * self.case.tick_seconds
            raw = round(self.counted(at) * MICRO)
            used = energy.advance(raw, at if self.case.stamps else None, Moment(now, now), most)
            past = now - _UTILIZATION_SECONDS
            begun, ended = bisect_right(starts, now), bisect_right(ends, past - self.case.tick_seconds)
            yield Poll(now, used, idle=begun == ended)
            tick = energy.next_move()
            now += pace.until_next(resting=False, attended=True, until_tick=None if tick is None else tick - now)
            now += rng.random() * 0.001  # a sleep is late

    def counted(self, time: float) -> float:
        """Return the joules that the counter shows at a time."""
        index = bisect_right(self.counter.times, time + 1e-9) - 1
        return 0.0 if index < 0 else self.counter.joules[index]

    def sensed(self, time: float) -> float:
        """Return the watts that the sensor shows at a time: the mean over what it sees of the last tick."""
        tick = self.case.tick_seconds
        return (self.counted(time) - self.counted(time - tick)) / tick

    def averaged(self, time: float) -> float:
        """Return the driver's average watts of the last second."""
        return (self.counted(time) - self.counted(time - _AVERAGE_SECONDS)) / _AVERAGE_SECONDS

    def _schedule(self) -> Iterator[Work]:
        case, rng, names = self.case, self._rng, list(self.case.tasks)
        mean = sum(task.seconds for task in case.tasks.values()) / len(names)
        for _ in range(1 if case.twins else case.streams):
            time = rng.random() * case.tick_seconds
            while time < case.seconds:
                name = rng.choice(names)
                end = time + case.tasks[name].seconds * rng.uniform(1 - _SPREAD, 1 + _SPREAD)
                for each in names if case.twins else [name]:
                    yield Work(time, end, each)
                time = end + (rng.expovariate(1 / (mean * (1 / case.load - 1))) if case.load < 1 else 0.0)

    def _idle(self, time: float) -> float:
        drift = DRIFT_WATTS * (1 - cos(pi * time / 300.0)) / 2 if self.case.drift else 0.0
        return IDLE_WATTS + drift

    def _draw(self) -> None:
        """Work out the power, and what is truly each task's: what it adds, and its part of the idle power."""
        steps = int(self.case.seconds + 2 * _AFTER_SECONDS) if self.case.drift else 0
        edges = sorted([(w.start, 1, w.task) for w in self.work] + [(w.end, -1, w.task) for w in self.work]
                       + [(step * _STEP_SECONDS, 0, "") for step in range(steps + 1)])  # fmt: skip
        edges.append((edges[-1][0] + 2 * _AFTER_SECONDS, 0, ""))
        running = dict.fromkeys(self.case.tasks, 0)
        self.power.add(-_AFTER_SECONDS, self._idle(0.0))
        idle = self._idle(0.0)
        for (time, step, task), (until, _, _) in pairwise(edges):
            if step:
                running[task] += step
            else:
                idle = self._idle(time)
            active = sum(count * (self.case.tasks[name].watts - IDLE_WATTS) for name, count in running.items())
            self.power.add(time, idle + active)
            everybody = sum(running.values())
            for name, count in running.items():
                if count:
                    alone = self.case.tasks[name].watts - IDLE_WATTS + idle / everybody
                    self.truth[name] += (until - time) * count * alone

    def _count(self) -> None:
        tick, total = self.case.tick_seconds, 0.0
        self.counter.add(self._phase, 0.0)
        for index in range(1, int((self.case.seconds + 2 * _AFTER_SECONDS) / tick)):
            end = self._phase + index * tick
            seen = tick if self.case.full else SEEN * tick
            total += (self.power.until(end) - self.power.until(end - seen)) * tick / seen
            self.counter.times.append(end)
            self.counter.watts.append(0.0)
            self.counter.joules.append(total)
