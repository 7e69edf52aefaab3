"""The pure core of sampling: everything that is summed up and remembered of one device, from its readings.

Time comes in as an argument; nothing here reads a clock, a device or a factor. Energy is ``energy.py``'s; here are
power, throttling, embodied emissions, the health of the reading, and the frozen picture of them all. A reading that
failed or is too old is not shown.
"""

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Protocol

from perjoule.metrics import CATALOGUE
from perjoule_exporter.clock import Moment
from perjoule_exporter.energy import MAX_AGE_SECONDS, Energy, Interval, Used, saved_amount, saved_count
from perjoule_exporter.ledger import Interval as Told
from perjoule_exporter.ledger import Snapshot
from perjoule_exporter.meters import MICRO, THROTTLE_REASONS, Device, DeviceKind, ProcessUse, Reading, Status
from perjoule_exporter.processes.owner import Owner
from perjoule_exporter.view import Charged, DeviceView, Measured
from perjoule_exporter.window import SlidingExtremes

EXTREMES_SECONDS = 15.0
"""Window of the highest and lowest power: the usual scrape interval, so that a peak between two scrapes is seen."""

READ_BUCKETS = CATALOGUE["gpu_read_duration_seconds"].buckets
OUTCOMES = ("ok", "lost", "hung")
"""Values of ``outcome`` of ``gpu_samples_total``."""

QUIET_CPU_RATIO = 0.02
"""Up to this share of its hardware threads' time a CPU package counts as unused: an operating system never rests."""

_ABOVE_LIMIT = 3.0
"""No board draws more than this times its limit, nor than this times the highest power read lately."""

_UNKNOWN_CEILING_WATTS = 5000.0
"""More than any device of a node draws, for those that tell neither limit nor power."""


@dataclass(frozen=True, slots=True)
class Charges:
    """What is charged while a device is used: grams of CO2e per joule, and for its manufacture per second."""

    grams_per_joule: float | None = None
    embodied_grams_per_second: float | None = None


class Splitter(Protocol):
    """Shares a device's energy out. Called with the lock of the sums held, so that parts and whole always agree."""

    def used(self, used: Used, now: float) -> None:
        """Take over energy that was just added to the sum, at the monotonic time ``now``."""
        ...

    def shown(self) -> Mapping[Owner, int] | None:
        """Return the microjoules of each owner, together the sum; None where nobody can tell."""
        ...

    def saved(self) -> Any:
        """Return what it needs to go on after a restart, as JSON values."""
        ...


class Charger(Protocol):
    """Charges a device's energy to the inferences that ran. Called with the lock of the sums held, as a splitter is."""

    @property
    def attentive(self) -> bool:
        """Whether somebody may tell of inferences."""
        ...

    def used(self, told: Told) -> None:
        """Take over energy that was just added to the sum."""
        ...

    def settle(self, now: float) -> None:
        """Share out what can be by the monotonic time ``now``."""
        ...

    def shown(self, now: float) -> Snapshot | None:
        """Return whose the sum is at the monotonic time ``now``; None where nobody ever told of work."""
        ...

    def saved(self) -> Any:
        """Return what it needs to go on after a restart, as JSON values."""
        ...


class Power:
    """The power of one device: its integral by the trapezoid rule, and its extremes."""

    def __init__(self) -> None:
        self.integral: float | None = None  # joules; None until power was read once
        self._last: tuple[float, float] | None = None
        self._extremes = SlidingExtremes(EXTREMES_SECONDS)

    def advance(self, watts: float | None, time: float) -> float | None:
        """Fold in one reading and return the joules since the one before; None where that cannot be known."""
        if watts is None:
            self._last = None
            return None
        joules = None
        if self._last is not None and time - self._last[0] <= MAX_AGE_SECONDS:
            # Some devices say less than 0: their energy does not fall for it.
            joules = (max(watts, 0.0) + max(self._last[1], 0.0)) / 2 * (time - self._last[0])
        self.integral = (self.integral or 0.0) + (joules or 0.0)
        self._last = (time, watts)
        self._extremes.add(time, watts)
        return joules

    def lowest(self) -> float | None:
        """Return the lowest power of the window."""
        return self._extremes.lowest()

    def highest(self) -> float | None:
        """Return the highest power of the window."""
        return self._extremes.highest()


class Health:
    """How the readings of one device went."""

    def __init__(self) -> None:
        self.samples = dict.fromkeys(OUTCOMES, 0)
        self.buckets = [0] * (len(READ_BUCKETS) + 1)
        self.seconds = 0.0

    def took(self, seconds: float) -> None:
        """Count how long one reading took."""
        self.buckets[bisect_left(READ_BUCKETS, seconds)] += 1
        self.seconds += seconds


class Track:
    """All that is summed up and remembered of one device."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self.energy = Energy(device.counter_range_microjoules)
        self.power = Power()
        self.health = Health()
        self.splitter: Splitter | None = None
        self.kept_split: Any = None  # what a splitter of an earlier run saved, until there is one again
        self.charger: Charger | None = None
        self.kept_charges: Any = None  # as ``kept_split``
        self.heard: tuple[float, tuple[ProcessUse, ...] | None] | None = None  # who used it, and when that was told
        self._interrupted: str | None = None  # why nobody can tell of which work the next energy is
        self._unused_since: float | None = None  # since when the device says that nothing runs on it
        self._reading: Reading | None = None  # None after a failure
        self._read_at: float | None = None
        self._status: Status | None = None
        self._status_at = 0.0
        self._throttled: dict[str, float] = {}
        self._embodied: float | None = None
        self._embodied_at: float | None = None
        self._failure: str | None = None

    def advance(self, reading: Reading, now: Moment, charges: Charges, took: float = 0.0) -> None:
        """Fold in a reading that took some seconds until ``now``, with the factors that are in force now."""
        watts = reading.power_watts if reading.power_watts is not None else reading.average_power_watts
        bridge = self.power.advance(watts, now.monotonic)
        if self._read_at is not None and now.monotonic - self._read_at > MAX_AGE_SECONDS:
            self._interrupted = self._interrupted or "gap"
        if reading.energy_microjoules is not None:
            interval = Interval(bridge, self._ceiling, charges.grams_per_joule)
            used = self.energy.advance(reading.energy_microjoules, reading.energy_time, now, interval)
            if used is not None:
                self._used(used, now, charges)
        self._embody(now, charges.embodied_grams_per_second)
        self._reading, self._read_at = reading, now.monotonic - took  # it may be as old as that
        self.health.samples["ok"] += 1

    def observe(self, status: Status, now: Moment) -> None:
        """Take over the slow values read at ``now``; the time since the last ones counts for the active reasons."""
        if status.throttle_reasons is not None:
            elapsed = now.monotonic - self._status_at
            held = elapsed if self._status is not None and elapsed <= MAX_AGE_SECONDS else 0.0
            for reason in THROTTLE_REASONS:
                self._throttled[reason] = self._throttled.get(reason, 0.0) + held * (reason in status.throttle_reasons)
        most = 0.0 if self.device.kind is DeviceKind.GPU else QUIET_CPU_RATIO
        unused = status.utilization_ratio is not None and status.utilization_ratio <= most
        if not unused or now.monotonic - self._status_at > MAX_AGE_SECONDS:
            self._unused_since = None
        if unused and self._unused_since is None:
            self._unused_since = now.monotonic
        self._status, self._status_at = status, now.monotonic

    def settle(self, now: float) -> None:
        """Have the energy shared out that can be by the monotonic time ``now``."""
        if self.charger is not None:
            self.charger.settle(now)

    def took(self, seconds: float) -> None:
        """Count how long one reading took."""
        self.health.took(seconds)

    def utilization_ratio(self, now: float) -> float | None:
        """Return the share of time in which a kernel ran, as of late; None where that is not known."""
        fresh = self._status is not None and now - self._status_at <= MAX_AGE_SECONDS
        return self._status.utilization_ratio if fresh and self._status is not None else None

    def lost(self, outcome: str = "lost", why: str | None = None) -> None:
        """Note that the device did not answer: nothing is shown of it until it does, but ``why``."""
        self._reading = self._status = self._unused_since = None
        self._interrupted = self._interrupted or "lost"
        self._failure = why
        self.health.samples[outcome] += 1

    def identified(self, device: Device) -> None:
        """Take over what discovery says of the device now; another way of counting goes on without a difference."""
        if (device.method, device.counter_range_microjoules) != (
            self.device.method,
            self.device.counter_range_microjoules,
        ):
            self.energy.rebase(device.counter_range_microjoules)
            self._interrupted = self._interrupted or "reset"
        self.device = device

    def view(self, now: Moment) -> DeviceView:
        """Return the frozen picture of the device at ``now``."""
        age = None if self._read_at is None else max(0.0, now.monotonic - self._read_at)
        fresh = age is not None and age <= MAX_AGE_SECONDS and self._reading is not None
        return DeviceView(
            device=self.device,
            measured=self._measured(self._reading, now) if fresh and self._reading is not None else None,
            age_seconds=age,
            samples=MappingProxyType(dict(self.health.samples)),
            read_bucket_counts=tuple(self.health.buckets),
            read_seconds_sum=self.health.seconds,
            charged=self._charged(now),
            failure=self._failure if self._reading is None else None,
        )

    def saved(self) -> dict[str, Any]:
        """Return all sums, as JSON values."""
        split = self.kept_split if self.splitter is None else self.splitter.saved()
        charges = self.kept_charges if self.charger is None else self.charger.saved()
        return {
            "method": self.device.method,
            "energy": self.energy.saved(),
            "integrated": self.power.integral,
            "throttled": dict(self._throttled),
            "embodied": self._embodied,
            "embodied_at": self._embodied_at,
            "samples": dict(self.health.samples),
            "read_buckets": list(self.health.buckets),
            "read_seconds": self.health.seconds,
            **({} if split is None else {"split": split}),
            **({} if charges is None else {"charges": charges}),
        }

    def restore(self, saved: dict[str, Any]) -> None:
        """Go on from what ``saved`` returned in a run before, of the same boot.

        Raises:
            KeyError, TypeError, ValueError: it is not what this version saves.
        """
        same = saved["method"] == self.device.method
        self.energy.restore(saved["energy"], lasting=self.device.lasting and same)
        self.power.integral = _number(saved["integrated"])
        throttled = dict(saved["throttled"])
        self._throttled = {
            reason: saved_amount(throttled[reason]) for reason in THROTTLE_REASONS if reason in throttled
        }
        self._embodied, self._embodied_at = _number(saved["embodied"]), _number(saved["embodied_at"])
        self.health.samples.update({key: saved_count(saved["samples"][key]) for key in OUTCOMES})
        self.health.buckets = [
            saved_count(count) for _, count in zip(self.health.buckets, saved["read_buckets"], strict=True)
        ]
        self.health.seconds = saved_amount(saved["read_seconds"])
        self.kept_split, self.kept_charges = saved.get("split"), saved.get("charges")
        self._interrupted = "down" if self.device.lasting and same else None

    def _used(self, used: Used, now: Moment, charges: Charges) -> None:
        """Tell of energy those who share it out."""
        if self.splitter is not None:
            self.splitter.used(used, now.monotonic)
        if self.charger is not None:
            unused = self._unused_since is not None and used.start >= self._unused_since
            told = Told.of(used, self._interrupted)
            self.charger.used(told._replace(idle=unused, grams_per_joule=charges.grams_per_joule))
        self._interrupted = None

    def _charged(self, now: Moment) -> Charged | None:
        """Return whose the device's energy was, which stays known while it does not answer."""
        if self.charger is None or self.energy.total is None:
            return None
        shown = self.charger.shown(now.monotonic)
        if shown is None:
            return None
        return Charged(shown, now.wall - now.monotonic, emissions=self.energy.grams is not None)

    def _ceiling(self) -> float:
        """Return more watts than the device can draw."""
        limit = self._status.limit_watts if self._status is not None else None
        known = [watts for watts in (limit, self.power.highest()) if watts]
        return (
            _ABOVE_LIMIT * max(known) if limit else max(_UNKNOWN_CEILING_WATTS, *(_ABOVE_LIMIT * w for w in known), 0.0)
        )

    def _embody(self, now: Moment, grams_per_second: float | None) -> None:
        if grams_per_second is not None:
            since = now.monotonic if self._embodied_at is None else self._embodied_at
            self._embodied = (self._embodied or 0.0) + max(0.0, now.monotonic - since) * grams_per_second
        self._embodied_at = now.monotonic

    def _measured(self, reading: Reading, now: Moment) -> Measured:
        counted = self.energy.total is not None and reading.energy_microjoules is not None
        powered = reading.power_watts is not None or reading.average_power_watts is not None
        low, high = (self.power.lowest(), self.power.highest()) if powered else (None, None)
        status = self._status if now.monotonic - self._status_at <= MAX_AGE_SECONDS else None
        return Measured(
            energy_joules=self.energy.total / MICRO if counted and self.energy.total is not None else None,
            energy_time=self.energy.moved_at if counted else None,
            integrated_joules=self.power.integral if powered else None,
            update_interval_seconds=self.energy.update_interval() if counted else None,
            resets=self.energy.resets if counted else None,
            power_watts=reading.power_watts,
            average_power_watts=reading.average_power_watts,
            max_power_watts=high,
            min_power_watts=low,
            emissions_grams=self.energy.grams if counted else None,
            embodied_grams=self._embodied,
            throttled_seconds=MappingProxyType(dict(self._throttled if status else {})),
            status=status or Status(),
            split=self.splitter.shown() if counted and self.splitter is not None else None,
        )


def _number(value: Any) -> float | None:
    return None if value is None else saved_amount(value)
