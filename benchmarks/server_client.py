"""The one client of the server's benchmark: raw HTTP/1.1 over kept connections, in a closed or an open loop.

A closed loop keeps so many requests under way; its window begins and ends with an answer, so that whole bursts are
counted where a server answers a batch at once. An open loop sends when the schedule says, whatever has been answered,
and counts latency from the intended time. It knows HTTP and no server.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

import httptools
import uvloop

OK = 200
PATIENCE_SECONDS = 60.0
"""How long a window may last beyond its length before the benchmark gives up on a server."""

OPEN_CONNECTIONS = 128
KEPT_HEADERS = (b"x-batch-size", b"x-inference-time")


class ClientError(Exception):
    """A server does not answer as it must."""


def http_request(path: str, body: bytes) -> bytes:
    """Return a whole request with a JSON body."""
    head = f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: {len(body)}"
    return head.encode() + b"\r\n\r\n" + body


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer: which request of the sequence it belongs to, its status, seconds, kept headers and body."""

    place: int
    status: int
    seconds: float
    headers: Mapping[bytes, bytes]
    body: bytes


@dataclass(frozen=True, slots=True)
class Window:
    """What a loop saw: its answers, its length, what ``edge`` told at its two ends, and the client's own CPU time."""

    replies: Sequence[Reply]
    seconds: float
    edges: tuple[float, float]
    client_cpu_seconds: float

    @property
    def errors(self) -> int:
        """How many answers were none."""
        return sum(reply.status != OK for reply in self.replies)

    @property
    def latencies(self) -> list[float]:
        """Seconds of each answer."""
        return [reply.seconds for reply in self.replies if reply.status == OK]


class Connection(asyncio.Protocol):
    """One kept connection with at most one request under way. ``done`` is called with each answer."""

    def __init__(self, done: Callable[["Connection", Reply], None]) -> None:
        self._done = done
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._place, self._start = -1, 0.0
        self._headers: dict[bytes, bytes] = {}
        self._body: list[bytes] = []
        self.lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own class

    def connection_lost(self, exc: Exception | None) -> None:
        """End a request that has no answer, with status 0: an error."""
        del exc
        self.lost = True
        if self._place >= 0:
            self._end(0)

    def send(self, place: int, request: bytes, start: float) -> None:
        """Send a request; its latency counts from ``start`` on the performance counter."""
        self._place, self._start = place, start
        self._headers, self._body = {}, []
        if self._transport is not None:
            self._transport.write(request)

    def close(self) -> None:
        """Close it; what is under way is forgotten."""
        self._place = -1
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Read on."""
        self._parser.feed_data(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep what is wanted of the head."""
        if name.lower() in KEPT_HEADERS:
            self._headers[name.lower()] = value

    def on_body(self, body: bytes) -> None:
        """Keep a piece of the body."""
        self._body.append(body)

    def on_message_complete(self) -> None:
        """End the request."""
        self._end(self._parser.get_status_code())

    def _end(self, status: int) -> None:
        place, self._place = self._place, -1
        seconds = time.perf_counter() - self._start
        self._done(self, Reply(place, status, seconds, self._headers, b"".join(self._body)))


@dataclass(slots=True)
class _Loop:
    """What both loops share: connections to one port, and the place in the sequence of requests."""

    port: int
    requests: Sequence[bytes]
    next: int = 0
    connections: list[Connection] = field(default_factory=list)

    async def connect(self, count: int, done: Callable[[Connection, Reply], None]) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(count):
            _, made = await loop.create_connection(lambda: Connection(done), "127.0.0.1", self.port)
            self.connections.append(made)

    def send(self, connection: Connection, start: float) -> None:
        place = self.next % len(self.requests)
        self.next += 1
        connection.send(place, self.requests[place], start)

    def close(self) -> None:
        for connection in self.connections:
            connection.close()


class _Closed:
    """A closed loop under way."""

    def __init__(self, loop: _Loop, concurrency: int, seconds: tuple[float, float], edge: Callable[[], float]) -> None:
        self._loop, self._concurrency, self._edge = loop, concurrency, edge
        self._warm, self._seconds = seconds
        self._replies: list[Reply] = []
        self._seen = 0
        self._begun = time.perf_counter()
        self._start = 0.0
        self._first = (0.0, 0.0)
        self._replacing: asyncio.Future[None] | None = None  # held, or it might be collected under way
        self._left = 0
        self.window: asyncio.Future[Window] = asyncio.get_running_loop().create_future()
        self.quiet = asyncio.Event()
        """Set when what was under way at the window's end has been answered, so that the next window begins clean."""

    def done(self, connection: Connection, reply: Reply) -> None:
        if self.window.done():
            self._left -= 1
            if self._left == 0:
                self.quiet.set()
            return
        now = time.perf_counter()
        if connection.lost:
            self._replacing = asyncio.ensure_future(self._replace())
        else:
            self._loop.send(connection, now)
        if self._start:
            self._replies.append(reply)
            if now - self._start >= self._seconds:
                self._finish(now)
        else:
            self._seen += 1
            if now - self._begun >= self._warm and self._seen >= self._concurrency:
                self._start, self._first = now, (self._edge(), time.process_time())

    async def _replace(self) -> None:
        try:
            await self._loop.connect(1, self.done)
        except OSError as error:
            if not self.window.done():
                self.window.set_exception(ClientError(f"the server takes no connections any more: {error}"))
        else:
            self._loop.send(self._loop.connections[-1], time.perf_counter())

    def _finish(self, now: float) -> None:
        edges = (self._first[0], self._edge())
        cpu = time.process_time() - self._first[1]
        self._left = self._concurrency
        self.window.set_result(Window(self._replies, now - self._start, edges, cpu))


def closed(
    port: int, requests: Sequence[bytes], concurrency: int, seconds: tuple[float, float], edge: Callable[[], float]
) -> Window:
    """Keep ``concurrency`` requests under way for ``seconds`` (of warm-up, of the window).

    ``edge`` is called at the window's two ends, as for the CPU time of the server.

    Raises:
        ClientError: the server takes no connections, or the window has no end.
    """

    async def run() -> Window:
        loop = _Loop(port, requests)
        state = _Closed(loop, concurrency, seconds, edge)
        try:
            await loop.connect(concurrency, state.done)
            for connection in loop.connections:
                loop.send(connection, time.perf_counter())
            window = await asyncio.wait_for(state.window, sum(seconds) + PATIENCE_SECONDS)
            await asyncio.wait_for(state.quiet.wait(), PATIENCE_SECONDS)
        except (TimeoutError, OSError) as error:
            raise ClientError(f"no window of {concurrency} requests at a time: {str(error) or 'no answers'}") from error
        else:
            return window
        finally:
            loop.close()

    return uvloop.run(run())


class _Open:
    """An open loop under way: idle connections, and what is due and has none."""

    def __init__(self, loop: _Loop, count: int) -> None:
        self._loop, self._count = loop, count
        self._idle: list[Connection] = []
        self._due: deque[float] = deque()
        self.replies: list[Reply] = []
        self.ended = asyncio.Event()

    def ready(self) -> None:
        self._idle = list(self._loop.connections)

    def arrive(self, intended: float) -> None:
        while self._idle:
            connection = self._idle.pop()
            if not connection.lost:
                self._loop.send(connection, intended)
                return
        self._due.append(intended)

    def done(self, connection: Connection, reply: Reply) -> None:
        self.replies.append(reply)
        if len(self.replies) == self._count:
            self.ended.set()
        elif connection.lost:
            return
        elif self._due:
            self._loop.send(connection, self._due.popleft())
        else:
            self._idle.append(connection)


def open_loop(
    port: int, requests: Sequence[bytes], arrivals: Sequence[float], *, connections: int = OPEN_CONNECTIONS
) -> Window:
    """Send a request at each of ``arrivals`` (seconds from the start, ascending); latency counts from there.

    Raises:
        ClientError: it does not answer all.
    """

    async def run() -> Window:
        loop = _Loop(port, requests)
        state = _Open(loop, len(arrivals))
        begun = time.process_time()
        try:
            await loop.connect(connections, state.done)
            state.ready()
            start = time.perf_counter()
            await _arrive(state, start, arrivals)
            await asyncio.wait_for(state.ended.wait(), PATIENCE_SECONDS)
        except (TimeoutError, OSError) as error:
            raise ClientError(f"{len(state.replies)} of {len(arrivals)} requests were answered") from error
        finally:
            loop.close()
        return Window(state.replies, time.perf_counter() - start, (0.0, 0.0), time.process_time() - begun)

    return uvloop.run(run())


async def _arrive(state: _Open, start: float, arrivals: Sequence[float]) -> None:
    for due in arrivals:
        wait = start + due - time.perf_counter()
        if wait > 0:
            await asyncio.sleep(wait)
        state.arrive(start + due)
