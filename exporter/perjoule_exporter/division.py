"""Whole numbers shared out so that the parts sum to the whole exactly. Pure.

It does not know what is shared out, nor what a weight stands for.
"""

from collections.abc import Sequence
from itertools import accumulate
from math import inf
from operator import sub
from typing import cast

_FINEST = 1 << 40
"""The largest weight becomes this: parts are off by less than a millionth of a microjoule in a megajoule."""

_MOST_BY_FLOATS, _MOST_PARTS, _LEAST_WHOLE = 1 << 40, 1 << 10, 1e-100
"""Up to here doubles place each edge to a quarter: it is off by the number of parts × 2^-53 of the total at most."""


def shared(total: int, weights: Sequence[float]) -> list[int]:
    """Return integer parts of ``total`` as ``divided`` does, of weights as ``whole_weights`` takes them.

    In floating point where that is exact enough, which takes a third of the time: the edges between the parts are
    rounded, so that the parts sum to the total all the same.
    """
    edges = list(accumulate(weights))
    whole = edges[-1]
    if not (
        total <= _MOST_BY_FLOATS and len(edges) <= _MOST_PARTS and _LEAST_WHOLE < whole < inf and min(weights) >= 0
    ):
        return divided(total, whole_weights(weights))
    scale = total / whole
    ends = [int(edge * scale + 0.5) for edge in edges]
    ends[-1] = total
    return [ends[0], *map(sub, ends[1:], ends)]


def divided(total: int, weights: Sequence[int]) -> list[int]:
    """Return integer parts of ``total`` in the proportion of ``weights``, at least one of them above 0.

    Part k is what is due to the first k less what the first k − 1 got: no part is off by more than one, none is below
    0, and together they are ``total``.
    """
    whole, before, due = sum(weights), 0, 0
    twice_total, twice_whole = 2 * total, 2 * whole
    parts = []
    for weight in weights:
        due += weight
        upto = (twice_total * due + whole) // twice_whole
        parts.append(upto - before)
        before = upto
    return parts


def whole_weights(weights: Sequence[float]) -> Sequence[int]:
    """Return integers in the proportion of ``weights``, fit for ``divided``.

    What is no weight (negative, infinite, not a number) counts as 0; where nothing is above 0, all are alike.
    """
    total = sum(weights)
    if not (0.0 < total < inf and min(weights) >= 0.0):
        weights = [weight if 0.0 < weight < inf else 0.0 for weight in weights]
    elif isinstance(total, int):
        return cast("Sequence[int]", weights)  # none is a fraction, or the sum would be
    largest = max(weights, default=0.0)
    if largest == 0.0:
        return [1] * len(weights)
    return [int(weight / largest * _FINEST) for weight in weights]
