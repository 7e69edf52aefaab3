"""What energy and CO2e are likened to: phone charges and kilometres by car, each with what is meant by one.

A phone charge is a different amount in every edition of its source, so it never stands without its kWh and its year.
Illustrations of size and nothing else: no figure is computed from them.
"""

import csv
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from perjoule.units import JOULES_PER_KWH, significant


@dataclass(frozen=True, slots=True)
class Equivalent:
    """One thing to liken an amount to.

    Attributes:
        item: what it is, with its edition.
        unit: of ``value``: ``kWh`` or ``gCO2e``.
        value: how much one of it is.
        source: who says so.
    """

    item: str
    unit: str
    value: float
    source: str


@cache
def equivalents() -> tuple[Equivalent, ...]:
    """Return the rows of ``data/equivalents.csv``."""
    text = files("perjoule").joinpath("data/equivalents.csv").read_text(encoding="utf-8")
    rows = csv.DictReader(text.splitlines())
    return tuple(Equivalent(row["item"], row["unit"], float(row["value"]), row["source"]) for row in rows)


def _of(prefix: str) -> tuple[Equivalent, ...]:
    return tuple(row for row in equivalents() if row.item.startswith(prefix))


def phone_charges(joules: float) -> str:
    """Return ``joules`` in smartphone charges by every definition, newest first."""
    charges = [
        f"{significant(joules / JOULES_PER_KWH / row.value, 2)} phone charges of {row.value:g} kWh"
        f" (EPA {row.item.rsplit(maxsplit=1)[-1]})"
        for row in reversed(_of("smartphone"))
    ]
    return " or ".join(charges)


def car_kilometres(grams: float) -> str:
    """Return ``grams`` of CO2e in kilometres by an average petrol car: ``4.1 km by petrol car (244 g/km, EPA)``."""
    (car,) = _of("petrol car")
    return f"{significant(grams / car.value, 2)} km by petrol car ({significant(car.value)} g/km, EPA 2026)"
