import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.summary import Check, digits, median, percent, quantile, relative_error, scaled, tick_bound, times


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [
        ([7.0], 0.99, 7.0),
        ([1.0, 2.0, 3.0], 0.5, 2.0),
        ([3.0, 1.0, 2.0], 0.0, 1.0),
        ([3.0, 1.0, 2.0], 1.0, 3.0),
        ([0.0, 10.0], 0.25, 2.5),
        (list(map(float, range(101))), 0.99, 99.0),
    ],
)
def test_quantile(values: list[float], share: float, expected: float) -> None:
    """A quantile lies on the straight line between its neighbours, whatever the order."""
    assert quantile(values, share) == pytest.approx(expected)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1), st.floats(0, 1), st.floats(0, 1))
def test_quantile_is_monotone(values: list[float], one: float, other: float) -> None:
    """Quantiles rise with their share and stay within the values."""
    low, high = quantile(values, min(one, other)), quantile(values, max(one, other))
    assert min(values) <= low <= high + 1e-9
    assert high <= max(values)


@pytest.mark.parametrize(("values", "share"), [([], 0.5), ([1.0], 1.1), ([1.0], -0.1), ([1.0], math.nan)])
def test_no_quantile(values: list[float], share: float) -> None:
    """Without values, or for a share that is none, there is no quantile."""
    with pytest.raises(ValueError, match="no quantile"):
        quantile(values, share)


def test_median_of_an_even_number() -> None:
    """The median of an even number of values is the middle between the two in the middle."""
    assert median([1.0, 2.0, 4.0, 9.0]) == 3.0


def test_errors_and_bounds() -> None:
    """An error has a sign and is of the truth; the bound of a window is power × tick at both edges."""
    assert relative_error(99.0, 100.0) == pytest.approx(-0.01)
    assert tick_bound([300.0, 100.0], 0.1) == pytest.approx(40.0)


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [
        (0.0, "s", "0 s"),
        (12.34e-6, "s", "12.3 µs"),
        (0.99996e-3, "s", "1.00 ms"),
        (0.0234, "s", "23.4 ms"),
        (61.0, "s", "61.0 s"),
        (7200.0, "s", "120 min"),
        (4e-11, "s", "0.040 ns"),
        (33_500_000.0, "B", "33.5 MB"),
        (12.0, "B", "12.0 B"),
        (-827_900.0, "J", "-828 kJ"),
        (0.5, "J", "500 mJ"),
    ],
)
def test_scaled(value: float, unit: str, expected: str) -> None:
    """A figure has three digits and the prefix that suits it."""
    assert scaled(value, unit) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [(242_286.0, "242,286"), (99.96, "100"), (12.345, "12.3"), (9.996, "10.0"), (1.234, "1.23"), (0.0321, "0.032")],
)
def test_digits(value: float, expected: str) -> None:
    """A number has three digits and no exponent."""
    assert digits(value) == expected


@pytest.mark.parametrize(
    ("ratio", "expected"),
    [(0.0, "0 %"), (0.0281, "2.81 %"), (1.02, "102 %"), (3.4e-6, "3.4 ppm"), (-0.0286, "-2.86 %")],
)
def test_percent(ratio: float, expected: str) -> None:
    """A ratio is told as per cent, or as parts per million where that would be all zeros."""
    assert percent(ratio) == expected


def test_times() -> None:
    """Ours is told as a multiple of theirs, and not at all where theirs is nothing."""
    assert times(1.0, 2.0) == "0.500×"
    assert times(1.0, 0.0) == "—"


def test_verdict() -> None:
    """A check says PASS or FAIL."""
    assert [Check("a", "1", "2", passed).verdict for passed in (True, False)] == ["PASS", "FAIL"]
