"""Which value is in force at an instant: the live one while it is young enough, then the yearly average, then nothing.

Pure: times come in as arguments. The age of a value is the larger of what the two clocks say: after a step of the wall
clock, or after a suspended process, no value can look younger than it is.
"""

from dataclasses import dataclass

from perjoule_exporter.clock import Moment
from perjoule_exporter.intensity.value import MARGINAL, Basis, Intensity

FUTURE_SECONDS = 900.0
"""A value may be of so long ahead of our clock; above that one of the two clocks is wrong, and nobody knows which."""


@dataclass(frozen=True, slots=True)
class Held:
    """A live value and when it was fetched."""

    intensity: Intensity
    fetched: Moment


def age_seconds(held: Held, now: Moment) -> float:
    """Return how long ago the instant lies that the value is of. Negative by at most the tolerance for clocks."""
    by_wall = now.wall - held.intensity.valid_at
    by_monotonic = held.fetched.wall - held.intensity.valid_at + now.monotonic - held.fetched.monotonic
    return max(by_wall, by_monotonic)


def in_force(live: Held | None, fallback: Intensity | None, now: Moment, max_age_seconds: float) -> Intensity | None:
    """Return what turns joules into grams at ``now``; None is no factor, and then no emissions are counted."""
    if live is not None and age_seconds(live, now) <= max_age_seconds:
        return live.intensity
    return fallback


def until_next(live: Held | None, now: Moment, interval_seconds: float, max_age_seconds: float) -> float:
    """Return the seconds to the next question after a start with ``live`` from the cache: the rest of its interval.

    0 without a value, or with one that is too old to serve.
    """
    if live is None or age_seconds(live, now) > max_age_seconds:
        return 0.0
    return max(0.0, interval_seconds - max(0.0, now.monotonic - live.fetched.monotonic))


def fallback_for(basis: Basis, average: Intensity | None) -> Intensity | None:
    """Return what may stand in for a live value of ``basis``.

    Nothing stands in for a marginal value: an average in the same counter would make its sum a figure of neither kind.
    """
    return None if basis == MARGINAL else average
