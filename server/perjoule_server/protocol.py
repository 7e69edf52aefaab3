"""HTTP/1.1 as uvicorn reads it, with limits that uvicorn lacks: of bytes that are no body, of time, and of connections.

Without them a client that sends headers or trailers without end fills the memory, and clients that never finish a head,
or never read, keep their connections, and so the process's file descriptors, for good. Bodies have limits of their own.
Knows nothing of routes.
"""

import asyncio
import re
import resource
from http import HTTPStatus
from typing import Any, ClassVar

from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from perjoule_server.problems import problem, request_id

HEAD_BYTES = 64 * 1024
"""Longest head of a request, and longest trailers, give or take one piece as it comes from the socket."""

DESCRIPTORS_KEPT = 96
"""File descriptors that connections leave to models, libraries and the exporter's socket."""

MOST_AHEAD = 64
"""Requests that a connection may send ahead of their answers: one piece from the socket could hold ten thousand."""

_UPGRADE = re.compile(rb"(\r\n)upgrade(?=[ \t]*:)", re.IGNORECASE)


def most_connections() -> int:
    """Return how many connections may be open: what this process's limit of file descriptors leaves, 10,000 at most."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 10_000 if limit == resource.RLIM_INFINITY else max(16, min(10_000, limit - DESCRIPTORS_KEPT))


class _TooFarAheadError(Exception):
    """More requests were sent ahead than are kept. It stops the parser."""


class LimitedProtocol(HttpToolsProtocol):
    """One connection."""

    head_seconds: ClassVar[float] = 30.0
    """How long a connection may be without a whole head where one is due."""

    read_seconds: ClassVar[float] = 30.0
    """How long a client may take none of what waits for it."""

    most: ClassVar[int] = most_connections()
    """Connections that may be open; a further one takes the place of an idle one, or is refused."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._in_head = True
        self._no_body_bytes = 0  # since the last piece of a body, or since a head began
        self._timer: asyncio.TimerHandle | None = None
        self._reading: asyncio.TimerHandle | None = None
        self._answering: RequestResponseCycle | None = None  # unlike ``cycle`` never one that waits its turn

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn itself does
        """Expect a head."""
        full = len(self.connections) >= self.most and not self._make_room()
        super().connection_made(transport)
        self._expect_head()
        if full:
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, "unavailable", "The server has no room for more connections.")

    def eof_received(self) -> None:
        """The client has left; the loop closes the connection, and nothing can be written any more."""
        if self._answering is not None and not self._answering.response_complete:
            self._answering.disconnected = True
            self._answering.message_event.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timers."""
        self.eof_received()
        self._cancel()
        if self._reading is not None:
            self._reading.cancel()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """Begin to count."""
        super().on_message_begin()
        self._in_head, self._no_body_bytes = True, 0
        self._expect_head()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; trailers, which come after the body, are dropped: the request was judged without them."""
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Count anew."""
        if len(self.pipeline) >= MOST_AHEAD:
            raise _TooFarAheadError
        self._in_head, self._no_body_bytes = False, 0
        self._cancel()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Count anew."""
        self._no_body_bytes = 0
        super().on_body(body)

    def data_received(self, data: bytes) -> None:
        """Read on; what is no body and too long ends the connection."""
        self._no_body_bytes += len(data)
        if self._in_head or self._between:
            data = _without_upgrade(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._no_body_bytes > HEAD_BYTES:
            self.send_400_response("The head or the trailers of the request are too long.")
        elif self._between and self.timeout_keep_alive_task is None:
            self._expect_head()  # bytes that are no request ended the keep-alive timer

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP request, in the shape of every error, and close."""
        self._refuse(HTTPStatus.BAD_REQUEST, "bad_request", msg)

    def pause_writing(self) -> None:
        """Watch whether the client reads."""
        super().pause_writing()
        self._watch_reading()

    def on_response_complete(self) -> None:
        """Watch whether the client reads what is left of the answer."""
        super().on_response_complete()
        if self.transport.get_write_buffer_size():
            self._watch_reading()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._answering = cycle
        super()._start_asgi_task(cycle, app)

    def _refuse(self, status: HTTPStatus, code: str, message: str) -> None:
        cycle = self._answering
        if cycle is None or cycle.response_complete or not cycle.response_started:  # else it would land amid an answer
            answer = problem(status, code, message, request_id({}), {"connection": "close"})
            head = b"".join(b"%s: %s\r\n" % header for header in answer.raw_headers)
            start = f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode()
            self.transport.write(start + head + b"\r\n" + bytes(answer.body))
        self._close()

    def _make_room(self) -> bool:
        """Close a connection without a request; False if there is none."""
        for other in self.connections:
            if isinstance(other, LimitedProtocol) and other._between and not other.transport.is_closing():  # noqa: SLF001 (of the same class)
                other._close()  # noqa: SLF001 (as above)
                return True
        return False

    def _close(self) -> None:
        self.transport.close()
        self._watch_reading()  # a transport closes only when all is sent

    @property
    def _between(self) -> bool:
        """Whether no request is under way."""
        cycle: RequestResponseCycle | None = self.cycle  # None before the first, whatever the library's type says
        return cycle is None or cycle.response_complete

    def _expect_head(self) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(self.head_seconds, self._too_slow)

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_slow(self) -> None:
        self._timer = None
        if self._between:
            self._close()
        else:  # the request before is still being answered
            self._expect_head()

    def _watch_reading(self) -> None:
        if self._reading is None:
            waiting = self.transport.get_write_buffer_size()
            self._reading = self.loop.call_later(self.read_seconds, self._look_at_reading, waiting)

    def _look_at_reading(self, before: int) -> None:
        self._reading = None
        waiting = self.transport.get_write_buffer_size()
        if waiting and waiting >= before:
            self.transport.abort()
        elif waiting:
            self._watch_reading()


def _without_upgrade(data: bytes) -> bytes:
    """Return the bytes with a head's Upgrade renamed: this server offers no other protocol, so it is to be ignored.

    The parser would take what follows the head for that protocol, and a body that came with it would be lost.
    """
    head, end, rest = data.partition(b"\r\n\r\n")
    return _UPGRADE.sub(rb"\1x-grade", head) + end + rest
