"""How long until a device is read again: often while it works, seldom while it rests, closely around a tick.

Pure. It knows utilisation, power and predicted ticks, and nothing of devices or threads. Energy counters lose nothing
by seldom reading; what gets coarser is when the counter moved, and power between two readings.
"""

from dataclasses import dataclass

REST_SECONDS = 5.0
"""A device rests when nothing ran on it for this long."""

_WAKE_RATIO, _WAKE_WATTS = 1.2, 5.0
"""Power above the lowest of the last 15 s by this much means that something runs, before utilisation says so."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds between two readings of a device that works, that rests, and around a predicted tick."""

    busy_seconds: float = 0.025
    idle_seconds: float = 0.1
    edge_seconds: float = 0.005

    def until_next(self, *, resting: bool, attended: bool, until_tick: float | None) -> float:
        """Return the seconds until the next reading.

        Args:
            resting: nothing runs on the device.
            attended: somebody needs to know exactly when the counter moves.
            until_tick: seconds until it should, negative when it is overdue; None when its tick is not known.
        """
        if not attended:
            return max(self.busy_seconds, self.idle_seconds) if resting else self.busy_seconds
        if until_tick is None or until_tick < -self.busy_seconds:
            return self.busy_seconds
        return min(self.busy_seconds, max(self.edge_seconds, until_tick - self.edge_seconds))


class Rest:
    """Whether a device rests, from what its readings tell."""

    def __init__(self) -> None:
        self._idle_since: float | None = None

    def utilized(self, ratio: float | None, time: float) -> None:
        """Take over a utilisation, 0 to 1; a device that does not tell it never rests."""
        if ratio is None or ratio > 0:
            self._idle_since = None
        elif self._idle_since is None:
            self._idle_since = time

    def drew(self, watts: float | None, lowest: float | None) -> None:
        """Take over a power, beside the lowest of late."""
        if watts is not None and lowest is not None and watts > _WAKE_RATIO * lowest + _WAKE_WATTS:
            self._idle_since = None

    def resting(self, time: float) -> bool:
        """Return whether nothing ran for long enough."""
        return self._idle_since is not None and time - self._idle_since >= REST_SECONDS
