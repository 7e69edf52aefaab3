"""The rows of one board: counters that never go back, and whose sum is the board's energy at any time.

Energy is known at once, whose it was a second later. Until then it stands in the row ``open``, which cannot go back
either. So it stays at the most that was ever open, and new energy first pays what has been found to be somebody's:
the oldest first. The other rows are thus the shares of all energy but the newest joules, as many as ``open`` shows.
"""

from collections import deque
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from perjoule_exporter.processes.owner import OPEN, OTHER, Kind, Owner

_MOST_DEBTS = 1024


class Rows:
    """Microjoules by owner. Processes beyond ``most`` are counted together as ``other``; who has a row keeps it."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._processes = 0
        self._paid: dict[Owner, int] = {}
        self._debts: deque[tuple[Owner, int]] = deque()
        self._owed = 0
        self._open = 0

    @property
    def total(self) -> int:
        """All microjoules that were received."""
        return sum(self._paid.values()) + self._open

    @property
    def unshared(self) -> int:
        """The microjoules of which it is not known yet whose they are."""
        return self._open - self._owed

    def shown(self) -> Mapping[Owner, int]:
        """Return all rows."""
        return MappingProxyType({**self._paid, OPEN: self._open})

    def receive(self, microjoules: int) -> None:
        """Take over energy whose owners are not known yet, and pay with it what is owed to those who are."""
        while microjoules and self._debts:
            owner, debt = self._debts[0]
            part = min(debt, microjoules)
            self._paid[owner] += part
            self._owed -= part
            microjoules -= part
            if part == debt:
                self._debts.popleft()
            else:
                self._debts[0] = owner, debt - part
        self._open += microjoules

    def add(self, owner: Owner, microjoules: int) -> None:
        """Take over energy of which it is known whose it is: it is never open."""
        if microjoules:
            self._paid[self._row(owner)] += microjoules

    def share(self, parts: Mapping[Owner, int]) -> None:
        """Note whose the oldest energy was that was open: at most ``unshared`` of it."""
        for owner, part in sorted(parts.items(), key=lambda entry: -entry[1]):
            if part:
                self._owe(self._row(owner), part)
        if len(self._debts) > _MOST_DEBTS:
            self._merge()

    def saved(self) -> dict[str, Any]:
        """Return what ``restore`` needs, as JSON values. What is open is of nobody: who knows is about to end."""
        places = {owner: place for place, owner in enumerate(self._paid)}
        return {
            "rows": [[owner.kind, owner.command, owner.container, owner.pod_uid, owner.unit, paid]
                     for owner, paid in self._paid.items()],
            "debts": [[places[owner], debt] for owner, debt in self._debts],
            "open": self._open,
        }  # fmt: skip

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Go on from ``saved``.

        Raises:
            KeyError, TypeError, ValueError, IndexError: it is not what ``saved`` returned.
        """
        for kind, command, container, pod_uid, unit, paid in saved["rows"]:
            self._paid[self._added(Owner(Kind(kind), str(command), str(container), str(pod_uid), str(unit)))] = _count(
                paid
            )
        owners = list(self._paid)
        for index, debt in saved["debts"]:
            self._owe(owners[_count(index)], _count(debt))
        self._open = _count(saved["open"])
        if self.unshared < 0 or OPEN in self._paid:
            raise ValueError("more is owed than was open")

    def _row(self, owner: Owner) -> Owner:
        """Return the owner, or ``other`` for a process that comes too late for a row of its own."""
        if owner not in self._paid:
            if owner.kind is Kind.PROCESS and self._processes >= self._most:
                return self._row(OTHER)
            self._paid[self._added(owner)] = 0
        return owner

    def _added(self, owner: Owner) -> Owner:
        self._processes += owner.kind is Kind.PROCESS
        return owner

    def _owe(self, owner: Owner, part: int) -> None:
        self._owed += part
        if self._debts and self._debts[-1][0] == owner:
            part += self._debts.pop()[1]
        self._debts.append((owner, part))

    def _merge(self) -> None:
        """Forget in which order all that was open became somebody's."""
        debts: dict[Owner, int] = {}
        for owner, debt in self._debts:
            debts[owner] = debts.get(owner, 0) + debt
        self._debts = deque(debts.items())


def _count(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{value!r} is no count")
    return value
