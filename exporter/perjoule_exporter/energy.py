"""The monotone energy of one device: folds readings of a counter that may wrap, restart, jump or pause.

Pure: time, power and factors come in as arguments. The counter's differences are added up in integer microjoules. A
counter that went back has wrapped (where it is known to wrap, and the result is possible) or was reset; one that rose
by more than the device can draw is taken for a reset too. What was used over a reset is bridged by the power that was
read meanwhile, or by what the new counter itself already shows; where neither was read, nothing is added.

It does not know whether a counter that behaves tells the truth: the integral of power stands beside it for that.
"""

from collections import deque
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Any

from perjoule_exporter.clock import Moment
from perjoule_exporter.meters import MICRO

MAX_AGE_SECONDS = 1.0
"""A reading older than this is not published, and no interval longer than this is integrated."""

LATE_SECONDS = 0.5
"""How much earlier than the reading before the energy of one reading may have been used: a late tick, a slow call."""

_TICKS_REMEMBERED = 32


@dataclass(frozen=True, slots=True)
class Interval:
    """What is known of the time since the reading before, beside the counter.

    Attributes:
        bridge_joules: its energy by the power that was read; None where none was.
        ceiling_watts: more than the device can draw.
        grams_per_joule: the factor in force; None where there is none.
    """

    bridge_joules: float | None
    ceiling_watts: float
    grams_per_joule: float | None


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
        self._ticks: deque[float] = deque(maxlen=_TICKS_REMEMBERED)

    def advance(self, raw: int, moved_at: float | None, now: Moment, interval: Interval) -> None:
        """Fold in a reading of ``raw`` microjoules, which moved last at ``moved_at`` if the source says so."""
        gap = now.monotonic - self._read_at
        if self._raw is None:
            delta = 0
            self.moved_at = moved_at
        else:
            delta = self._used(raw, gap, interval)
            if raw != self._raw:
                self._moved(moved_at, now, gap)
        self.total = (self.total or 0) + delta
        if interval.grams_per_joule is not None:
            self.grams = (self.grams or 0.0) + delta / MICRO * interval.grams_per_joule
        self._raw, self._read_at = raw, now.monotonic

    def update_interval(self) -> float | None:
        """Return the usual seconds between two moves of the counter, once three were seen."""
        intervals = [later - earlier for earlier, later in pairwise(self._ticks)]
        return median(intervals) if len(intervals) > 1 else None

    def next_move(self) -> float | None:
        """Return the monotonic time at which the counter should move next, once its tick is known."""
        tick = self.update_interval()
        return None if tick is None else self._ticks[-1] + tick

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
        self.total = None if saved["total"] is None else int(saved["total"])
        self.resets = int(saved["resets"])
        self.grams = None if saved["grams"] is None else float(saved["grams"])
        self.moved_at = None if saved["moved_at"] is None else float(saved["moved_at"])
        if lasting and saved["raw"] is not None:
            self._raw, self._read_at = int(saved["raw"]), float(saved["read_at"])

    def _used(self, raw: int, gap: float, interval: Interval) -> int:
        """Return the microjoules since the reading before, and count a reset."""
        before = self._raw if self._raw is not None else raw
        possible = interval.ceiling_watts * (gap + LATE_SECONDS) * MICRO
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
        return raw if raw < before and raw <= interval.ceiling_watts * gap * MICRO else 0

    def _moved(self, moved_at: float | None, now: Moment, gap: float) -> None:
        """Note when the counter moved: the source's word, else the middle between the two readings around it.

        Ticks are kept on the monotonic clock, so that a step of the wall clock is no tick.
        """
        if gap > MAX_AGE_SECONDS:  # it moved many times meanwhile, last within a tick before now
            self._ticks.clear()
            self.moved_at = now.wall if moved_at is None else moved_at
            return
        self.moved_at = now.wall - gap / 2 if moved_at is None else moved_at
        self._ticks.append(now.monotonic - (now.wall - self.moved_at))
