"""What a run's figure comes to at so many requests a day: energy, CO2e, cost and what they are likened to.

Pure, from ``run.json``. It multiplies, and knows no more than the run: the same load on the same device, every day.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from perjoule.equivalents import car_kilometres, phone_charges
from perjoule.units import JOULES_PER_KWH, significant

DAYS = 365
PER_DAY = 1_000_000
"""Requests a day unless asked otherwise: a round number, nobody's traffic."""

_FEW = 3


@dataclass(frozen=True, slots=True)
class Projection:
    """One day of so many requests.

    Attributes:
        requests: how many.
        joules: of the devices, times PUE where the exporter tells one.
        pue: that PUE, None where it tells none.
        grams: CO2e, None without a zone.
        cost: of the electricity, None without a price.
        currency: of ``cost``.
    """

    requests: int
    joules: float
    pue: float | None
    grams: float | None
    cost: float | None
    currency: str

    @property
    def kwh(self) -> float:
        """The energy in kWh."""
        return self.joules / JOULES_PER_KWH


def project(document: Mapping[str, Any], requests: int) -> Projection | None:
    """Return what ``requests`` a day come to; None where the run has no gross figure."""
    gross = _value(document, "joules_per_inference", "gross")
    if gross is None:
        return None
    pue = (document.get("carbon") or {}).get("pue")
    grams, cost = _value(document, "grams_per_inference"), _value(document, "cost_per_inference")
    return Projection(
        requests=requests,
        joules=gross * requests * (pue or 1.0),
        pue=pue,
        grams=None if grams is None else grams * requests,
        cost=None if cost is None else cost * requests,
        currency=(document.get("price") or {}).get("currency", ""),
    )


def _value(document: Mapping[str, Any], *path: str) -> float | None:
    found: Any = document
    for key in path:
        found = (found or {}).get(key)
    return None if found is None else found["value"]


def amounts(found: Projection, days: int = 1) -> str:
    """Return energy, CO2e and cost of ``days`` in words: ``1.10 kWh, 62 g CO2e, 0.28 EUR``."""
    parts = [f"{significant(found.kwh * days)} kWh"]
    if found.grams is not None:
        parts.append(_mass(found.grams * days))
    if found.cost is not None:
        parts.append(f"{significant(found.cost * days)} {found.currency}")
    return ", ".join(parts)


def _mass(grams: float) -> str:
    kilogram = 1000
    return f"{significant(grams / kilogram)} kg CO2e" if grams >= kilogram else f"{significant(grams)} g CO2e"


def likened(found: Projection) -> str:
    """Return what a day is likened to, each with what is meant by one."""
    parts = [phone_charges(found.joules)]
    if found.grams is not None:
        parts.append(car_kilometres(found.grams))
    return "; ".join(parts)


def footnotes(documents: Sequence[Mapping[str, Any]], requests: int) -> list[str]:
    """Return the sentences below a table: each task where they are few, else the least and the most of them."""
    found = [(doc["task"], each) for doc in documents if (each := project(doc, requests)) is not None]
    if not found:
        return []
    if len(found) > _FEW:
        ordered = sorted(found, key=lambda pair: pair[1].joules)
        ends = " to ".join(f"{amounts(each)} ({task})" for task, each in (ordered[0], ordered[-1]))
        return [f"{_at(requests)}: from {ends} a day{_what(found[0][1])}"]
    return [
        f"{_at(requests)}: {f'{task}: ' if len(found) > 1 else ''}{amounts(each)} a day, {amounts(each, DAYS)} a year;"
        f" a day is {likened(each)}{_what(each)}"
        for task, each in found
    ]


def _at(requests: int) -> str:
    return f"at {requests:,} requests a day"


def _what(found: Projection) -> str:
    return f" (gross{' × PUE' if found.pue is not None else ', devices alone'}, at this load)"
