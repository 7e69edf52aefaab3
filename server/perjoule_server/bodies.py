"""Bodies of requests, read within limits: of each, and of all that are open at one time.

Knows nothing of what a body means.
"""

import asyncio
from contextlib import suppress
from typing import Self

from starlette.requests import Request

from perjoule.errors import BusyError, TooLargeError

LINGER_SECONDS = 2.0
"""How long a client that sends too much is listened to, so that it can read the answer instead of a broken pipe."""

BODIES_HELD = 16
"""Bodies of full size that all open requests may hold together; what would be more is answered 429."""

SMALL_BYTES = 64 * 1024
"""Bodies up to this do not count: requests of text are served whatever a few clients with large bodies do."""


SLOW_SECONDS = 30.0
SLOWEST = 1_000
"""A body has this long, and a second more for each so many bytes that are there: else a trickle would hold its memory
and connection for as long as its own header asks."""


class ClientLeftError(Exception):
    """The client closed its connection before the answer."""


class Bodies:
    """How many bytes of bodies the open requests hold together, so that many clients cannot fill the memory."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._held = 0

    def take(self, size: int) -> None:
        """Hold ``size`` more bytes.

        Raises:
            BusyError: they would be too many.
        """
        if self._held + size > self._most:
            raise BusyError("the bodies of the requests under way fill the server's memory for them", 1.0)
        self._held += size

    def give_back(self, size: int) -> None:
        """Hold ``size`` bytes less."""
        self._held -= size


class Share:
    """The part of one request in the bodies held; given back at the end of its ``with`` block."""

    def __init__(self, bodies: Bodies) -> None:
        self._bodies = bodies
        self._size = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._bodies.give_back(self._size)

    def grow(self, size: int) -> None:
        """Hold ``size`` bytes in all; raises as ``Bodies.take`` does. A small body is never refused."""
        if size > SMALL_BYTES:
            self._bodies.take(size - self._size)
            self._size = size


class Pace:
    """How long one body may take, from its creation on.

    Args:
        timeout: what ends the reading.
        seconds: the longest, however fast it comes.
    """

    def __init__(self, timeout: asyncio.Timeout, seconds: float) -> None:
        self._timeout = timeout
        self._began = asyncio.get_running_loop().time()
        self._seconds = seconds
        self.arrived(0)

    def arrived(self, size: int) -> None:
        """Note that ``size`` bytes are there in all."""
        self._timeout.reschedule(self._began + min(self._seconds, SLOW_SECONDS + size / SLOWEST))


async def read_body(request: Request, limit: int, share: Share, pace: Pace) -> bytes:
    """Return the body, holding at most ``limit`` bytes of it, whatever Content-Length says.

    Raises:
        TooLargeError: it is longer.
        BusyError: all requests together hold too much.
        ClientLeftError: the client left before its end.
    """
    too_large = TooLargeError(f"the body is larger than {limit} bytes")
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit and "expect" in request.headers:
        raise too_large  # the client waits for leave to send
    chunks: list[bytes] = []
    size, more = 0, True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientLeftError
        chunks.append(message.get("body", b""))
        more = message.get("more_body", False)
        size += len(chunks[-1])
        if size > limit:
            chunks.clear()
            if more:
                await _linger(request, limit)
            raise too_large
        share.grow(size)
        if more:
            pace.arrived(size)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


async def _linger(request: Request, limit: int) -> None:
    """Throw away what still comes, for a short while and up to another ``limit`` bytes."""
    seen = 0
    with suppress(TimeoutError):
        async with asyncio.timeout(LINGER_SECONDS):
            while seen < limit:
                message = await request.receive()
                seen += len(message.get("body", b""))
                if not message.get("more_body", False):
                    return
