"""Requests: what their spans were given, on all devices, and how they ended; each is charged once. Pure.

Most requests are in one span, and are charged with it. The others wait until an entry has told how they ended and all
that was told of them has settled. It does not know of energy that is not given to a span yet.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from perjoule_exporter.ledger.accounts import Accounts, Row, added
from perjoule_exporter.ledger.span import ABANDONED, OK, UNMEASURED, Owner, Span, is_measured


class Settled(NamedTuple):
    """A span whose energy is final, and the microjoules of each of its shares."""

    span: Span
    parts: tuple[int, ...]


@dataclass(slots=True)
class _Part:
    microjoules: int = 0
    grams: float | None = None


class Held:
    """What one device's spans were given for requests that are not charged yet."""

    def __init__(self, accounts: Accounts) -> None:
        self.accounts = accounts
        self._parts: dict[Request, _Part] = {}

    def hold(self, request: "Request", microjoules: int, grams: float | None) -> None:
        """Add what a span was given for a request."""
        part = self._parts.get(request)
        if part is None:
            part = self._parts[request] = _Part()
            request.held.append(self)
        part.microjoules += microjoules
        part.grams = added(part.grams, grams)

    def charge(self, request: "Request", outcome: str) -> int:
        """Charge what is held for a request, and return its microjoules."""
        part = self._parts.pop(request)
        self.accounts.row(*request.owner).charge(outcome, part.microjoules, part.grams)
        return part.microjoules

    def microjoules(self) -> int:
        """Return all that is held."""
        return sum(part.microjoules for part in self._parts.values())

    def saved(self) -> list[list[Any]]:
        """Return each request's owner, microjoules and grams, as JSON values."""
        return [[*request.owner, part.microjoules, part.grams] for request, part in self._parts.items()]


@dataclass(slots=True, eq=False)
class Request:
    """A request of several spans, perhaps on several devices.

    Attributes:
        name: as its client calls it.
        owner: that of its last span.
        outcome: how it ended; None while it goes on.
        pending: how many of its spans have ended and not settled.
        waiting: spans that began with its last one are open, and may be its own on other devices.
        told: seconds of its spans, as they were told.
        measured: seconds of them for which energy was told.
        seen: when it was told of last.
        held: where its energy is.
    """

    name: str
    owner: Owner
    outcome: str | None = None
    pending: int = 0
    waiting: bool = False
    told: float = 0.0
    measured: float = 0.0
    seen: float = 0.0
    held: list[Held] = field(default_factory=list)

    def settle(self, span: Span, held: Held, microjoules: int, grams: float | None) -> None:
        """Add what one of its spans was given, which is final."""
        self.pending -= 1
        self.measured += span.measured
        held.hold(self, microjoules, grams)

    def charge_if_done(self, now: float) -> None:
        """Charge it, on each device its part there, once nothing is missing; and observe the whole, if it ended ok."""
        if self.outcome is None or self.pending or self.waiting or not self.held:
            return
        outcome = self.outcome
        if outcome == OK and not is_measured(self.told, self.measured):
            outcome = UNMEASURED
        last = self.held[-1].accounts.row(*self.owner)
        microjoules = sum([held.charge(self, outcome) for held in self.held])
        self.held = []
        _count(last, outcome, (self.name,), (microjoules,), now)

    def abandon(self, now: float) -> None:
        """Take over that nobody will say how it ended."""
        self.outcome, self.waiting = ABANDONED, False
        self.charge_if_done(now)


def charge_alone(span: Span, names: Sequence[str], outcomes: Sequence[str], parts: Sequence[int], now: float) -> None:
    """Charge requests of which a span is all that there is."""
    ok = OK if span.is_measured else UNMEASURED
    if outcomes.count(OK) == len(outcomes):
        span.row.charge(ok, span.microjoules, span.grams)
        _count(span.row, ok, names, parts, now)
        return
    for name, outcome, part, grams in zip(names, outcomes, parts, grams_of(span, parts), strict=True):
        ended = ok if outcome == OK else outcome
        span.row.charge(ended, part, grams)
        _count(span.row, ended, (name,), (part,), now)


def _count(row: Row, outcome: str, names: Sequence[str], microjoules: Sequence[int], now: float) -> None:
    """Count requests that have ended, if they ended ok."""
    if outcome == OK:
        row.observe(names, microjoules, now)
    elif outcome == UNMEASURED:
        row.unmeasured += len(names)


def grams_of(span: Span, parts: Sequence[int]) -> list[float | None]:
    """Return the emissions of each part of a span's energy; None where no factor was known."""
    if span.grams is None:
        return [None] * len(parts)
    each = span.grams / (span.microjoules or 1)
    return [each * part for part in parts]
