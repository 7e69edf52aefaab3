"""How far the wall clock is ahead of the monotonic one, held still while it hardly moves.

Stamps that are converted from one clock to the other must not jitter: two of the same tick are to be equal. So the
difference is taken anew only when it has moved by over a millisecond, as after a step, or after a minute of slewing.
What it does not know is which of the clocks is right.
"""

from perjoule_exporter.clock import Clock

MOVED_SECONDS = 0.001
_TOGETHER_SECONDS = 20e-6
_TRIES = 5


class WallShift:
    """Unix time minus monotonic time."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._seconds = _difference(clock)

    def seconds(self) -> float:
        """Return the difference now, or what it was while it has not moved by over a millisecond."""
        now = _difference(self._clock)
        if abs(now - self._seconds) > MOVED_SECONDS:
            self._seconds = now
        return self._seconds


def _difference(clock: Clock) -> float:
    """Read the clocks together: between two readings that a busy machine keeps apart lies time of nobody's."""
    best, shortest = 0.0, float("inf")
    for _ in range(_TRIES):
        before = clock.monotonic()
        wall = clock.wall()
        took = clock.monotonic() - before
        if took < shortest:
            best, shortest = wall - before - took / 2, took
        if took <= _TOGETHER_SECONDS:
            break
    return best
