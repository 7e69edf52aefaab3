"""What a span or request is thought to have cost before its energy is final: watts × time × share. Pure.

The watts are those that the exporter has learned for the kind of work, of the device while that runs alone. What else
runs at the same time it does not know, so that overlapping spans each count the idle device's share of them; the
settled figure is the one that adds up.
"""

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple

from perjoule.spans.wire import Kind, Request

_SECONDS_PER_NS = 1e-9


class Quality(StrEnum):
    """How much a figure is worth; the value of ``x-energy-quality``."""

    ESTIMATED = "estimated"
    SETTLED = "settled"
    UNKNOWN = "unknown"


class Energy(NamedTuple):
    """Joules, None where they are unknown, and their quality."""

    joules: float | None
    quality: Quality


UNKNOWN = Energy(None, Quality.UNKNOWN)


def estimated(watts: float | None, nanoseconds: int, share: float = 1.0) -> Energy:
    """Return ``watts`` × time × ``share``; unknown where the watts are."""
    if watts is None:
        return UNKNOWN
    return Energy(watts * max(0, nanoseconds) * _SECONDS_PER_NS * share, Quality.ESTIMATED)


def known_watts(table: Mapping[Kind, float], kind: Kind) -> float | None:
    """Return the watts of a kind of work on its device, else on any; None where neither is known."""
    if not table:
        return None
    watts = table.get(kind)
    return table.get(Kind("", kind.task, kind.model, kind.phase)) if watts is None else watts


def share_of(request: str, requests: Sequence[Request]) -> float | None:
    """Return a request's share of its span, 0 to 1; None if it is not in it.

    All are alike where no weight is above 0.
    """
    whole = sum(each.weight for each in requests)
    for each in requests:
        if each.id == request:
            return each.weight / whole if whole > 0 else 1 / len(requests)
    return None


def added(parts: Iterable[Energy]) -> Energy:
    """Return the sum: unknown if any part is, or if there is none, and settled only if all are."""
    joules, quality, any_part = 0.0, Quality.SETTLED, False
    for part in parts:
        if part.joules is None:
            return UNKNOWN
        joules, any_part = joules + part.joules, True
        if part.quality is not Quality.SETTLED:
            quality = Quality.ESTIMATED
    return Energy(joules, quality) if any_part else UNKNOWN
