"""Arrival statistics are proved on the pure schedule: no clock, no sleep."""

import heapq
import math
import statistics
from collections.abc import Callable, Sequence
from itertools import islice, pairwise
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perjoule.errors import UsageError
from perjoule_loadgen.config import Arrival, Config, Shard
from perjoule_loadgen.pacer import Schedule, mean_rate, order, shuffled, warm_up_schedule, window_schedule
from perjoule_loadgen.stages import Stage, parse_stages, total_seconds
from perjoule_loadgen.trace import read_trace

rates = st.floats(min_value=0.01, max_value=10_000)
PROCESSES = [Arrival.CONSTANT, Arrival.POISSON, Arrival.GAMMA]
KS_1_PERCENT = 1.63
"""Of the Kolmogorov–Smirnov distance times √n, at the 1 % level."""


def gaps(times: Sequence[float]) -> list[float]:
    return [after - before for before, after in pairwise(times)]


def distance(found: Sequence[float], distribution: Callable[[float], float]) -> float:
    """The Kolmogorov–Smirnov distance, times √n."""
    expected = [distribution(value) for value in sorted(found)]
    count = len(expected)
    return max(max(abs((i + 1) / count - e), abs(i / count - e)) for i, e in enumerate(expected)) * math.sqrt(count)


def erlang(shape: int, rate: float) -> Callable[[float], float]:
    """The distribution of a gamma gap of whole shape and mean 1/rate."""
    return lambda gap: (
        1 - math.exp(-shape * rate * gap) * sum((shape * rate * gap) ** k / math.factorial(k) for k in range(shape))
    )


def chi_squared_1(rate: float) -> Callable[[float], float]:
    """The distribution of a gamma gap of shape 1/2 and mean 1/rate."""
    return lambda gap: math.erf(math.sqrt(rate * gap / 2))


@given(rates)
def test_constant_is_constant(rate: float) -> None:
    """The coefficient of variation of a constant rate's gaps is under 0.001, and their mean is 1/rate."""
    found = gaps(list(islice(Schedule(Arrival.CONSTANT, rate).offsets(), 1000)))
    assert statistics.fmean(found) == pytest.approx(1 / rate, rel=1e-9)
    assert statistics.pstdev(found) / statistics.fmean(found) < 0.001


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("arrival", "burstiness", "distribution"),
    [
        (Arrival.POISSON, 1.0, erlang(1, 25.0)),
        (Arrival.GAMMA, 1.0, erlang(1, 25.0)),
        (Arrival.GAMMA, 3.0, erlang(3, 25.0)),
        (Arrival.GAMMA, 0.5, chi_squared_1(25.0)),
    ],
    ids=["poisson", "gamma-1", "gamma-3", "gamma-0.5"],
)
def test_gaps_have_their_distribution(
    arrival: Arrival, burstiness: float, distribution: Callable[[float], float], seed: int
) -> None:
    """Kolmogorov–Smirnov at the 1 % level: exponential gaps of Poisson, and gamma gaps of their shape."""
    made = Schedule(arrival, 25.0, seed=f"{seed}", burstiness=burstiness)
    assert distance(gaps([0.0, *islice(made.offsets(), 20_000)]), distribution) < KS_1_PERCENT


def test_a_constant_rate_is_not_poisson() -> None:
    """The test above can fail: constant gaps, and gamma gaps of another shape, are far from exponential."""
    for made in (Schedule(Arrival.CONSTANT, 25.0), Schedule(Arrival.GAMMA, 25.0, burstiness=1.2)):
        assert distance(gaps([0.0, *islice(made.offsets(), 20_000)]), erlang(1, 25.0)) > 2 * KS_1_PERCENT


@pytest.mark.parametrize("seed", range(5))
def test_stages_bend_a_poisson_process(seed: int) -> None:
    """Under a ramp the requests that the stages had brought by each arrival are a Poisson process of rate 1."""
    stages = parse_stages("0-400:20s,400:10s,400-10:20s")
    found = list(Schedule(Arrival.POISSON, seconds=50.0, seed=str(seed), stages=stages).offsets())

    def brought(at: float) -> float:
        total = 0.0
        for stage in stages:
            part = min(at, stage.seconds)
            total += stage.start * part + (stage.end - stage.start) / stage.seconds * part**2 / 2
            at -= part
        return total

    assert found[-1] < 50.0
    assert distance(gaps([0.0, *map(brought, found)]), erlang(1, 1.0)) < KS_1_PERCENT


@given(st.lists(st.tuples(st.floats(0, 500), st.floats(0, 500), st.floats(0.1, 5)), min_size=1, max_size=4))
def test_constant_stages_bring_what_they_say(made: list[tuple[float, float, float]]) -> None:
    """As many requests as the area under the rates, ascending, and none after the end."""
    stages = tuple(Stage(*one) for one in made)
    found = list(Schedule(Arrival.CONSTANT, seconds=total_seconds(stages), stages=stages).offsets())
    assert abs(len(found) - sum(stage.requests for stage in stages)) <= 1
    assert found == sorted(found)
    assert not found or found[-1] <= total_seconds(stages)


@pytest.mark.parametrize("arrival", PROCESSES)
def test_same_seed_same_schedule(arrival: Arrival) -> None:
    """A seed reproduces a schedule exactly, and another seed gives another one where chance plays a part."""
    first, second, third = (
        list(Schedule(arrival, 10, 20.0, seed=seed, burstiness=0.5).offsets()) for seed in ("7", "7", "8")
    )
    assert first == second
    assert (first == third) == (arrival is Arrival.CONSTANT)
    assert len(first) > 100


@given(rates, st.integers(0, 300), st.floats(0.0, 5.0), st.sampled_from(PROCESSES))
def test_schedule_holds_both_minima(rate: float, requests: int, seconds: float, arrival: Arrival) -> None:
    """Offsets ascend; the schedule lasts the seconds and holds the requests, with no offset beyond what is needed."""
    seconds = min(seconds, 3000 / rate)
    made = Schedule(arrival, rate, seconds, requests, "1")
    offsets = list(made.offsets())
    assert offsets == sorted(offsets)
    assert len(offsets) >= requests
    assert made.nominal_seconds >= seconds
    assert all(offset < seconds for offset in offsets[requests:])


def test_ten_per_second_for_ten_seconds_is_a_hundred() -> None:
    """A constant rate's first request is sent at 0 and the last one before the end."""
    offsets = list(Schedule(Arrival.CONSTANT, 10, 10.0).offsets())
    assert (len(offsets), offsets[0], offsets[-1]) == (100, 0.0, 9.9)


# --- Parts of a load


@pytest.mark.parametrize("count", [1, 2, 3, 7])
@pytest.mark.parametrize("arrival", PROCESSES)
def test_shards_together_are_the_one_load(arrival: Arrival, count: int) -> None:
    """What N shards send is exactly what one would have sent: the same times, and the same inputs."""
    whole = Schedule(arrival, 50.0, 10.0, seed="3", burstiness=2.0)
    parts = [
        list(Schedule(arrival, 50.0, 10.0, seed="3", burstiness=2.0, shard=Shard(i, count)).offsets())
        for i in range(count)
    ]
    assert list(heapq.merge(*parts)) == list(whole.offsets())
    orders = [list(islice(order(9, "s", Shard(i, count)), 50)) for i in range(count)]
    assert [orders[k % count][k // count] for k in range(50)] == list(islice(order(9, "s", Shard()), 50))


def test_constant_shards_are_offset() -> None:
    """Each of three shards of 30 a second sends 10 a second, a thirtieth of a second after the one before it."""
    parts = [list(Schedule(Arrival.CONSTANT, 30.0, 1.0, shard=Shard(i, 3)).offsets()) for i in range(3)]
    assert [len(part) for part in parts] == [10, 10, 10]
    assert [part[0] for part in parts] == pytest.approx([0.0, 1 / 30, 2 / 30])
    assert all(gap == pytest.approx(0.1) for part in parts for gap in gaps(part))


@given(st.integers(0, 1000), st.integers(1, 9), st.integers(1, 5))
def test_shares_add_up(total: int, count: int, workers: int) -> None:
    """The shares of all workers of all shards are the whole, and differ by one at most."""
    shares = [Shard(i, count).split(w, workers).share(total) for i in range(count) for w in range(workers)]
    assert sum(shares) == total
    assert max(shares) - min(shares) <= 1


# --- Traces


@pytest.mark.parametrize(
    ("text", "unit", "offsets"),
    [
        ("10\n10.5\n12\n", "s", (0.0, 0.5, 2.0)),
        ("Timestamp,Model\n5,a\n\n7,b\n", "s", (0.0, 2.0)),
        ("timestamp\n3\n1\n", "s", (0.0, 2.0)),
        ('{"timestamp": 0, "input_length": 9}\n{"timestamp": 250}\n', "ms", (0.0, 0.25)),
        ("\ufeff1 x\n# pause\n2\ty\n", "s", (0.0, 1.0)),
    ],
)
def test_a_trace_is_read(tmp_path: Path, text: str, unit: str, offsets: tuple[float, ...]) -> None:
    """Numbers, the first column of a CSV, and the objects of published traces, in seconds from the first request."""
    path = tmp_path / "trace"
    path.write_text(text, encoding="utf-8")
    assert read_trace(path, unit) == pytest.approx(offsets)


@pytest.mark.parametrize(
    ("text", "says"),
    [("", "no times in it"), ("heading\n", "no times in it"), ("1\ntwo\n", "line 2: no time"),
     ('{"t": 1}', "line 1: no time"), ("1\nnan\n", "line 2: nan is no time"), ("1\ninf", "inf is no time"),
     ('1\n{"timestamp": null}', "line 2: no time")],
)  # fmt: skip
def test_a_trace_that_cannot_be_used(tmp_path: Path, text: str, says: str) -> None:
    """The message names the line, and what would have been right."""
    path = tmp_path / "trace"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=says):
        read_trace(path, "s")
    with pytest.raises(UsageError, match="No such file"):
        read_trace(tmp_path / "none", "s")


def test_a_trace_is_sent_as_it_is() -> None:
    """Every time of it once, the last one too; its warm-up has its mean rate."""
    config = Config(("fill-mask",), arrival=Arrival.TRACE, trace=(0.0, 0.1, 4.0))
    made = window_schedule(config, "x", config.window_seconds(0.1), Shard())
    assert list(made.offsets()) == [0.0, 0.1, 4.0]
    warm = warm_up_schedule(config, "x", 4.0, Shard())
    assert warm.arrival is Arrival.CONSTANT
    assert list(warm.offsets()) == pytest.approx([0.0, 4 / 3, 8 / 3])


def test_a_trace_may_be_cut() -> None:
    """With a duration the rest of it is left out."""
    config = Config(("fill-mask",), arrival=Arrival.TRACE, trace=(0.0, 0.1, 4.0), duration=1.0)
    assert list(window_schedule(config, "x", config.window_seconds(0.1), Shard()).offsets()) == [0.0, 0.1]


# --- Stages


@pytest.mark.parametrize(
    ("text", "stages"),
    [("5:10s", (Stage(5, 5, 10),)), ("1-10:30s, 10:1m", (Stage(1, 10, 30), Stage(10, 10, 60))),
     ("0-0.5:500ms,8:1", (Stage(0, 0.5, 0.5), Stage(8, 8, 1)))],
)  # fmt: skip
def test_stages_are_read(text: str, stages: tuple[Stage, ...]) -> None:
    """A rate and how long it holds, or two rates with a ramp between them."""
    assert parse_stages(text) == stages


@pytest.mark.parametrize("text", ["", "5", "5:", ":5s", "5:10s,", "-5:10s", "5:0s", "a:1s", "5-:1s", "0:60s", "0.1:1s"])
def test_what_are_no_stages(text: str) -> None:
    """Anything else, and stages that bring nothing, are refused."""
    with pytest.raises(UsageError):
        parse_stages(text)


def test_a_stage_s_warm_up_has_the_mean_rate() -> None:
    """The mean over all stages, weighted by their time."""
    assert mean_rate(parse_stages("0-10:10s,10:10s"), ()) == pytest.approx(7.5)


def test_inputs_come_in_rounds() -> None:
    """Every round holds each input once, rounds differ, and a seed reproduces them."""
    first = list(islice(shuffled(10, Random("a")), 30))  # noqa: S311 (an order)
    assert [sorted(first[at : at + 10]) for at in (0, 10, 20)] == [list(range(10))] * 3
    assert first[:10] != first[10:20]
    assert first == list(islice(shuffled(10, Random("a")), 30))  # noqa: S311 (an order)
