"""What a client has open: its spans, and its requests, each charged once its last span has settled. Pure.

A request is known by its name on one connection. It does not know of energy that is not given to a span yet.
"""

from dataclasses import dataclass, field
from itertools import takewhile
from typing import NamedTuple

from perjoule_exporter.division import divided, whole_weights
from perjoule_exporter.ledger.accounts import Row, added
from perjoule_exporter.ledger.span import ABANDONED, MORE, OK, Owner, Span

MOST_REQUESTS = 10_000
"""A client with more that have not ended has forgotten the oldest."""


class Settled(NamedTuple):
    """A span whose energy is final, and the microjoules of each of its shares."""

    span: Span
    parts: tuple[int, ...]


@dataclass(slots=True)
class _Request:
    """A request that has not ended: what its settled spans were given so far."""

    owner: Owner
    row: Row
    microjoules: int = 0
    grams: float | None = None
    seen: float = 0.0


@dataclass(slots=True)
class Client:
    """One connection.

    Attributes:
        open: its spans that have not ended, by number.
        requests: its requests that have not ended, the longest unseen first.
        unsettled: how many of its spans have ended and are not charged yet.
        gone: it is lost.
    """

    open: dict[int, Span] = field(default_factory=dict)
    requests: dict[str, _Request] = field(default_factory=dict)
    unsettled: int = 0
    gone: bool = False

    def requested(self, span: Span, now: float) -> list[int]:
        """Share a span's energy out over its requests, charge those that have ended, and return the parts."""
        names, weights, outcomes = zip(*span.shares, strict=True)
        parts = divided(span.microjoules, whole_weights(weights))
        if outcomes.count(OK) == len(outcomes) and (not self.requests or self.requests.keys().isdisjoint(names)):
            span.row.charge(OK, span.microjoules, span.grams)
            span.row.observe(names, parts, now)
            return parts
        grams = None if span.grams is None else span.grams / (span.microjoules or 1)
        for name, outcome, part in zip(names, outcomes, parts, strict=True):
            self._phase(span, name, outcome, part, None if grams is None else grams * part, now)
        return parts

    def abandon_older(self, than: float) -> None:
        """Charge the requests that were not seen since a time."""
        old = list(takewhile(lambda name: self.requests[name].seen < than, self.requests))
        for name in old:
            self._abandon(name)

    def _abandon(self, name: str) -> None:
        request = self.requests.pop(name)
        request.row.charge(ABANDONED, request.microjoules, request.grams)

    def _phase(self, span: Span, name: str, outcome: str, part: int, grams: float | None, now: float) -> None:
        """Add a span to a request, and charge it if that was its last: to the last one's owner."""
        request = self.requests.pop(name, None) or _Request(Owner(span.kind.task, span.kind.model), span.row)
        request.owner, request.row = Owner(span.kind.task, span.kind.model), span.row
        request.microjoules += part
        request.grams = added(request.grams, grams)
        request.seen = now
        if outcome == MORE:
            self.requests[name] = request
            if len(self.requests) > MOST_REQUESTS:
                self._abandon(next(iter(self.requests)))
            return
        request.row.charge(outcome, request.microjoules, request.grams)
        if outcome == OK:
            request.row.observe((name,), (request.microjoules,), now)
