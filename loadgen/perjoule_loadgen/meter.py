"""Polls the exporters beside the load and keeps every (energy, time) pair, so that edges can be chosen afterwards.

The poller never raises: a reading that fails is counted and leaves a gap. Only a wait for the counter to move can fail,
and it is bounded. Knows nothing of phases, requests or which device is whose.
"""

import asyncio
import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from perjoule.errors import MeasurementError, PerjouleError
from perjoule_loadgen.clock import Clock
from perjoule_loadgen.config import Rules
from perjoule_loadgen.energy import SIMULATED, Device, Exposition, Pair, Reading, exposition
from perjoule_loadgen.pages import Page

_TICK_SECONDS = 0.1
"""Assumed update interval while none was seen or told: that of NVIDIA's data-centre boards, the slowest known."""


_STEADY_RATIO = 0.1


@dataclass(slots=True)
class Track:
    """The history of one device: one reading for each time its counter was seen to have moved."""

    device: Device
    readings: list[Reading] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    ages: list[tuple[float, float]] = field(default_factory=list)
    went_back: list[float] = field(default_factory=list)

    def add(self, reading: Reading, asked: float = math.inf, got: float = math.inf) -> None:
        """Append the reading if its counter has moved; note when it went back.

        ``asked`` and ``got`` are the Unix times between which it was read; the ages that they allow are kept.
        """
        pair = reading.pair
        if self.times and pair.at <= self.times[-1]:
            if pair.at < self.times[-1] or pair.joules < self.readings[-1].pair.joules:
                self.went_back.append(self.times[-1])
            return
        if self.readings and pair.joules < self.readings[-1].pair.joules:
            self.went_back.append(pair.at)
        elif self.readings and pair.joules == self.readings[-1].pair.joules:
            return  # a time without energy: the counter stands still, whatever the exporter says
        self.device = reading.device
        self.readings.append(reading)
        self.ages.append((asked - pair.at, got - pair.at))
        self.times.append(pair.at)

    @property
    def tick(self) -> float:
        """Update interval in seconds: as told, else the shortest that was seen (an upper bound)."""
        told = self.readings[-1].tick if self.readings else None
        if told:
            return told
        recent = self.times[-1000:]
        return min((b - a for a, b in pairwise(recent)), default=_TICK_SECONDS)

    def last_until(self, at: float) -> Reading | None:
        """Return the last reading whose counter moved no later than ``at``."""
        index = bisect_right(self.times, at)
        return self.readings[index - 1] if index else None

    def first_from(self, at: float) -> Reading | None:
        """Return the first reading whose counter moved at ``at`` or later."""
        index = bisect_left(self.times, at)
        return self.readings[index] if index < len(self.readings) else None

    def mean_watts(self, start: float, end: float) -> float | None:
        """Return the mean power between the first update from Unix time ``start`` and the last until ``end``."""
        first, last = self.first_from(start), self.last_until(end)
        if first is None or last is None or last.pair.at <= first.pair.at:
            return None
        return (last.pair.joules - first.pair.joules) / (last.pair.at - first.pair.at)

    def steady(self, now: float, span: float) -> bool:
        """Tell whether power has settled: the means of the two spans before ``now`` agree within 10 % or two ticks."""
        earlier, later = self.mean_watts(now - 2 * span, now - span), self.mean_watts(now - span, now)
        if earlier is None or later is None:
            return False
        return abs(later - earlier) <= max(_STEADY_RATIO, 2 * self.tick / span) * max(earlier, later)

    def doubt(self, start: Pair, end: Pair, rules: Rules) -> str | None:
        """Return why the pairs from ``start`` to ``end`` cannot be relied on, as a sentence; None where they can.

        Edges are placed by this machine's clock: with an exporter whose clock is elsewhere they would hold other work.
        """
        first, last = bisect_left(self.times, start.at), bisect_right(self.times, end.at)
        lead = -min((got for _, got in self.ages[first:last]), default=0.0)
        if lead > rules.max_lead_seconds:
            return f"the exporter's clock was {lead:.1f} s ahead of this machine's within the window"
        late = min((asked for asked, _ in self.ages[first:last]), default=0.0)
        if rules.max_late_seconds < late < math.inf:
            what = "the exporter's clock is behind, or it is slow"
            return f"every reading of {self.device.id} was {late:.1f} s old or older: {what}"
        for one, other in pairwise(reading.pair for reading in self.readings[first:last]):
            if other.joules - one.joules > rules.max_device_watts * (other.at - one.at):
                rise = f"{other.joules - one.joules:.4g} J in {other.at - one.at:.2g} s"
                return f"the counter of {self.device.id} rose by {rise}: no device uses so much"
        return None

    def watts(self) -> float | None:
        """Return the mean power over the last half second or so; None before two readings."""
        if len(self.readings) < 2:  # noqa: PLR2004 (two points make a slope)
            return None
        last = self.readings[-1].pair
        first = self.readings[max(len(self.readings) - 5, 0)].pair
        return (last.joules - first.joules) / (last.at - first.at)


class Meter:
    """All exporters of a run."""

    def __init__(self, page: Page, urls: Sequence[str], clock: Clock, rules: Rules) -> None:
        self._page, self._urls, self._clock, self._rules = page, tuple(urls), clock, rules
        self._lock = asyncio.Lock()
        self.tracks: dict[str, Track] = {}
        self.latest: dict[str, Exposition] = {}
        self.failure: str | None = None
        self.restarts: list[float] = []

    async def read(self) -> None:
        """Read every exporter once and keep what moved. A failure is kept in ``failure``."""
        async with self._lock:
            for url in self._urls:
                asked = self._clock.unix()
                try:
                    said = exposition(await self._page.text(url), url)
                except PerjouleError as error:
                    self.failure = str(error)
                else:
                    self.failure = None
                    self._keep(url, said, asked)

    async def read_once(self) -> None:
        """Read every exporter and insist on an answer.

        Raises:
            UnreachableError: an exporter does not answer.
            MeasurementError: it answers something else than metrics, or two exporters show the same device.
        """
        for url in self._urls:
            asked = self._clock.unix()
            said = exposition(await self._page.text(url), url)
            twice = [id_ for id_ in said.readings if id_ in self.tracks and self.tracks[id_].device.exporter != url]
            if twice:
                raise MeasurementError(
                    f"{twice[0]} is shown by {self.tracks[twice[0]].device.exporter} and by {url}:"
                    " name only the exporter of the target's machine as --energy"
                )
            self._keep(url, said, asked)

    def _keep(self, url: str, said: Exposition, asked: float) -> None:
        got = self._clock.unix()
        before = self.latest.get(url)
        if before is not None and before.started != said.started:
            self.restarts.append(got)
        self.latest[url] = said
        for id_, reading in said.readings.items():
            track = self.tracks.setdefault(id_, Track(reading.device))
            if track.device.exporter == url:
                track.add(reading, asked, got)

    async def run(self) -> None:
        """Poll until cancelled."""
        while True:
            await self.read()
            await asyncio.sleep(self._rules.poll_seconds)

    async def wait_moved(self, ids: Iterable[str], at: float) -> None:
        """Wait until the counter of each device has moved at Unix time ``at`` or later.

        Raises:
            MeasurementError: it did not within ``edge_seconds`` beyond ``at``; the message says which and since when.
        """
        deadline = self._clock.now() + max(at - self._clock.unix(), 0.0) + self._rules.edge_seconds
        while True:
            waiting = [id_ for id_ in ids if not self._has_moved(id_, at)]
            if not waiting:
                return
            if self._clock.now() > deadline:
                raise MeasurementError(self._stuck(waiting[0]))
            await asyncio.sleep(self._rules.edge_poll_seconds)
            await self.read()

    def _has_moved(self, id_: str, at: float) -> bool:
        track = self.tracks.get(id_)
        return track is not None and bool(track.times) and track.times[-1] >= at

    def _stuck(self, id_: str) -> str:
        if self.failure is not None:
            return f"the exporter stopped answering: {self.failure}"
        track = self.tracks.get(id_)
        if track is None or not track.times:
            return f"the exporter shows no energy of {id_}"
        age = self._clock.unix() - track.times[-1]
        gone = not any(id_ in said.readings for said in self.latest.values())
        what = "is gone from the exporter" if gone else "has not moved"
        return f"the energy counter of {id_} {what} for {age:.1f} s"

    def simulated(self) -> bool:
        """Tell whether any device is simulated."""
        return any(track.device.method == SIMULATED for track in self.tracks.values())


@dataclass(frozen=True, slots=True)
class Idle:
    """One idle baseline of one device: its counter at the start and at the end."""

    start: Pair
    end: Pair

    @property
    def joules(self) -> float:
        """Energy of the baseline."""
        return self.end.joules - self.start.joules

    @property
    def seconds(self) -> float:
        """Length of the baseline."""
        return self.end.at - self.start.at

    @property
    def watts(self) -> float:
        """Mean power."""
        return self.joules / self.seconds


def idle_between(track: Track, start: float, end: float) -> Idle | None:
    """Return the energy between the first pair from ``start`` and the first from ``end``; None where one is missing."""
    first, last = track.first_from(start), track.first_from(end)
    if first is None or last is None or last.pair.at <= first.pair.at:
        return None
    if any(first.pair.at <= at <= last.pair.at for at in track.went_back):
        return None
    return Idle(first.pair, last.pair)


def mean_watts(baselines: Sequence[Idle]) -> float | None:
    """Return the mean power of baselines, weighted by their time; None of none."""
    seconds = sum(idle.seconds for idle in baselines)
    return sum(idle.joules for idle in baselines) / seconds if seconds else None


def bracket_ids(tracks: Mapping[str, Track], names: Sequence[str]) -> tuple[str, ...]:
    """Return the ids of the tracks that are one of the devices ``names`` (all zones of a package are one device)."""
    return tuple(id_ for id_, track in tracks.items() if id_ in names or track.device.base in names)
