"""The span socket: many clients, one thread.

It knows sockets, and which client is to be told what. What lines say is the conversation's, what becomes of it the
book's. Bytes are left to gather for 20 ms, so that a busy client costs one wake-up and one lock for many spans; the
thread never works for more than half of the time, and a client that is too fast waits in its own kernel's buffer.
"""

import logging
import selectors
import socket
import struct
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from perjoule_exporter.spans.book import Book
from perjoule_exporter.spans.conversation import Conversation
from perjoule_exporter.spans.lines import Table, changes, error_line, greeting_line, settled_line, table, watts_line
from perjoule_exporter.spans.path import Listening

_LOG = logging.getLogger(__name__)

MAX_CLIENTS = 64
MAX_UNREAD_BYTES = 1 << 18
"""Answers that a client may leave unread, beside what its kernel holds and one greeting: with more it is cut off."""

HELLO_SECONDS = 10.0
"""A connection may be silent for so long before its hello."""

GATHER_SECONDS = 0.02
"""With the 10 ms of a client's flush well within the ledger's grace. After each sleep the first lines cost several
times what the next do."""

WATTS_SECONDS = 0.5
"""Clients are told of changed watts this often."""

_REPLY_SECONDS = 0.01  # between looks for what has settled,
_SETTLES_SECONDS = 2.0  # for so long after a client has asked for it
_CHUNK = 1 << 16  # bytes of one client that are read at a time,
_BUDGET = 1 << 18  # and of all,
_LEAST_CHUNK = 1 << 12  # but this much of each
_CREDENTIALS = struct.Struct("3i")  # pid, uid and gid, as unix(7) has them
_READ, _WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE


@dataclass(slots=True, eq=False)
class _Client:
    """One connection."""

    number: int
    socket: socket.socket
    since: float
    conversation: Conversation = field(default_factory=Conversation)
    unsent: bytearray = field(default_factory=bytearray)
    may_leave: int = MAX_UNREAD_BYTES
    writing: bool = False
    greeted: bool = False


class SpanServer:
    """Serves a listening socket until closed. ``book`` is called by its thread alone; ``clock`` is CLOCK_MONOTONIC."""

    def __init__(self, listening: Listening, book: Book, clock: Callable[[], float] = time.monotonic) -> None:
        self._listening = listening
        self._book = book
        self._clock = clock
        self._clients: dict[int, _Client] = {}
        self._last = 0
        self._watts: Table = {}
        self._watts_due = 0.0
        self._settles_until = 0.0
        self._closing = threading.Event()
        self._wake_reader, self._wake_writer = socket.socketpair()
        self._selector = selectors.DefaultSelector()
        listening.socket.setblocking(False)
        self._selector.register(listening.socket, _READ, self._accept)
        self._selector.register(self._wake_reader, _READ)
        self._thread = threading.Thread(target=self._run, name="spans", daemon=True)
        self._thread.start()

    @property
    def path(self) -> str:
        """Where it listens."""
        return str(self._listening.path)

    @property
    def clients(self) -> int:
        """How many clients have said hello and are still there."""
        return sum(client.conversation.name is not None for client in list(self._clients.values()))

    @property
    def pids(self) -> tuple[int, ...]:
        """The processes of those clients; 0 for one that is not in this program's namespace, or is just going."""
        return tuple(_pid(client.socket) for client in list(self._clients.values()) if client.conversation.name)

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def close(self) -> None:
        """Hang up on all clients and remove the socket."""
        self._closing.set()
        with suppress(OSError):
            self._wake_writer.send(b"\0")
        self._thread.join(timeout=1.0)
        self._listening.close()
        self._wake_writer.close()

    # The thread

    def _run(self) -> None:
        try:
            while not self._closing.is_set():
                self._turn(self._selector.select(self._patience()))
        except Exception:  # noqa: BLE001 (the thread's edge: without spans the exporter still measures)
            _LOG.exception("the span socket failed: energy is not shared out over inferences any more")
        finally:
            for client in list(self._clients.values()):
                self._drop(client)
            self._selector.close()
            self._wake_reader.close()

    def _turn(self, events: Sequence[tuple[selectors.SelectorKey, int]]) -> None:
        began = self._clock()
        chunk = max(_LEAST_CHUNK, min(_CHUNK, _BUDGET // max(1, len(events))))
        for key, mask in events:
            client = key.data
            if isinstance(client, _Client):
                if client.number in self._clients:  # else another has just had it dropped
                    self._guarded(client, self._serve, mask, chunk)
            elif client is not None:
                self._accept(began)
        self._tell(began)
        self._closing.wait(max(GATHER_SECONDS, self._clock() - began))

    def _patience(self) -> float | None:
        """Return after how many seconds there is something to do that no client asks for."""
        if not self._clients:
            return None
        return _REPLY_SECONDS if self._clock() < self._settles_until else WATTS_SECONDS

    # One client

    def _guarded(self, client: _Client, action: Callable[..., None], *arguments: object) -> None:
        """Do something for a client, and drop it where that fails."""
        try:
            action(client, *arguments)
        except OSError as error:
            _LOG.debug("span client %s: %s", client.conversation.name or client.number, error)
            self._drop(client)
        except Exception:  # noqa: BLE001 (the connection's edge: a fault of ours costs this connection alone)
            _LOG.exception("a span client's connection failed")
            self._drop(client)

    def _serve(self, client: _Client, mask: int, chunk: int) -> None:
        if mask & _WRITE:
            self._send(client, b"")
        if mask & _READ:
            with suppress(BlockingIOError):
                self._heard(client, client.socket.recv(chunk))

    def _heard(self, client: _Client, data: bytes) -> None:
        if not data:
            raise ConnectionError("it hung up")
        now = self._clock()
        heard = client.conversation.received(data, now)
        if heard.told:
            for number, why, late in self._book.take(client.number, heard.told, now):
                heard.error(why, number, late=late)
            if heard.replies:
                self._settles_until = now + _SETTLES_SECONDS
        if heard.greeted:
            self._greet(client, now)
        if heard.faults:
            self._send(client, heard.errors())
        if heard.broken:
            raise ConnectionError("it does not keep to the protocol")

    def _greet(self, client: _Client, now: float) -> None:
        self._tell_watts(now)  # so that all know the same, and can be told of the same changes
        client.greeted = True
        line = greeting_line(self._book.devices(), self._watts)
        client.may_leave = MAX_UNREAD_BYTES + len(line)
        self._send(client, line)

    def _send(self, client: _Client, data: bytes) -> None:
        """Send what goes at once, and keep the rest.

        Raises:
            OSError: the client is gone, or does not read.
        """
        client.unsent += data
        with suppress(BlockingIOError):
            while client.unsent:
                del client.unsent[: client.socket.send(client.unsent)]
        if len(client.unsent) > client.may_leave:
            raise ConnectionError("it does not read what it is answered")
        if bool(client.unsent) != client.writing:
            client.writing = bool(client.unsent)
            self._selector.modify(client.socket, _READ | _WRITE if client.writing else _READ, client)

    def _drop(self, client: _Client) -> None:
        if self._clients.pop(client.number, None) is None:
            return
        self._selector.unregister(client.socket)
        client.socket.close()
        if client.conversation.name is not None:
            self._book.left(client.number, self._clock())

    # All clients

    def _accept(self, now: float) -> None:
        """Take who wants in. Where no file is left to open, a silent connection gives way, or they wait."""
        try:
            while True:
                accepted, _ = self._listening.socket.accept()
                accepted.setblocking(False)
                if not self._has_room():
                    with suppress(OSError):
                        accepted.send(error_line(f"{MAX_CLIENTS} clients are connected already"))
                    accepted.close()
                    continue
                self._last += 1
                client = self._clients[self._last] = _Client(self._last, accepted, now)
                self._selector.register(accepted, _READ, client)
        except BlockingIOError:
            return
        except OSError as error:
            _LOG.debug("cannot accept: %s", error)
            self._drop_silent()

    def _has_room(self) -> bool:
        """Return whether another client may come, after dropping a silent one if need be."""
        if len(self._clients) >= MAX_CLIENTS:
            self._drop_silent()
        return len(self._clients) < MAX_CLIENTS

    def _drop_silent(self) -> None:
        """Drop the first that has not said hello, if there is one."""
        silent = (client for client in self._clients.values() if client.conversation.name is None)
        first = next(silent, None)
        if first is not None:
            self._drop(first)

    def _tell(self, now: float) -> None:
        """Tell clients what they wait for, and hang up on those that say nothing."""
        for settled in self._book.settled():
            client = self._clients.get(settled.span.client)
            if client is not None:
                self._guarded(client, self._send, settled_line(settled))
        if now >= self._watts_due:
            self._tell_watts(now)
            for client in [client for client in self._clients.values() if client.conversation.name is None]:
                if now - client.since > HELLO_SECONDS:
                    self._drop(client)

    def _tell_watts(self, now: float) -> None:
        self._watts_due = now + WATTS_SECONDS
        before, self._watts = self._watts, table(self._book.watts())
        changed = changes(before, self._watts)
        if changed:
            line = watts_line(changed)
            for client in list(self._clients.values()):
                if client.greeted:
                    self._guarded(client, self._send, line)


def _pid(connected: socket.socket) -> int:
    try:
        credentials = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    except OSError:
        return 0
    return int(_CREDENTIALS.unpack(credentials)[0])
