"""The figures of two runs, or of two sets of repeats, beside each other: how far apart, and whether that is anything.

With two repeats or more on both sides: Welch's interval of the difference of the logarithms, so that it is relative.
With one on either side nothing is known of the scatter between runs; then the bounds that each run has of itself decide
(do they overlap?), and a figure without bounds has a difference and nothing more. Pure, from documents.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from perjoule_loadgen.compare.student import welch

Document = Mapping[str, Any]
Bounded = tuple[float, float | None, float | None]
"""A figure with its bounds, None where nothing is known of them."""

_REPEATS = 2


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of a run.

    Attributes:
        title: as the table calls it.
        unit: to print it with.
        of: takes it out of a document; None where it is absent.
    """

    title: str
    unit: str
    of: Callable[[Document], Bounded | None]


def _interval(*path: str) -> Callable[[Document], Bounded | None]:
    def of(run: Document) -> Bounded | None:
        found: Any = run
        for key in path:
            found = (found or {}).get(key)
        if found is None or found["value"] is None:
            return None
        return found["value"], found.get("low"), found.get("high")

    return of


def _plain(*path: str) -> Callable[[Document], Bounded | None]:
    def of(run: Document) -> Bounded | None:
        found: Any = run
        for key in path:
            found = (found or {}).get(key)
        return None if found is None else (found, None, None)

    return of


FIGURES: Mapping[str, Figure] = MappingProxyType(
    {
        "gross": Figure("J/inference gross", "J", _interval("joules_per_inference", "gross")),
        "active": Figure("J/inference active", "J", _interval("joules_per_inference", "active")),
        "attributed": Figure("J/inference attributed", "J", _interval("joules_per_inference", "attributed")),
        "unit": Figure("J/unit of work", "J", _plain("joules_per_unit", "value")),
        "grams": Figure("gCO2e/inference", "g", _interval("grams_per_inference")),
        "mean": Figure("latency mean", "s", _plain("latency_seconds", "mean")),
        "p50": Figure("latency p50", "s", _plain("latency_seconds", "p50")),
        "p95": Figure("latency p95", "s", _plain("latency_seconds", "p95")),
        "p99": Figure("latency p99", "s", _plain("latency_seconds", "p99")),
        "throughput": Figure("inferences/s", "/s", _plain("throughput_per_second")),
    }
)
"""What is compared, by the names that ``--fail-if`` uses."""


@dataclass(frozen=True, slots=True)
class Change:
    """One figure in A and in B.

    Attributes:
        before, after: mean over the repeats of each, None where it is absent.
        ratio: relative difference, None where it cannot be told.
        low, high: bounds of the same, None where nothing is known of them.
        differs: whether it is beyond its uncertainty; None where nobody knows.
        basis: what that rests on, in words.
        absent: why there is no difference, a sentence.
        p: probability of such a difference by chance; only with repeats.
    """

    before: float | None
    after: float | None
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    differs: bool | None = None
    basis: str = ""
    absent: str = ""
    p: float | None = None


def changes(before: Sequence[Document], after: Sequence[Document]) -> dict[str, Change]:
    """Return what became of every figure."""
    return {name: _change(name, figure, before, after) for name, figure in FIGURES.items()}


def _change(name: str, figure: Figure, before: Sequence[Document], after: Sequence[Document]) -> Change:
    first, second = ([figure.of(run) for run in runs] for runs in (before, after))
    known_first, known_second = _known(first), _known(second)
    means = (_mean(known_first), _mean(known_second))
    if None in first or None in second:
        gone = " and ".join(side for side, values in (("A", first), ("B", second)) if None in values)
        return Change(*means, absent=f"{name} is absent in {gone}")
    if any(value <= 0 for value, *_ in (*known_first, *known_second)):
        return Change(*means, absent=f"{name} is not above 0")
    if min(len(first), len(second)) >= _REPEATS:
        return _between(means, known_first, known_second)
    return _overlap(means, known_first, known_second)


def _known(values: Sequence[Bounded | None]) -> list[Bounded]:
    return [value for value in values if value is not None]


def _mean(values: Sequence[Bounded]) -> float | None:
    return math.fsum(value for value, *_ in values) / len(values) if values else None


def _between(means: tuple[float | None, float | None], first: Sequence[Bounded], second: Sequence[Bounded]) -> Change:
    before, after = ([math.log(value) for value, *_ in values] for values in (first, second))
    found = welch(before, after)
    ratio, low, high = (math.expm1(each) for each in (found.value, found.low, found.high))
    basis = f"Welch's t over {len(first)} and {len(second)} repeats, 95 %"
    return Change(*means, ratio, low, high, not low <= 0 <= high, basis, p=found.p)


def _overlap(means: tuple[float | None, float | None], first: Sequence[Bounded], second: Sequence[Bounded]) -> Change:
    """Compare by the bounds of each run: the widest of a side, whose scatter between runs they do not hold."""
    before, after = means
    assert before is not None  # noqa: S101 (absent figures are no business of this)
    assert after is not None  # noqa: S101 (as above)
    ratio = after / before - 1
    ends = [end for values in (first, second) for _, low, high in values for end in (low, high)]
    if None in ends:
        return Change(before, after, ratio, basis="one run on a side, and no bounds: whether it differs is unknown")
    low_a, high_a = _span(first)
    low_b, high_b = _span(second)
    apart = high_a < low_b or high_b < low_a
    low = low_b / high_a - 1 if high_a > 0 else None
    high = high_b / low_a - 1 if low_a > 0 else None
    words = "the bounds of the runs do not overlap" if apart else "the bounds of the runs overlap"
    return Change(
        before, after, ratio, low, high, apart, f"{words}; one run on a side, so the scatter between runs is unknown"
    )


def _span(values: Sequence[Bounded]) -> tuple[float, float]:
    lows = [low for _, low, _ in values if low is not None]
    highs = [high for *_, high in values if high is not None]
    return min(lows), max(highs)
