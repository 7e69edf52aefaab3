"""The pure core of sampling: folds the readings of one device into monotone sums.

Time comes in as an argument; nothing here reads a clock, a device or a factor. Rules: the counter's differences are
added up in integer microjoules; a counter that went backwards was reset, and what it may have counted meanwhile is
bridged by the power that was read, or left out where nothing was read; a reading that is too old is not shown.

It does not know whether a counter tells the truth: ``integrated_joules`` stands beside it for that.
"""

from bisect import bisect_left
from collections import deque
from itertools import pairwise
from statistics import median
from types import MappingProxyType

from perjoule.metrics import CATALOGUE
from perjoule_exporter.clock import Moment
from perjoule_exporter.meters import MICRO, THROTTLE_REASONS, Device, Reading, Status
from perjoule_exporter.view import DeviceView, Measured
from perjoule_exporter.window import SlidingExtremes

MAX_AGE_SECONDS = 1.0
"""A reading older than this is not published, and no interval longer than this is integrated or bridged."""

EXTREMES_SECONDS = 15.0
"""Window of the highest and lowest power: the usual scrape interval, so that a peak between two scrapes is seen."""

READ_BUCKETS = CATALOGUE["gpu_read_duration_seconds"].buckets
OUTCOMES = ("ok", "lost")
"""Values of ``outcome`` of ``gpu_samples_total``."""

_TICKS_REMEMBERED = 32


class Energy:
    """The energy counter of one device: sum, time of the last move, resets, tick and emissions."""

    def __init__(self) -> None:
        self.total: int | None = None  # microjoules since first seen; None while there never was a counter
        self.moved_at: float | None = None
        self.resets = 0
        self.grams: float | None = None
        self._raw = 0
        self._read_at = Moment(0.0, 0.0)
        self._ticks: deque[float] = deque(maxlen=_TICKS_REMEMBERED)

    def advance(
        self, raw: int, moved_at: float | None, now: Moment, bridge: float, grams_per_joule: float | None
    ) -> None:
        """Fold in one reading. ``bridge``: joules by power since the reading before, for a counter that was reset."""
        if self.total is None:
            self.total, self.moved_at = 0, moved_at
            delta = 0
        elif raw < self._raw:
            self.resets += 1
            self._ticks.clear()
            delta = round(bridge * MICRO)
            self._moved(None, now)
        else:
            delta = raw - self._raw
            if delta:
                self._moved(moved_at, now)
        self.total += delta
        if grams_per_joule is not None:
            self.grams = (self.grams or 0.0) + delta / MICRO * grams_per_joule
        self._raw, self._read_at = raw, now

    def update_interval(self) -> float | None:
        """Return the usual time between two moves of the counter, once three were seen."""
        intervals = [later - earlier for earlier, later in pairwise(self._ticks)]
        return median(intervals) if len(intervals) > 1 else None

    def _moved(self, moved_at: float | None, now: Moment) -> None:
        """Note when the counter moved: the source's word, else the middle between the two readings around it."""
        gap = now.monotonic - self._read_at.monotonic
        if gap > MAX_AGE_SECONDS:  # it moved many times meanwhile, last within a tick before now
            self._ticks.clear()
            self.moved_at = now.wall if moved_at is None else moved_at
            return
        self.moved_at = now.wall - gap / 2 if moved_at is None else moved_at
        self._ticks.append(self.moved_at)


class Power:
    """The power of one device: its integral by the trapezoid rule, and its extremes."""

    def __init__(self) -> None:
        self.integral: float | None = None  # joules; None until power was read once
        self._last: tuple[float, float] | None = None
        self._extremes = SlidingExtremes(EXTREMES_SECONDS)

    def advance(self, watts: float | None, time: float) -> float:
        """Fold in one reading and return the joules since the one before; 0 where that cannot be known."""
        if watts is None:
            self._last = None
            return 0.0
        joules = 0.0
        if self._last is not None and time - self._last[0] <= MAX_AGE_SECONDS:
            joules = (watts + self._last[1]) / 2 * (time - self._last[0])
        self.integral = (self.integral or 0.0) + joules
        self._last = (time, watts)
        self._extremes.add(time, watts)
        return joules

    def extremes(self) -> tuple[float | None, float | None]:
        """Return the lowest and the highest power of the window."""
        return self._extremes.lowest(), self._extremes.highest()


class Track:
    """All that is summed up and remembered of one device."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self._energy = Energy()
        self._power = Power()
        self._reading: Reading | None = None  # None after a failure
        self._read_at: float | None = None
        self._status: Status | None = None
        self._status_at = 0.0
        self._throttled: dict[str, float] = {}
        self._samples = dict.fromkeys(OUTCOMES, 0)
        self._buckets = [0] * (len(READ_BUCKETS) + 1)
        self._read_seconds = 0.0

    def advance(self, reading: Reading, now: Moment, grams_per_joule: float | None) -> None:
        """Fold in a reading taken at ``now``, with the factor (grams of CO2e per joule) that is in force now."""
        watts = reading.power_watts if reading.power_watts is not None else reading.average_power_watts
        bridge = self._power.advance(watts, now.monotonic)
        if reading.energy_microjoules is not None:
            self._energy.advance(reading.energy_microjoules, reading.energy_time, now, bridge, grams_per_joule)
        self._reading, self._read_at = reading, now.monotonic
        self._samples["ok"] += 1

    def observe(self, status: Status, now: Moment) -> None:
        """Take over the slow values read at ``now``; the time since the last ones counts for the active reasons."""
        if status.throttle_reasons is not None:
            elapsed = now.monotonic - self._status_at
            held = elapsed if self._status is not None and elapsed <= MAX_AGE_SECONDS else 0.0
            for reason in THROTTLE_REASONS:
                self._throttled[reason] = self._throttled.get(reason, 0.0) + held * (reason in status.throttle_reasons)
        self._status, self._status_at = status, now.monotonic

    def took(self, seconds: float) -> None:
        """Count how long one reading took."""
        self._buckets[bisect_left(READ_BUCKETS, seconds)] += 1
        self._read_seconds += seconds

    def lost(self) -> None:
        """Note that the device did not answer: nothing is shown of it until it does."""
        self._reading = self._status = None
        self._samples["lost"] += 1

    def view(self, now: Moment) -> DeviceView:
        """Return the frozen picture of the device at ``now``."""
        age = None if self._read_at is None else max(0.0, now.monotonic - self._read_at)
        fresh = age is not None and age <= MAX_AGE_SECONDS and self._reading is not None
        return DeviceView(
            device=self.device,
            measured=self._measured(self._reading, now) if fresh and self._reading is not None else None,
            age_seconds=age,
            samples=MappingProxyType(dict(self._samples)),
            read_bucket_counts=tuple(self._buckets),
            read_seconds_sum=self._read_seconds,
        )

    def _measured(self, reading: Reading, now: Moment) -> Measured:
        counted = self._energy.total is not None and reading.energy_microjoules is not None
        powered = reading.power_watts is not None or reading.average_power_watts is not None
        low, high = self._power.extremes() if powered else (None, None)
        status = self._status if now.monotonic - self._status_at <= MAX_AGE_SECONDS else None
        return Measured(
            energy_joules=self._energy.total / MICRO if counted and self._energy.total is not None else None,
            energy_time=self._energy.moved_at if counted else None,
            integrated_joules=self._power.integral if powered else None,
            update_interval_seconds=self._energy.update_interval() if counted else None,
            resets=self._energy.resets if counted else None,
            power_watts=reading.power_watts,
            average_power_watts=reading.average_power_watts,
            max_power_watts=high,
            min_power_watts=low,
            emissions_grams=self._energy.grams if counted else None,
            throttled_seconds=MappingProxyType(dict(self._throttled if status else {})),
            status=status or Status(),
        )
