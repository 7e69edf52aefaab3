"""Units of energy, power and mass: conversion constants and how to print them.

Base units everywhere inside Perjoule: joules, watts, seconds, grams, bytes. Conversion happens only where a figure is
shown or read. Knows nothing of significance: the caller says how many digits a figure deserves.
"""

import math

JOULES_PER_KWH = 3.6e6
"""1 kWh = 1000 W × 3600 s (exact)."""

JOULES_PER_WH = 3.6e3
"""1 Wh = 3600 J (exact)."""

ABSENT = "—"
"""What is printed where a figure is unknown. Never 0."""

_PREFIXES = {-12: "p", -9: "n", -6: "µ", -3: "m", 0: "", 3: "k", 6: "M", 9: "G", 12: "T"}


def kwh_per_thousand(joules_per_inference: float) -> float:
    """Return kWh per 1,000 inferences, the unit of the study "Power Hungry Processing"."""
    return joules_per_inference * 1000 / JOULES_PER_KWH


def joules_from_kwh_per_thousand(kwh: float) -> float:
    """Return joules per inference from kWh per 1,000 inferences."""
    return kwh * JOULES_PER_KWH / 1000


def scaled(value: float | None, unit: str, digits: int = 3) -> str:
    """Format ``value`` with an SI prefix and ``digits`` significant digits: ``scaled(0.00123, "J")`` is ``1.23 mJ``.

    ``None`` and values that are not finite print as an em dash: absent, never 0.
    """
    if value is None or not math.isfinite(value):
        return ABSENT
    if value == 0:
        return f"0 {unit}"
    exponent = 3 * math.floor(math.log10(abs(value)) / 3)
    if round(abs(value) / 10**exponent, digits - 3 if digits > 3 else 0) >= 1000:  # noqa: PLR2004 (999.9 m prints as 1.00)
        exponent += 3
    exponent = max(min(exponent, max(_PREFIXES)), min(_PREFIXES))
    return f"{significant(value / 10**exponent, digits)} {_PREFIXES[exponent]}{unit}"


def significant(value: float, digits: int = 3) -> str:
    """Format a number with ``digits`` significant digits and without an exponent: ``0.0123``, ``1.20``, ``1,230``."""
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else ABSENT
    places = digits - 1 - math.floor(math.log10(abs(value)))
    rounded = round(value, places)
    places = digits - 1 - math.floor(math.log10(abs(rounded)))  # 9.996 rounds to 10.0, not 10.00
    return f"{rounded:,.{max(places, 0)}f}"
