"""The monotone energy of one device: folds readings of a counter that may wrap, restart, jump or pause.

Pure: time, power and factors come in as arguments. The counter's differences are added up in integer microjoules. A
counter that went back has wrapped (where it is known to wrap, and the result is possible) or was reset; one that rose
by more than the device can draw is taken for a reset too. What was used over a reset is bridged by the power that was
read meanwhile, or by what the new counter itself already shows; where neither was read, nothing is added.

It does not know whether a counter that behaves tells the truth: the integral of power stands beside it for that.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from perjoule_exporter.clock import Moment
from perjoule_exporter.meters import MICRO
from perjoule_exporter.ticks import Ticks

MAX_AGE_SECONDS = 1.0
"""A reading older than this is not published, and no interval longer than this is integrated."""

LATE_SECONDS = 0.5
"""How much earlier than the reading before the energy of one reading may have been used: a late tick, a slow call."""

_MOST_SAVED = 2**80  # microjoules: a board of 5 kW needs seven million years


class Interval(NamedTuple):
    """What is known of the time since the reading before, beside the counter.

    Attributes:
        bridge_joules: its energy by the power that was read; None where none was.
        ceiling_watts: tells more than the device can draw.
        grams_per_joule: the factor in force; None where there is none.
    """

    bridge_joules: float | None
    ceiling_watts: Callable[[], float]
    grams_per_joule: float | None


class Used(NamedTuple):
    """What a device used from one move of its counter to the next: that which is shared out over processes or spans.

    Attributes:
        microjoules: how much; never negative, and all of them together are ``Energy.total``.
        start: monotonic seconds at which the use began, as exactly as the source tells.
        end: the same of its end.
        counted: it is the counter's own difference; False over a reset, where it is bridged or only a part.
    """

    microjoules: int
    start: float
    end: float
    counted: bool


class Energy:
    """Sum, time of the last move, resets, tick and emissions of one counter."""

    def __init__(self, range_microjoules: int | None = None) -> None:
        self.total: int | None = None  # microjoules since first seen; None while there never was a counter
        self.moved_at: float | None = None  # Unix seconds
        self.resets = 0
        self.grams: float | None = None
        self.range_microjoules = range_microjoules
        self._raw: int | None = None
        self._read_at = 0.0
        self._since = 0.0  # monotonic seconds at which the counter last moved
        self._ticks = Ticks()

    def advance(self, raw: int, moved_at: float | None, now: Moment, interval: Interval) -> Used | None:
        """Fold in a reading of ``raw`` microjoules, which moved last at ``moved_at`` if the source says so.

        Return what was used since it moved before; None when it has not moved, and at the first reading.
        """
        gap = now.monotonic - self._read_at
        used = None
        if self._raw is None:
            self.moved_at = moved_at
            self._since = now.monotonic if moved_at is None else _monotonic(moved_at, now)
        elif raw != self._raw:
            resets = self.resets
            delta = self._used(raw, self._raw, gap, interval)
            self._moved(moved_at, now, gap)
            used = self._interval(delta, now, counted=self.resets == resets)
        else:
            self._ticks.stood(gap)
        delta = 0 if used is None else used.microjoules
        self.total = (self.total or 0) + delta
        if interval.grams_per_joule is not None:
            self.grams = (self.grams or 0.0) + delta / MICRO * interval.grams_per_joule
        self._raw, self._read_at = raw, now.monotonic
        return used

    def update_interval(self) -> float | None:
        """Return the usual seconds between two moves of the counter, once it was read faster than it moves."""
        return self._ticks.interval

    def next_move(self) -> float | None:
        """Return the monotonic time by which the counter should move next; None until three moves were seen."""
        return self._ticks.next_move()

    def rebase(self, range_microjoules: int | None) -> None:
        """Go on from the next reading without a difference: the source counts from another origin."""
        self._raw = None
        self.range_microjoules = range_microjoules
        self._ticks.clear()

    def saved(self) -> dict[str, Any]:
        """Return what ``restore`` needs, as JSON values."""
        return {
            "total": self.total,
            "resets": self.resets,
            "grams": self.grams,
            "raw": self._raw,
            "read_at": self._read_at,
            "moved_at": self.moved_at,
        }

    def restore(self, saved: dict[str, Any], *, lasting: bool) -> None:
        """Go on from ``saved``, of the same boot; with a ``lasting`` counter what it counted meanwhile is added.

        Raises:
            KeyError, TypeError, ValueError: it is not what ``saved`` returned.
        """
        self.total = None if saved["total"] is None else saved_count(saved["total"])
        self.resets = saved_count(saved["resets"])
        self.grams = None if saved["grams"] is None else saved_amount(saved["grams"])
        self.moved_at = None if saved["moved_at"] is None else saved_amount(saved["moved_at"])
        if lasting and saved["raw"] is not None:
            self._raw, self._read_at = saved_count(saved["raw"]), saved_amount(saved["read_at"])
            self._since = self._read_at

    def _interval(self, delta: int, now: Moment, *, counted: bool) -> Used:
        """Return ``delta`` with its time. A stamp of a clock that was set meanwhile is kept within what is possible."""
        end = now.monotonic if self.moved_at is None else _monotonic(self.moved_at, now)
        start, self._since = self._since, max(self._since, end)
        return Used(delta, start, self._since, counted)

    def _used(self, raw: int, before: int, gap: float, interval: Interval) -> int:
        """Return the microjoules since the reading ``before``, ``gap`` seconds ago, and count a reset."""
        ceiling = interval.ceiling_watts()
        possible = ceiling * (gap + LATE_SECONDS) * MICRO
        delta = raw - before
        if delta < 0 and self.range_microjoules is not None:
            delta += self.range_microjoules
        if 0 <= delta <= possible:
            return delta
        self.resets += 1
        self._ticks.clear()
        if interval.bridge_joules is not None:
            return round(interval.bridge_joules * MICRO)
        # A counter that restarted within the interval shows a part of what the interval used, and that was read.
        return raw if raw < before and raw <= ceiling * gap * MICRO else 0

    def _moved(self, moved_at: float | None, now: Moment, gap: float) -> None:
        """Note when the counter moved: the source's word, else the middle between the two readings around it.

        Ticks are kept on the monotonic clock, so that a step of the wall clock is no tick.
        """
        if gap > MAX_AGE_SECONDS:  # it moved many times meanwhile, last within a tick before now
            self._ticks.clear()
            self.moved_at = now.wall if moved_at is None else moved_at
            return
        self.moved_at = now.wall - gap / 2 if moved_at is None else moved_at
        self._ticks.moved(now.monotonic - (now.wall - self.moved_at), gap, exact=moved_at is not None)


def saved_amount(value: Any) -> float:
    """Return a sum that was saved. One that no counter can have would be published for ever.

    Raises:
        TypeError, ValueError: it is no number, negative, not finite, or beyond all that was ever counted.
    """
    if not 0 <= value <= _MOST_SAVED:
        raise ValueError("a sum that cannot be")
    return float(value)


def saved_count(value: Any) -> int:
    """Return a whole number that was saved.

    Raises:
        TypeError, ValueError: it is none, or as ``saved_amount``.
    """
    if not isinstance(value, int):
        raise TypeError(f"{value!r} is no whole number")
    if not 0 <= value <= _MOST_SAVED:
        raise ValueError("a count that cannot be")
    return value


def _monotonic(wall: float, now: Moment) -> float:
    """Return a Unix time that is not in the future on the monotonic clock."""
    return min(now.monotonic, now.monotonic - (now.wall - wall))
