"""Who works on a device, and when: owners, kinds of work, spans and the requests in them. Pure.

A span is a batch of one phase of one owner's work, from when to when. What it drew, it does not know.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from perjoule_exporter.ledger.accounts import Row

if TYPE_CHECKING:
    from collections.abc import Sequence

    from perjoule_exporter.ledger.requests import Request

NEVER = float("inf")
OTHER = "other"
"""The model, phase or task of what comes too late for a series of its own."""

MOST_OWNERS = 200
_MOST_PHASES = 8  # of one owner

OK, CANCELLED, EXPIRED, ERROR, MORE = "ok", "cancelled", "expired", "error", "more"
ABANDONED, OVERHEAD, UNMEASURED = "abandoned", "overhead", "unmeasured"
OUTCOMES = (OK, CANCELLED, EXPIRED, ERROR, ABANDONED, OVERHEAD, UNMEASURED)
"""Values of ``outcome``. A client says the first four, or MORE while other spans of the request follow."""

MOST_UNMEASURED = 0.01
"""Most of its time for which a request may miss energy, or have that of other time, and still be measured."""


def is_measured(told: float, measured: float) -> bool:
    """Return whether energy was told of so many seconds that it is that of the ``told`` ones, as they were told."""
    return told > 0 and told * (1 - MOST_UNMEASURED) <= measured <= told * (1 + MOST_UNMEASURED)


class Owner(NamedTuple):
    """Whose work a span is."""

    task: str
    model: str


class Kind(NamedTuple):
    """What draws power alike: one phase of one owner's work."""

    task: str
    model: str
    phase: str


class Share(NamedTuple):
    """One request's part in a span: ``outcome`` is how it ended, or MORE while it goes on."""

    request: str
    weight: float
    outcome: str


@dataclass(slots=True, eq=False)
class Span:
    """Work on the device, with what it was given so far.

    Attributes:
        client: the connection that told of it.
        number: its name there.
        kind: what work it is.
        row: where its energy is charged.
        start: monotonic seconds, not before what was given away when it was told.
        told_start: when it began, as it was told.
        end: monotonic seconds; NEVER while it goes on.
        told: seconds from beginning to end, as they were told.
        measured: seconds of which it was given the energy.
        shares: the requests in it; none of a load or warm-up.
        reply: whether the client wants to know what it was given.
        abandoned: nobody said how it ended.
        microjoules: what it was given.
        grams: the emissions of that; None while no factor was known.
        requests: those of its shares; empty if it is all that there is of each.
    """

    client: int
    number: int
    kind: Kind
    row: Row
    start: float
    told_start: float
    end: float = NEVER
    told: float = 0.0
    measured: float = 0.0
    shares: tuple[Share, ...] = ()
    reply: bool = False
    abandoned: bool = False
    microjoules: int = 0
    grams: float | None = None
    requests: "Sequence[Request]" = ()

    @property
    def is_measured(self) -> bool:
        """Whether what it was given is the energy of its time, and of all of it."""
        return is_measured(self.told, self.measured)


class Owners:
    """The owners that have series of their own, one for all devices: the first ``most`` that come.

    Later ones are counted under their task with the model ``other``, and under the task ``other`` where that is new.
    """

    def __init__(self, most: int = MOST_OWNERS) -> None:
        self._most = most
        self._phases: dict[Owner, set[str]] = {}
        self._tasks: set[str] = set()
        self._known: dict[Kind, Kind] = {}

    def owner(self, owner: Owner) -> Owner:
        """Return under whom the work of ``owner`` is counted."""
        if owner in self._phases:
            return owner
        if len(self._phases) < self._most:
            self._phases[owner] = set()
            self._tasks.add(owner.task)
            return owner
        return Owner(owner.task if owner.task in self._tasks else OTHER, OTHER)

    def kind(self, kind: Kind) -> Kind:
        """Return as what the work of ``kind`` is counted."""
        known = self._known.get(kind)
        if known is not None:
            return known
        owner = self.owner(Owner(kind.task, kind.model))
        phases = self._phases.get(owner)
        if phases is None or owner != (kind.task, kind.model):
            return Kind(*owner, OTHER)
        if kind.phase not in phases and len(phases) >= _MOST_PHASES:
            return Kind(*owner, OTHER)
        phases.add(kind.phase)
        self._known[kind] = kind
        return kind
