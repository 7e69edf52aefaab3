"""Percentiles of any number of values in a few kilobytes: counts in buckets of equal width on a logarithmic scale.

A percentile is within 0.05 % of the value that a sorted list would give (DDSketch: Masson, Rim, Lee, VLDB 2019); the
smallest and the largest value, the number and the sum are exact. Two sketches add up to that of all their values.
"""

import math
from collections.abc import Iterable

_RATIO = 1.001
"""Between the bounds of a bucket: its middle is within 0.05 % of everything in it."""
_PER_UNIT = 1 / math.log(_RATIO)
_LEAST = 1e-9
"""What is smaller, and what is negative, is counted as nothing."""
_NOTHING = -(10**9)


class Sketch:
    """Counts of values. Values that are no numbers are not counted at all."""

    __slots__ = ("_buckets", "count", "high", "low", "total")

    def __init__(self, values: Iterable[float] = ()) -> None:
        self._buckets: dict[int, int] = {}
        self.count, self.total, self.low, self.high = 0, 0.0, math.inf, -math.inf
        for value in values:
            self.add(value)

    def add(self, value: float) -> None:
        """Count a value."""
        if value != value:  # noqa: PLR0124 (the fast way to find a NaN)
            return
        key = math.floor(math.log(value) * _PER_UNIT) if value > _LEAST else _NOTHING
        self._buckets[key] = self._buckets.get(key, 0) + 1
        self.count += 1
        self.total += value
        if value < self.low:  # noqa: PLR1730 (twice as fast as min, for each piece of each stream)
            self.low = value
        if value > self.high:  # noqa: PLR1730 (as above)
            self.high = value

    def merge(self, other: "Sketch") -> None:
        """Count all values of another sketch."""
        for key, number in other._buckets.items():  # noqa: SLF001 (of its own kind)
            self._buckets[key] = self._buckets.get(key, 0) + number
        self.count, self.total = self.count + other.count, self.total + other.total
        self.low, self.high = min(self.low, other.low), max(self.high, other.high)

    @property
    def mean(self) -> float | None:
        """Mean of all values, None of nothing."""
        return self.total / self.count if self.count else None

    def percentile(self, percent: float) -> float:
        """Return the least value that ``percent`` % do not exceed, within 0.05 %.

        Raises:
            ValueError: nothing was counted.
        """
        if not self.count:
            raise ValueError("no percentile of nothing")
        left = max(math.ceil(percent / 100 * self.count), 1)
        if left == self.count:
            return self.high
        for key in sorted(self._buckets):
            left -= self._buckets[key]
            if left <= 0:
                return min(max(_middle(key), self.low), self.high)
        raise AssertionError("more values than were counted")


def _middle(key: int) -> float:
    return 0.0 if key == _NOTHING else math.exp((key + 0.5) / _PER_UNIT)
