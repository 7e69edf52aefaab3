"""What one request cost: the spans that it was in, its share of each, and the figure that its client is told.

The joules are the exporter's: estimated with the watts that it has learned until it says what the request was charged.
Knows neither how spans are told nor HTTP beyond the names of two headers.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from perjoule.spans import Energy, Quality, Span, added

_DIGITS = 4  # of an estimate
_DECIMALS = 6  # of a settled figure: the exporter's ledger counts microjoules
_MOST_DECIMALS = 9


@dataclass(frozen=True, slots=True)
class Part:
    """A request's part in one span.

    Attributes:
        phase: what was computed.
        seconds: how long it took, for the whole batch.
        weight: the request's weight in it.
        share: the same as a part of all weights, 0 to 1.
        batch_size: how many requests were in it.
        request: the request's id in it.
        span: what the exporter is told of it.
    """

    phase: str
    seconds: float
    weight: float
    share: float
    batch_size: int
    request: str
    span: Span

    @property
    def energy(self) -> Energy:
        """What the request cost in it, as far as that is known by now."""
        whole = self.span.energy
        if whole.quality is Quality.SETTLED:
            return self.span.energy_of(self.request)
        return whole if whole.joules is None else whole._replace(joules=whole.joules * self.share)

    def shown(self) -> dict[str, Any]:
        """Return it as JSON."""
        energy = self.energy
        return {
            "phase": self.phase,
            "seconds": self.seconds,
            "joules": rounded(energy),
            "quality": str(energy.quality),
            "weight": self.weight,
            "share": self.share,
            "batch_size": self.batch_size,
        }


@dataclass(slots=True, eq=False)
class Cost:
    """One request on its way over the device.

    Attributes:
        name: its id, as its client knows it.
        request: its id in spans, which no other has.
        task: its workload.
        model: the model that serves it.
        parts: the spans that it was in, in their order.
        outcome: how it ended; None until then.
        device: where it ran, as the exporter calls that.
        owing: an entry ``more`` was told of it, and not yet how it ended.
        pending: the span that it was in last, if its end is not told yet.
    """

    name: str
    request: str
    task: str
    model: str
    parts: list[Part] = field(default_factory=list)
    outcome: str | None = None
    device: str = ""
    owing: bool = False
    pending: "Pending | None" = None

    @property
    def energy(self) -> Energy:
        """What it cost, over all of its spans."""
        return added(part.energy for part in self.parts)

    def shown(self, methods: Mapping[str, str]) -> dict[str, Any]:
        """Return it as JSON. ``methods``: how the joules of each device come about."""
        energy = self.energy
        return {
            "request_id": self.name,
            "task": self.task,
            "model": self.model,
            "outcome": self.outcome,
            "joules": rounded(energy),
            "quality": str(energy.quality),
            "device": self.device,
            "method": methods.get(self.device),
            "phases": [part.shown() for part in self.parts],
        }


@dataclass(frozen=True, slots=True, eq=False)
class Pending:
    """A span that has ended, while it is not known how its requests ended.

    Attributes:
        span: it.
        costs: its requests.
        weights: theirs, in the same order.
        end_ns: when it ended, of CLOCK_MONOTONIC.
    """

    span: Span
    costs: Sequence[Cost]
    weights: Sequence[float]
    end_ns: int


def decimals(energy: Energy) -> str | None:
    """Return joules as a plain decimal number; None where they are unknown.

    A settled figure has the microjoules of the ledger; an estimate has four digits.
    """
    if energy.joules is None:
        return None
    if energy.quality is Quality.SETTLED or energy.joules <= 0:
        return f"{energy.joules:.{_DECIMALS}f}"
    places = _DIGITS - 1 - math.floor(math.log10(energy.joules))
    return f"{energy.joules:.{min(max(places, 0), _MOST_DECIMALS)}f}"


def rounded(energy: Energy) -> float | None:
    """Return the same as a number."""
    text = decimals(energy)
    return None if text is None else float(text)


def energy_headers(energy: Energy) -> dict[str, str]:
    """Return the headers of an answer that tell what it cost."""
    joules = decimals(energy)
    told = {"x-energy-quality": str(energy.quality)}
    return told if joules is None else {"x-energy-joules": joules, **told}
