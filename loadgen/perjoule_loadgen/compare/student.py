"""Student's t distribution and Welch's interval, for a handful of repeats. Pure; knows nothing of runs.

The cumulative distribution is the regularised incomplete beta function (Abramowitz and Stegun 26.7.1), by its continued
fraction (26.5.8, evaluated by Lentz's method); the quantile is found by bisection.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

_TINY = 1e-300
_PRECISE = 1e-15
_MOST_TERMS = 500


def cumulative(t: float, degrees: float) -> float:
    """Return the probability of a value up to ``t`` with ``degrees`` of freedom (above 0, not only whole)."""
    tail = _beta(degrees / (degrees + t * t), degrees / 2, 0.5) / 2
    return 1 - tail if t > 0 else tail


def quantile(probability: float, degrees: float) -> float:
    """Return the ``t`` that has ``probability`` (0.5 to 1) below it."""
    low, high = 0.0, 1.0
    while cumulative(high, degrees) < probability:
        high *= 2
    for _ in range(200):
        middle = (low + high) / 2
        if cumulative(middle, degrees) < probability:
            low = middle
        else:
            high = middle
    return high


def _beta(x: float, a: float, b: float) -> float:
    """Return the regularised incomplete beta function I_x(a, b)."""
    if x <= 0 or x >= 1:
        return 0.0 if x <= 0 else 1.0
    if x > (a + 1) / (a + b + 2):  # the fraction converges fast on the other side
        return 1 - _beta(1 - x, b, a)
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x))
    return front / a / _fraction(x, a, b)


def _fraction(x: float, a: float, b: float) -> float:
    value, above, below = 1.0, 1.0, 0.0
    for term in range(1, _MOST_TERMS):
        half = term // 2
        if term % 2:
            each = -(a + half) * (a + b + half) * x / ((a + 2 * half) * (a + 2 * half + 1))
        else:
            each = half * (b - half) * x / ((a + 2 * half - 1) * (a + 2 * half))
        below = 1 / ((1 + each * below) or _TINY)
        above = (1 + each / above) or _TINY
        value *= above * below
        if abs(above * below - 1) < _PRECISE:
            break
    return value


@dataclass(frozen=True, slots=True)
class Difference:
    """A difference of two means with its interval, and the probability of one as large where there is none."""

    value: float
    low: float
    high: float
    p: float


def welch(first: Sequence[float], second: Sequence[float], confidence: float = 0.95) -> Difference:
    """Return the difference of the means of two samples, second minus first, by Welch's t (Biometrika 34, 1947).

    Raises:
        ValueError: a sample has fewer than two values.
    """
    if min(len(first), len(second)) < 2:  # noqa: PLR2004 (one value has no variance)
        raise ValueError("each sample needs two values or more")
    parts = [statistics.variance(sample) / len(sample) for sample in (first, second)]
    value = statistics.fmean(second) - statistics.fmean(first)
    error = math.sqrt(sum(parts))
    if error == 0:
        return Difference(value, value, value, 1.0 if value == 0 else 0.0)
    spread = sum(part**2 / (len(sample) - 1) for part, sample in zip(parts, (first, second), strict=True))
    degrees = sum(parts) ** 2 / spread
    half = quantile((1 + confidence) / 2, degrees) * error
    return Difference(value, value - half, value + half, 2 * (1 - cumulative(abs(value) / error, degrees)))
