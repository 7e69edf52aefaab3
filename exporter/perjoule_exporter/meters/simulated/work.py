"""What a simulated board does: the work that servers tell of, and until there is any, the load of the node's CPUs.

Each open span draws watts of its own above idle, which are its task's and phase's alone, so that a test knows them. The
truth of a span is what the board drew for it: its own watts, and its part of the idle power while it was open. It is
asked for times that lie behind, so that what is told late is in; what comes later still changes nothing any more.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from zlib import crc32

from perjoule_exporter.meters import Work
from perjoule_exporter.meters.simulated.curve import Load

LAG_SECONDS = 0.2
"""A board's time lies so far behind, or its delay where that is less: lines of spans take some milliseconds."""

MOST_SPANS = 1000
"""More at a time do not make the board draw anything: they are no work of a server, and would hold up its readings."""

_LEAST, _STEP, _STEPS = 0.15, 0.05, 10
_ENDLESS = float("inf")


def share_of(work: Work) -> float:
    """Return the utilisation of one span of this work: 0.15 to 0.6, the same in every run."""
    return _LEAST + _STEP * (crc32(f"{work.task}/{work.phase}".encode()) % _STEPS)


@dataclass(slots=True)
class Drawn:
    """One span, in monotonic seconds, and the joules that were drawn for it."""

    work: Work
    start: float
    end: float = _ENDLESS
    joules: float = 0.0
    share: float = field(init=False)

    def __post_init__(self) -> None:
        self.share = share_of(self.work)


class WorkLoad:
    """The load of one board. Told by one thread and asked by another, so it has a lock, held for moments."""

    def __init__(
        self, node: Load, idle_watts: float, range_watts: float, done: Callable[[Drawn], None] = lambda _: None
    ) -> None:
        """``done`` is called with each span of which all is drawn."""
        self._node = node
        self._idle_watts = idle_watts
        self._range_watts = range_watts
        self._done = done
        self._lock = threading.Lock()
        self._told = False
        self._spans: dict[tuple[int, int], Drawn] = {}  # by client and number; those that go on
        self._ended: list[Drawn] = []  # of which not all is drawn yet

    def opened(self, span: tuple[int, int], work: Work, start: float) -> None:
        """Take over that a span has begun."""
        with self._lock:
            self._told = True
            if len(self._spans) + len(self._ended) < MOST_SPANS:
                self._spans.setdefault(span, Drawn(work, start))

    def closed(self, span: tuple[int, int], end: float) -> None:
        """Take over that it has ended."""
        with self._lock:
            work = self._spans.pop(span, None)
            if work is not None:
                work.end = max(end, work.start)
                self._ended.append(work)

    def left(self, client: int, now: float) -> None:
        """Take over that a client is gone: its work ends."""
        for span in [span for span in list(self._spans) if span[0] == client]:
            self.closed(span, now)

    def __call__(self, start: float, end: float) -> float:
        """Return the mean utilisation between two times; asked for one interval after the other."""
        with self._lock:
            if not self._told:
                return self._node(start, end)
            works = [*self._spans.values(), *self._ended]
            edges = {edge for work in works for edge in (work.start, work.end) if start < edge < end}
            times = sorted({start, end, *edges})
            busy = sum(
                self._piece([work for work in works if work.start <= one and work.end >= other], other - one)
                for one, other in pairwise(times)
            )
            over = [work for work in self._ended if work.end <= end]
            self._ended = [work for work in self._ended if work.end > end]
        for work in over:
            self._done(work)
        return busy / (end - start) if end > start else 0.0

    def _piece(self, works: list[Drawn], seconds: float) -> float:
        """Draw for all of these at once, and return the seconds at full load. A board has no more than full load."""
        total = sum(work.share for work in works)
        scale = min(1.0, 1.0 / total) if total > 0 else 0.0
        for work in works:
            own = work.share * scale * self._range_watts + self._idle_watts / len(works)
            work.joules += own * seconds
        return total * scale * seconds
