"""One device's ledger as the readings drive it. Pure: no lock, no clock.

While no client is there, moves of the counter are taken together and shown to the ledger twice a second: nobody may
work, so all that there is to know is what the device draws without work, and that costs next to nothing. What was used
is in the ledger before anybody looks at it, or says what it works.
"""

from collections.abc import Callable
from typing import Any

from perjoule_exporter.ledger import Interval, Kind, Ledger, Settled, Share, Snapshot
from perjoule_exporter.spans.book import Refused

_TOGETHER_SECONDS = 0.5
"""Idle power is learned from so much time at once anyway."""


class Account:
    """What is charged of one device's energy. ``attentive``: a client is there, and each move of the counter counts."""

    def __init__(self, ledger: Ledger, settle_all: Callable[[float], None] = lambda _: None) -> None:
        """``settle_all`` settles the accounts of all devices, for a request may be charged on several at once."""
        self._settle_all = settle_all
        self.settled: list[Settled] = []  # for who asked; whoever tells them takes these
        self._ledger = ledger
        self._attentive = False
        self._told = bool(ledger.snapshot().charged)  # whether anybody ever was a client here
        self._together: Interval | None = None
        self._foreign = 0.0
        self._foreign_until = 0.0

    @property
    def awaiting(self) -> bool:
        """Whether it matters when exactly the counter moves."""
        return self._ledger.awaiting

    @property
    def attentive(self) -> bool:
        """Whether a client is there that may tell of work, or told of some that is not charged yet."""
        return self._attentive or self._ledger.awaiting

    def attend(self, *, attentive: bool) -> None:
        """Take over whether any client is there."""
        self._flush()
        self._attentive = attentive
        self._told = self._told or attentive

    # What the device's sums tell

    def shared_with_others(self, share: float, until: float) -> None:
        """Take over which share of the device's use is not by clients, which holds until then if nothing newer does."""
        self._foreign, self._foreign_until = share, until

    def used(self, told: Interval) -> None:
        """Take over energy that was just added to the device's sum."""
        if self._foreign and told.end <= self._foreign_until:
            told = told._replace(foreign=self._foreign)
        if self.attentive:
            self._flush()
            self._ledger.used(told)
            return
        before = self._together
        if before is not None and not _alike(before, told):
            self._flush()
            before = None
        if before is not None:
            told = told._replace(start=before.start, microjoules=before.microjoules + told.microjoules)
        self._together = told
        if told.length >= _TOGETHER_SECONDS:
            self._flush()

    def settle(self, now: float) -> None:
        """Share out what can be by now."""
        if self.attentive:
            self._flush()
            self._settle(now)

    def shown(self, now: float) -> Snapshot | None:
        """Return whose the energy is now; None as long as there was no client yet."""
        if not self._told:
            return None
        self._flush()
        self._settle_all(now)  # else a request could be in one device's picture and not in another's of the same moment
        self._settle(now)
        return self._ledger.snapshot()

    def saved(self) -> dict[str, Any]:
        """Return what a new one needs to go on, as JSON values."""
        self._flush()
        return self._ledger.saved()

    # What clients tell

    def announced(self, task: str, model: str) -> None:
        """Note that somebody may work."""
        self._ledger.announced(task, model)

    def opened(self, client: int, number: int, kind: Kind, start: float, now: float) -> Refused | None:
        """Take over that a span has begun; return what is wrong with it, None where nothing is."""
        late = self._ledger.late
        if not self._ledger.opened(client, number, kind, start, now):
            return Refused(number, f"span {number} is open already")
        return None if self._ledger.late == late else _late(number, f"span {number}")

    def closed(self, client: int, number: int, end: float, shares: tuple[Share, ...], now: float, *, reply: bool) -> (
        Refused | None
    ):  # fmt: skip
        """Take over that a span has ended; return what is wrong with it, None where nothing is."""
        late = self._ledger.late
        if not self._ledger.closed(client, number, end, shares, now, reply=reply):
            return Refused(number, f"span {number} is not open")
        return None if self._ledger.late == late else _late(number, f"the end of span {number}")

    def _settle(self, now: float) -> None:
        settled = self._ledger.settle(now)
        if settled:
            self.settled += settled

    def _flush(self) -> None:
        if self._together is not None:
            self._ledger.used(self._together)
            self._together = None


def _late(number: int, what: str) -> Refused:
    return Refused(number, f"{what} is told late: the energy of that time is given away already", late=True)


def _alike(one: Interval, other: Interval) -> bool:
    """Return whether two intervals, one after the other, may be taken for one."""
    return one.reason is None and one._replace(microjoules=0, start=0.0, end=0.0) == other._replace(
        microjoules=0, start=0.0, end=0.0
    )
