"""One span as its server sees it: begun, ended, and what it cost, as far as that is known."""

import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self

from perjoule.errors import UsageError
from perjoule.spans.estimate import UNKNOWN, Energy, Quality, added, estimated, share_of
from perjoule.spans.session import Awaited, Final, Session
from perjoule.spans.wire import AnyRequest, Kind, checked_requests

SETTLED_SECONDS = 0.35
"""Two of the slowest counters' ticks, the time that the exporter lets lines come in, and the lines' own way."""


class Span:
    """Work that has begun. ``Spans.span`` makes it; end it by ``with``, ``async with`` or ``close``.

    Left by an exception, its requests are ``error``; by a cancellation, ``cancelled``. It is used by one thread at a
    time.
    """

    __slots__ = (
        "_awaited",
        "_clock_ns",
        "_end_ns",
        "_kinds",
        "_numbers",
        "_session",
        "_start_ns",
        "_watts",
        "requests",
    )

    def __init__(
        self,
        session: Session,
        kinds: Sequence[Kind],
        clock_ns: Callable[[], int],
        requests: tuple[AnyRequest, ...] = (),
    ) -> None:
        self._session = session
        self._kinds = kinds
        self._clock_ns = clock_ns
        self._end_ns: int | None = None
        self._watts: float | None = None
        self._awaited: Awaited | None = None
        self.requests = requests
        self._start_ns = clock_ns()
        self._numbers = [number for kind in kinds if (number := session.opened(kind, self._start_ns)) is not None]

    def close(
        self, requests: Iterable[AnyRequest] | None = None, *, reply: bool = False, end_ns: int | None = None
    ) -> Energy:
        """End it now, and return what it is thought to have cost. Ending it again changes nothing.

        Args:
            requests: those that were in it, if they were not given at its begin, or ended otherwise.
            reply: whether its settlement will be waited for.
            end_ns: when it ended, where that was a moment ago and it is told now because how its requests ended was
                not known; CLOCK_MONOTONIC in nanoseconds. Before its start, it is of no length.
        """
        if self._end_ns is None:
            if requests is not None:
                self.requests = tuple(requests)
            self._end(end_ns, reply=reply)
        return self.energy

    @property
    def energy(self) -> Energy:
        """What it has cost: settled if that has come (unknown if it was not measured), else estimated, else unknown."""
        final = self._final()
        if final is not None:
            return _settled(final.joules)
        if self._end_ns is None:
            return estimated(self._known_watts(), self._clock_ns() - self._start_ns)
        return estimated(self._watts, self._end_ns - self._start_ns)

    def energy_of(self, request: str) -> Energy:
        """Return what one of its requests has cost in it; unknown for others' requests."""
        final = self._final()
        if final is not None and request in final.requests:
            return _settled(final.requests[request])
        with suppress(UsageError):
            share, energy = share_of(request, checked_requests(self.requests)), self.energy
            if share is not None and energy.joules is not None:
                return energy._replace(joules=energy.joules * share)
        return UNKNOWN

    def wait(self, timeout: float = SETTLED_SECONDS) -> Energy:
        """Wait for its settlement, if it was ended with ``reply``, and return what is known then.

        One that comes later is taken all the same: others may wait for it, or ask again.
        """
        if self._awaited is not None:
            with suppress(TimeoutError):
                self._awaited.future.result(timeout)
        return self.energy

    async def settled(self, timeout: float = SETTLED_SECONDS) -> Energy:  # noqa: ASYNC109 (as of wait, not of a task)
        """Do the same without blocking the event loop."""
        if self._awaited is not None:
            import asyncio  # here, because the exporter shares this package and needs none of it

            await asyncio.wait([asyncio.wrap_future(self._awaited.future)], timeout=timeout)
        return self.energy

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._end_ns is None and kind is not None:
            outcome = "cancelled" if _is_cancellation(kind) else "error"
            with suppress(UsageError):
                self.requests = tuple([each._replace(outcome=outcome) for each in checked_requests(self.requests)])
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)

    def _end(self, end_ns: int | None, *, reply: bool) -> None:
        self._end_ns = self._clock_ns() if end_ns is None else max(self._start_ns, end_ns)
        self._watts = self._known_watts()
        if reply and len(self._numbers) == len(self._kinds):
            self._awaited = Awaited(self._numbers)
        self._session.closed(self._numbers, self._end_ns, self.requests, self._awaited)

    def _known_watts(self) -> float | None:
        """Return the watts on all of its devices together."""
        if len(self._kinds) == 1:
            return self._session.known_watts(self._kinds[0])
        return added(estimated(self._session.known_watts(kind), 1_000_000_000) for kind in self._kinds).joules

    def _final(self) -> Final | None:
        if self._awaited is None or not self._awaited.future.done() or self._awaited.future.cancelled():
            return None
        return self._awaited.future.result()


def _settled(joules: float | None) -> Energy:
    """Return what the exporter says in the end: also that nobody will ever know."""
    return UNKNOWN if joules is None else Energy(joules, Quality.SETTLED)


def _is_cancellation(kind: type[BaseException]) -> bool:
    if issubclass(kind, (GeneratorExit, KeyboardInterrupt)):
        return True
    asyncio = sys.modules.get("asyncio")  # whose error it cannot be where nobody has imported it
    return asyncio is not None and issubclass(kind, asyncio.CancelledError)
