"""Statistics of a run as pure functions: percentiles, how many requests they need, and whether a load has settled.

Takes numbers and returns numbers; knows neither requests nor joules.
"""

import math
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache

from perjoule_loadgen.sketch import Sketch


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure with the bounds that its uncertainty allows. ``value`` is None where it lies below the resolution."""

    value: float | None
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Latency:
    """Latencies in seconds; a percentile is None where too few requests were measured to state it."""

    mean: float | None
    p50: float | None
    p90: float | None
    p95: float | None
    p99: float | None


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Return the nearest-rank percentile of an ascending sequence: the least value that ``percent`` % do not exceed.

    Raises:
        ValueError: the sequence is empty.
    """
    if not ordered:
        raise ValueError("no percentile of nothing")
    return ordered[max(math.ceil(percent / 100 * len(ordered)) - 1, 0)]


@cache
def requests_needed(percent: int) -> int:
    """Return how many requests a percentile needs: 64 for p90, 130 for p95, 662 for p99.

    MLPerf's early stopping: the fewest n for which at most one request over the percentile has a probability of at
    most 1 % (https://github.com/mlcommons/inference_policies, appendix on early stopping).
    """
    tail = 1 - percent / 100
    n = 2
    while (1 - tail) ** n + n * tail * (1 - tail) ** (n - 1) > 0.01:  # noqa: PLR2004 (the confidence, above)
        n += 1
    return n


def latency(seconds: Iterable[float] | Sketch) -> Latency:
    """Summarise latencies; percentiles above the median only where the number of requests supports them.

    Percentiles are within 0.05 % of the measured value of their rank (``sketch``).
    """
    found = seconds if isinstance(seconds, Sketch) else Sketch(seconds)
    if not found.count:
        return Latency(None, None, None, None, None)

    def supported(percent: int) -> float | None:
        return found.percentile(percent) if found.count >= requests_needed(percent) else None

    return Latency(found.mean, found.percentile(50), supported(90), supported(95), supported(99))


def settled(done: Sequence[float], now: float, span: float) -> bool:
    """Tell whether throughput has settled: the last two spans hold the same number of answers, within noise.

    ``done`` are ascending times of answers. Within noise: within 5 %, or two standard deviations of a Poisson count
    where that is more; both spans hold at least ten answers.
    """
    middle, begin = bisect_left(done, now - span), bisect_left(done, now - 2 * span)
    earlier, later = middle - begin, len(done) - middle
    if begin == 0 or min(earlier, later) < 10:  # noqa: PLR2004 (as the docstring says)
        return False
    return abs(later - earlier) <= max(0.05 * earlier, 2 * math.sqrt(earlier))
