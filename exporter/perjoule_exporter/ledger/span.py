"""Who works on a device, and when: owners, kinds of work, spans and the requests in them. Pure.

A span is a batch of one phase of one owner's work, from when to when. What it drew, it does not know.
"""

from dataclasses import dataclass
from typing import NamedTuple

from perjoule_exporter.ledger.accounts import Row

NEVER = float("inf")
OTHER = "other"
"""The model, phase or task of what comes too late for a series of its own."""

MOST_OWNERS = 200
_MOST_PHASES = 8  # of one owner

OK, CANCELLED, EXPIRED, ERROR, MORE = "ok", "cancelled", "expired", "error", "more"
ABANDONED, OVERHEAD = "abandoned", "overhead"
OUTCOMES = (OK, CANCELLED, EXPIRED, ERROR, ABANDONED, OVERHEAD)
"""Values of ``outcome``. A client says the first four, or MORE while other spans of the request follow."""


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
        start: monotonic seconds.
        end: the same; NEVER while it goes on.
        shares: the requests in it; none of a load or warm-up.
        reply: whether the client wants to know what it was given.
        abandoned: nobody said how it ended.
        microjoules: what it was given.
        grams: the emissions of that; None while no factor was known.
    """

    client: int
    number: int
    kind: Kind
    row: Row
    start: float
    end: float = NEVER
    shares: tuple[Share, ...] = ()
    reply: bool = False
    abandoned: bool = False
    microjoules: int = 0
    grams: float | None = None


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
