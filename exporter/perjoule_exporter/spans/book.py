"""What the socket tells of, as frozen values, and to whom: the ledgers, seen from here. Pure.

Everything in these values has been checked: texts can be labels, times lie between ten minutes ago and now, weights
are finite and not negative, a span that is closed was opened by the same client and is closed once.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from perjoule_exporter.ledger import Kind, Owner, Settled, Share


class Announced(NamedTuple):
    """Work that may come: its series start at 0."""

    owners: tuple[Owner, ...]


class Opened(NamedTuple):
    """A span has begun. ``number`` names it among its client's; ``start`` is in monotonic seconds."""

    number: int
    device: str
    kind: Kind
    start: float


class Closed(NamedTuple):
    """A span has ended, at ``end`` in monotonic seconds. ``reply``: the client wants to know what it was given."""

    number: int
    device: str
    end: float
    shares: tuple[Share, ...]
    reply: bool


Told = Announced | Opened | Closed


class Refused(NamedTuple):
    """Why a span could not be taken, in words for its client. ``late``: it was taken, and will settle."""

    number: int
    why: str
    late: bool = False


class Charged(NamedTuple):
    """A device whose energy is shared out, as a client is told of it.

    ``kind`` is ``gpu`` or ``cpu``; ``method`` one of ``perjoule.metrics.METHODS``.
    """

    device: str
    kind: str
    method: str


class KnownWatts(NamedTuple):
    """Watts of a device while one kind of work runs alone on it."""

    device: str
    kind: Kind
    watts: float


class Book(Protocol):
    """Who keeps the ledgers. All is called by the socket's thread; whatever locks it needs, it takes once a call."""

    def devices(self) -> Sequence[Charged]:
        """Return the devices whose energy is shared out."""

    def watts(self) -> Sequence[KnownWatts]:
        """Return what is known well enough to estimate with."""

    def take(self, client: int, told: Sequence[Told], now: float) -> Sequence[Refused]:
        """Take over what one client told, in this order; ``now`` is when it was read, in monotonic seconds.

        Returns the spans that could not be taken (an unknown device), and those that could but were late. A span
        that was refused may be closed all the same.
        """

    def left(self, client: int, now: float) -> None:
        """Take over that a client is gone: what it had not ended is abandoned."""

    def settled(self) -> Sequence[Settled]:
        """Return the spans that asked for what they were given and have settled since the last call."""
