"""How regularly a counter moves, from readings that saw it move or stand. Pure.

A counter that is seen to have moved at each reading may have moved many times between two: how often, those readings do
not tell. Its tick is known from readings that come faster than it moves, as those show that saw it stand. Slower ones
tell it where the source says when it moved last: such times lie whole ticks apart. It does not know why readings come
when they do.
"""

from collections import deque
from collections.abc import Sequence
from statistics import fmean, median
from typing import NamedTuple

_REMEMBERED = 31
_READ_AT_LEAST = 16
"""Moves after which the tick is worked out, unless it is asked for before: that costs more than to remember a move."""

_LEAST = 2
"""Intervals, and readings that saw the counter stand, before a tick is told."""

_JITTER = 1.1
"""A reading may come so much later than one that saw the counter stand, and still be taken for faster than the tick."""

_SLOWER = 3.0
"""Readings of so many times the distance are those of a device at rest."""

_STALLED = 2.0
"""An interval of more than so many usual ones is a pause of the driver's."""


_ENOUGH = 8
"""Intervals between moves whose times the source tells, before a tick is told that is shorter than all of them."""

_FINEST = 5
"""Into so many ticks the shortest of them is divided at most: with more, any times would fit."""

_OFF = 0.1
"""So far, in ticks, may such an interval be from a whole number of them."""

_UNEVEN = 1.2
"""The longest must be so many times the shortest, or nothing tells how many ticks each of them was."""


class _Seen(NamedTuple):
    """The time between two moves: its length, the longest gap of readings in it, and how long it was seen still.

    ``exact``: the source told both times.
    """

    seconds: float
    gap: float
    still: float
    exact: bool


class Ticks:
    """The moves of one counter, in monotonic seconds. The tick that was found last stays until others are found."""

    def __init__(self) -> None:
        self._interval: float | None = None
        self._unread = 0  # moves since it was worked out
        self._moved_at: float | None = None
        self._exact = False
        self._gap = 0.0
        self._still = 0.0
        self._seen: deque[_Seen] = deque(maxlen=_REMEMBERED)

    @property
    def interval(self) -> float | None:
        """Return the usual seconds between two moves; None while they are not known."""
        if self._unread:
            self._read()
        return self._interval

    def stood(self, gap: float) -> None:
        """Take over a reading, ``gap`` seconds after the one before, that saw no move."""
        if not self._still:  # what was read much more slowly, at rest, says nothing of when it moves next
            while self._seen and not self._seen[0].still and self._seen[0].gap > _SLOWER * gap:
                self._seen.popleft()
        self._still += gap
        self._gap = max(self._gap, gap)

    def moved(self, at: float, gap: float, *, exact: bool) -> None:
        """Take over a reading, ``gap`` seconds after the one before, that saw a move of the time ``at``.

        ``exact``: the source says that it moved then; else it is somewhere between the two readings.
        """
        if self._moved_at is not None:
            both = exact and self._exact
            self._seen.append(_Seen(at - self._moved_at, max(self._gap, gap), self._still, both))
            self._unread += 1
            if self._unread >= _READ_AT_LEAST:
                self._read()
        self._moved_at, self._exact, self._gap, self._still = at, exact, 0.0, 0.0

    def clear(self) -> None:
        """Forget everything: the counter is another, or nobody saw how it moved."""
        self._interval = self._moved_at = None
        self._unread = 0
        self._gap = self._still = 0.0
        self._seen.clear()

    def next_move(self) -> float | None:
        """Return when the counter should move next, or by when, as long as its tick is not known."""
        if self._moved_at is None or len(self._seen) < _LEAST:
            return None
        return self._moved_at + median(seen.seconds for seen in self._seen)

    def _read(self) -> None:
        self._interval = self._found() or self._interval
        self._unread = 0

    def _found(self) -> float | None:
        """Return the tick, if the readings tell it, or the times of the moves do."""
        return self._mean() or _common(sorted(seen.seconds for seen in self._seen if seen.exact))

    def _mean(self) -> float | None:
        """Return the mean of the intervals in which no move was missed."""
        stood = [seen.still for seen in self._seen if seen.still > 0]
        if len(stood) < _LEAST:
            return None
        shortest = _JITTER * median(stood)  # the counter was seen to stand for so long: it moves more seldom
        intervals = [seen.seconds for seen in self._seen if seen.gap <= shortest]
        if len(intervals) < _LEAST:
            return None
        usual = median(intervals)
        return fmean(seconds for seconds in intervals if seconds <= _STALLED * usual)


def _common(intervals: Sequence[float]) -> float | None:
    """Return the longest tick of which these intervals, in ascending order, are whole multiples; None without one."""
    if len(intervals) < _ENOUGH or intervals[-1] < _UNEVEN * intervals[0]:
        return None
    for parts in range(1, _FINEST + 1):
        ticks = [seconds * parts / intervals[0] for seconds in intervals]
        if all(abs(each - round(each)) <= _OFF for each in ticks):
            return sum(intervals) / sum(map(round, ticks))
    return None
