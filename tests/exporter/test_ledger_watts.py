"""What each kind of work draws, from sums alone: solved, non-negative, with an error that is honest."""

import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perjoule_exporter.ledger.idle import Idle
from perjoule_exporter.ledger.overlap import overlap
from perjoule_exporter.ledger.solve import inverse, solved
from perjoule_exporter.ledger.watts import CONFIDENT, Learned, Watts

TICK = 0.1
TRUE = {"a": 180.0, "b": 330.0, "c": 580.0}


def fed(
    intervals: int = 200,
    *,
    base: float = 0.0,
    noise: float = 0.0,
    together: bool = False,
    watts: Watts[str] | None = None,
    start: float = 0.0,
) -> Watts[str]:
    """Return a fit of intervals in which kinds ran for random times; a and b for the same ones if ``together``."""
    rng = random.Random(1)  # noqa: S311 (a schedule, not a secret)
    if watts is None:
        watts = Watts()
        watts.fix_base(base)
    for number in range(intervals):
        seconds = {kind: TICK * (0.1 + 0.9 * rng.random()) for kind in TRUE}
        if together:
            seconds["b"] = seconds["a"]
        joules = sum(TRUE[kind] * length for kind, length in seconds.items()) + rng.gauss(0, noise)
        watts.learn(seconds, TICK, joules, start + number * TICK)
    return watts


def by_kind(watts: Watts[str]) -> dict[str, Learned[str]]:
    """Return what was learned, by kind."""
    return {learned.kind: learned for learned in watts.learned()}


def test_watts_are_told_apart() -> None:
    """Three kinds that never run alone, to a thousandth, without a mark."""
    for kind, learned in by_kind(fed()).items():
        assert learned.watts == pytest.approx(TRUE[kind], rel=1e-3)
        assert not learned.low_confidence


def test_two_kinds_that_always_run_together_stay_alike() -> None:
    """Nobody can tell them apart: they share by time and are marked; the third is told apart and is not."""
    learned = by_kind(fed(together=True))
    assert learned["a"].watts == pytest.approx(learned["b"].watts)
    assert learned["a"].watts + learned["b"].watts == pytest.approx(TRUE["a"] + TRUE["b"], rel=1e-3)
    assert [learned[kind].low_confidence for kind in "abc"] == [True, True, False]


def test_noise_is_told() -> None:
    """The standard error is the size of the errors, and marks those that are too large."""
    quiet, loud = by_kind(fed(noise=0.5)), by_kind(fed(noise=20.0))
    assert all(abs(quiet[kind].watts - TRUE[kind]) < 4 * quiet[kind].error_watts for kind in TRUE)
    assert all(20 < loud[kind].error_watts / quiet[kind].error_watts < 60 for kind in TRUE)
    assert [loud[kind].low_confidence for kind in "abc"] == [True, True, True]
    assert [quiet[kind].low_confidence for kind in "abc"] == [False, False, False]


def test_too_few_intervals_are_marked() -> None:
    """Two intervals say nothing for sure, whatever they fit."""
    assert all(learned.low_confidence for learned in fed(2).learned())


def test_work_draws_alike_until_more_is_known() -> None:
    """That is sharing by plain time."""
    watts: Watts[str] = Watts()
    watts.fix_base(0.0)
    watts.learn({"a": 0.05, "b": 0.05}, TICK, 20.0, 0.1)
    assert watts["a"] == pytest.approx(200.0, rel=0.01)
    assert watts["b"] == pytest.approx(200.0, rel=0.01)
    assert watts["never seen"] == 0.0


def test_an_unknown_base_is_fitted_and_then_known() -> None:
    """What runs for all of the time is told apart from work, and taken out of what was learned once it is known."""
    rng = random.Random(2)  # noqa: S311 (as above)
    watts = Watts[str]()
    for number in range(300):
        seconds = {kind: TICK * rng.random() for kind in TRUE}
        joules = sum(TRUE[kind] * length for kind, length in seconds.items()) + 70.0 * TICK
        watts.learn(seconds, TICK, joules, number * TICK)
    assert watts.base == pytest.approx(70.0, rel=0.02)
    watts.fix_base(60.0)
    assert watts.base == 60.0
    assert watts["c"] == pytest.approx(580.0, abs=10.0), "the fit takes over what the base has lost"


def test_a_device_that_is_never_idle() -> None:
    """One kind at a time, all of the time: base and work cannot be told apart, what the device draws with each can."""
    rng = random.Random(3)  # noqa: S311 (as above)
    watts = Watts[str]()
    for number in range(300):
        cut = rng.random()
        one, other = rng.sample(sorted(TRUE), 2)
        seconds = {one: TICK * cut, other: TICK * (1 - cut)}
        joules = sum((TRUE[kind] + 70.0) * length for kind, length in seconds.items())
        watts.learn(seconds, TICK, joules, number * TICK)
    for kind, learned in by_kind(watts).items():
        assert learned.watts == pytest.approx(TRUE[kind] + 70.0, rel=0.01)
        assert not learned.low_confidence


def test_what_is_long_ago_is_outweighed_but_remembered() -> None:
    """A model that changed is learned anew within minutes; one that paused for hours is not forgotten."""
    watts = fed()
    for number in range(3000):
        watts.learn({"a": TICK}, TICK, 100.0 * TICK, 1000.0 + number * TICK)
    assert watts["a"] == pytest.approx(100.0, rel=0.01)
    assert watts["c"] == pytest.approx(TRUE["c"], rel=0.01)
    fed(50, watts=watts, start=1e6)
    assert watts["a"] == pytest.approx(TRUE["a"], rel=0.02)


def test_restored_watts_hold_until_there_are_newer_ones() -> None:
    """They are a prior with their error, which intervals outweigh."""
    watts: Watts[str] = Watts()
    watts.fix_base(70.0)
    watts.remember("a", 500.0, 5.0)
    assert watts["a"] == 500.0
    assert watts.confident("a")
    assert not watts.worth_waiting(["a"], 0.0)
    fed(300, watts=watts)
    assert watts["a"] == pytest.approx(TRUE["a"], rel=0.03)


def test_hundreds_of_kinds_are_affordable() -> None:
    """Not all are solved for at once, and each comes to its turn."""
    rng = random.Random(4)  # noqa: S311 (as above)
    watts = Watts[int]()
    watts.fix_base(0.0)
    for number in range(1500):
        seconds = {kind: TICK * rng.random() for kind in rng.sample(range(100), 3)}
        joules = sum((100.0 + kind) * length for kind, length in seconds.items())
        watts.learn(seconds, TICK, joules, number * TICK)
    errors = [abs(watts[kind] / (100.0 + kind) - 1) for kind in range(100)]
    assert max(errors) < 3 * CONFIDENT
    assert sum(errors) / 100 < CONFIDENT


@pytest.mark.parametrize("old", [31, 36, 45, 200])
@pytest.mark.parametrize("known", [True, False])
def test_a_new_kind_is_known_soon_however_many_there_were(old: int, *, known: bool) -> None:
    """Loading and warming up a server's models makes dozens of kinds, one after the other; then the work begins."""
    watts = Watts[int]()
    if known:
        watts.fix_base(0.0)
    for number in range(old):
        watts.learn({number: TICK}, TICK, 200.0 * TICK, number * TICK)
    for number in range(old, old + 20):
        watts.learn({-1: 0.5 * TICK, -2: 0.4 * TICK}, TICK, (300.0 * 0.5 + 100.0 * 0.4) * TICK, number * TICK)
    assert {-1, -2} <= {learned.kind for learned in watts.learned()}
    if known:
        assert 0.5 * watts[-1] + 0.4 * watts[-2] == pytest.approx(190.0, rel=0.01)


vectors = st.lists(st.floats(0.1, 100.0), min_size=1, max_size=6)


@given(vectors, st.randoms(use_true_random=False))
def test_the_best_non_negative_solution(right: Sequence[float], rng: random.Random) -> None:
    """It is where no unknown above 0 pulls, and none at 0 pulls upwards (Karush, Kuhn, Tucker)."""
    size = len(right)
    rows = [[rng.uniform(-1, 1) for _ in range(size)] for _ in range(size + 2)]
    gram = [[sum(row[i] * row[j] for row in rows) + (i == j) * 0.1 for j in range(size)] for i in range(size)]
    moments = [value * rng.uniform(-1, 1) for value in right]
    found = solved(gram, moments)
    assert min(found) >= 0
    for row, moment, value in zip(gram, moments, found, strict=True):
        pull = moment - sum(entry * other for entry, other in zip(row, found, strict=True))
        assert pull <= 1e-6 * max(map(abs, moments))
        assert value == 0 or abs(pull) <= 1e-6 * max(map(abs, moments))


def test_inverse() -> None:
    """Of a matrix whose inverse is known."""
    (one, two), (three, four) = inverse([[4.0, 2.0], [2.0, 3.0]])
    assert (one, two, three, four) == pytest.approx((0.375, -0.25, -0.25, 0.5))


@pytest.mark.parametrize(
    ("what", "pieces", "parts", "covered"),
    [
        ("one", [(0, 4)], [4], 4),
        ("one after the other", [(0, 2), (2, 4)], [2, 2], 4),
        ("the same", [(0, 4), (0, 4)], [2, 2], 4),
        ("one inside another", [(0, 4), (1, 3)], [3, 1], 4),
        ("with a hole", [(0, 1), (3, 4)], [1, 1], 2),
        ("three at once", [(0, 3), (0, 3), (0, 6)], [1, 1, 4], 6),
    ],
)
def test_covered_time_is_shared(
    what: str, pieces: Sequence[tuple[float, float]], parts: Sequence[float], covered: float
) -> None:
    """A moment that n spans cover is a n-th of each: together they are the time that any covers."""
    lying = overlap([first for first, _ in pieces], [last for _, last in pieces])
    assert lying.parts == pytest.approx(parts), what
    assert lying.covered == pytest.approx(covered), what
    assert sum(lying.parts) == pytest.approx(lying.covered)


def test_idle_follows_a_drift_and_not_hidden_work() -> None:
    """It is the lowest of the last seconds, with what is close to it."""
    idle = Idle()
    assert idle.watts is None
    for second in range(60):
        hidden = 40.0 if second % 3 else 0.0
        idle.unused(70.0 + 0.1 * second + hidden, 1.0, float(second))
    assert idle.watts == pytest.approx(75.5, abs=1.0)


def test_idle_as_configured_is_not_learned() -> None:
    """Neither from intervals nor from an earlier run."""
    idle = Idle(60.0)
    idle.unused(500.0, 10.0, 10.0)
    idle.restore(90.0)
    assert idle.watts == 60.0
