"""From an accepted request to its reply: prepare on a worker thread, wait in a lane, run on the device, finish.

One device thread runs all models of the process. A request crosses back to the event loop once, when its whole batch is
ready: preparing threads put straight into the lanes, and the device thread hands its outputs straight to finishing
threads. What runs on the device is told to ``accounting``, and on the event loop how it ended. Knows nothing of HTTP;
its clock, its models' loader and its loop are arguments.
"""

import asyncio
import json
import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from functools import partial

from perjoule.errors import ExpiredError, NotFoundError, UnavailableError
from perjoule_server.accounting import PENDING_SECONDS, Accounting
from perjoule_server.batching import Batch, Job, Lane, Lanes, run_apart
from perjoule_server.cost import Cost
from perjoule_server.metrics import ModelMetrics
from perjoule_server.pieces import Pieces, Readers
from perjoule_server.schemas import Envelope, task_request
from perjoule_server.tasks.base import ModelSpec, Prepared, RawOutput, Task

log = logging.getLogger(__name__)


class State(StrEnum):
    """What the engine is doing; requests are accepted in ``READY`` only."""

    LOADING = "loading"
    READY = "ready"
    DRAINING = "draining"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class Timing:
    """What a request saw of the device: its wait, and how long and in how large a batch it ran."""

    queue_seconds: float
    batch_seconds: float
    batch_size: int


@dataclass(frozen=True, slots=True)
class Reply:
    """A finished reply with what its headers and metrics tell."""

    body: bytes
    media_type: str
    timing: Timing
    input_tokens: int
    output_tokens: int
    work_units: float


@dataclass(slots=True, eq=False)
class Ticket:
    """A request on its way.

    Attributes:
        future: what its client waits on.
        cost: its spans.
        pieces: what its client reads along, if it does; closed when it ends.
        job: its place in the lane, once it is prepared.
        ended: how it ended, if nobody waits for it any more: ``cancelled`` or ``expired``.
    """

    future: "asyncio.Future[Reply]"
    cost: Cost
    pieces: Pieces | None = None
    job: Job | None = None
    ended: str | None = None

    def forsake(self, error: Exception, outcome: str) -> None:
        """Wait no longer; ``error`` is what its client is told, if it is there. On the event loop."""
        if not self.future.done():
            self.ended = outcome
            self.future.set_exception(error)

    def outcome(self) -> str:
        """Return how a request ended that nobody waits for: a cancelled handler is a cancelled request."""
        return self.ended or ("cancelled" if self.future.cancelled() else "error")


Results = Sequence[tuple[Ticket, Reply | Exception]]
"""Requests with what becomes of them."""


@dataclass(slots=True, eq=False)
class Model:
    """One model that serves one workload. ``task`` and ``lane`` are there once it is loaded."""

    spec: ModelSpec
    metrics: ModelMetrics
    state: State = State.LOADING
    task: Task | None = None
    lane: Lane | None = None
    in_flight: int = 0

    def __post_init__(self) -> None:
        self.metrics.watch(lambda: float(len(self.lane.queue)) if self.lane else 0.0, lambda: float(self.in_flight))

    @property
    def served(self) -> tuple[Task, Lane]:
        """Its task and lane.

        Raises:
            UnavailableError: it is not loaded yet.
        """
        if self.task is None or self.lane is None:
            raise UnavailableError(f"{self.spec.id} is still loading")
        return self.task, self.lane


class Engine:
    """All models of the process, their lanes and their threads."""

    def __init__(
        self, models: Sequence[Model], lanes: Lanes, accounting: Accounting, clock: Callable[[], float], workers: int
    ) -> None:
        self.models = tuple(models)
        self.accounting = accounting
        self.clock = clock
        self.state = State.LOADING
        self._lanes = lanes
        self._by_lane: dict[Lane, Model] = {}
        self.preparers = ThreadPoolExecutor(workers, "prepare")
        self._finishers = ThreadPoolExecutor(workers, "finish")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._running: Sequence[Job] = ()
        self._tickets: set[Ticket] = set()
        self._thread: threading.Thread | None = None
        self._ended: Callable[[BaseException | None], None] = lambda _: None
        self._watching = False  # whether the loop will look after spans whose end waits to be told

    # Which model.

    def find(self, task: str, model: str | None = None) -> Model:
        """Return the model called ``model`` of ``task``, or the task's first.

        Raises:
            NotFoundError: the message lists what is served.
        """
        of_task = [each for each in self.models if each.spec.task == task]
        if not of_task:
            tasks = ", ".join(dict.fromkeys(each.spec.task for each in self.models))
            raise NotFoundError(f"unknown task {task[:64]!r}; the tasks are {tasks}")
        for each in of_task:
            if model is None or each.spec.id == model:
                return each
        ids = ", ".join(each.spec.id for each in of_task)
        raise NotFoundError(f"unknown model {str(model)[:128]!r} for {task}; it is served by {ids}")

    def explain(self) -> str:
        """Say why nothing is accepted."""
        if self.state is State.LOADING:
            ready = sum(model.state is State.READY for model in self.models)
            return f"loading: {ready} of {len(self.models)} models are ready"
        return "the device is lost" if self.state is State.LOST else "the server is shutting down"

    def refuse_unless_ready(self) -> None:
        """Check that requests are accepted.

        Raises:
            UnavailableError: loading, draining, or the device is lost.
        """
        if self.state is not State.READY:
            raise UnavailableError(self.explain())

    # On the event loop.

    def start(self, load: Callable[["Engine"], None], ended: Callable[[BaseException | None], None]) -> None:
        """Start the device thread: it calls ``load`` and then serves; ``ended`` is called on the loop when it ends."""
        self._loop = asyncio.get_running_loop()
        self._ended = ended
        self._thread = threading.Thread(target=self._main, args=(load,), name="device", daemon=True)
        self._thread.start()

    def submit(
        self, model: Model, envelope: Envelope, deadline: float, name: str, pieces: Pieces | None = None
    ) -> Ticket:
        """Send a request on its way; the ticket's future ends with the reply or a ``RequestError``.

        ``name`` is the request's id as its client knows it; it need not be the only one of that id. ``pieces`` are
        given its tokens as they are written, by a task that is a ``Writer``.

        Raises:
            BusyError: the model's lane is full.
            UnavailableError: nothing is accepted.
        """
        self.refuse_unless_ready()
        _, lane = model.served
        self._lanes.reserve(lane)
        cost = self.accounting.cost(name, model.spec.task, model.spec.id)
        ticket = Ticket(asyncio.get_running_loop().create_future(), cost, pieces)
        if pieces is not None:
            ticket.future.add_done_callback(lambda _: pieces.close())
        model.in_flight += 1
        self._tickets.add(ticket)
        self.preparers.submit(self._prepare, model, envelope, deadline, ticket)
        return ticket

    def settle(self, model: Model, ticket: Ticket) -> None:
        """End a request: whoever waited no longer does. Its place is freed if it still waits."""
        model.in_flight -= 1
        self._tickets.discard(ticket)
        unanswered = ticket.future.cancel() or ticket.future.cancelled() or ticket.future.exception() is not None
        if unanswered and ticket.job is not None and model.lane is not None:
            self._lanes.discard(model.lane, ticket.job)

    def give_up(self) -> None:
        """Answer everyone who still waits that the server ends."""
        self._deliver([(ticket, UnavailableError("the server is shutting down")) for ticket in self._tickets])

    def close(self) -> None:
        """Let the device thread end once the lanes are empty, and the worker threads with it."""
        self._lanes.close()
        self.preparers.shutdown(wait=False)

    def join(self, seconds: float) -> bool:
        """Wait for the device thread's end; False if it does not come, as with a driver call that never returns."""
        if self._thread is not None:
            self._thread.join(seconds)
            return not self._thread.is_alive()
        return True

    def _deliver(self, results: Results) -> list[tuple[Cost, str]]:
        """Answer who still waits, and return how each request ended."""
        outcomes = []
        for ticket, result in results:
            if ticket.future.done():  # its client left, or its deadline passed
                outcome = ticket.outcome()
            elif isinstance(result, Exception):
                outcome = "expired" if isinstance(result, ExpiredError) else "error"
                ticket.future.set_exception(result)
            else:
                outcome = "ok"
                ticket.future.set_result(result)
            outcomes.append((ticket.cost, outcome))
        return outcomes

    def _conclude(self, results: Results) -> None:
        """Answer requests that the device has done with, or never gets."""
        self.accounting.concluded(self._deliver(results))

    def _post(self, results: Results) -> None:
        """Conclude from any thread."""
        if results:
            self._to_loop(self._conclude, results)

    def _look_after_ends(self) -> None:
        """Tell the ends of spans whose requests are not answered in time."""
        self.accounting.overdue()
        self._watching = False  # before it is asked whether there are more: the device thread may just add one
        self._watch_ends()

    def _watch_ends(self) -> None:
        if self.accounting.waiting and not self._watching:
            self._watching = True
            asyncio.get_running_loop().call_later(PENDING_SECONDS, self._look_after_ends)

    # On the preparing threads.

    def _prepare(self, model: Model, envelope: Envelope, deadline: float, ticket: Ticket) -> None:
        task, lane = model.served
        placed = False
        try:
            if ticket.future.done():
                return
            prepared = task.prepare(task_request(model.spec.task, envelope))
            ticket.job = Job(prepared, self.clock(), deadline, ticket)
            if not ticket.future.done():
                placed = True
                self._lanes.put(lane, ticket.job)
        except Exception as error:  # noqa: BLE001 (the edge to a task: whatever it raises belongs to this request)
            self._post([(ticket, error)])
        finally:
            if not placed:
                self._lanes.release(lane)

    # On the device thread.

    def add(self, model: Model, task: Task, token_budget: int, limit: int) -> None:
        """Serve a model that was loaded."""
        lane = Lane(model.spec.id, task.max_batch, token_budget, limit)
        self._by_lane[lane] = model
        self._lanes.add(lane)
        model.task, model.lane, model.state = task, lane, State.READY

    def _main(self, load: Callable[["Engine"], None]) -> None:
        error: BaseException | None = None
        try:
            load(self)
            self._to_loop(self._become_ready)
            while (batch := self._lanes.take()) is not None:
                self._execute(batch)
        except BaseException as failure:  # noqa: BLE001 (the edge of the thread: its end must never pass unseen)
            error = failure
        finally:
            left = [*self._running, *self._lanes.abandon()]
            self._post([(job.ticket, UnavailableError("the device is lost")) for job in left])
            self._to_loop(self._end, error)

    def _to_loop(self, call: Callable[..., None], *arguments: object) -> None:
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(call, *arguments)

    def _become_ready(self) -> None:
        if self.state is State.LOADING:
            self.state = State.READY

    def _end(self, error: BaseException | None) -> None:
        if error is not None:
            self.state = State.LOST
            for model in self.models:
                model.state = State.LOST
        self._ended(error)

    def _execute(self, batch: Batch) -> None:
        model = self._by_lane[batch.lane]
        late = ExpiredError("the deadline passed in the queue")
        self._post([(job.ticket, late) for job in batch.expired])
        jobs = [job for job in batch.jobs if not job.ticket.future.done()]
        if not jobs:
            return
        self._running = jobs
        task, lane = model.served
        started = self.clock()
        outputs = run_apart(partial(self._run, task), jobs)
        seconds = self.clock() - started
        if not self._watching:
            self._to_loop(self._watch_ends)
        done = [(job, raw) for job, raw in zip(jobs, outputs, strict=True) if isinstance(raw, RawOutput)]
        self._lanes.learn(lane, jobs, seconds)
        model.metrics.batch(
            seconds,
            [started - job.queued for job in jobs],
            sum(job.prepared.input_tokens for job, _ in done),
            sum(raw.padding_tokens for _, raw in done),
        )
        self._finishers.submit(self._finish, model, jobs, outputs, (started, seconds))
        self._running = ()

    def _run(self, task: Task, jobs: Sequence[Job]) -> Sequence[RawOutput]:
        tickets: list[Ticket] = [job.ticket for job in jobs]
        readers = Readers([each.pieces for each in tickets], lambda index: tickets[index].future.done(), self._to_loop)
        work = self.accounting.work([each.cost for each in tickets], readers)
        return task.run([job.prepared for job in jobs], work)

    # On the finishing threads.

    def _finish(
        self, model: Model, jobs: Sequence[Job], outputs: Sequence[RawOutput | Exception], times: tuple[float, float]
    ) -> None:
        started, seconds = times
        task, _ = model.served
        results: list[tuple[Ticket, Reply | Exception]] = []
        for job, output in zip(jobs, outputs, strict=True):
            try:
                timing = Timing(started - job.queued, seconds, len(jobs))
                results.append((job.ticket, _reply(task, job.prepared, output, timing)))
            except Exception as error:  # noqa: BLE001 (the edge to a task, one request at a time)
                results.append((job.ticket, error))
        self._post(results)


def _reply(task: Task, prepared: Prepared, output: RawOutput | Exception, timing: Timing) -> Reply:
    if isinstance(output, Exception):
        raise output
    answer = task.finish(prepared, output)
    body = answer.output
    if not isinstance(body, bytes):
        body = json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    return Reply(body, answer.media_type, timing, prepared.input_tokens, answer.output_tokens, answer.work_units)
