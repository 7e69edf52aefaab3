"""Power over time, and its exact integral: what a simulated board draws, known at any time without stepping through it.

Times are seconds since the script began, power is watts, energy joules. A curve knows nothing of ticks, sensors or
events. The integral is in closed form for each piece, so that it depends on the time asked for and on nothing else.
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Protocol

Load = Callable[[float, float], float]
"""(start, end) of an interval on the monotonic clock → mean utilisation in it, 0 to 1.

Called once for each interval, the intervals follow each other without a gap, and ``end`` is the time of the call.
"""

_PINS_REMEMBERED = 1000
_SHORTEST_INTERVAL_SECONDS = 0.0005  # several boards that are read one after the other share one question for load


class Power(Protocol):
    """What draws power."""

    def joules(self, time: float) -> float:
        """Return the energy since the start of the script."""
        ...


@dataclass(frozen=True, slots=True)
class Curve:
    """Straight lines between points; two points of one time are a step. Made by ``curve``.

    Before the first point its power holds; after the last one that one's power holds, or all begins again.
    """

    times: tuple[float, ...]
    watts: tuple[float, ...]
    repeats: bool
    sums: tuple[float, ...]  # joules until each point

    def joules(self, time: float) -> float:
        """Return the energy from 0 to ``time``; none before."""
        if time <= 0:
            return 0.0
        if not self.repeats:
            return self._within(time)
        rounds, rest = divmod(time, self.times[-1])
        return rounds * self.sums[-1] + self._within(rest)

    def _within(self, time: float) -> float:
        index = bisect_right(self.times, time) - 1
        passed, watts = time - self.times[index], self.watts[index]
        if index + 1 < len(self.times):
            slope = (self.watts[index + 1] - watts) / (self.times[index + 1] - self.times[index])
            watts += slope * passed / 2
        return self.sums[index] + watts * passed


def curve(points: Sequence[tuple[float, float]], *, repeats: bool = False) -> Curve:
    """Return the curve through (seconds, watts); times must not go back, and of a repeating one the last is over 0."""
    points = points if points[0][0] <= 0 else [(0.0, points[0][1]), *points]
    pieces = ((w0 + w1) / 2 * (t1 - t0) for (t0, w0), (t1, w1) in pairwise(points))
    times, watts = zip(*points, strict=True)
    return Curve(times, watts, repeats, tuple(accumulate(pieces, initial=0.0)))


def stairs(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return points whose straight lines hold each power until the next time."""
    risers = [point for (_, before), (time, watts) in pairwise(points) for point in ((time, before), (time, watts))]
    return [points[0], *risers]


class Utilization:
    """Utilisation that is found out while time passes, remembered for as long as a sensor looks back.

    ``pins`` gives, of an interval, the times that are asked for much later: their sums are kept.
    """

    def __init__(
        self, load: Load, start: float, keep_seconds: float, pins: Callable[[float, float], Iterable[float]]
    ) -> None:
        self._load = load
        self._start = start
        self._asked_at = start
        self._keep_seconds = keep_seconds
        self._pins = pins
        self._knots: deque[tuple[float, float]] = deque([(0.0, 0.0)])  # (time, seconds at full load until then)
        self._pinned: dict[float, float] = {}

    def advance(self, monotonic: float) -> float:
        """Ask for the load until now on the monotonic clock, and return until when (from the start) it is known."""
        before, seconds = self._knots[-1]
        if monotonic - self._asked_at < _SHORTEST_INTERVAL_SECONDS:
            return before
        time = monotonic - self._start
        self._knots.append((time, seconds + (time - before) * self._load(self._asked_at, monotonic)))
        self._asked_at = monotonic
        for pin in self._pins(before, time):
            self._pinned[pin] = self.seconds(pin)
            if len(self._pinned) > _PINS_REMEMBERED:
                del self._pinned[next(iter(self._pinned))]
        # The knot before the first time that may be asked for stays: it is the other end of its line.
        while len(self._knots) > 2 and self._knots[1][0] < before - self._keep_seconds:  # noqa: PLR2004 (a line has two ends)
            self._knots.popleft()
        return time

    def seconds(self, time: float) -> float:
        """Return the seconds at full load from 0 to ``time``.

        Raises:
            LookupError: that is too long ago, and was not pinned.
        """
        if time <= 0:
            return 0.0
        if time in self._pinned:
            return self._pinned[time]
        later = self._knots[-1]
        for knot in reversed(self._knots):
            if knot[0] <= time:
                (t0, s0), (t1, s1) = knot, later
                return s0 + (s1 - s0) * (time - t0) / (t1 - t0) if t1 > t0 else s0
            later = knot
        raise LookupError(f"the load until {time:g} s is forgotten")


@dataclass(frozen=True, slots=True)
class Driven:
    """Power that follows a utilisation: idle watts + range × utilisation."""

    idle_watts: float
    range_watts: float
    utilization: Utilization

    def joules(self, time: float) -> float:
        """Return the energy from 0 to ``time``, which lies in what is remembered."""
        return self.idle_watts * time + self.range_watts * self.utilization.seconds(time)
