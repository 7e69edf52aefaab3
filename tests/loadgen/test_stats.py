"""Percentiles, what they need, and when a load has settled."""

from hypothesis import given
from hypothesis import strategies as st

from perjoule_loadgen.stats import latency, percentile, requests_needed, settled


@given(st.lists(st.floats(0, 1e6), min_size=1), st.integers(1, 100))
def test_percentile_is_a_measured_value(values: list[float], percent: int) -> None:
    """The nearest rank is a value of the list that at least ``percent`` % of them do not exceed."""
    ordered = sorted(values)
    found = percentile(ordered, percent)
    assert found in ordered
    assert sum(value <= found for value in ordered) * 100 >= percent * len(ordered)
    assert sum(value < found for value in ordered) * 100 < percent * len(ordered)


def test_requests_that_percentiles_need() -> None:
    """MLPerf's numbers: 64 for p90 and 662 for p99; p95 lies between."""
    assert [requests_needed(percent) for percent in (90, 95, 99)] == [64, 130, 662]


def test_percentiles_are_absent_below_their_number() -> None:
    """One request fewer and the percentile is not stated; the median always is."""
    for percent, name in ((90, "p90"), (95, "p95"), (99, "p99")):
        need = requests_needed(percent)
        assert getattr(latency([0.1] * need), name) == 0.1
        assert getattr(latency([0.1] * (need - 1)), name) is None
    assert latency([0.1]).p50 == 0.1
    assert latency([]).mean is None


def test_settled_wants_two_like_spans() -> None:
    """An even load has settled, a rising one has not, and neither has one that is too short or too slow to tell."""
    even = [at / 50 for at in range(250)]
    assert settled(even, 5.0, 1.0)
    rising = [at / 50 for at in range(200)] + [4 + at / 200 for at in range(200)]
    assert not settled(rising, 5.0, 1.0)
    assert not settled(even, 5.0, 2.6)
    assert not settled([float(at) for at in range(9)], 9.0, 2.0)
