"""How spans lie in an interval: the seconds of each, and how they share the time that several cover. Pure.

It knows times alone, neither energy nor watts.
"""

from collections.abc import Sequence
from typing import NamedTuple


class Overlap(NamedTuple):
    """Spans in an interval.

    Attributes:
        seconds: of each span, in the interval.
        parts: of each span, its part of the covered time: a moment that n spans cover is a n-th of each.
        covered: seconds that any span covers, together all ``parts``.
    """

    seconds: list[float]
    parts: list[float]
    covered: float


def overlap(firsts: Sequence[float], lasts: Sequence[float]) -> Overlap:
    """Return how the pieces of time from each of ``firsts`` to the same of ``lasts`` lie; none of them is empty."""
    seconds = [last - first for first, last in zip(firsts, lasts, strict=True)]
    if len(seconds) == 1:
        return Overlap(seconds, seconds, seconds[0])
    edges = sorted([*((first, 1) for first in firsts), *((last, -1) for last in lasts)])
    # One clock for all, which runs slower the more spans there are: a span's part is how far it went meanwhile.
    clock: dict[float, float] = {}
    went, covered, before, count = 0.0, 0.0, edges[0][0], 0
    for time, step in edges:
        if count:
            went += (time - before) / count
            covered += time - before
        clock[time] = went
        count += step
        before = time
    return Overlap(seconds, [clock[last] - clock[first] for first, last in zip(firsts, lasts, strict=True)], covered)
