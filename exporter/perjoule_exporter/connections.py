"""TCP connections, each served in a thread of its own, and never more than a fixed number of them.

It knows sockets, time limits and how many there may be; what is said on a connection is the caller's. A client that is
slow, silent or gone costs a thread for a while. Where all are taken, the one that has kept us waiting longest makes
room, so that a flood of idle connections cannot shut out a scrape.
"""

import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import suppress

_LOG = logging.getLogger(__name__)

MAX_CONNECTIONS = 64
PATIENCE_SECONDS = 10.0
"""A handshake, the head of a request or the sending of an answer may take so long, however the bytes trickle."""

_ROOM_SECONDS = 1.0
_LINGER_SECONDS, _LINGER_BYTES = 1.0, 1 << 18
_ACCEPT_PAUSE_SECONDS = 0.1
_GRACE_SECONDS = 0.25


class Connection:
    """One client. ``waiting_since`` is the monotonic time since when we wait for it, None while it waits for us."""

    def __init__(self, sock: socket.socket, clock: Callable[[], float]) -> None:
        self.received = bytearray()
        self.waiting_since: float | None = clock()
        self._clock = clock
        self._socket = sock

    def secure(self, context: ssl.SSLContext) -> ssl.SSLSocket:
        """Shake hands as a TLS server. Every read and write after it is encrypted.

        Raises:
            OSError: the client speaks otherwise, is not let in, or takes too long.
        """
        self._socket.settimeout(PATIENCE_SECONDS)
        secured = context.wrap_socket(self._socket, server_side=True, do_handshake_on_connect=False)
        self._socket = secured
        secured.do_handshake()
        return secured

    def first_byte(self) -> bytes:
        """Return the first byte that the client sent, which stays to be read; empty if it hung up."""
        self._socket.settimeout(PATIENCE_SECONDS)
        return self._socket.recv(1, socket.MSG_PEEK)

    def receive(self, deadline: float) -> bool:
        """Add to ``received`` what comes until the monotonic time ``deadline``. False: the client has ended its side.

        Raises:
            OSError: the connection is gone, or nothing came in time (TimeoutError).
        """
        self._socket.settimeout(max(deadline - self._clock(), 0.001))
        chunk = self._socket.recv(16384)
        self.received += chunk
        return bool(chunk)

    def send(self, answer: bytes) -> None:
        """Send all of ``answer``.

        Raises:
            OSError: the connection is gone, or the client does not take it in time.
        """
        self.waiting_since = self._clock()
        deadline, rest = self.waiting_since + PATIENCE_SECONDS, memoryview(answer)
        while rest:
            left = deadline - self._clock()
            if left <= 0:
                raise TimeoutError("the client does not take its answer")
            self._socket.settimeout(left)
            rest = rest[self._socket.send(rest) :]

    def close(self, *, unread: bool) -> None:
        """Close it. ``unread`` bytes are read first, or the reset that they cause would take the answer back."""
        with suppress(OSError):
            if unread:
                self._socket.shutdown(socket.SHUT_WR)
                deadline, read = self._clock() + _LINGER_SECONDS, 0
                while read < _LINGER_BYTES and self.receive(deadline):
                    read += len(self.received)
                    self.received.clear()
        self._socket.close()

    def cut(self) -> None:
        """Wake the thread that waits on it, from another thread, by ending it both ways."""
        with suppress(OSError, ValueError):
            # Not SSLSocket's: that would wipe the TLS state under the thread that is reading.
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)


class Connections:
    """Accepts from a listening socket until closed. ``serve`` is called with each connection in its own thread."""

    def __init__(
        self,
        listening: socket.socket,
        serve: Callable[[Connection], None],
        limit: int = MAX_CONNECTIONS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._listening = listening
        self._serve = serve
        self._limit = limit
        self._clock = clock
        self._open: set[Connection] = set()
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._accept_all, name="web", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Free the port and end all connections; an answer in the making has a quarter of a second to get out."""
        self._closing = True
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        self._thread.join(timeout=1.0)
        self._listening.close()
        with self._changed:
            for connection in self._open:
                if connection.waiting_since is not None:
                    connection.cut()
            self._changed.wait_for(lambda: not self._open, timeout=_GRACE_SECONDS)
            for connection in self._open:
                connection.cut()

    def _accept_all(self) -> None:
        while not self._closing:
            try:
                accepted, _ = self._listening.accept()
            except OSError as error:
                if not self._closing:
                    _LOG.debug("cannot accept: %s", error)
                    # Too many open files, most likely: one fewer, where there is one, is what helps.
                    if not self._open or not self._make_room(len(self._open)):
                        time.sleep(_ACCEPT_PAUSE_SECONDS)
                continue
            self._take(accepted)

    def _take(self, accepted: socket.socket) -> None:
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = Connection(accepted, self._clock)
        if not self._make_room(self._limit):
            accepted.close()
            return
        with self._changed:
            self._open.add(connection)
        try:
            threading.Thread(target=self._run, args=(connection,), name="web-connection", daemon=True).start()
        except RuntimeError:  # the system has no thread left
            self._end(connection)

    def _make_room(self, limit: int) -> bool:
        """Return whether fewer than ``limit`` are open, after ending the one we have waited for longest if need be."""
        with self._changed:
            if len(self._open) < limit:
                return True
            waiting = [(since, c) for c in self._open if (since := c.waiting_since) is not None]
            if waiting:
                min(waiting, key=lambda pair: pair[0])[1].cut()
            return self._changed.wait_for(lambda: len(self._open) < limit, timeout=_ROOM_SECONDS)

    def _run(self, connection: Connection) -> None:
        try:
            self._serve(connection)
        except OSError as error:
            # A client that hung up, fell silent or was not let in is its own business.
            _LOG.debug("a connection was cut off: %s", error)
        except Exception:  # noqa: BLE001 (the connection's edge: a fault of ours costs this connection alone)
            _LOG.exception("a connection failed")
        finally:
            self._end(connection)

    def _end(self, connection: Connection) -> None:
        connection.close(unread=False)
        with self._changed:
            self._open.discard(connection)
            self._changed.notify_all()
