"""The thread that carries spans to the exporter: queue, connection, back-off.

Callers put spans into a bounded queue and never wait. The thread sleeps until there is something, lets 10 ms of it
gather, and sends that in one piece; while the exporter is not there it tries again and again, at longer and longer
intervals, and what comes meanwhile is dropped and counted.
"""

import logging
import random
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from perjoule.spans.talk import Talk
from perjoule.spans.wire import Close, Open, Settled

_LOG = logging.getLogger(__name__)

FLUSH_SECONDS = 0.01
RETRY_SECONDS = (0.1, 5.0)
"""The first pause before another attempt to connect, and the longest. Each is twice the last, less up to a half."""

_ANSWER_SECONDS = 5.0  # so long a hello may stay unanswered
_FAREWELL_SECONDS = 0.5  # so long the last lines may take when the server ends
_CHUNK = 1 << 18
_READABLE = select.POLLIN | select.POLLHUP | select.POLLERR


class Listener(Protocol):
    """Who is told what comes back, on the link's thread."""

    def hello(self) -> bytes:
        """Return the first lines of a connection."""

    def settled(self, settled: Sequence[Settled]) -> None:
        """Take over final figures."""

    def forsaken(self, numbers: Sequence[int] | None) -> None:
        """Take over that no figures will come for these spans; None for all."""


class Link:
    """One thread and, while the exporter is there, one connection."""

    def __init__(
        self,
        paths: Sequence[Path],
        talk: Talk,
        listener: Listener,
        limit: int,
        retry_seconds: tuple[float, float] = RETRY_SECONDS,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._paths = paths
        self._talk = talk
        self._listener = listener
        self._limit = limit
        self._retry_seconds = retry_seconds
        self._jitter = jitter
        self._pause = retry_seconds[0]
        self._queue: deque[Open | Close] = deque()
        self._accepting = True
        self._greet = False
        self._asleep = False
        self._wake_reader, self._wake_writer = socket.socketpair()
        self._wake_reader.setblocking(False)
        self._wake_writer.setblocking(False)
        self._socket: socket.socket | None = None
        self._unsent = b""
        self._stop = threading.Event()
        self._connected_at = 0.0
        self._said: str | None = None  # what the last logged line was about, so that a thing is said once
        self._thread = threading.Thread(target=self._run, name="spans", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self, timeout: float) -> None:
        """Send what is waiting, if that goes at once, and end the thread."""
        self._stop.set()
        self._wake()
        self._thread.join(timeout)

    def abandon(self) -> None:
        """Let go of what a forked child has in common with its parent, of which the parent goes on to use its own."""
        for each in (self._socket, self._wake_reader, self._wake_writer):
            if each is not None:
                each.close()

    def opened(self, span: Open) -> bool:
        """Take over a span's begin; False if there is no room or no exporter: it is dropped."""
        if not self._accepting or len(self._queue) >= self._limit:
            return False
        self._put(span)
        return True

    def closed(self, span: Close) -> None:
        """Take over the end of a span whose begin was taken over. There is always room: those are bounded."""
        self._put(span)

    def greet(self) -> None:
        """Say hello again: there are new owners."""
        self._greet = True
        self._wake()

    def _put(self, item: Open | Close) -> None:
        self._queue.append(item)
        if self._asleep:
            self._wake()

    def _wake(self) -> None:
        self._asleep = False
        with suppress(OSError):  # full: it is being woken already. Closed: it has ended.
            self._wake_writer.send(b"\0")

    # The thread

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                if self._socket is not None:
                    self._guarded(self._turn, self._socket)
                elif not self._connect():
                    self._rest()
            if self._socket is not None:
                self._guarded(self._farewell, self._socket)
            self._lose()
        finally:
            self._accepting = False
            self.abandon()

    def _guarded(self, action: Callable[[socket.socket], None], connection: socket.socket) -> None:
        try:
            action(connection)
        except (OSError, ValueError) as error:
            self._say("lost", f"the exporter's span socket is gone ({error}): spans are dropped until it is back")
            self._lose()
            if time.monotonic() - self._connected_at < self._retry_seconds[1]:
                self._rest()
            else:
                self._pause = self._retry_seconds[0]

    def _rest(self) -> None:
        self._stop.wait(self._pause * (1 - self._jitter() / 2))
        self._pause = min(2 * self._pause, self._retry_seconds[1])

    def _connect(self) -> bool:
        for path in self._paths:
            try:
                connection = _dialled(path)
            except (OSError, ValueError) as error:
                self._accepting = False
                self._say("absent", f"no exporter at {path} ({error}): energy is unknown until there is one")
                continue
            self._socket = connection
            self._connected_at = time.monotonic()
            if not self._accepting:  # else this is the first attempt, and what waits is not old
                self._discard()
            self._greet = False
            self._unsent = self._listener.hello()
            self._accepting = True
            return True
        self._discard()
        return False

    def _turn(self, connection: socket.socket) -> None:
        """Wait for something to do, let it gather, send it, and take in what came."""
        if not self._talk.ready and time.monotonic() - self._connected_at > _ANSWER_SECONDS:
            raise TimeoutError("it does not answer")
        self._sleep(connection)
        self._stop.wait(FLUSH_SECONDS)
        with suppress(BlockingIOError):
            while self._wake_reader.recv(4096):
                pass
        if self._greet:
            self._greet = False
            self._unsent += self._listener.hello()
        self._send(connection)
        self._receive(connection)
        if self._talk.problem is not None:
            self._say("refused", f"spans are refused: {self._talk.problem}")
            self._talk.problem = None

    def _sleep(self, connection: socket.socket) -> None:
        poll = select.poll()
        poll.register(connection, _READABLE | (select.POLLOUT if self._unsent else 0))
        poll.register(self._wake_reader, select.POLLIN)
        self._asleep = True
        if not (self._queue and self._talk.ready and not self._unsent) and not self._greet:
            poll.poll(None if self._talk.ready else _ANSWER_SECONDS * 1000)
        self._asleep = False

    def _send(self, connection: socket.socket) -> None:
        if self._talk.ready and not self._unsent:
            self._unsent, untold = self._talk.told(self._taken())
            self._listener.forsaken(untold)
        if self._unsent:
            with suppress(BlockingIOError):
                self._unsent = self._unsent[connection.send(self._unsent) :]

    def _receive(self, connection: socket.socket) -> None:
        try:
            data = connection.recv(_CHUNK)
        except BlockingIOError:
            return
        if not data:
            raise ConnectionError("it hung up")
        was_ready = self._talk.ready
        settled, refused = self._talk.received(data)
        self._listener.settled(settled)
        self._listener.forsaken(refused)
        if self._talk.ready and not was_ready:
            self._say("ready", "connected to the exporter's span socket", logging.INFO)

    def _farewell(self, connection: socket.socket) -> None:
        connection.settimeout(_FAREWELL_SECONDS)
        if self._talk.ready:
            lines, _ = self._talk.told(self._taken())
            connection.sendall(self._unsent + lines)

    def _taken(self) -> list[Open | Close]:
        """Empty the queue, to which others add meanwhile."""
        return [self._queue.popleft() for _ in range(len(self._queue))]

    def _discard(self) -> None:
        items = self._taken()
        self._talk.dropped += sum(isinstance(item, Open) for item in items)
        self._listener.forsaken([item.number for item in items if isinstance(item, Close)])

    def _lose(self) -> None:
        self._accepting = False
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        self._unsent = b""
        self._talk.lost()
        self._discard()
        self._listener.forsaken(None)

    def _say(self, about: str, what: str, level: int = logging.WARNING) -> None:
        if about != self._said:
            self._said = about
            _LOG.log(level, "%s", what)


def _dialled(path: Path) -> socket.socket:
    """Return a socket that is connected to ``path``; raises ``OSError`` also where no descriptor is left for one."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(1.0)
        connection.connect(str(path))
        connection.setblocking(False)
    except BaseException:
        connection.close()
        raise
    return connection
