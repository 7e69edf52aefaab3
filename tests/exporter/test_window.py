"""Sliding extremes against the plain definition."""

from hypothesis import given
from hypothesis import strategies as st

from perjoule_exporter.window import SlidingExtremes


def test_empty_has_no_extremes() -> None:
    """Nothing added, nothing known."""
    window = SlidingExtremes(15.0)
    assert (window.lowest(), window.highest()) == (None, None)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(-9, 9)), min_size=1))
def test_extremes_are_those_of_the_values_within_the_window(steps: list[tuple[int, int]]) -> None:
    """After each value, highest and lowest equal max and min over the last seconds."""
    window, values, now = SlidingExtremes(7.0), [], 0
    for step, value in steps:
        now += step
        values.append((now, value))
        window.add(now, value)
        recent = [v for t, v in values if t >= now - 7]
        assert (window.lowest(), window.highest()) == (min(recent), max(recent))
