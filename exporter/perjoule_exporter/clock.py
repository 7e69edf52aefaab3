"""Time as an argument: the two clocks that the exporter reads, and a pair of readings of them.

Intervals are measured on the monotonic clock, timestamps are published from the wall clock. What this does not know is
how far the wall clock is from the truth; a step of it moves published timestamps and never an interval.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple


class Moment(NamedTuple):
    """One instant: seconds of the monotonic clock, and Unix seconds."""

    monotonic: float
    wall: float


@dataclass(frozen=True, slots=True)
class Clock:
    """Where time comes from. Tests pass their own functions."""

    monotonic: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time

    def now(self) -> Moment:
        """Read both clocks."""
        return Moment(self.monotonic(), self.wall())
