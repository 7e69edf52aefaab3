"""Power curves: their integral in closed form is what stepping through them gives, at any time."""

from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perjoule_exporter.meters.simulated.curve import Curve, Driven, Utilization, curve, stairs
from perjoule_exporter.meters.simulated.events import Instant, Window

Points = list[tuple[float, float]]

STEPS = st.lists(
    st.tuples(st.one_of(st.just(0.0), st.floats(0.001, 5.0)), st.floats(0.0, 1000.0)), min_size=1, max_size=12
)


def points_of(steps: list[tuple[float, float]], first: float) -> Points:
    points, time = [(0.0, first)], 0.0
    for step, watts in steps:
        time += step
        points.append((time, watts))
    return points


def walked(points: Points, until: float, *, repeats: bool) -> Fraction:
    """Joules by walking from point to point in exact fractions, round after round."""
    joules, now, end = Fraction(0), Fraction(0), Fraction(until)
    while True:
        for (t0, w0), (t1, w1) in pairwise(points):
            length, rise = Fraction(t1) - Fraction(t0), Fraction(w1) - Fraction(w0)
            if now + length > end:
                part = end - now
                return joules + (Fraction(w0) + rise * part / length / 2) * part
            joules += (Fraction(w0) + Fraction(w1)) / 2 * length
            now += length
        if not repeats:
            return joules + Fraction(points[-1][1]) * (end - now)


def power_at(points: Points, time: float, *, repeats: bool) -> float:
    """Watts at a time, looked up without the curve's own code."""
    if repeats:
        time %= points[-1][0]
    for (t0, w0), (t1, w1) in pairwise(points):
        if t0 <= time < t1:
            return w0 + (w1 - w0) * (time - t0) / (t1 - t0)
    return points[-1][1]


@settings(deadline=None)
@given(STEPS, st.floats(0.0, 1000.0), st.floats(0.0, 20.0), st.booleans())
def test_energy_is_exact_at_any_time(steps: Points, first: float, until: float, repeats: bool) -> None:  # noqa: FBT001 (hypothesis gives it)
    """Against a walk in exact fractions: to well under a microjoule, whether the curve repeats or holds its end."""
    points = points_of(steps, first)
    repeats = repeats and points[-1][0] >= 0.1
    joules = curve(points, repeats=repeats).joules(until)
    assert abs(Fraction(joules) - walked(points, until, repeats=repeats)) < Fraction(1, 10_000_000)


@settings(deadline=None, max_examples=30)
@given(STEPS, st.floats(0.0, 1000.0), st.floats(0.1, 20.0))
def test_energy_is_what_a_fine_numeric_integration_gives(steps: Points, first: float, until: float) -> None:
    """Against 5,000 samples of power: within what sampling a curve with these steps can miss."""
    points = points_of(steps, first)
    count = 5_000
    step = until / count
    summed = sum(power_at(points, (n + 0.5) * step, repeats=False) for n in range(count)) * step
    assert curve(points).joules(until) == pytest.approx(summed, abs=(len(points) + 1) * 1000 * step)


@given(STEPS, st.floats(0.0, 1000.0), st.floats(0.0, 30.0), st.floats(0.0, 30.0))
def test_energy_adds_up_and_never_falls(steps: Points, first: float, one: float, other: float) -> None:
    """A later time has no less energy, so a counter made of it never goes back."""
    power = curve(points_of(steps, first))
    early, late = sorted((one, other))
    assert power.joules(early) <= power.joules(late) + 1e-9


@pytest.mark.parametrize(
    ("power", "time", "joules"),
    [
        (curve([(0, 250)]), 4.0, 1000.0),
        (curve([(0, 250)]), -1.0, 0.0),
        (curve([(0, 0), (10, 100)]), 10.0, 500.0),
        (curve([(0, 0), (10, 100)]), 12.0, 700.0),
        (curve([(2, 100), (4, 100), (4, 0)]), 5.0, 400.0),
        (curve([(0, 400), (0.05, 400), (0.05, 70), (0.1, 70)], repeats=True), 1.0, 235.0),
        (curve([(0, 400), (0.05, 400), (0.05, 70), (0.1, 70)], repeats=True), 1.025, 245.0),
        (curve([(0, 0), (2, 100)], repeats=True), 5.0, 225.0),
        (curve(stairs([(0, 10), (1, 20), (2, 30)])), 3.0, 60.0),
    ],
)
def test_curves_by_hand(power: Curve, time: float, joules: float) -> None:
    """Constant, ramp, held end, late first point, square wave in and between periods, saw-tooth, stairs."""
    assert power.joules(time) == pytest.approx(joules, abs=1e-9)


def test_utilisation_is_remembered_for_as_long_as_a_sensor_looks_back() -> None:
    """A second ago is known exactly, a pinned time for ever, and what is forgotten is an error and no guess."""
    load = Utilization(lambda start, _end: float(start >= 1005.0), 1000.0, 2.0, Instant(3.0).between)
    for tenth in range(1, 101):
        load.advance(1000.0 + tenth / 10)
    driven = Driven(70.0, 330.0, load)
    assert driven.joules(10.0) - driven.joules(9.0) == pytest.approx(400.0)
    assert driven.joules(0.0) == 0.0
    assert driven.joules(3.0) == pytest.approx(210.0)
    with pytest.raises(LookupError, match="until 4 s is forgotten"):
        driven.joules(4.0)


@pytest.mark.parametrize(
    ("window", "inside", "outside", "covered"),
    [
        (Window(2, 5), (2, 4.999), (0, 1.999, 5, 9), (4.0, 2.0)),
        (Window(2), (2, 1e6), (1.999,), (10.0, 8.0)),
        (Window(2, 3, every=5), (2, 7.5, 12.9), (1, 3, 6.999, 8), (12.5, 2.5)),
        (Window(0, 5, every=5), (0, 4.9, 5, 99), (), (7.0, 7.0)),
    ],
)
def test_windows(
    window: Window, inside: tuple[float, ...], outside: tuple[float, ...], covered: tuple[float, float]
) -> None:
    """From the start to just before the end, once, for ever, or again and again; and how much of a time they cover."""
    assert [window.holds(time) for time in inside] == [True] * len(inside)
    assert [window.holds(time) for time in outside] == [False] * len(outside)
    assert window.covered(covered[0]) == pytest.approx(covered[1])


def test_instants() -> None:
    """How often, when last and when between: once, and every ten seconds."""
    once, often = Instant(3.0), Instant(3.0, every=10.0)
    assert (once.count(2.9), once.count(3.0), once.last(99.0), once.last(1.0)) == (0, 1, 3.0, None)
    assert (often.count(2.9), often.count(23.0), often.last(30.0)) == (0, 3, 23.0)
    assert list(often.between(3.0, 30.0)) == [13.0, 23.0]
