"""Percentiles without lists."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perjoule_loadgen.sketch import Sketch
from perjoule_loadgen.stats import percentile

values = st.lists(st.floats(1e-6, 1e5), min_size=1, max_size=300)


@given(values, st.integers(1, 100))
def test_a_percentile_is_within_half_a_thousandth(found: list[float], percent: int) -> None:
    """Of the value that the whole list gives."""
    assert Sketch(found).percentile(percent) == pytest.approx(percentile(sorted(found), percent), rel=5.1e-4)


@given(values, values)
def test_two_sketches_add_up(one: list[float], other: list[float]) -> None:
    """To that of all their values."""
    both, whole = Sketch(one), Sketch(one + other)
    both.merge(Sketch(other))
    assert [both.percentile(p) for p in (1, 50, 99, 100)] == [whole.percentile(p) for p in (1, 50, 99, 100)]
    assert (both.count, both.low, both.high) == (whole.count, whole.low, whole.high)
    assert both.mean == pytest.approx(whole.mean)


def test_the_ends_are_exact() -> None:
    """The largest value, the mean, and values that are all the same."""
    found = Sketch([0.25] * 10)
    assert [found.percentile(p) for p in (1, 50, 100)] == [0.25] * 3
    assert Sketch([0.1, 7.0]).percentile(100) == 7.0
    assert Sketch([1.0, 2.0]).mean == 1.5


def test_nothing_and_less() -> None:
    """Zero and negative values count as nothing, what is no number does not count, and of no value there is none."""
    assert Sketch([0.0, -1.0, 3.0]).percentile(50) == 0.0
    assert Sketch([math.nan]).count == 0
    assert Sketch().mean is None
    with pytest.raises(ValueError, match="of nothing"):
        Sketch().percentile(50)


def test_a_million_values_take_a_few_kilobytes() -> None:
    """Latencies over four decades fill some ten thousand buckets at most, however many there are."""
    rng = random.Random(1)  # noqa: S311 (test data)
    found = Sketch(10 ** rng.uniform(-4, 0) for _ in range(100_000))
    assert len(found._buckets) < 10_000
