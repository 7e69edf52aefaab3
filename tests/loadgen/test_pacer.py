"""Arrival statistics are proved on the pure schedule: no clock, no sleep."""

import math
import statistics
from itertools import islice, pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perjoule_loadgen.config import Arrival
from perjoule_loadgen.pacer import constant, poisson, schedule, shuffled

rates = st.floats(min_value=0.01, max_value=10_000)


def gaps(times: list[float]) -> list[float]:
    return [after - before for before, after in pairwise(times)]


@given(rates)
def test_constant_is_constant(rate: float) -> None:
    """The coefficient of variation of a constant rate's gaps is under 0.001, and their mean is 1/rate."""
    found = gaps(list(islice(constant(rate), 1000)))
    assert statistics.fmean(found) == pytest.approx(1 / rate, rel=1e-9)
    assert statistics.pstdev(found) / statistics.fmean(found) < 0.001


@pytest.mark.parametrize("seed", range(5))
def test_poisson_gaps_are_exponential(seed: int) -> None:
    """Kolmogorov–Smirnov: the gaps' distribution is 1 − exp(−rate·t), at the 1 % level (1.63 ÷ √n)."""
    rate, count = 25.0, 20_000
    found = sorted(gaps([0.0, *islice(poisson(rate, Random(seed)), count)]))  # noqa: S311 (a seeded schedule)
    expected = [1 - math.exp(-rate * gap) for gap in found]
    distance = max(max(abs((i + 1) / count - e), abs(i / count - e)) for i, e in enumerate(expected))
    assert distance < 1.63 / math.sqrt(count)


@pytest.mark.parametrize("arrival", [Arrival.CONSTANT, Arrival.POISSON])
def test_same_seed_same_schedule(arrival: Arrival) -> None:
    """A seed reproduces a schedule exactly."""
    first, second = (schedule(arrival, 10, Random(7), 20.0) for _ in range(2))  # noqa: S311 (a seeded schedule)
    assert first == second
    assert len(first.offsets) > 100


@given(rates, st.integers(0, 300), st.floats(0.0, 5.0), st.sampled_from([Arrival.CONSTANT, Arrival.POISSON]))
def test_schedule_holds_both_minima(rate: float, requests: int, seconds: float, arrival: Arrival) -> None:
    """Offsets ascend; the schedule lasts the seconds and holds the requests, with no offset beyond what is needed."""
    seconds = min(seconds, 3000 / rate)
    made = schedule(arrival, rate, Random(1), seconds, requests)  # noqa: S311 (a seeded schedule)
    offsets = list(made.offsets)
    assert offsets == sorted(offsets)
    assert len(offsets) >= requests
    assert made.seconds >= seconds
    assert all(offset < seconds for offset in offsets[requests:])


def test_ten_per_second_for_ten_seconds_is_a_hundred() -> None:
    """A constant rate's first request is sent at 0 and the last one before the end."""
    made = schedule(Arrival.CONSTANT, 10, Random(0), 10.0)  # noqa: S311 (a seeded schedule)
    assert (len(made.offsets), made.offsets[0], made.offsets[-1], made.seconds) == (100, 0.0, 9.9, 10.0)


def test_inputs_come_in_rounds() -> None:
    """Every round holds each input once, rounds differ, and a seed reproduces them."""
    first = list(islice(shuffled(10, Random("a")), 30))  # noqa: S311 (an order)
    assert [sorted(first[at : at + 10]) for at in (0, 10, 20)] == [list(range(10))] * 3
    assert first[:10] != first[10:20]
    assert first == list(islice(shuffled(10, Random("a")), 30))  # noqa: S311 (an order)
