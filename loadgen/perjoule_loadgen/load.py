"""The two ways of loading a server: open loop (the schedule decides) and closed loop (the answers decide).

The open loop never waits for an answer: when the client itself is late, what it could not send in time stays unsent
and is counted. Knows nothing of energy or phases.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from itertools import takewhile

from perjoule_loadgen.client import Client
from perjoule_loadgen.pacer import Schedule
from perjoule_loadgen.records import Result, Results
from perjoule_loadgen.sketch import Sketch

_LATE_SECONDS = 1.0
"""How long after its end a schedule may still be sent; what is left then stays unsent."""
_RECENT = 50_000
_BACKOFF_SECONDS = 0.05
"""Pause of a closed loop after a failed request, so that a dead server is not hammered."""


@dataclass(slots=True)
class Load:
    """A load in progress, and its results afterwards. The live display reads it as it grows.

    Attributes:
        results: in the order in which they ended.
        scheduled: requests that were due so far by the schedule, None in a closed loop.
        sent: requests sent so far.
        began: monotonic time of the start.
        ended: monotonic time at which the last answer was in, None while it runs.
        gave_up: sentence when the load was given up because nobody answered any more.
        ok: results that succeeded.
        gaps: seconds between the pieces of streams that ended well.
        recent: when the last answers were in, ascending.
    """

    results: Results | list[Result] = field(default_factory=Results)
    scheduled: int | None = None
    sent: int = 0
    began: float = 0.0
    ended: float | None = None
    gave_up: str | None = None
    ok: int = 0
    gaps: Sketch = field(default_factory=Sketch)
    recent: deque[float] = field(default_factory=lambda: deque(maxlen=_RECENT))
    _last_answer: float = 0.0
    _last_error: str = ""
    _last_detail: str = ""

    def add(self, result: Result) -> None:
        """Keep a result."""
        self.results.append(result)
        self.recent.append(result.done)
        for gap in result.gaps:
            self.gaps.add(gap)
        self.seen(result)

    def seen(self, result: Result) -> None:
        """Count a result."""
        self.ok += result.ok
        self._last_error, self._last_detail = result.error, result.detail
        if result.error != "connect":
            self._last_answer = result.done

    @property
    def last_detail(self) -> str:
        """What the last result said, empty where it succeeded."""
        return self._last_detail

    def dead_since(self, now: float) -> float:
        """Return for how long there was nothing but refused connections; 0 when the last result was an answer."""
        if self._last_error != "connect":
            return 0.0
        return now - max(self._last_answer, self.began)


@dataclass(frozen=True, slots=True)
class Driver:
    """Drives a client.

    Attributes:
        client: sends.
        order: indices of the inputs to send.
        now: monotonic clock.
        dead_seconds: time of nothing but refused connections after which a load is given up.
        start: monotonic time at which a load starts, None for at once.
    """

    client: Client
    order: Iterator[int]
    now: Callable[[], float]
    dead_seconds: float
    start: float | None = None

    async def closed(
        self, load: Load, concurrency: int, seconds: float, requests: int = 0, enough: Callable[[], bool] | None = None
    ) -> None:
        """Keep ``concurrency`` requests in flight for ``seconds`` and until ``requests`` were sent, then wait for all.

        ``enough``, asked after each answer, may end it before.
        """
        load.began = await self._begin()

        def more() -> bool:
            over = self.now() - load.began >= seconds and load.sent >= requests
            return not over and load.gave_up is None and not (enough is not None and enough())

        async def worker() -> None:
            while more():
                load.sent += 1
                result = await self.client.send(next(self.order))
                load.add(result)
                if result.error:
                    self._consider_giving_up(load)
                    await asyncio.sleep(_BACKOFF_SECONDS)

        await _all([worker() for _ in range(concurrency)])
        load.ended = self.now()

    async def open(self, load: Load, schedule: Schedule, enough: Callable[[], bool] | None = None) -> None:
        """Send at the schedule's times, wait out its length, then wait for all answers."""
        load.began, load.scheduled = await self._begin(), 0
        offsets = schedule.offsets()
        flying: set[asyncio.Task[None]] = set()
        try:
            last = await self._dispatch(load, offsets, schedule.nominal_seconds, enough, flying)
            if last is None:  # it ended before its time: all that was due by now stays unsent
                load.scheduled += sum(1 for _ in takewhile(lambda at: load.began + at < self.now(), offsets))
            else:
                await self._until(load.began + max(schedule.seconds, last))
            if flying:
                await asyncio.gather(*flying)
        finally:
            for task in flying:
                task.cancel()
        load.ended = self.now()

    async def _dispatch(
        self, load: Load, offsets: Iterator[float], seconds: float, enough: Callable[[], bool] | None,
        flying: set[asyncio.Task[None]],
    ) -> float | None:  # fmt: skip
        """Start a task for each request at its time; return the last offset, None where it ended before its time."""

        async def one(index: int, intended: float) -> None:
            load.add(await self.client.send(index, intended))

        offset = 0.0
        for offset in offsets:
            await self._until(load.began + offset)
            load.scheduled = (load.scheduled or 0) + 1
            late = self.now() > load.began + max(seconds, offset) + _LATE_SECONDS
            self._consider_giving_up(load)
            if late or load.gave_up is not None or (enough is not None and enough()):
                return None
            load.sent += 1
            task = asyncio.create_task(one(next(self.order), load.began + offset))
            flying.add(task)
            task.add_done_callback(flying.discard)
        return offset

    async def _begin(self) -> float:
        if self.start is None:
            return self.now()
        await self._until(self.start)
        return self.start

    async def _until(self, at: float) -> None:
        wait = at - self.now()
        if wait > 0:
            await asyncio.sleep(wait)

    def _consider_giving_up(self, load: Load) -> None:
        dead = load.dead_since(self.now())
        if dead > self.dead_seconds:
            load.gave_up = f"the server accepted no connection for {dead:.1f} s: {load.last_detail}"


async def _all(workers: list[Coroutine[None, None, None]]) -> None:
    async with asyncio.TaskGroup() as group:
        for worker in workers:
            group.create_task(worker)
