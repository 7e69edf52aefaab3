"""The energy of a device between two moves of its counter, and the spans that lie in it. Pure."""

from typing import NamedTuple

from perjoule_exporter.energy import Used
from perjoule_exporter.ledger.overlap import Overlap
from perjoule_exporter.ledger.span import Kind, Span

REASONS = ("down", "reset", "stall", "lost", "gap", "foreign", "no_span", "idle_unknown")
"""Values of ``reason``. Whoever tells an interval knows of down, reset, lost and gap, the ledger of the others."""


class Interval(NamedTuple):
    """Energy from one move of the counter to the next.

    Attributes:
        microjoules: how much; never negative.
        start: monotonic seconds, as exactly as the source tells.
        end: the same.
        reason: why it is nobody's; None for an ordinary one.
        foreign: share of the device's use that was not by clients, 0 to 1.
        idle: whether the device says that nothing ran, and nobody but clients holds it.
        grams_per_joule: the emissions factor in force; None where there is none.
    """

    microjoules: int
    start: float
    end: float
    reason: str | None = None
    foreign: float = 0.0
    idle: bool = False
    grams_per_joule: float | None = None

    @classmethod
    def of(cls, used: Used, reason: str | None = None) -> "Interval":
        """Return what a device's counter told. Where it was reset nobody knows which work the energy was of."""
        if reason is None and not used.counted:
            reason = "reset"
        return cls(used.microjoules, used.start, used.end, reason)

    @property
    def length(self) -> float:
        """Seconds."""
        return self.end - self.start


_NOTHING = Overlap([], [], 0.0)
_TRACE_SECONDS = 1e-9  # of time is rounding


class Taken:
    """An interval whose spans are known: how they lie in it, and which of them end with it."""

    __slots__ = ("doubtful", "ended", "free", "interval", "kinds", "parts", "seconds", "sound", "spans")

    def __init__(
        self, interval: Interval, ended: list[Span], spans: list[Span] | None = None, lying: Overlap = _NOTHING
    ) -> None:
        self.interval = interval
        self.ended = ended
        self.spans = spans or []
        self.seconds, self.parts, covered = lying
        free = interval.length - covered
        self.free = free if free > _TRACE_SECONDS else 0.0
        self.kinds: dict[Kind, float] = {}
        self.sound = False  # its energy is of its own time, as far as that can be known
        self.doubtful = False  # its shares depend on watts that may not be known yet
