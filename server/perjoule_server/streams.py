"""An answer that goes out piece by piece, as server-sent events.

Whoever reads slowly gets larger pieces, and holds up nobody: the device writes on, and what waits is bounded by the
answer itself. Knows neither dialects nor how a piece comes about.
"""

import asyncio
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from perjoule.errors import RequestError
from perjoule_server.adapters.base import Dialect, Events, Part
from perjoule_server.bodies import ClientLeftError
from perjoule_server.pieces import Pieces
from perjoule_server.problems import error_object
from perjoule_server.tasks.base import Token

log = logging.getLogger(__name__)

_GRACE_SECONDS = 1.0
"""How long after its deadline a stream may take to say so; then its client does not read, and is left."""


@dataclass(frozen=True, slots=True)
class Call:
    """One HTTP request that asks for inferences, its body aside.

    Attributes:
        request: it.
        dialect: what it speaks.
        name: its id.
        arrival: when it came, on the engine's clock.
        deadline: until when its answer is wanted, on the same clock.
        settled: whether its client waits for the settled energy.
    """

    request: Request
    dialect: Dialect
    name: str
    arrival: float
    deadline: float
    settled: bool


@dataclass(frozen=True, slots=True)
class Stream:
    """What goes out piece by piece.

    Attributes:
        first: the tokens that are there already.
        pieces: gives the others.
        part: the inference, which ends after its last token.
        events: shapes them.
    """

    first: Sequence[Token]
    pieces: Pieces
    part: "asyncio.Task[Part]"
    events: Events


def known_error(error: BaseException, name: str) -> RequestError:
    """Return the error that a client is told of; whatever is not meant for it goes to the log only."""
    if isinstance(error, RequestError):
        return error
    log.error("request %s failed: %s", name, type(error).__name__, exc_info=error)
    return RequestError("the model failed on this request")


class EventStream(Response):
    """The response; ``ended`` is called when it has gone out, or cannot."""

    def __init__(self, stream: Stream, call: Call, clock: Callable[[], float], ended: Callable[[], None]) -> None:
        # X-Accel-Buffering: a proxy that collects the pieces would undo the stream.
        headers = {"x-request-id": call.name, "cache-control": "no-cache", "x-accel-buffering": "no"}
        super().__init__(headers=headers, media_type="text/event-stream")
        del self.headers["content-length"]
        self._stream, self._call, self._clock, self._ended = stream, call, clock, ended

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        """Send the stream; see ASGI."""
        left = self._call.deadline - self._clock() + _GRACE_SECONDS
        try:
            async with asyncio.timeout(max(left, 0)):
                await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
                await self._pour(send)
        except TimeoutError:
            log.warning("request %s: its client does not read", self._call.name)
        finally:
            self._stream.part.cancel()
            self._ended()

    async def _pour(self, send: Send) -> None:
        stream = self._stream
        tokens = stream.first
        while tokens:
            if events := stream.events.piece(tokens):
                await send({"type": "http.response.body", "body": _encoded(events), "more_body": True})
            tokens = await stream.pieces.take()
        try:
            last = stream.events.end(await stream.part)
        except ClientLeftError:
            return
        except Exception as error:  # noqa: BLE001 (the request's edge: what failed is told in the stream and logged)
            last = [self._failure(known_error(error, self._call.name))]
        await send({"type": "http.response.body", "body": _encoded(last), "more_body": False})

    def _failure(self, error: RequestError) -> dict[str, Any]:
        message, more = self._call.dialect.explain(error)
        return error_object(error.code, message, self._call.name, more)


def _encoded(events: Sequence[Any]) -> bytes:
    """Return server-sent events; in ASCII, since some clients take further characters for the end of a line."""
    lines = (one if isinstance(one, str) else json.dumps(one, separators=(",", ":")) for one in events)
    return "".join(f"data: {line}\n\n" for line in lines).encode()
