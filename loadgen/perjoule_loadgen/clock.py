"""One clock for a run: monotonic seconds for latencies, and the Unix time of the same moment for energy counters.

The offset between the two is taken once, so that a step of the system clock cannot move an edge between two requests.
Knows nothing of other machines' clocks.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

_TRIES = 20


@dataclass(frozen=True, slots=True)
class Clock:
    """``now`` counts monotonic seconds; ``offset`` added to it gives Unix time."""

    now: Callable[[], float]
    offset: float

    def unix(self, monotonic: float | None = None) -> float:
        """Return the Unix time of a monotonic time, of this moment without one."""
        return (self.now() if monotonic is None else monotonic) + self.offset


def system_clock() -> Clock:
    """Return the clock of this machine."""
    return Clock(time.monotonic, offset(time.monotonic, time.time))


def offset(monotonic: Callable[[], float], unix: Callable[[], float]) -> float:
    """Return Unix minus monotonic time of one moment: of some tries the one that was interrupted least.

    A thread that loses its processor between the two readings would misplace every edge of the run by as much.
    """
    tries = []
    for _ in range(_TRIES):
        before, at, after = monotonic(), unix(), monotonic()
        tries.append((after - before, at - (before + after) / 2))
    return min(tries)[1]
