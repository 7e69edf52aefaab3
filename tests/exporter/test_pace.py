"""How often a device is read, from what is known of it."""

import pytest

from perjoule_exporter.pace import REST_SECONDS, Pace, Rest

PACE = Pace(0.025, 0.1, 0.005)


@pytest.mark.parametrize(
    ("resting", "attended", "until_tick", "wait"),
    [
        (False, False, None, 0.025),
        (True, False, None, 0.1),
        (True, False, 0.01, 0.1),  # nobody needs to know when it ticks
        (True, True, None, 0.025),  # a span is open: it only seems to rest
        (False, True, 0.06, 0.025),
        (False, True, 0.028, 0.023),  # just before the tick
        (False, True, 0.006, 0.005),
        (False, True, -0.02, 0.005),  # overdue: closely on
        (False, True, -0.03, 0.025),  # it is not coming
    ],
)
def test_the_next_reading(resting: bool, attended: bool, until_tick: float | None, wait: float) -> None:  # noqa: FBT001 (a row)
    """The table above."""
    assert PACE.until_next(resting=resting, attended=attended, until_tick=until_tick) == pytest.approx(wait)


def test_a_pace_slower_than_resting_stays() -> None:
    """Rest never means more readings."""
    assert Pace(0.2, 0.1).until_next(resting=True, attended=False, until_tick=None) == 0.2


def test_a_device_rests_after_a_while_of_nothing() -> None:
    """Utilisation 0 for five seconds; one busy moment, or power above its floor, starts anew."""
    rest = Rest()
    rest.utilized(0.0, 10.0)
    assert not rest.resting(10.0 + REST_SECONDS - 0.1)
    assert rest.resting(10.0 + REST_SECONDS)
    rest.drew(90.0, 70.0)
    assert not rest.resting(99.0)
    rest.utilized(0.0, 100.0)
    rest.drew(75.0, 70.0)
    assert rest.resting(100.0 + REST_SECONDS)
    rest.utilized(0.01, 106.0)
    assert not rest.resting(120.0)


def test_a_device_of_unknown_utilisation_never_rests() -> None:
    """Nobody knows that nothing runs."""
    rest = Rest()
    rest.utilized(0.0, 0.0)
    rest.utilized(None, 1.0)
    assert not rest.resting(100.0)
