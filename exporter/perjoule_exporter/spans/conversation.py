"""One client's conversation: its bytes as checked values, with what is wrong in them. Pure: no socket, no clock.

It knows what the client has open, so that numbers that come twice or from nowhere, and times that cannot be, are found
here. What is told late it only finds where it is grossly so: the ledger knows better.
"""

from collections.abc import Iterator

from perjoule.spans.wire import MAX_LINE_BYTES
from perjoule_exporter.ledger import Share
from perjoule_exporter.spans.book import Announced, Closed, Opened, Told
from perjoule_exporter.spans.lines import Close, Hello, LineError, Open, VersionError, error_line, parsed

MAX_OPEN = 10_000
"""Spans that a client may have open."""

MAX_FAULTS = 100
"""Lines of one chunk that cannot be taken: with more, the client is cut off."""

OLDEST_SECONDS = 600.0
"""A span may have begun so long ago, and may be open for so long."""

_FUTURE_SECONDS = 0.001
_MOST_ERRORS = 20  # that are told of one chunk; the rest is only counted
_NS = 1e9
_UNCLEAR = (Share("invalid", 1.0, "error"),)


class Heard:
    """What one chunk told, and the errors in it.

    Attributes:
        told: what goes to the ledgers.
        greeted: whether it said hello, which is to be answered.
        broken: whether there is no point in listening further.
        replies: how many settlements are asked for.
        faults: how many lines could not be taken.
    """

    def __init__(self) -> None:
        self.told: list[Told] = []
        self.greeted = False
        self.broken = False
        self.replies = 0
        self.faults = 0
        self._errors: list[bytes] = []

    def error(self, why: str, number: int | None = None, *, late: bool = False) -> None:
        """Add an error for the client."""
        self.faults += 1
        if self.faults <= _MOST_ERRORS:
            self._errors.append(error_line(why, number, late=late))

    def errors(self) -> bytes:
        """Return the lines that tell of them."""
        more = self.faults - _MOST_ERRORS
        return b"".join(self._errors) + (error_line(f"and {more} errors more") if more > 0 else b"")


class Conversation:
    """What is known of one client. ``name`` is None until it has said hello."""

    def __init__(self) -> None:
        self.name: str | None = None
        self._rest = b""
        self._open: dict[int, tuple[str, float]] = {}  # device and start, the first told first

    @property
    def open(self) -> int:
        """How many spans it has open."""
        return len(self._open)

    def received(self, data: bytes, now: float) -> Heard:
        """Take over bytes, which may begin and end within a line. ``now``: monotonic seconds."""
        heard = Heard()
        end = data.rfind(b"\n")
        if end < 0:
            self._rest += data
        else:
            whole, self._rest = self._rest + data[:end], data[end + 1 :]
            for line in _texts(whole, heard):
                self._take(line, now, heard)
                if heard.broken:
                    return heard
        if len(self._rest) >= MAX_LINE_BYTES:
            heard.error(f"a line is longer than {MAX_LINE_BYTES} bytes")
            heard.broken = True
        return heard

    def _take(self, text: str, now: float, heard: Heard) -> None:
        try:
            line = parsed(text)
            if isinstance(line, Hello):
                self.name = line.client
                heard.greeted = True
                heard.told.append(Announced(line.owners))
            elif line is not None:
                self._work(line, now, heard)
        except LineError as error:
            heard.error(str(error), error.number)
            heard.broken = isinstance(error, VersionError) or heard.faults > MAX_FAULTS

    def _work(self, line: Open | Close, now: float, heard: Heard) -> None:
        if self.name is None:
            raise LineError("the first line is a hello")
        if isinstance(line, Close):
            self._close(line, now, heard)
        else:
            self._begin(line, now, heard)

    def _begin(self, line: Open, now: float, heard: Heard) -> None:
        number, device, kind, start_ns = line
        start = start_ns / _NS
        if number in self._open:
            raise LineError(f"span {number} is open already", number)
        if start > now + _FUTURE_SECONDS:
            raise LineError(f"start_ns of span {number} is {start - now:.3f} s in the future: {_CLOCK}", number)
        if start < now - OLDEST_SECONDS:
            raise LineError(f"start_ns of span {number} is {now - start:.0f} s ago: {_CLOCK}", number)
        if len(self._open) >= MAX_OPEN and not self._forget_oldest(now):
            raise LineError(f"span {number} is one more than the {MAX_OPEN} that may be open", number)
        self._open[number] = device, start
        heard.told.append(Opened(number, device, kind, start))

    def _close(self, line: Close, now: float, heard: Heard) -> None:
        number, end_ns, shares, reply, wrong = line
        known = self._open.pop(number, None)
        if known is None:
            raise LineError(wrong or f"span {number} is not open", number)
        device, start = known
        end = end_ns / _NS
        if wrong is not None:  # it has ended, now at the latest, and costs nobody else anything any more
            end, shares = min(end, now), _UNCLEAR
        elif end > now + _FUTURE_SECONDS:
            wrong = f"end_ns of span {number} is {end - now:.3f} s in the future: {_CLOCK}"
        elif end < start:
            wrong = f"end_ns of span {number} is before its start_ns"
        heard.told.append(Closed(number, device, max(start, min(end, now)), shares, reply))
        heard.replies += reply
        if wrong is not None:
            raise LineError(wrong, number)

    def _forget_oldest(self, now: float) -> bool:
        """Forget the first span if it is too old to be open; the ledger has given it up by itself."""
        number, (_, start) = next(iter(self._open.items()))
        if start >= now - OLDEST_SECONDS:
            return False
        del self._open[number]
        return True


_CLOCK = "times are CLOCK_MONOTONIC of this machine"


def _texts(whole: bytes, heard: Heard) -> Iterator[str]:
    """Yield the lines of which the bytes consist; those that are empty, too long or no UTF-8 are not among them."""
    try:
        texts = whole.decode().split("\n")
        if len(whole) < MAX_LINE_BYTES:
            yield from filter(None, texts)
            return
    except UnicodeDecodeError:
        pass
    for line in filter(None, whole.split(b"\n")):
        if len(line) >= MAX_LINE_BYTES:
            heard.error(f"a line is longer than {MAX_LINE_BYTES} bytes")
            heard.broken = True
            return
        try:
            yield line.decode()
        except UnicodeDecodeError:
            heard.error("a line is not UTF-8")
            heard.broken = heard.faults > MAX_FAULTS
