"""The highest and lowest of the values of a sliding time window, in constant time a value.

Knows numbers and their times, and nothing of power or clocks. Values must come in the order of their times.
"""

from collections import deque


class SlidingExtremes:
    """Extremes of the values added within the last ``seconds``."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        # Each queue holds only values that can still become the extreme, so its first one is the extreme.
        self._highs: deque[tuple[float, float]] = deque()
        self._lows: deque[tuple[float, float]] = deque()

    def add(self, time: float, value: float) -> None:
        """Add ``value`` at ``time`` and forget what is older than the window."""
        while self._highs and self._highs[-1][1] <= value:
            self._highs.pop()
        while self._lows and self._lows[-1][1] >= value:
            self._lows.pop()
        for queue in (self._highs, self._lows):
            queue.append((time, value))
            while queue[0][0] < time - self._seconds:
                queue.popleft()

    def highest(self) -> float | None:
        """Return the highest value of the window that ends at the last value; None while there is none."""
        return self._highs[0][1] if self._highs else None

    def lowest(self) -> float | None:
        """Return the lowest value of the window that ends at the last value; None while there is none."""
        return self._lows[0][1] if self._lows else None
