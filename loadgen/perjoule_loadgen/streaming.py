"""Server-sent events as they come: when the first token was there, the time between pieces, and whether all came.

Pure: bytes and times go in. Events are split as the standard says (WHATWG HTML, section 9.2): lines end in LF, CR LF or
CR, an empty line ends an event, lines of ``data`` add up.
"""

from dataclasses import dataclass, field

from perjoule_loadgen.dialect import Answer, Dialect


@dataclass(slots=True)
class Stream:
    """One answer in pieces.

    Attributes:
        dialect: reads its events.
        first: time of the first event that held text, None before.
        gaps: seconds between events that held text; several that came at once are 0 apart.
        answer: what was told of the work, None where nothing was.
        whole: whether the event that ends the answer has come.
        error: what an event said that went wrong, None where nothing did.
    """

    dialect: Dialect
    first: float | None = None
    gaps: list[float] = field(default_factory=list)
    answer: Answer | None = None
    whole: bool = False
    error: str | None = None
    _rest: bytes = b""
    _data: list[bytes] = field(default_factory=list)
    _last: float = 0.0

    def feed(self, chunk: bytes, now: float) -> None:
        """Take what has come at ``now``."""
        text = self._rest + chunk
        # A CR at the end may be half of a CR LF: it waits for what follows.
        held = text.endswith(b"\r")
        lines = (text[:-1] if held else text).replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        self._rest = lines.pop() + (b"\r" if held else b"")
        for line in lines:
            if not line:
                self._dispatch(now)
            elif line.startswith(b"data:"):
                self._data.append(line[5:].removeprefix(b" "))

    def _dispatch(self, now: float) -> None:
        if not self._data:
            return
        piece = self.dialect.event(b"\n".join(self._data))
        self._data.clear()
        self.error = self.error or piece.error
        self.answer = piece.answer or self.answer
        self.whole = self.whole or piece.last
        if piece.text:
            if self.first is None:
                self.first = now
            else:
                self.gaps.append(now - self._last)
            self._last = now
