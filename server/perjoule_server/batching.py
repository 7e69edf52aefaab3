"""Which requests share a batch: bounded lanes, the choice of a batch, and what to do with one that fails.

A lane holds the prepared requests of one model. The oldest head of all lanes is served first; its batch takes requests
of the same lane with an equal key, nearest in length to the head, while ``longest × (n + 1)`` stays within the token
budget, those who are worth their padding (``pace``). By default nothing waits for company: a batch is made of what is
there when the device is free. What the device thread has to do between batches, such as loading a model, are orders;
they take their turn by age too. The functions at the top are pure; ``Lanes`` adds the one lock between the event loop,
which puts, and the device thread, which takes. Knows nothing of HTTP, metrics or how a task computes.
"""

import math
import threading
from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from perjoule.errors import BusyError, UnavailableError
from perjoule_server.pace import Pace
from perjoule_server.room import Room
from perjoule_server.tasks.base import Prepared

RECENT = 0.2
"""Weight of the newest batch in a lane's seconds per request: the last ten batches make up nine tenths of it."""

T = TypeVar("T")
R = TypeVar("R")


def everybody(lengths: Sequence[int]) -> Collection[int]:
    """Return all places."""
    return range(len(lengths))


def choose(
    queue: Sequence[Prepared],
    max_batch: int,
    token_budget: int,
    worthwhile: Callable[[Sequence[int]], Collection[int]] = everybody,
) -> list[int]:
    """Return the indices into ``queue`` (ascending, the head first) that make up the next batch.

    The head is always in, alone if it is over the budget by itself. Nearest lengths to the head's come first, and among
    equals the older ones. ``worthwhile`` returns which of the lengths in this order, by their places, share a batch
    with the first.
    """
    if not queue:
        return []
    head = queue[0]
    mates = [index for index in range(1, len(queue)) if queue[index].key == head.key] if max_batch > 1 else []
    mates.sort(key=lambda index: abs(queue[index].length - head.length))  # stable, so older first among equals
    chosen, longest = [0], head.length
    for index in mates:
        if len(chosen) >= max_batch:
            break
        longest_with = max(longest, queue[index].length)
        if longest_with * (len(chosen) + 1) <= token_budget:
            chosen.append(index)
            longest = longest_with
    return sorted({0, *(chosen[place] for place in worthwhile([queue[index].length for index in chosen]))})


def retry_after(backlog: Iterable[tuple[int, float]]) -> float:
    """Return whole seconds, at least 1, in which ``(depth, seconds per request)`` of all lanes would be worked off."""
    return max(1.0, float(math.ceil(sum(depth * seconds for depth, seconds in backlog))))


def as_it_is(error: Exception, _: Sequence[object]) -> Exception:
    """Return an error unchanged."""
    return error


def run_apart(
    run: Callable[[Sequence[T]], Sequence[R]],
    batch: Sequence[T],
    failed: Callable[[Exception, Sequence[T]], Exception] = as_it_is,
) -> list[R | Exception]:
    """Run a batch; where it fails run its halves, so that a request that cannot be computed fails alone.

    One poison request among n costs about 2·log2(n) further runs. ``failed`` sees each failure and returns what a
    request that stands alone is told; it may raise. What is no ``Exception`` passes through.
    """
    try:
        outputs = list(run(batch))
        _check_count(outputs, batch)
    except Exception as error:  # noqa: BLE001 (the edge to a model: whatever it raises belongs to these requests)
        failure = failed(error, batch)
    else:
        return [*outputs]
    if len(batch) == 1:
        return [failure]
    # Outside of the handler, and without the failure, whose traceback holds the memory of the whole batch.
    del failure
    middle = len(batch) // 2
    return run_apart(run, batch[:middle], failed) + run_apart(run, batch[middle:], failed)


def _check_count(outputs: Sequence[object], batch: Sequence[object]) -> None:
    if len(outputs) != len(batch):
        raise ValueError(f"{len(outputs)} outputs for {len(batch)} requests")


@dataclass(slots=True, eq=False)
class Job:
    """A prepared request in a lane.

    Attributes:
        prepared: what the device gets.
        queued: when it began to wait, on the lanes' clock; the oldest head goes first.
        deadline: when nobody wants the answer any more, on the same clock.
        ticket: whatever its owner needs to answer it.
    """

    prepared: Prepared
    queued: float
    deadline: float
    ticket: Any = None


@dataclass(slots=True, eq=False)
class Lane:
    """The queue of one model; changed by its ``Lanes`` only.

    Attributes:
        name: what the model is called in messages.
        max_batch: most requests of a batch.
        token_budget: most tokens of a batch, padding included.
        limit: most requests that wait, those still being prepared included.
        preparing: places reserved for requests that are not prepared yet.
        seconds_per_request: device time of a request in recent batches, 0 before the first.
        pace: how long its batches take, for how many requests a batch is worth.
        room: how large they may be, once one did not fit into memory.
        open: whether its model is loaded; if not, what waits stays.
    """

    name: str
    max_batch: int
    token_budget: int
    limit: int
    queue: deque[Job] = field(default_factory=deque)
    preparing: int = 0
    seconds_per_request: float = 0.0
    pace: Pace = field(default_factory=Pace)
    room: Room = field(default_factory=Room)
    open: bool = True

    @property
    def depth(self) -> int:
        """Requests that wait, those being prepared included."""
        return self.preparing + len(self.queue)


@dataclass(frozen=True, slots=True)
class Batch:
    """What the device thread takes: jobs to compute (perhaps none) and jobs whose deadline passed in the queue."""

    lane: Lane
    jobs: tuple[Job, ...]
    expired: tuple[Job, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Order:
    """Something else that the device thread does between batches.

    Attributes:
        run: does it.
        queued: when it was asked for, on the lanes' clock; jobs that are older go first.
        ready: whether its time has come; asked under the lanes' lock.
    """

    run: Callable[[], None]
    queued: float
    ready: Callable[[], bool] = lambda: True


def padded(jobs: Sequence[Job]) -> int:
    """Return the tokens of a batch, padding included."""
    return max(job.prepared.length for job in jobs) * len(jobs)


class Lanes:
    """All lanes of one device. Any thread may call any method.

    ``max_wait`` is how many seconds a request may wait for company while the device is free.
    """

    def __init__(self, clock: Callable[[], float], max_wait: float = 0.0) -> None:
        self._clock = clock
        self._max_wait = max_wait
        self._lanes: list[Lane] = []
        self._orders: list[Order] = []
        self._changed = threading.Condition(threading.Lock())
        self._closed = False
        self._abandoned = False

    def add(self, lane: Lane) -> None:
        """Serve one more lane."""
        with self._changed:
            self._lanes.append(lane)

    def reserve(self, lane: Lane) -> None:
        """Keep a place for a request that is about to be prepared.

        Raises:
            BusyError: the lane is full.
            UnavailableError: the lanes are closed.
        """
        with self._changed:
            if self._closed:
                raise UnavailableError("the server is shutting down")
            if lane.depth >= lane.limit:
                seconds = retry_after((each.depth, each.seconds_per_request) for each in self._lanes)
                raise BusyError(f"{lane.depth} requests already wait for {lane.name}", seconds)
            lane.preparing += 1

    def release(self, lane: Lane) -> None:
        """Give back a reserved place."""
        with self._changed:
            lane.preparing -= 1
            self._changed.notify()

    def put(self, lane: Lane, job: Job) -> None:
        """Queue a job at the place that was reserved for it.

        Raises:
            UnavailableError: the device thread has ended; the place is given back.
        """
        with self._changed:
            lane.preparing -= 1
            if self._abandoned:
                raise UnavailableError("the device is lost")
            lane.queue.append(job)
            self._changed.notify()

    def discard(self, lane: Lane, job: Job) -> bool:
        """Take a job out whose client left; False if it is already on the device, where it is left in peace."""
        with self._changed:
            try:
                lane.queue.remove(job)
            except ValueError:
                return False
            self._changed.notify()
            return True

    def open(self, lane: Lane, max_batch: int) -> None:
        """Say that a lane's model is loaded, and how many requests it takes at a time."""
        with self._changed:
            lane.open, lane.max_batch = True, max_batch
            self._changed.notify()

    def shut(self, lane: Lane) -> None:
        """Say that a lane's model is no longer loaded; what waits there stays."""
        with self._changed:
            lane.open = False

    def clear(self, lane: Lane) -> list[Job]:
        """Take out and return what waits in a lane whose model cannot be loaded."""
        with self._changed:
            jobs = list(lane.queue)
            lane.queue.clear()
            return jobs

    def order(self, order: Order) -> None:
        """Have the device thread do something between batches.

        Raises:
            UnavailableError: it has ended.
        """
        with self._changed:
            if self._abandoned:
                raise UnavailableError("the device is lost")
            self._orders.append(order)
            self._changed.notify()

    def look_again(self) -> None:
        """Say that an order may have become ready."""
        with self._changed:
            self._changed.notify()

    def take(self) -> Batch | Order | None:
        """Wait for work and return the next batch or order; None once the lanes are closed and empty."""
        with self._changed:
            while True:
                lane, seconds = self._next()
                order = next((each for each in self._orders if each.ready()), None)
                if order is not None and (lane is None or order.queued <= lane.queue[0].queued):
                    self._orders.remove(order)
                    return order
                if lane is not None:
                    return self._cut(lane)
                if self._closed and not self._orders and not any(each.depth for each in self._lanes):
                    return None
                self._changed.wait(seconds)

    def take_beside(self, busy: Lane) -> Batch | None:
        """Return a batch of another lane than ``busy``, if there is one now."""
        with self._changed:
            lane, _ = self._next(busy)
            return None if lane is None else self._cut(lane)

    def _next(self, but: Lane | None = None) -> tuple[Lane | None, float | None]:
        """Return the lane whose turn it is, or in how many seconds there may be one (None: who knows)."""
        lanes = [lane for lane in self._lanes if lane.queue and lane.open and lane is not but]
        if self._max_wait and not self._closed:
            now = self._clock()
            ripe = [lane for lane in lanes if self._ripe(lane, now)]
            if not ripe and lanes:
                return None, min(lane.queue[0].queued for lane in lanes) + self._max_wait - now
            lanes = ripe
        return min(lanes, key=lambda lane: lane.queue[0].queued, default=None), None

    def _ripe(self, lane: Lane, now: float) -> bool:
        """Tell whether a lane's oldest request has waited long enough, or its batch is full."""
        if now - lane.queue[0].queued >= self._max_wait or len(lane.queue) >= lane.max_batch:
            return True
        return sum(job.prepared.length for job in lane.queue) >= lane.room.within(lane.token_budget)

    def _cut(self, lane: Lane) -> Batch:
        now = self._clock()
        expired = tuple(job for job in lane.queue if job.deadline <= now)
        waiting = [job for job in lane.queue if job.deadline > now] if expired else list(lane.queue)
        prepared = [job.prepared for job in waiting]
        budget = lane.room.within(lane.token_budget)
        chosen = set(choose(prepared, lane.max_batch, budget, lane.pace.worthwhile))
        lane.queue = deque(job for index, job in enumerate(waiting) if index not in chosen)
        return Batch(lane, tuple(waiting[index] for index in sorted(chosen)), expired)

    def learn(self, lane: Lane, jobs: Sequence[Job], seconds: float) -> None:
        """Note what the lane's newest batch cost, for ``Retry-After`` and for the choice of the next ones."""
        seconds_per_request = seconds / len(jobs)
        with self._changed:
            lane.pace.learn(padded(jobs), seconds)
            before = lane.seconds_per_request or seconds_per_request
            lane.seconds_per_request = before + RECENT * (seconds_per_request - before)

    def close(self) -> None:
        """Accept nothing more; ``take`` still hands out what waits."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def abandon(self) -> list[Job]:
        """Close for good and return what waits: nobody will compute it."""
        with self._changed:
            self._closed = self._abandoned = True
            self._orders.clear()
            left = [job for lane in self._lanes for job in lane.queue]
            for lane in self._lanes:
                lane.queue.clear()
            return left
