"""When models are loaded and unloaded, and who waits for that. On the event loop; ``loading`` does it.

A model is loaded once however many ask for it. Requests for one that is not there wait in its bounded lane, each until
its own deadline. One that could not be loaded is not tried again for a while, and its requests learn why.
"""

import asyncio
import logging
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

from perjoule.errors import BrokenModelError, UnavailableError
from perjoule_server.batching import Lanes, Order
from perjoule_server.loading import Loader, ModelError
from perjoule_server.schemas import Envelope
from perjoule_server.served import Model, ModelState, Trouble
from perjoule_server.tickets import Results, Ticket

log = logging.getLogger(__name__)

AGAIN_SECONDS = 30.0
"""How long a model that could not be loaded is not tried again."""


class Host(Protocol):
    """What the life of models needs of the engine."""

    clock: Callable[[], float]

    def proceed(self, model: Model, ticket: Ticket, envelope: Envelope, deadline: float) -> None:
        """Prepare a request that waited for its model."""

    def conclude(self, results: Results) -> None:
        """Answer requests that never reach the device."""

    def to_loop(self, call: Callable[..., None], *arguments: object) -> None:
        """Call a function on the event loop, from any thread."""


class Life:
    """The models' comings and goings."""

    def __init__(self, models: Sequence[Model], lanes: Lanes, loader: Loader, host: Host) -> None:
        self._models, self._lanes, self._loader, self._host = models, lanes, loader, host
        loader.evicted = lambda model: host.to_loop(self._went, model)

    def admit(self, model: Model) -> None:
        """Check that a model may be asked.

        Raises:
            UnavailableError: it was unloaded by hand.
            BrokenModelError: it could not be loaded a moment ago.
        """
        if model.withdrawn:
            raise UnavailableError(f"{model.spec.id} was unloaded; it serves again when it is loaded by hand")
        if model.trouble is not None:
            seconds = model.trouble.until - self._host.clock()
            if seconds > 0:
                raise BrokenModelError(model.trouble.reason, float(math.ceil(seconds)))

    def want(self, model: Model) -> "asyncio.Future[None]":
        """Have a model loaded, unless that is under way; the future tells when it is.

        Raises:
            UnavailableError: the device is lost.
        """
        if model.loading is None:
            self._lanes.order(Order(partial(self._load, model), self._host.clock(), self._may_come))
            model.loading = _heard()
            model.state = ModelState.LOADING
        return model.loading

    async def load(self, model: Model) -> None:
        """Load a model, if it is not; returns when it serves. The caller may be cancelled, the loading goes on.

        Raises:
            BrokenModelError: it cannot be loaded.
            UnavailableError: the device is lost.
        """
        model.withdrawn, model.trouble = False, None
        if model.unloading is not None:
            self._lanes.look_again()
            await asyncio.shield(model.unloading)
        if model.task is None:
            await asyncio.shield(self.want(model))

    async def unload(self, model: Model) -> None:
        """Answer what a model has accepted and give back its memory; it stays away until it is loaded by hand.

        A ``load`` that comes meanwhile goes before it.

        Raises:
            UnavailableError: the device is lost.
        """
        model.withdrawn = True
        if model.loading is not None:
            await asyncio.wait([model.loading])
        if model.unloading is None:
            self._lanes.order(Order(partial(self._unload, model), self._host.clock(), partial(_may_go, model)))
            model.unloading = _heard()
        await asyncio.shield(model.unloading)

    def _may_come(self) -> bool:
        """Tell whether a model may be loaded, for which another may have to go: none that was not of use yet.

        Else two that do not fit together would drive each other out before either had served anybody.
        """
        return not any(model.fresh and model.lane.depth for model in self._models)

    def leave(self, model: Model, ticket: Ticket) -> None:
        """Wait no longer for a model."""
        if model.waiting.pop(ticket, None) is not None:
            self._lanes.release(model.lane)

    def end(self, *, lost: bool) -> None:
        """Tell everybody who waits that nothing is loaded any more."""
        error = UnavailableError("the device is lost" if lost else "the server is shutting down")
        for model in self._models:
            self._refuse(model, error)
            if lost:
                model.state = ModelState.LOST
            for future in (model.loading, model.unloading):
                if future is not None and not future.done():
                    future.set_exception(error)

    # On the device thread

    def _load(self, model: Model) -> None:
        error: ModelError | None = None
        try:
            self._loader.load(model)
        except ModelError as failure:
            error = failure
        if error is not None:
            log.error("%s", error, exc_info=error.__cause__)
        self._host.to_loop(self._came, model, error)

    def _unload(self, model: Model) -> None:
        if model.withdrawn:
            self._loader.unload(model)
        self._host.to_loop(self._went, model)

    # Back on the loop

    def _came(self, model: Model, error: ModelError | None) -> None:
        future, model.loading = model.loading, None
        if error is not None:
            model.state = ModelState.FAILED
            model.trouble = Trouble(str(error), self._host.clock() + AGAIN_SECONDS)
            told = BrokenModelError(str(error), AGAIN_SECONDS)
            self._refuse(model, told)
            _end(future, told)
            return
        model.trouble = None
        _end(future)
        self._go_on(model)

    def _went(self, model: Model) -> None:
        future, model.unloading = model.unloading, None
        _end(future)
        self._go_on(model)

    def _go_on(self, model: Model) -> None:
        """Bring state and requests into line with whether the model is loaded."""
        if model.task is not None:
            model.state = ModelState.READY
            waiting = list(model.waiting.items())
            model.waiting.clear()
            for ticket, (envelope, deadline) in waiting:
                self._host.proceed(model, ticket, envelope, deadline)
        elif model.loading is None:
            model.state = ModelState.UNLOADED
            if model.lane.depth:  # it had to make room while it was asked
                self.want(model)

    def _refuse(self, model: Model, error: UnavailableError) -> None:
        """End all requests that wait for a model."""
        waiting = list(model.waiting)
        for ticket in waiting:
            self.leave(model, ticket)
        tickets = [*waiting, *(job.ticket for job in self._lanes.clear(model.lane))]
        self._host.conclude([(ticket, error) for ticket in tickets])


def _may_go(model: Model) -> bool:
    """Tell whether an unloading has its turn: nobody waits for the model, or it was called off."""
    return model.lane.depth == 0 or not model.withdrawn


def _heard() -> "asyncio.Future[None]":
    """Return a future that does not mind if nobody asks how it ended."""
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    future.add_done_callback(lambda done: done.cancelled() or done.exception())
    return future


def _end(future: "asyncio.Future[None] | None", error: Exception | None = None) -> None:
    if future is None or future.done():
        return
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)
