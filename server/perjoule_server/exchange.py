"""One inference request over HTTP: read it within limits, wait for its answer, notice when its client leaves.

Whatever happens, a request ends in exactly one outcome, which is counted here just before its answer goes out. Knows
nothing of routes.
"""

import asyncio
import re
import time
from collections.abc import Callable, Mapping, Sequence

from starlette.requests import Request
from starlette.responses import Response

from perjoule.errors import ExpiredError, InvalidInputError, NotFoundError, RequestError, TooLargeError
from perjoule.spans import added
from perjoule_server.adapters.base import Asked, Dialect, Events, Part, Stamp
from perjoule_server.bodies import BODIES_HELD, Bodies, ClientLeftError, Pace, Share, read_body
from perjoule_server.config import ServerConfig
from perjoule_server.cost import energy_headers
from perjoule_server.engine import Engine, Model
from perjoule_server.metrics import UNKNOWN, ServerMetrics
from perjoule_server.pieces import Pieces
from perjoule_server.problems import problem, request_id
from perjoule_server.schemas import Envelope
from perjoule_server.streams import Call, EventStream, Stream, known_error
from perjoule_server.tasks.base import Writer
from perjoule_server.vigil import Vigil

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


PARTS_AT_ONCE = 64
"""Inferences of one body that wait or run at a time, so that one list of texts does not fill a queue."""


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

    async def answer(self, request: Request, dialect: Dialect) -> Response:
        """Answer one request; never raises but for the cancellation of its own task."""
        arrival = self._engine.clock()
        name = request_id(request.headers)
        self._enter()
        try:
            model = self._engine.find(dialect.task)
        except NotFoundError as error:
            self._metrics.refused(UNKNOWN).inc()
            return _told(error, dialect, name)
        else:
            with Share(self._bodies) as share:
                return await self._answer(request, dialect, model, (arrival, name), share)
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

    async def _answer(
        self, request: Request, dialect: Dialect, model: Model, known: tuple[float, str], share: Share
    ) -> Response:
        """From here on the request has a model; until its body names another, it is the task's default."""
        arrival, name = known
        try:
            self._engine.refuse_unless_ready()
            deadline = deadline_of(request.headers, arrival, self._config.timeout_seconds)
            call = Call(request, dialect, name, arrival, deadline, settled=wants_settled(request.headers))
            asked = await self._read(call, share)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 (the request's edge)
            model.metrics.failed(_outcome(error))
            return _told(error, dialect, name)
        try:
            model = self._engine.find(dialect.task, asked.model)
        except NotFoundError as error:
            self._metrics.refused(dialect.task).inc()
            return _told(error, dialect, name)
        try:
            if asked.stream is not None:
                return await self._streamed(model, asked.envelopes[0], asked.stream, call)
            return await self._whole(model, asked, call)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 (the request's edge)
            return _told(error, dialect, name)

    async def _read(self, call: Call, share: Share) -> Asked:
        left = call.deadline - self._engine.clock()
        try:
            async with asyncio.timeout(None) as timeout:
                body = await read_body(call.request, self._config.body_bytes, share, Pace(timeout, left))
        except TimeoutError:
            late = self._engine.clock() >= call.deadline
            why = "the deadline passed before the body had arrived" if late else "the body came too slowly"
            raise ExpiredError(why) from None
        content_type = call.request.headers.get("content-type", "")
        if len(body) <= PARSE_ON_LOOP_BYTES:
            return call.dialect.read(content_type, body)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._engine.preparers, call.dialect.read, content_type, body)

    async def _whole(self, model: Model, asked: Asked, call: Call) -> Response:
        """Answer in one piece."""
        with Vigil(call.request, call.deadline - self._engine.clock()) as vigil:
            parts = await self._parts(model, asked.envelopes, call, vigil)
        shape, stamp = asked.shape, Stamp(model.spec.id, call.name, int(time.time()))
        if sum(len(part.reply.body) for part in parts) <= PARSE_ON_LOOP_BYTES:
            body, media_type = shape(parts, stamp)
        else:
            loop = asyncio.get_running_loop()
            body, media_type = await loop.run_in_executor(self._engine.preparers, shape, parts, stamp)
        return Response(body, headers={"content-type": media_type, **_headers(parts, call.name)})

    async def _parts(self, model: Model, envelopes: Sequence[Envelope], call: Call, vigil: Vigil) -> list[Part]:
        """Run the inferences that one body asked for, ``PARTS_AT_ONCE`` at a time; if one fails, so do all."""
        if len(envelopes) == 1:
            return [await self._one(model, envelopes[0], call, vigil)]
        places = asyncio.Semaphore(PARTS_AT_ONCE)

        async def in_turn(envelope: Envelope) -> Part:
            async with places:
                return await self._one(model, envelope, call, vigil)

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(in_turn(envelope)) for envelope in envelopes]
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None
        return [task.result() for task in tasks]

    async def _one(
        self, model: Model, envelope: Envelope, call: Call, vigil: Vigil, pieces: Pieces | None = None
    ) -> Part:
        """Run one inference, and count how it ended."""
        try:
            ticket = self._engine.submit(model, envelope, call.deadline, call.name, pieces)
            try:
                vigil.add(ticket)
                reply = await ticket.future
            finally:
                self._engine.settle(model, ticket)
            if call.settled:
                await self._engine.accounting.settled(ticket.cost, call.deadline - self._engine.clock())
        except BaseException as error:
            model.metrics.failed(_outcome(error))
            raise
        model.metrics.answered(self._engine.clock() - call.arrival, reply.output_tokens, reply.work_units)
        return Part(reply, ticket.cost.energy)

    async def _streamed(
        self, model: Model, envelope: Envelope, begin: Callable[[Writer, Stamp], Events], call: Call
    ) -> Response:
        """Begin to answer piece by piece, once there is a first; what fails before is told as any other failure."""
        pieces = Pieces()
        vigil = Vigil(call.request, call.deadline - self._engine.clock()).__enter__()
        part = asyncio.create_task(self._one(model, envelope, call, vigil, pieces))
        part.add_done_callback(lambda _: vigil.close())
        part.add_done_callback(lambda _: pieces.close())
        try:
            first = await pieces.take()
            if first:
                model.metrics.first_token(self._engine.clock() - call.arrival)
            else:
                await asyncio.shield(part)
        except BaseException:
            part.cancel()
            raise
        events = begin(pieces.writer, Stamp(model.spec.id, call.name, int(time.time())))
        self._enter()
        return EventStream(Stream(first, pieces, part, events), call, self._engine.clock, self._leave)


def _outcome(error: BaseException) -> str:
    """Return the label of a request that ended so."""
    if isinstance(error, RequestError):
        return error.outcome
    return "cancelled" if isinstance(error, (ClientLeftError, asyncio.CancelledError)) else "error"


def _told(error: BaseException, dialect: Dialect, name: str) -> Response:
    """Return what a request's client is told of its failure; the log learns why, where that is nobody's wish."""
    if isinstance(error, asyncio.CancelledError):
        raise error
    if isinstance(error, ClientLeftError):
        return problem(499, "cancelled", "the client closed the connection", name)
    known = known_error(error, name)
    headers = {}
    if known.retry_after_seconds is not None:
        headers["retry-after"] = str(round(known.retry_after_seconds))
    if isinstance(known, (TooLargeError, ExpiredError)):
        headers["connection"] = "close"  # the rest of the body, if any, is not worth reading
    message, more = dialect.explain(known)
    return problem(known.status, known.code, message, name, headers, more)


def _headers(parts: Sequence[Part], name: str) -> dict[str, str]:
    """Return what an answer's headers tell: of several inferences the longest times, and the sums of the rest."""
    timings = [part.reply.timing for part in parts]
    return {
        "x-request-id": name,
        "x-queue-time": f"{max(one.queue_seconds for one in timings):.6f}",
        "x-inference-time": f"{max(one.batch_seconds for one in timings):.6f}",
        "x-batch-size": str(max(one.batch_size for one in timings)),
        "x-input-tokens": str(sum(part.reply.input_tokens for part in parts)),
        "x-output-tokens": str(sum(part.reply.output_tokens for part in parts)),
        **energy_headers(added(part.energy for part in parts)),
    }
