"""What one process has with the exporter: its thread and talk, and who waits for which figures.

Other threads open and end spans here; settlements come in on the link's thread.
"""

import itertools
import threading
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from perjoule.spans.estimate import known_watts
from perjoule.spans.link import Link
from perjoule.spans.talk import Talk
from perjoule.spans.wire import AnyRequest, Close, Kind, Open, Settled, hello_lines

MOST_AWAITED = 10_000
"""Spans whose settlement may be waited for at a time; with more, that of the oldest is not waited for any more."""


class Setup(NamedTuple):
    """What a session is made of. ``limit``: lines that may wait; ``retry_seconds``: see ``link.RETRY_SECONDS``."""

    name: str
    paths: tuple[Path, ...]
    limit: int
    retry_seconds: tuple[float, float]


class Final(NamedTuple):
    """What a span was given on all of its devices, and each of its requests; in joules, None where one is unknown."""

    joules: float | None
    requests: Mapping[str, float | None]


class Awaited:
    """The settlement of one span, from all devices that it is on. ``future`` has None when it will not come."""

    def __init__(self, numbers: Sequence[int]) -> None:
        self.numbers = numbers
        self.future: Future[Final | None] = Future()
        self._settled: dict[int, Settled] = {}

    def settle(self, settled: Settled) -> None:
        """Add one device's."""
        self._settled[settled.number] = settled
        if len(self._settled) < len(self.numbers):
            return
        requests: dict[str, float | None] = {}
        for each in self._settled.values():
            for request, joules in each.requests.items():
                requests[request] = _sum((requests.get(request, 0.0), joules))
        self._finish(Final(_sum([each.joules for each in self._settled.values()]), requests))

    def forsake(self) -> None:
        """Take over that one of them will not come."""
        self._finish(None)

    def _finish(self, final: Final | None) -> None:
        # Done already: one device's will not come, and another's does.
        if not self.future.done():
            self.future.set_result(final)


def _sum(joules: Iterable[float | None]) -> float | None:
    """Return the sum; None if one of them is not known."""
    known = 0.0
    for each in joules:
        if each is None:
            return None
        known += each
    return known


class Session:
    """One process's connection, again and again."""

    def __init__(self, setup: Setup, owners: Mapping[tuple[str, str], None]) -> None:
        self.talk = Talk()
        self._name = setup.name
        self._owners = owners
        self._numbers = itertools.count(1)
        self._awaited: dict[int, Awaited] = {}
        self._unqueued = 0
        self._lock = threading.Lock()
        self._link = Link(setup.paths, self.talk, self, setup.limit, setup.retry_seconds)
        self._link.start()

    @property
    def dropped(self) -> int:
        """Spans of which the exporter was not told the begin or not the end."""
        return self.talk.dropped + self._unqueued

    def opened(self, kind: Kind, start_ns: int) -> int | None:
        """Begin a span and return its number; None if it is dropped."""
        number = next(self._numbers)
        if self._link.opened(Open(number, kind.device or None, kind.task, kind.model, kind.phase, start_ns)):
            return number
        with self._lock:
            self._unqueued += 1
        return None

    def closed(
        self, numbers: Iterable[int], end_ns: int, requests: Sequence[AnyRequest], awaited: Awaited | None
    ) -> None:
        """End a span on each of its devices."""
        for number in numbers:
            if awaited is not None:
                self._awaited[number] = awaited
            self._link.closed(Close(number, end_ns, requests, awaited is not None))
        if len(self._awaited) > MOST_AWAITED:
            self._forsake_oldest()

    def _forsake_oldest(self) -> None:
        """Wait no longer for those that waited longest, a tenth at once: some never come.

        Of many errors at once an exporter tells only the first.
        """
        with self._lock:
            self.forsaken(list(self._awaited)[: MOST_AWAITED // 10])

    def known_watts(self, kind: Kind) -> float | None:
        """Return the watts of a kind of work, as far as the exporter has learned them."""
        if not kind.device:
            kind = kind._replace(device=self.talk.usual_device() or "")
        return known_watts(self.talk.watts, kind)

    def announce(self, owners: Mapping[tuple[str, str], None]) -> None:
        """Tell of more work that may come. ``owners`` are all of them."""
        self._owners = owners
        self._link.greet()

    def close(self, timeout: float) -> None:
        """Hang up."""
        self._link.close(timeout)

    def abandon(self) -> None:
        """Let go, in a forked child, of what is the parent's."""
        self._link.abandon()

    # On the link's thread

    def hello(self) -> bytes:
        """Return the first lines of a connection."""
        return hello_lines(self._name, tuple(self._owners))

    def settled(self, settled: Sequence[Settled]) -> None:
        """Take over final figures."""
        for each in settled:
            awaited = self._awaited.pop(each.number, None)
            if awaited is not None:
                awaited.settle(each)

    def forsaken(self, numbers: Sequence[int] | None) -> None:
        """Take over that no figures will come for these spans; None for all."""
        for number in list(self._awaited) if numbers is None else numbers:
            with suppress(KeyError):
                self._awaited.pop(number).forsake()
