"""How regularly a counter moves, from readings that saw it move or stand. Pure.

A counter that is seen to have moved at each reading may have moved many times between two: how often, those readings do
not tell. Its tick is known only from readings that come faster than it moves, which those show that saw it stand. It
does not know why readings come when they do.
"""

from collections import deque
from statistics import fmean, median
from typing import NamedTuple

_REMEMBERED = 31
_LEAST = 2
"""Intervals, and readings that saw the counter stand, before a tick is told."""

_JITTER = 1.1
"""A reading may come so much later than one that saw the counter stand, and still be taken for faster than the tick."""

_SLOWER = 3.0
"""Readings of so many times the distance are those of a device at rest."""

_STALLED = 2.0
"""An interval of more than so many usual ones is a pause of the driver's."""


class _Seen(NamedTuple):
    """The time between two moves: its length, the longest gap of readings in it, and how long it was seen still."""

    seconds: float
    gap: float
    still: float


class Ticks:
    """The moves of one counter, in monotonic seconds. The tick that was found last stays until others are found."""

    def __init__(self) -> None:
        self.interval: float | None = None  # the usual seconds between two moves; None while not known
        self._moved_at: float | None = None
        self._gap = 0.0
        self._still = 0.0
        self._seen: deque[_Seen] = deque(maxlen=_REMEMBERED)

    def stood(self, gap: float) -> None:
        """Take over a reading, ``gap`` seconds after the one before, that saw no move."""
        if not self._still:  # what was read much more slowly, at rest, says nothing of when it moves next
            while self._seen and not self._seen[0].still and self._seen[0].gap > _SLOWER * gap:
                self._seen.popleft()
        self._still += gap
        self._gap = max(self._gap, gap)

    def moved(self, at: float, gap: float) -> None:
        """Take over a reading, ``gap`` seconds after the one before, that saw a move of the time ``at``."""
        if self._moved_at is not None:
            self._seen.append(_Seen(at - self._moved_at, max(self._gap, gap), self._still))
            self.interval = self._found() or self.interval
        self._moved_at, self._gap, self._still = at, 0.0, 0.0

    def clear(self) -> None:
        """Forget everything: the counter is another, or nobody saw how it moved."""
        self.interval = self._moved_at = None
        self._gap = self._still = 0.0
        self._seen.clear()

    def next_move(self) -> float | None:
        """Return when the counter should move next, or by when, as long as its tick is not known."""
        if self._moved_at is None or len(self._seen) < _LEAST:
            return None
        return self._moved_at + median(seen.seconds for seen in self._seen)

    def _found(self) -> float | None:
        """Return the tick, if these readings tell it: the mean of the intervals in which no move was missed."""
        stood = [seen.still for seen in self._seen if seen.still > 0]
        if len(stood) < _LEAST:
            return None
        shortest = _JITTER * median(stood)  # the counter was seen to stand for so long: it moves more seldom
        intervals = [seen.seconds for seen in self._seen if seen.gap <= shortest]
        if len(intervals) < _LEAST:
            return None
        usual = median(intervals)
        return fmean(seconds for seconds in intervals if seconds <= _STALLED * usual)
