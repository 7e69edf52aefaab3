"""One clock for a run: monotonic seconds for latencies, and the Unix time of the same moment for energy counters.

The offset between the two is taken once, so that a step of the system clock cannot move an edge between two requests.
Knows nothing of other machines' clocks.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass


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
    return Clock(time.monotonic, time.time() - time.monotonic())
