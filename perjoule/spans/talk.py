"""A server's side of one connection after the other: what was told, what came back. Pure: bytes in, bytes out.

It does not know how bytes travel, nor when. One thread uses it; other threads may read ``devices``, ``watts`` and the
counts, which are replaced and never changed.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from perjoule.errors import UsageError
from perjoule.spans.wire import (
    INVALID,
    Close,
    Device,
    Greeting,
    Kind,
    Open,
    Problem,
    Settled,
    Watts,
    checked_requests,
    close_line,
    decoded,
    open_line,
)

_MAX_ANSWER_BYTES = 4 << 20
"""Of a line from the exporter: thousands of kinds of work fit in."""

_NOTHING_KNOWN: Mapping[Kind, float] = MappingProxyType({})


class Talk:
    """What is known of the exporter, and what it was told.

    Attributes:
        ready: it has answered the hello.
        devices: those whose energy it shares out.
        watts: what it has learned; empty while there is no connection, for old figures are none.
        sent: spans of which the exporter was told the beginning.
        dropped: spans of which it was told neither, or not the end.
        refused: lines that it could not take, or could not have taken.
        problem: why, of the last of them that nobody has looked at.
    """

    def __init__(self) -> None:
        self.ready = False
        self.devices: tuple[Device, ...] = ()
        self.watts = _NOTHING_KNOWN
        self.sent = self.dropped = self.refused = 0
        self.problem: str | None = None
        self._begun: set[int] = set()
        self._received = b""

    def told(self, items: Iterable[Open | Close]) -> tuple[bytes, list[int]]:
        """Return the lines for these, and the numbers of spans whose end cannot be told, since their begin was not."""
        lines: list[bytes] = []
        untold: list[int] = []
        for item in items:
            if isinstance(item, Close):
                if item.number in self._begun:
                    self._begun.remove(item.number)
                    lines.append(self._end(item))
                else:
                    untold.append(item.number)
                continue
            device = item.device or self.usual_device()
            if device is None:
                self.dropped += 1
                continue
            self._begun.add(item.number)
            self.sent += 1
            lines.append(open_line(item, device))
        return b"".join(lines), untold

    def received(self, data: bytes) -> tuple[list[Settled], list[int]]:
        """Take over what came, which may end within a line; return what has settled, and the spans in refused lines.

        Raises:
            ValueError: it is not of this protocol.
        """
        *lines, self._received = (self._received + data).split(b"\n")
        if len(self._received) > _MAX_ANSWER_BYTES:
            raise ValueError("the exporter's line does not end")
        settled: list[Settled] = []
        refused: list[int] = []
        for line in filter(None, lines):
            message = decoded(line)
            if isinstance(message, Settled):
                settled.append(message)
            elif isinstance(message, Problem):
                self.refused += 1
                self.problem = message.text
                if message.number is not None:
                    refused.append(message.number)
            elif message is not None:
                self._learn(message)
        return settled, refused

    def lost(self) -> None:
        """Take over that the connection is gone: what was open there is abandoned, and nothing is known any more."""
        self.dropped += len(self._begun)
        self._begun.clear()
        self._received = b""
        self.ready = False
        self.watts = _NOTHING_KNOWN

    def usual_device(self) -> str | None:
        """Return the device of a server that names none: the simulated GPU if there is one, else the first CPU."""
        simulated = (d.device for d in self.devices if d.kind == "gpu" and d.method == "simulated")
        return next(simulated, None) or next((d.device for d in self.devices if d.kind == "cpu"), None)

    def _end(self, item: Close) -> bytes:
        """Return the line for an end; a server's mistakes are found here, where they cost it no time."""
        try:
            requests = checked_requests(item.requests)
        except UsageError as error:
            self.refused += 1
            self.problem = str(error)
            requests = INVALID
        return close_line(item._replace(requests=requests))

    def _learn(self, message: Greeting | Watts) -> None:
        known = {} if isinstance(message, Greeting) else dict(self.watts)
        for kind, watts in message.watts.items():
            if watts is None:
                known.pop(kind, None)
            else:
                known[kind] = watts
        self.watts = MappingProxyType(known)
        if isinstance(message, Greeting):
            self.devices = message.devices
            self.ready = True
