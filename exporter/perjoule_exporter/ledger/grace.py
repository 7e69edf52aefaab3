"""How long an interval waits for the lines of its time: longer for a while after some came late. Pure.

A busy machine tells late, and a line that comes after its energy is given away costs its request's figure. It does not
know why a line is late: what is older than any machine's business makes it wait no longer.
"""

_MARGIN = 1.5
"""Lines are waited for this many times as long as the latest of the last while took."""

_WHILE_SECONDS = 10.0
"""The latest line of so long is known, and of the same time before."""


class Grace:
    """Seconds between ``least`` and ``most``; ``least`` alone where that is more."""

    def __init__(self, least: float, most: float) -> None:
        self._least = least
        self._most = max(least, most)
        self._latest = self._before = 0.0
        self._turns_at = 0.0

    def heard(self, told: float, now: float) -> None:
        """Take over that a line of the time ``told`` came now; both in monotonic seconds."""
        took = now - told
        if self._latest < took <= self._most:
            self._turn(now)
            self._latest = took

    def seconds(self, now: float) -> float:
        """Return how long to wait as of now."""
        self._turn(now)
        return min(self._most, max(self._least, _MARGIN * max(self._latest, self._before)))

    def _turn(self, now: float) -> None:
        if now >= self._turns_at:
            recent = now < self._turns_at + _WHILE_SECONDS
            self._before, self._latest = (self._latest if recent else 0.0), 0.0
            self._turns_at = now + _WHILE_SECONDS
