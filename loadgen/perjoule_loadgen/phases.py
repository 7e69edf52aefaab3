"""The protocol of one task: warm-up → drain and quiet → steady window → drain and quiet; and the idle baselines.

The window starts and ends in quiet, so that its requests and its energy belong to each other exactly: no request
straddles an edge, and an edge that is one tick off costs idle power × tick. With Prometheus each quiet lasts until its
scrapes fall into it, which adds up to one scrape interval of idle energy to the window. Computes no figure.
"""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import aiohttp

from perjoule.errors import MeasurementError
from perjoule_loadgen.clock import Clock
from perjoule_loadgen.config import Config, Rules
from perjoule_loadgen.crew import Crew
from perjoule_loadgen.crosscheck import Prometheus
from perjoule_loadgen.driving import STEADY, Job, drive, route_to
from perjoule_loadgen.load import Load
from perjoule_loadgen.measurement import Bracket, Measurement, Plan
from perjoule_loadgen.meter import Idle, Meter, Track, idle_between
from perjoule_loadgen.ours import Ours
from perjoule_loadgen.servertokens import Written, ask_written, between
from perjoule_loadgen.settlement import Settlement
from perjoule_loadgen.stats import settled
from perjoule_loadgen.status import Status

_SETTLED_EVERY_SECONDS = 0.25
_LEAD_SECONDS = 5.0
"""Quiet and the reading of the ledgers before a window whose start is given are done in less."""


@dataclass(frozen=True, slots=True)
class Phases:
    """What the phases work with."""

    config: Config
    clock: Clock
    session: aiohttp.ClientSession
    meter: Meter
    prometheus: Prometheus | None
    settlement: Settlement
    status: Status
    crew: Crew | None = None

    async def idle(self, name: str) -> dict[str, Idle]:
        """Measure an idle baseline of every device that is there; nothing for a device whose counter stood still.

        Raises:
            MeasurementError: no counter moved.
        """
        if not self.config.idle:
            return {}
        self.status.enter(name, self.config.idle)
        start = self.clock.unix()
        await asyncio.sleep(self.config.idle)
        end = self.clock.unix()
        await self._wait_any(end)
        found = {id_: idle_between(track, start, end) for id_, track in self.meter.tracks.items()}
        return {id_: idle for id_, idle in found.items() if idle is not None}

    async def _wait_any(self, at: float) -> None:
        """Wait for every device, and be content with those that move."""
        try:
            await self.meter.wait_moved(tuple(self.meter.tracks), at)
        except MeasurementError:
            if not any(track.times and track.times[-1] >= at for track in self.meter.tracks.values()):
                raise

    async def measure(self, measurement: Measurement) -> None:
        """Run the protocol for one task; what goes wrong becomes a fault of the measurement.

        Cancelling it leaves in ``measurement`` what there is, with the bracket up to the last pair that was read.
        """
        try:
            await self._protocol(measurement)
        except MeasurementError as error:
            measurement.faults.append(str(error))
        except asyncio.CancelledError:
            measurement.interrupted = True
            self._close_early(measurement)
            raise

    async def _protocol(self, measurement: Measurement) -> None:
        plan = measurement.plan
        await self._warm_up(measurement)
        await self._until_shortly_before()
        await self._quiet(plan, "quiet before the window")
        measurement.opening = await self.settlement.edge(plan)
        before = await self._written()
        await self._window(measurement)
        await self._quiet(plan, "quiet after the window", measurement)
        measurement.server_tokens = between(before, await self._written(), measurement.steady.ok)
        if measurement.charged:
            measurement.closing = await self.settlement.edge(plan, measurement.opening, measurement.steady.ok)
        if self.prometheus is not None and measurement.charged and measurement.steady.gave_up is None:
            measurement.crosscheck = await self.prometheus.check(plan, measurement.charged)

    async def _written(self) -> Written | None:
        """Return the tokens that a server of another kind has counted; ours tells them with each answer."""
        if isinstance(self.config.dialect, Ours):
            return None
        return await ask_written(self.settlement.page, self.config.target)

    async def _warm_up(self, measurement: Measurement) -> None:
        config, load = self.config, measurement.warmup
        longest = config.warmup if config.start_at is None else min(config.warmup, self._before_start())
        if longest <= 0:
            return
        self.status.enter("warm-up", longest, load)
        await self._drive(measurement.plan, load, "warm-up", longest, 0, self._settled(measurement.plan, load))
        if load.results and not load.ok:
            raise MeasurementError(
                f"no request of the warm-up succeeded ({len(load.results)} failed, the last: {load.results[-1].detail})"
            )

    def _before_start(self) -> float:
        """Return the seconds until the quiet before a window that is to start at a time of its own."""
        start = self.config.start_at
        return 0.0 if start is None else start - _LEAD_SECONDS - self.clock.unix()

    async def _until_shortly_before(self) -> None:
        if (wait := self._before_start()) > 0:
            self.status.enter("waiting for the other shards", wait)
            await asyncio.sleep(wait)

    async def _start(self) -> None:
        """Wait for the time at which all shards start to send.

        Raises:
            MeasurementError: it has passed.
        """
        start = self.config.start_at
        if start is None:
            return
        wait = start - self.clock.unix()
        if wait < 0:
            raise MeasurementError(f"ready {-wait:.1f} s after --start-at: give all shards a later time")
        await asyncio.sleep(wait)

    def _settled(self, plan: Plan, load: Load) -> Callable[[], bool]:
        """Return whether throughput and the power of the plan's devices have settled, as a question to be repeated."""
        next_look, span = 0.0, self.config.rules.settle_seconds

        def look() -> bool:
            nonlocal next_look
            now = self.clock.now()
            if now < next_look:
                return False
            next_look = now + _SETTLED_EVERY_SECONDS
            if now - load.began <= 2 * span or not settled(list(load.recent), now, span):
                return False
            return all(track.steady(self.clock.unix(), span) for track in self._devices(plan))

        return look

    async def _drive(
        self, plan: Plan, load: Load, name: str, seconds: float, requests: int, enough: Callable[[], bool] | None
    ) -> None:
        job = Job(
            self.config,
            route_to(self.config, plan.task, plan.items, stream=self.config.stream),
            name,
            seconds,
            requests,
            self.config.shard,
        )
        if self.crew is not None:
            await self.crew.drive(load, job, self.clock.now, enough)
        else:
            await drive(self.session, self.clock.now, job, load, enough)

    async def _quiet(self, plan: Plan, name: str, measurement: Measurement | None = None) -> None:
        """Wait until the counters of the plan's devices have moved in the quiet; then take the end edge, if any."""
        self.status.enter(name, None)
        since = self.clock.unix() if measurement is None or measurement.ended is None else measurement.ended
        # One tick beyond the last answer: an end edge that is one update stale has still seen all of the load.
        ticks = self.config.rules.quiet_ticks if measurement is None else 1
        at = since + ticks * max(self.meter.tracks[id_].tick for id_ in plan.devices)
        gone = measurement is not None and measurement.steady.gave_up is not None
        if self.prometheus is not None and not gone:
            at = max(at, await self.prometheus.wait_scraped(plan, self._devices(plan), since))
        await self.meter.wait_moved(plan.devices, at)
        if measurement is not None:
            self._close(measurement, at)

    async def _window(self, measurement: Measurement) -> None:
        plan, load = measurement.plan, measurement.steady
        seconds = self.config.window_seconds(max(self.meter.tracks[id_].tick for id_ in plan.devices))
        edge = {id_: self.meter.tracks[id_].readings[-1].pair for id_ in plan.devices}
        self.status.enter("steady window", seconds, load, edge)
        await self._start()
        measurement.began = self.clock.unix()
        await self._drive(plan, load, STEADY, seconds, self.config.requests or 0, None)
        measurement.ended = self.clock.unix()

    def _devices(self, plan: Plan) -> list[Track]:
        return [self.meter.tracks[id_] for id_ in plan.devices]

    def _close(self, measurement: Measurement, at: float) -> None:
        """Take the brackets: from the last pair before the load began to the first pair from ``at``."""
        began = measurement.began
        assert began is not None  # noqa: S101 (a window that ended has begun)
        brackets = [
            bracket
            for track in self.meter.tracks.values()
            if (bracket := _bracket(track, began, at, self.meter.restarts, self.config.rules)) is not None
        ]
        measurement.charged = _of(brackets, measurement.plan.devices)
        measurement.excluded = tuple(b for b in brackets if b.device.id not in measurement.plan.devices)

    def _close_early(self, measurement: Measurement) -> None:
        if measurement.began is None:
            return
        measurement.ended = measurement.ended or self.clock.unix()
        newest = [track.times[-1] for track in self._devices(measurement.plan) if track.times]
        if newest and min(newest) > measurement.began:
            self._close(measurement, min(newest))


def _bracket(track: Track, began: float, at: float, restarts: Iterable[float], rules: Rules) -> Bracket | None:
    start, end = track.last_until(began), track.first_from(at)
    if start is None or end is None or end.pair.at <= start.pair.at:
        return None
    reset = (start.resets or 0.0) != (end.resets or 0.0) or any(
        start.pair.at <= moment <= end.pair.at for moment in (*track.went_back, *restarts)
    )
    return Bracket(track.device, start.pair, end.pair, track.tick, reset, track.doubt(start.pair, end.pair, rules))


def _of(brackets: Iterable[Bracket], ids: tuple[str, ...]) -> tuple[Bracket, ...]:
    found = tuple(bracket for bracket in brackets if bracket.device.id in ids)
    return found if len(found) == len(ids) else ()
