"""Which value is in force when, and when it is asked for again: pure functions of time, as tables."""

import pytest

from perjoule.carbon import static_intensity
from perjoule_exporter.clock import Moment
from perjoule_exporter.intensity.force import Held, age_seconds, fallback_for, in_force, until_next
from perjoule_exporter.intensity.poll import delay_after_failure, delay_after_success
from perjoule_exporter.intensity.value import AVERAGE, MARGINAL, Intensity, yearly

HOUR = 3600.0
NOON = 1.8e9
LIVE = Intensity("DK1", "energidataservice", "average", 80.0, NOON - 600, estimated=False)
FETCHED = Moment(1000.0, NOON)
HELD = Held(LIVE, FETCHED)
STATIC = yearly(static_intensity("DNK"))


def after(monotonic: float, wall: float | None = None) -> Moment:
    """Return the moment so many seconds after the value was fetched, on each clock."""
    return Moment(FETCHED.monotonic + monotonic, FETCHED.wall + (monotonic if wall is None else wall))


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (after(0), LIVE),
        (after(2 * HOUR - 600), LIVE),
        (after(2 * HOUR - 599), STATIC),
        (after(1000 * HOUR), STATIC),
        # The wall clock steps: forwards the value looks old and is dropped, backwards the monotonic clock tells.
        (after(1, 3 * HOUR), STATIC),
        (after(1, -30 * HOUR), LIVE),
        (after(2 * HOUR, -30 * HOUR), STATIC),
        # A suspended process: only the wall clock has gone on.
        (after(5, 2 * HOUR), STATIC),
    ],
)
def test_ageing(now: Moment, expected: Intensity) -> None:
    """The live value until two hours after the time it is of, then the average, whatever the clocks do."""
    assert in_force(HELD, STATIC, now, 2 * HOUR) == expected


def test_without_anything_there_is_nothing() -> None:
    """No zone: no value. No live value yet: the average. A live value too old and nothing behind it: none."""
    assert in_force(None, None, after(0), HOUR) is None
    assert in_force(None, STATIC, after(0), HOUR) == STATIC
    assert in_force(HELD, None, after(HOUR), HOUR) is None


def test_a_value_from_a_little_ahead_is_no_older_than_now() -> None:
    """A half hour that begins while our clock is a minute late counts as of now."""
    ahead = Held(Intensity("GBR", "uk", "average", 100.0, NOON + 60, estimated=True), FETCHED)
    assert age_seconds(ahead, after(0)) == -60
    assert in_force(ahead, STATIC, after(0), HOUR) == ahead.intensity


@pytest.mark.parametrize(
    ("live", "now", "expected"),
    [
        (None, after(0), 0.0),
        (HELD, after(0), 900.0),
        (HELD, after(300), 600.0),
        (HELD, after(900), 0.0),
        (HELD, after(HOUR), 0.0),
        (HELD, after(2 * HOUR), 0.0),
        (HELD, after(-100), 900.0),
        (HELD, after(300, 3 * HOUR), 0.0),
    ],
)
def test_the_question_after_a_start(live: Held | None, now: Moment, expected: float) -> None:
    """When it would have come without the restart; at once without a value that may serve."""
    assert until_next(live, now, 900.0, 2 * HOUR) == expected


def test_no_average_stands_in_for_a_marginal_value() -> None:
    """They are never mixed in one counter: behind a marginal value there is nothing."""
    assert fallback_for(AVERAGE, STATIC) == STATIC
    assert fallback_for(MARGINAL, STATIC) is None
    assert fallback_for(AVERAGE, None) is None


def test_a_yearly_average_says_what_it_is() -> None:
    """Its provider is static, its basis average, its time the end of its year."""
    assert yearly(static_intensity("FRA")) == Intensity(
        "FRA", "static", "average", 56.039, 1704067200.0, estimated=False
    )


@pytest.mark.parametrize(("random", "expected"), [(0.0, 810.0), (0.5, 900.0), (1.0, 990.0)])
def test_the_next_question(random: float, expected: float) -> None:
    """Ten percent around the interval, so that a fleet does not ask at once."""
    assert delay_after_success(900.0, random) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("failures", "retry_after", "interval", "expected"),
    [
        (1, None, 900.0, 30.0),
        (2, None, 900.0, 60.0),
        (3, None, 900.0, 120.0),
        (7, None, 900.0, 1800.0),
        (10_000, None, 900.0, 1800.0),
        (10_000, None, 21600.0, 21600.0),
        (1, 0.0, 900.0, 30.0),
        (1, 400.0, 900.0, 400.0),
        (7, 400.0, 900.0, 1800.0),
        (1, 1e12, 900.0, 86400.0),
    ],
)
def test_the_next_try(failures: int, retry_after: float | None, interval: float, expected: float) -> None:
    """Doubling from 30 s to half an hour or the interval, never before Retry-After, a day at most; jitter adds."""
    assert delay_after_failure(failures, retry_after, interval, 0.0) == expected
    assert delay_after_failure(failures, retry_after, interval, 1.0) == pytest.approx(expected * 1.1)
