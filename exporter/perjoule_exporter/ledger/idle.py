"""The watts of a device on which nothing runs, learned from the times in which nobody used it. Pure.

The lowest of the last seconds, because whatever runs without being seen only adds, and because idle power drifts with
temperature and driver state; those close above it are taken with it, for the lowest of many noisy figures is too low.
It does not know of anybody who uses the device unseen all of the time.
"""

from collections import deque
from typing import NamedTuple

HORIZON_SECONDS = 10.0
"""A mean older than this no longer counts, unless there are none newer."""

_SHORTEST_SECONDS = 0.5
"""A mean is taken over at least this much unused time: the edges of one tick weigh too much."""

_CLOSE = 1.02
"""Means up to this times the lowest are the same power, read with noise."""


class _Mean(NamedTuple):
    end: float
    joules: float
    seconds: float

    @property
    def watts(self) -> float:
        return self.joules / self.seconds


class Idle:
    """Idle watts: as configured, or learned; None while nobody knows."""

    def __init__(self, configured_watts: float | None = None) -> None:
        self.watts = configured_watts
        self._configured = configured_watts is not None
        self._means: deque[_Mean] = deque()
        self._joules = 0.0
        self._seconds = 0.0

    def unused(self, joules: float, seconds: float, end: float) -> None:
        """Take over an interval that ended at ``end`` and in which nobody used the device."""
        self._joules += joules
        self._seconds += seconds
        if self._configured or self._seconds < _SHORTEST_SECONDS:
            return
        self._means.append(_Mean(end, self._joules, self._seconds))
        self._joules = self._seconds = 0.0
        while self._means[0].end < end - HORIZON_SECONDS:
            self._means.popleft()
        highest = _CLOSE * min(mean.watts for mean in self._means)
        same = [mean for mean in self._means if mean.watts <= highest]
        self.watts = sum(mean.joules for mean in same) / sum(mean.seconds for mean in same)

    def restore(self, watts: float | None) -> None:
        """Start from what an earlier run had learned, until there is something newer."""
        if not self._configured:
            self.watts = watts
