"""Where a device's microjoules are: idle, nobody's, or charged to an owner's inferences by how they ended. Pure.

Sums that only ever grow. It does not know what is still open, nor why somebody is charged.
"""

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from perjoule_exporter.meters import MICRO

BOUNDS_JOULES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0, 10000.0)
"""Upper bounds of the buckets of requests' energy: from a batched text classification to a large image."""

_BOUNDS = tuple(round(bound * MICRO) for bound in BOUNDS_JOULES)


class Charge(NamedTuple):
    """What was charged: microjoules, and grams of CO2e, None while no factor was known."""

    microjoules: int
    grams: float | None


class Exemplar(NamedTuple):
    """The last request that fell into a bucket. ``time``: the monotonic seconds at which its energy was final."""

    request: str
    microjoules: int
    time: float


NOTHING = Charge(0, None)


def added(grams: float | None, more: float | None) -> float | None:
    """Return the sum of two amounts, None where neither is known."""
    if more is None:
        return grams
    return more if grams is None else grams + more


class Row:
    """One owner's charges by outcome, and the histogram of the requests that ended ok.

    ``unmeasured``: how many others ended ok, whose energy is not known and which are not in the histogram.
    """

    __slots__ = ("buckets", "charges", "exemplars", "unmeasured")

    def __init__(self) -> None:
        self.unmeasured = 0
        self.charges: dict[str, Charge] = {}
        self.buckets = [0] * (len(_BOUNDS) + 1)
        self.exemplars: list[Exemplar | None] = [None] * (len(_BOUNDS) + 1)

    def charge(self, outcome: str, microjoules: int, grams: float | None) -> None:
        """Add a charge."""
        before = self.charges.get(outcome, NOTHING)
        self.charges[outcome] = Charge(before.microjoules + microjoules, added(before.grams, grams))

    def observe(self, requests: Sequence[str], microjoules: Sequence[int], time: float) -> None:
        """Count requests that ended ok, whose energy is charged too."""
        first, last = bisect_left(_BOUNDS, min(microjoules)), bisect_left(_BOUNDS, max(microjoules))
        if first == last:  # as batch-mates mostly do
            self.buckets[first] += len(requests)
            self.exemplars[first] = Exemplar(requests[-1], microjoules[-1], time)
            return
        for request, joules in zip(requests, microjoules, strict=True):
            place = bisect_left(_BOUNDS, joules)
            self.buckets[place] += 1
            self.exemplars[place] = Exemplar(request, joules, time)

    def saved(self) -> dict[str, Any]:
        """Return what ``restored`` needs, as JSON values."""
        charges = {outcome: list(charge) for outcome, charge in self.charges.items()}
        return {"charges": charges, "buckets": self.buckets, "unmeasured": self.unmeasured}

    @classmethod
    def restored(cls, saved: Mapping[str, Any]) -> "Row":
        """Return the row of which ``saved`` was returned.

        Raises:
            KeyError, TypeError, ValueError, AttributeError: it is not that.
        """
        row = cls()
        for outcome, (microjoules, grams) in saved["charges"].items():
            row.charges[str(outcome)] = Charge(count(microjoules), amount(grams))
        row.buckets = [count(number) for _, number in zip(row.buckets, saved["buckets"], strict=True)]
        row.unmeasured = count(saved.get("unmeasured", 0))
        return row


@dataclass(slots=True)
class Accounts:
    """All that a device used since the ledger was opened, as far as it is known whose it is; in microjoules."""

    counter: int = 0
    idle: int = 0
    unattributed: dict[str, int] = field(default_factory=dict)
    rows: dict[tuple[str, str], Row] = field(default_factory=dict)

    def row(self, task: str, model: str) -> Row:
        """Return an owner's row."""
        row = self.rows.get((task, model))
        if row is None:
            row = self.rows[task, model] = Row()
        return row

    def leave(self, reason: str, microjoules: int) -> None:
        """Leave energy with nobody, for a reason."""
        if microjoules:
            self.unattributed[reason] = self.unattributed.get(reason, 0) + microjoules

    def settled(self) -> int:
        """Return all microjoules that are somebody's, idle's or nobody's for good."""
        charged = sum(charge.microjoules for row in self.rows.values() for charge in row.charges.values())
        return charged + self.idle + sum(self.unattributed.values())

    def saved(self) -> dict[str, Any]:
        """Return what ``restored`` needs, as JSON values."""
        return {
            "counter": self.counter,
            "idle": self.idle,
            "unattributed": dict(self.unattributed),
            "bounds": list(_BOUNDS),
            "rows": [[task, model, row.saved()] for (task, model), row in self.rows.items()],
        }

    @classmethod
    def restored(cls, saved: Mapping[str, Any]) -> "Accounts":
        """Return the accounts of which ``saved`` was returned.

        Raises:
            KeyError, TypeError, ValueError, AttributeError: it is not that.
        """
        if tuple(saved["bounds"]) != _BOUNDS:
            raise ValueError("its histograms have other buckets")
        unattributed = {str(reason): count(joules) for reason, joules in saved["unattributed"].items()}
        rows = {(str(task), str(model)): Row.restored(row) for task, model, row in saved["rows"]}
        return cls(count(saved["counter"]), count(saved["idle"]), unattributed, rows)


def count(value: Any) -> int:
    """Return a saved count.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{value!r} is no count")
    return value


def amount(value: Any) -> float | None:
    """Return a saved amount that is finite and not negative, or None.

    Raises:
        TypeError, ValueError: it is none.
    """
    if value is None:
        return None
    number = float(value)
    if not (math.isfinite(number) and number >= 0):
        raise ValueError(f"{value!r} is no amount")
    return number
