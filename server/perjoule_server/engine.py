"""From an accepted request to its reply: prepare on a worker thread, wait in a lane, run on the device, finish.

One device thread runs, loads and unloads all models of the process. A request crosses back to the event loop once, when
its whole batch is ready: preparing threads put straight into the lanes, and the device thread (``device``) hands its
outputs straight to finishing threads. What runs on the device is told to ``accounting``, and on the event loop how it
ended. Knows nothing of HTTP; its clock, its models' loader and its loop are arguments.
"""

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from enum import StrEnum

from perjoule.errors import ExpiredError, InvalidInputError, NotFoundError, UnavailableError
from perjoule_server.accounting import PENDING_SECONDS, Accounting
from perjoule_server.batching import Job, Lanes, Order
from perjoule_server.cost import Cost
from perjoule_server.device import DeviceWork, Posts
from perjoule_server.life import Life
from perjoule_server.loading import Loader
from perjoule_server.pieces import Pieces
from perjoule_server.schemas import Envelope, task_request
from perjoule_server.served import Model, ModelState
from perjoule_server.tasks.base import Task, Writer
from perjoule_server.tickets import Reply, Results, Ticket, Timing

__all__ = ["Engine", "Model", "ModelState", "Reply", "State", "Ticket", "Timing"]

log = logging.getLogger(__name__)


class State(StrEnum):
    """What the engine is doing; requests are accepted in ``READY`` only."""

    LOADING = "loading"
    READY = "ready"
    DRAINING = "draining"
    LOST = "lost"


class Engine:
    """All models of the process, their lanes and their threads."""

    def __init__(
        self, models: Sequence[Model], lanes: Lanes, loader: Loader, accounting: Accounting,
        clock: Callable[[], float], workers: int,
    ) -> None:  # fmt: skip
        self.models = tuple(models)
        self.accounting = accounting
        self.clock = clock
        self.state = State.LOADING
        self._lanes, self._loader = lanes, loader
        for model in self.models:
            lanes.add(model.lane)
        self.preparers = ThreadPoolExecutor(workers, "prepare")
        posts = Posts(self.to_loop, self._post, self._ran, ThreadPoolExecutor(workers, "finish"))
        self._device = DeviceWork({model.lane: model for model in self.models}, lanes, accounting, clock, posts)
        self._life = Life(self.models, lanes, loader, self)
        self._eager: Sequence[Model] = ()
        self._loop: asyncio.AbstractEventLoop | None = None
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
            ready = sum(model.state is ModelState.READY for model in self._eager)
            return f"loading: {ready} of {len(self._eager)} models are ready"
        return "the device is lost" if self.state is State.LOST else "the server is shutting down"

    def refuse_unless_ready(self) -> None:
        """Check that requests are accepted.

        Raises:
            UnavailableError: loading, draining, or the device is lost.
        """
        if self.state is not State.READY:
            raise UnavailableError(self.explain())

    # Which of them are in memory; see ``Life``.

    async def load(self, model_id: str) -> None:
        """Load all that is served under an id; returns when it serves. Loading what is loaded is no error.

        Raises:
            NotFoundError: nothing is served under it.
            BrokenModelError: it cannot be loaded; the message says why.
            UnavailableError: the server starts, ends, or has lost its device.
        """
        self.refuse_unless_ready()
        for model in self._called(model_id):
            await self._life.load(model)

    async def unload(self, model_id: str) -> None:
        """Answer what was accepted and give back the memory; from now on requests are refused until it is loaded.

        Raises:
            NotFoundError: nothing is served under it.
            UnavailableError: the server starts, ends, or has lost its device.
        """
        self.refuse_unless_ready()
        for model in self._called(model_id):
            await self._life.unload(model)

    def _called(self, model_id: str) -> list[Model]:
        models = [model for model in self.models if model.spec.id == model_id]
        if not models:
            raise NotFoundError(f"unknown model {model_id[:128]!r}; /v1/models lists what is served")
        return models

    # On the event loop.

    def start(self, eager: Sequence[Model], ended: Callable[[BaseException | None], None]) -> None:
        """Start the device thread: it loads ``eager`` and then serves; ``ended`` is called on the loop when it ends."""
        self._loop = asyncio.get_running_loop()
        self._eager, self._ended = tuple(eager), ended
        for model in self._eager:
            model.state = ModelState.LOADING
        self._thread = threading.Thread(target=self._main, name="device", daemon=True)
        self._thread.start()

    def submit(
        self, model: Model, envelope: Envelope, deadline: float, name: str, pieces: Pieces | None = None
    ) -> Ticket:
        """Send a request on its way; the ticket's future ends with the reply or a ``RequestError``.

        ``name`` is the request's id as its client knows it; it need not be the only one of that id. ``pieces`` are
        given its tokens as they are written, by a task that is a ``Writer``. If the model is not loaded, it is now,
        and the request waits for that.

        Raises:
            BusyError: the model's lane is full.
            UnavailableError: nothing is accepted, or not for this model.
        """
        self.refuse_unless_ready()
        self._life.admit(model)
        if model.task is None:
            self._life.want(model)
        self._lanes.reserve(model.lane)
        cost = self.accounting.cost(name, model.spec.task, model.spec.id)
        ticket = Ticket(asyncio.get_running_loop().create_future(), cost, pieces)
        if pieces is not None:
            ticket.future.add_done_callback(lambda _: pieces.close())
        model.in_flight += 1
        model.used = self.clock()
        self._tickets.add(ticket)
        self.proceed(model, ticket, envelope, deadline)
        return ticket

    def proceed(self, model: Model, ticket: Ticket, envelope: Envelope, deadline: float) -> None:
        """Have a request prepared, or wait for its model if that is not there."""
        task = model.task
        if task is None:
            model.waiting[ticket] = envelope, deadline
        else:
            self.preparers.submit(self._prepare, model, task, envelope, deadline, ticket)

    def settle(self, model: Model, ticket: Ticket) -> None:
        """End a request: whoever waited no longer does. Its place is freed if it still waits."""
        model.in_flight -= 1
        self._tickets.discard(ticket)
        self._life.leave(model, ticket)
        unanswered = ticket.future.cancel() or ticket.future.cancelled() or ticket.future.exception() is not None
        if unanswered and ticket.job is not None:
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

    def conclude(self, results: Results) -> None:
        """Answer requests that the device has done with, or never gets."""
        self.accounting.concluded(self._deliver(results))

    def _post(self, results: Results) -> None:
        """Conclude from any thread."""
        if results:
            self.to_loop(self.conclude, results)

    def to_loop(self, call: Callable[..., None], *arguments: object) -> None:
        """Call a function on the event loop, from any thread."""
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(call, *arguments)

    def _ran(self) -> None:
        if not self._watching:
            self.to_loop(self._watch_ends)

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

    def _prepare(self, model: Model, task: Task, envelope: Envelope, deadline: float, ticket: Ticket) -> None:
        placed = False
        try:
            if ticket.future.done():
                return
            if ticket.pieces is not None:
                ticket.pieces.writer = _writer(model, task)
            prepared = task.prepare(task_request(model.spec.task, envelope))
            ticket.job = Job(prepared, self.clock(), deadline, ticket)
            if not ticket.future.done():
                placed = True
                self._lanes.put(model.lane, ticket.job)
        except Exception as error:  # noqa: BLE001 (the edge to a task: whatever it raises belongs to this request)
            self._post([(ticket, error)])
        finally:
            if not placed:
                self._lanes.release(model.lane)

    # On the device thread.

    def _main(self) -> None:
        error: BaseException | None = None
        try:
            self._start_models()
            self.to_loop(self._become_ready)
            while (work := self._lanes.take()) is not None:
                if isinstance(work, Order):
                    work.run()
                else:
                    self._device.execute(work)
        except BaseException as failure:  # noqa: BLE001 (the edge of the thread: its end must never pass unseen)
            error = failure
        finally:
            left = [*self._device.running, *self._lanes.abandon()]
            self._post([(job.ticket, UnavailableError("the device is lost")) for job in left])
            self.to_loop(self._end, error)

    def _start_models(self) -> None:
        """Load what is to be there from the start, as far as there is room; the rest is loaded when it is asked for."""
        began = self.clock()
        for model in self._eager:
            if self.state is not State.LOADING:  # a signal came meanwhile
                return
            if self._loader.fits(model):
                self._loader.load(model, last=model is self._eager[-1])
                model.state = ModelState.READY
            else:
                model.state = ModelState.UNLOADED
                log.warning("%s: no room within --memory-budget; loaded when it is asked for", model.spec.id)
        ready = sum(model.task is not None for model in self.models)
        log.info("%d of %d models ready in %.1f s", ready, len(self.models), self.clock() - began)

    def _become_ready(self) -> None:
        if self.state is State.LOADING:
            self.state = State.READY

    def _end(self, error: BaseException | None) -> None:
        if error is not None:
            self.state = State.LOST
        self._life.end(lost=error is not None)
        self._ended(error)


def _writer(model: Model, task: Task) -> Writer:
    """Return a task that tells its tokens.

    Raises:
        InvalidInputError: it does not.
    """
    if not isinstance(task, Writer):
        raise InvalidInputError(f"stream must be false: {model.spec.id} answers in one piece", "stream")
    return task
