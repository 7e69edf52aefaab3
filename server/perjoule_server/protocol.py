"""HTTP/1.1 as uvicorn reads it, with limits on a request's head, which uvicorn lacks: its size and its time.

Without them a client that sends headers without end fills the memory, and clients that never finish a head keep their
connections, and so the process's file descriptors, for good. Bodies have limits of their own. Knows nothing of routes.
"""

import asyncio
from http import HTTPStatus
from typing import Any, ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from perjoule_server.problems import problem, request_id

HEAD_BYTES = 64 * 1024
"""Longest head of a request, give or take one piece as it comes from the socket."""


class LimitedProtocol(HttpToolsProtocol):
    """One connection."""

    head_seconds: ClassVar[float] = 30.0
    """How long a connection may be without a whole head where one is due."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._in_head = True
        self._head_bytes = 0
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn itself does
        """Expect a head."""
        super().connection_made(transport)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timer."""
        self._cancel()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """Begin to count."""
        super().on_message_begin()
        self._in_head, self._head_bytes = True, 0
        self._expect_head()

    def on_headers_complete(self) -> None:
        """Stop counting."""
        self._in_head = False
        self._cancel()
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        """Read on; a head that is too long ends the connection."""
        from_head = self._in_head
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._in_head and from_head:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES:
                self.send_400_response("The head of the request is too long.")
        elif self._between and self.timeout_keep_alive_task is None:
            self._expect_head()  # bytes that are no request ended the keep-alive timer

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP request, in the shape of every error, and close."""
        answer = problem(HTTPStatus.BAD_REQUEST, "bad_request", msg, request_id({}), {"connection": "close"})
        head = b"".join(b"%s: %s\r\n" % header for header in answer.raw_headers)
        self.transport.write(b"HTTP/1.1 400 Bad Request\r\n" + head + b"\r\n" + bytes(answer.body))
        self.transport.close()

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
            self.transport.close()
        else:  # the request before is still being answered
            self._expect_head()
