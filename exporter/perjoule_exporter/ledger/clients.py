"""Clients: what each has open, on whichever device, and its requests that go on. Pure; one book for all ledgers.

A request is known by its name on one connection. Spans of one connection that began at the same time are taken for one
batch on several devices: a request that ends in one of them may be in the others too. It knows no energy.
"""

from itertools import takewhile

from perjoule_exporter.ledger.requests import Request
from perjoule_exporter.ledger.span import MORE, NEVER, Owner, Share, Span

MOST_REQUESTS = 10_000
"""A client with more that have not ended has forgotten the oldest."""

ABANDON_SECONDS = 600.0
"""A span or a request that has gone on for so long is taken to have no end."""

_EXPIRY_SECONDS = 1.0  # how often it is looked for what is too old


class Client:
    """One connection.

    Attributes:
        open: its spans that have not ended, by number.
        gone: it is lost.
        unsettled: how many of its spans have ended and are not charged yet.
    """

    __slots__ = ("_begun", "_ending", "_requests", "gone", "open", "unsettled")

    def __init__(self) -> None:
        self.open: dict[int, Span] = {}
        self.gone = False
        self.unsettled = 0
        self._begun: dict[float, int] = {}  # how many are open, by the time at which they began
        self._requests: dict[str, Request] = {}  # that go on, the longest unseen first
        self._ending: dict[float, dict[str, Request]] = {}  # that have ended in a batch of which spans are open

    def opened(self, span: Span) -> None:
        """Take over that a span has begun."""
        self.open[span.number] = span
        self._begun[span.told_start] = self._begun.get(span.told_start, 0) + 1

    def ended(self, span: Span, now: float) -> None:
        """Take over that one that was open has ended, with its shares."""
        del self.open[span.number]
        self.unsettled += 1
        begun = span.told_start
        others = self._begun.pop(begun) - 1
        if others:
            self._begun[begun] = others
        if span.shares:
            self._tell(span, others > 0, now)
        if self._ending:
            self._release(span, others > 0, now)

    def abandon(self, span: Span, now: float) -> None:
        """Take over that nobody will say how a span ends."""
        span.end, span.abandoned = max(span.start, now), True
        self.ended(span, now)

    def leave(self, now: float) -> None:
        """Take over that it is gone."""
        self.gone = True
        for span in list(self.open.values()):
            self.abandon(span, now)
        self.abandon_older(NEVER, now)

    def abandon_older(self, than: float, now: float) -> None:
        """Abandon the requests that were not told of since a time."""
        for name in list(takewhile(lambda name: self._requests[name].seen < than, self._requests)):
            self._requests.pop(name).abandon(now)

    def _release(self, span: Span, others: bool, now: float) -> None:  # noqa: FBT001 (of one caller)
        """Wait no longer for spans of a batch, once the last of them has ended."""
        waiting = self._ending.get(span.told_start, {})
        if span.abandoned:  # nobody will say whether these were in it
            for request in waiting.values():
                request.told = NEVER
        if not others:
            self._ending.pop(span.told_start, None)
            for request in waiting.values():
                request.waiting = False
                request.charge_if_done(now)

    def _tell(self, span: Span, others: bool, now: float) -> None:  # noqa: FBT001 (of one caller)
        """Note which requests a span is of, unless it is all that there is of them."""
        ending = self._ending.get(span.told_start)
        names = [share[0] for share in span.shares]
        alone = not others and ending is None and MORE not in [share[2] for share in span.shares]
        if alone and (not self._requests or self._requests.keys().isdisjoint(names)):
            return
        span.requests = [self._request(span, share, others, now) for share in span.shares]

    def _request(self, span: Span, share: Share, others: bool, now: float) -> Request:  # noqa: FBT001 (as above)
        """Return the request of which a span tells, after noting what it tells."""
        ending = self._ending.get(span.told_start)
        request = None if ending is None else ending.get(share.request)
        if request is None:
            request = self._requests.pop(share.request, None) or Request(share.request, _owner(span))
            if share.outcome == MORE:
                self._requests[share.request] = request
                if len(self._requests) > MOST_REQUESTS:
                    self._requests.pop(next(iter(self._requests))).abandon(now)
            elif others:
                request.waiting = True
                self._ending.setdefault(span.told_start, {})[share.request] = request
        if share.outcome != MORE:
            request.outcome = share.outcome
        request.owner = _owner(span)
        request.pending += 1
        request.told += span.told
        request.seen = now
        return request


def _owner(span: Span) -> Owner:
    return Owner(span.kind.task, span.kind.model)


class Clients:
    """All connections, by their numbers."""

    def __init__(self) -> None:
        self._clients: dict[int, Client] = {}
        self._expired_at = -NEVER

    @property
    def connected(self) -> int:
        """How many are there."""
        return sum(not client.gone for client in self._clients.values())

    def came(self, number: int) -> Client:
        """Return a client, which is there from now on if it was not yet."""
        client = self._clients.get(number)
        if client is None:
            client = self._clients[number] = Client()
        return client

    def find(self, number: int) -> Client | None:
        """Return a client; None if it never came, or is gone and nothing of it is left."""
        return self._clients.get(number)

    def left(self, number: int, now: float) -> None:
        """Take over that a client is gone: what it had not ended is abandoned."""
        client = self._clients.get(number)
        if client is not None and not client.gone:
            client.leave(now)
            self._drop(number)

    def settled(self, number: int) -> None:
        """Take over that one of a client's spans is charged."""
        client = self._clients[number]
        client.unsettled -= 1
        if client.gone:
            self._drop(number)

    def expire(self, now: float) -> None:
        """Abandon what has no end. Each ledger calls it; it looks once a second."""
        if now - self._expired_at < _EXPIRY_SECONDS:
            return
        self._expired_at = now
        for client in self._clients.values():
            for span in [span for span in client.open.values() if now - span.start > ABANDON_SECONDS]:
                client.abandon(span, now)
            client.abandon_older(now - ABANDON_SECONDS, now)

    def _drop(self, number: int) -> None:
        """Forget a client that is gone once nothing of it is unsettled."""
        if self._clients[number].unsettled == 0:
            del self._clients[number]
