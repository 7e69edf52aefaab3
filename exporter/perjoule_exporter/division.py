"""Whole numbers shared out so that the parts sum to the whole exactly. Pure.

It does not know what is shared out, nor what a weight stands for.
"""

from collections.abc import Sequence
from math import inf
from typing import cast

_FINEST = 1 << 40
"""The largest weight becomes this: parts are off by less than a millionth of a microjoule in a megajoule."""


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
