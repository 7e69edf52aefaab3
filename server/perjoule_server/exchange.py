"""One inference request over HTTP: read it within limits, wait for its answer, notice when its client leaves.

Whatever happens, a request ends in exactly one outcome, which is counted here just before its answer goes out. Knows
nothing of routes.
"""

import asyncio
import logging
import re
from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import Response

from perjoule.errors import BusyError, ExpiredError, InvalidInputError, NotFoundError, RequestError, TooLargeError
from perjoule.spans import Energy
from perjoule_server import schemas
from perjoule_server.bodies import BODIES_HELD, Bodies, ClientLeftError, Share, read_body
from perjoule_server.config import ServerConfig
from perjoule_server.cost import energy_headers
from perjoule_server.engine import Engine, Model, Reply, Ticket
from perjoule_server.metrics import UNKNOWN, ServerMetrics
from perjoule_server.problems import problem, request_id

log = logging.getLogger(__name__)

PARSE_ON_LOOP_BYTES = 64 * 1024
"""Larger bodies are parsed on a worker thread, so that they hold up nobody else."""

LONGEST_TIMEOUT_MS = 24 * 3600 * 1000


def deadline_of(headers: Mapping[str, str], arrival: float, default_seconds: float) -> float:
    """Return the request's deadline: ``x-timeout-ms`` after its arrival, or the default.

    Raises:
        InvalidInputError: the header is no whole number of milliseconds between 1 and a day.
    """
    text = headers.get("x-timeout-ms")
    if text is None:
        return arrival + default_seconds
    if not re.fullmatch(r"[0-9]{1,8}", text) or not 1 <= int(text) <= LONGEST_TIMEOUT_MS:
        raise InvalidInputError(f"x-timeout-ms must be a whole number from 1 to {LONGEST_TIMEOUT_MS}")
    return arrival + int(text) / 1000


def wants_settled(headers: Mapping[str, str]) -> bool:
    """Return whether the client waits for the settled energy: ``x-energy: settled``.

    Raises:
        InvalidInputError: the header asks for something else.
    """
    asked = headers.get("x-energy", "estimated")
    if asked not in {"estimated", "settled"}:
        raise InvalidInputError("x-energy must be settled, or estimated as without the header")
    return asked == "settled"


class Exchange:
    """Answers inference requests with an engine's models."""

    def __init__(self, engine: Engine, metrics: ServerMetrics, config: ServerConfig) -> None:
        self._engine = engine
        self._metrics = metrics
        self._config = config
        self._bodies = Bodies(BODIES_HELD * config.body_bytes)
        self.open = 0
        """Requests that have not been answered yet, those whose body is still being read included."""
        self._idle = asyncio.Event()

    async def answer(self, request: Request, task: str) -> Response:
        """Answer one request for ``task``; never raises but for the cancellation of its own task."""
        arrival = self._engine.clock()
        name = request_id(request.headers)
        self._enter()
        try:
            model = self._engine.find(task)
        except NotFoundError as error:
            self._metrics.refused(UNKNOWN).inc()
            return problem(error.status, error.code, str(error), name)
        else:
            with Share(self._bodies) as share:
                return await self._answer(request, model, arrival, name, share)
        finally:
            self._leave()

    def _enter(self) -> None:
        self.open += 1
        self._idle.clear()

    def _leave(self) -> None:
        self.open -= 1
        if self.open == 0:
            self._idle.set()

    async def idle(self) -> None:
        """Wait until no request is open."""
        while self.open:
            await self._idle.wait()

    async def _answer(self, request: Request, model: Model, arrival: float, name: str, share: Share) -> Response:
        """From here on the request has a model; until its body names another, it is the task's default."""
        try:
            self._engine.refuse_unless_ready()
            deadline = deadline_of(request.headers, arrival, self._config.timeout_seconds)
            envelope = await self._envelope(request, model.spec.task, deadline, share)
            try:
                model = self._engine.find(model.spec.task, envelope.model)
            except NotFoundError as error:
                self._metrics.refused(model.spec.task).inc()
                return problem(error.status, error.code, str(error), name)
            settled = wants_settled(request.headers)
            ticket = self._engine.submit(model, envelope, deadline, name)
            reply = await self._wait(request, model, ticket, deadline)
            if settled:
                await self._engine.accounting.settled(ticket.cost, deadline - self._engine.clock())
        except RequestError as error:
            model.metrics.failed(error.outcome)
            return _refusal(error, name)
        except (ClientLeftError, asyncio.CancelledError) as error:
            model.metrics.failed("cancelled")
            if isinstance(error, asyncio.CancelledError):
                raise
            return problem(499, "cancelled", "the client closed the connection", name)
        except Exception as error:  # the request's edge: a client learns that it failed, the log learns why
            model.metrics.failed("error")
            log.exception("request %s to %s failed: %s", name, model.spec.id, type(error).__name__)
            return problem(500, "error", "the model failed on this request", name)
        model.metrics.answered(self._engine.clock() - arrival, reply.output_tokens, reply.work_units)
        return _response(reply, name, ticket.cost.energy)

    async def _envelope(self, request: Request, task: str, deadline: float, share: Share) -> schemas.Envelope:
        try:
            async with asyncio.timeout(deadline - self._engine.clock()):
                body = await read_body(request, self._config.body_bytes, share)
        except TimeoutError:
            raise ExpiredError("the deadline passed before the body had arrived") from None
        content_type = request.headers.get("content-type", "")
        if len(body) <= PARSE_ON_LOOP_BYTES:
            return schemas.read(task, content_type, body)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._engine.preparers, schemas.read, task, content_type, body)

    async def _wait(self, request: Request, model: Model, ticket: Ticket, deadline: float) -> Reply:
        """Wait for the reply, the deadline, or the client's leaving, whichever comes first."""
        loop = asyncio.get_running_loop()
        late = ExpiredError("the deadline passed")
        timer = loop.call_later(deadline - self._engine.clock(), ticket.forsake, late, "expired")
        watcher = loop.create_task(_gone(request))
        watcher.add_done_callback(lambda _: ticket.forsake(ClientLeftError(), "cancelled"))
        try:
            return await ticket.future
        finally:
            timer.cancel()
            watcher.cancel()
            self._engine.settle(model, ticket)


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _refusal(error: RequestError, name: str) -> Response:
    headers = {}
    if isinstance(error, BusyError):
        headers["retry-after"] = str(round(error.retry_after_seconds))
    if isinstance(error, (TooLargeError, ExpiredError)):
        headers["connection"] = "close"  # the rest of the body, if any, is not worth reading
    return problem(error.status, error.code, str(error), name, headers)


def _response(reply: Reply, name: str, energy: Energy) -> Response:
    timing = reply.timing
    headers = {
        "content-type": reply.media_type,
        "x-request-id": name,
        "x-queue-time": f"{timing.queue_seconds:.6f}",
        "x-inference-time": f"{timing.batch_seconds:.6f}",
        "x-batch-size": str(timing.batch_size),
        "x-input-tokens": str(reply.input_tokens),
        "x-output-tokens": str(reply.output_tokens),
        **energy_headers(energy),
    }
    return Response(reply.body, headers=headers)
