"""An ASGI middleware that makes a span of each request of an application that knows nothing of energy.

It is for servers that compute while they answer. Where requests are batched, a span for each batch says more: one
whole request that waits in a queue looks like work here. It knows the ASGI specification and no framework.
"""

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any, NamedTuple

from perjoule.errors import UsageError
from perjoule.spans.client import PHASE, Spans
from perjoule.spans.estimate import UNKNOWN, Energy
from perjoule.spans.span import Span
from perjoule.spans.wire import REQUEST_ID, Request

_LOG = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_FAILED, _EXPIRED = 400, 504
_GONE: Message = {"type": "http.disconnect"}


class Exchange(NamedTuple):
    """One request that is over: what the application was told of it, and the bytes of both bodies."""

    scope: Scope
    received_bytes: int
    sent_bytes: int


def _alike(_: Exchange) -> float:
    return 1.0


class SpanMiddleware:
    """Wraps an application: ``app.add_middleware(SpanMiddleware, spans=spans, task="summarization", model="bart")``.

    ``task`` and ``model`` are fixed, or functions of the request's scope; a task of None leaves the request alone
    (health checks, metrics), and so does a name that cannot be a label's value. ``weight`` is a function of the whole
    exchange; it only matters to who adds requests up.

    A request ends as ``ok``, as ``cancelled`` (its client hung up, or its task was cancelled), as ``expired`` (status
    504), or as ``error`` (any other status from 400 on, an exception, an answer without an end).

    The answer gets ``x-energy-quality``, and with ``estimated`` the ``x-energy-joules`` up to when its headers leave.
    Where the body's length is not known by then, it is still to be made: the quality is ``unknown``. It gets
    ``x-request-id`` too, the request's own if that is a valid one, unless the application has set it.
    """

    def __init__(
        self,
        app: App,
        spans: Spans,
        *,
        task: str | Callable[[Scope], str | None],
        model: str | Callable[[Scope], str],
        phase: str = PHASE,
        weight: Callable[[Exchange], float] = _alike,
    ) -> None:
        self._app = app
        self._spans = spans
        self._task = task
        self._model = model
        self._phase = phase
        self._weight = weight

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        task = None
        if scope["type"] == "http":
            task = self._task if isinstance(self._task, str) else self._task(scope)
        if task is None:
            await self._app(scope, receive, send)
            return
        model = self._model if isinstance(self._model, str) else self._model(scope)
        try:
            span = self._spans.span(task, model, self._phase)
        except UsageError as error:  # a name that came with the request, perhaps
            _LOG.debug("a request without a span: %s", error)
            await self._app(scope, receive, send)
            return
        incoming = _Incoming(receive, has_body=_has_body(scope))
        outgoing = _Outgoing(send, incoming, span, _request_id(scope))
        outcome = "error"
        try:
            await self._app(scope, incoming, outgoing)
            outcome = outgoing.outcome()
        except asyncio.CancelledError:
            outcome = "cancelled"
            raise
        finally:
            incoming.stop()
            if outgoing.cut_short():
                outcome = "cancelled"
            request = Request(outgoing.request_id, 1.0, outcome)
            try:
                request = request._replace(weight=self._weight(Exchange(scope, incoming.bytes, outgoing.bytes)))
            finally:  # a span without an end would take the energy of others
                span.close([request])


class _Incoming:
    """The application's ``receive``, which learns that the client hung up though the application does not ask.

    A task reads one message ahead. Where there is a body, it begins when the application asks, since asking has the
    server say ``100 Continue``.
    """

    def __init__(self, receive: Receive, *, has_body: bool) -> None:
        self.bytes = 0
        self.hung_up = False
        self._receive = receive
        self._ahead: asyncio.Queue[Message] = asyncio.Queue(maxsize=1)
        self._reader = None if has_body else asyncio.create_task(self._read())

    async def __call__(self) -> Message:
        if self._reader is None:
            self._reader = asyncio.create_task(self._read())
        if not self._ahead.empty():
            return self._ahead.get_nowait()
        if self.hung_up:
            return dict(_GONE)
        waiting = asyncio.ensure_future(self._ahead.get())
        try:
            await asyncio.wait([waiting, self._reader], return_when=asyncio.FIRST_COMPLETED)
            if not waiting.done():
                self._reader.result()  # the server's fault is the application's to see
                return dict(_GONE)
            return waiting.result()
        finally:
            waiting.cancel()

    async def _read(self) -> None:
        while not self.hung_up:
            message = await self._receive()
            self.hung_up = message["type"] == "http.disconnect"
            self.bytes += len(message.get("body", b""))
            await self._ahead.put(message)

    def stop(self) -> None:
        """Ask for no more."""
        if self._reader is None:
            return
        self._reader.cancel()
        self._reader.add_done_callback(_forgotten)


def _forgotten(task: "asyncio.Task[None]") -> None:
    """Look at what a task ended with, or it would be logged as never looked at."""
    with suppress(asyncio.CancelledError):
        task.exception()


class _Outgoing:
    """The application's ``send``, which adds the headers and sees how the answer ends."""

    def __init__(self, send: Send, incoming: _Incoming, span: Span, request_id: str) -> None:
        self.span = span
        self.request_id = request_id
        self.bytes = 0
        self._send = send
        self._incoming = incoming
        self._status = 0
        self._complete = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            message = {**message, "headers": [*message.get("headers", ()), *self._added(message)]}
        elif message["type"] == "http.response.body":
            self.bytes += len(message.get("body", b""))
        if self._incoming.hung_up:  # before the end: afterwards a server says so of every request
            await self._send(message)
            return
        try:
            await self._send(message)
        except OSError:  # as the specification says it
            self._incoming.hung_up = True
            raise
        if message["type"] == "http.response.body":
            self._complete = not message.get("more_body", False)

    def cut_short(self) -> bool:
        """Return whether the client hung up before its answer was complete."""
        return self._incoming.hung_up and not self._complete

    def outcome(self) -> str:
        """Return how the request ended, as far as the answer shows it."""
        if self._status == _EXPIRED:
            return "expired"
        return "ok" if self._complete and self._status < _FAILED else "error"

    def _added(self, start: Message) -> list[tuple[bytes, bytes]]:
        names = {bytes(name).lower() for name, _ in start.get("headers", ())}
        energy = self.span.energy if b"content-length" in names else UNKNOWN
        added = energy_headers(energy)
        if b"x-request-id" not in names:
            added.append((b"x-request-id", self.request_id.encode()))
        return added


def energy_headers(energy: Energy) -> list[tuple[bytes, bytes]]:
    """Return the headers that tell of an energy."""
    quality = (b"x-energy-quality", str(energy.quality).encode())
    if energy.joules is None:
        return [quality]
    return [(b"x-energy-joules", f"{energy.joules:.6g}".encode()), quality]


def _has_body(scope: Scope) -> bool:
    names = {bytes(name).lower(): value for name, value in scope["headers"]}
    return b"transfer-encoding" in names or names.get(b"content-length", b"0") != b"0"


def _request_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if bytes(name).lower() == b"x-request-id":
            text = value.decode("latin-1")
            if REQUEST_ID.fullmatch(text):
                return str(text)
    return secrets.token_hex(8)
