"""Whole numbers shared out by weights of any kind."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perjoule_exporter.division import shared

weights = st.lists(st.one_of(st.floats(0, 1e18), st.integers(0, 10**18), st.sampled_from((0.0, 1.0))), min_size=1)


@given(st.one_of(st.integers(0, 2**41), st.integers(0, 10**16)), weights)
def test_parts_sum_to_the_total_and_are_what_is_due(total: int, weights: list[float]) -> None:
    """None is below 0, and none off by more than one, in a megajoule; beyond it by a trace of the total."""
    parts = shared(total, weights)
    assert sum(parts) == total
    assert min(parts) >= 0
    whole = sum(map(Fraction, weights))
    if whole > 0:
        due = [total * Fraction(weight) / whole for weight in weights]
        off = 1 if total <= 2**40 else 1 + Fraction(total * len(parts), 2**40)
        assert all(abs(part - each) <= off for part, each in zip(parts, due, strict=True))


@pytest.mark.parametrize(
    ("total", "given_weights", "parts"),
    [
        (10, [5e-324, 5e-324], [5, 5]),
        (10, [1e308, 1e308], [5, 5]),
        (10, [float("nan"), 1.0], [0, 10]),
        (10, [float("inf"), 1.0], [0, 10]),
        (10, [-4.0, 1.0], [0, 10]),
        (10, [0.0, 0.0], [5, 5]),
        (10, [3], [10]),
        (0, [1.0, 2.0], [0, 0]),
        (10, [1.0, 0.0, 0.0], [10, 0, 0]),
        (2**40, [1.0, 3.0, 0.0], [2**38, 3 * 2**38, 0]),
        (2**60 + 1, [1, 1], [2**59 + 1, 2**59]),
    ],
)
def test_weights_that_are_hard(total: int, given_weights: list[float], parts: list[int]) -> None:
    """What is no weight counts as 0, where nothing has weight all are alike, and totals beyond doubles are exact."""
    assert shared(total, given_weights) == parts
