"""Static carbon intensity of electricity by zone, and the arithmetic from joules to grams of CO2e.

Values are yearly averages of the generation mix, location based: they say nothing about the hour, nor about marginal
emissions. Countries carry ISO 3166-1 alpha-3 codes (``FRA``), US states ``US-`` and the postal code (``US-CA``).
"""

import csv
import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from types import MappingProxyType

from perjoule.errors import UnknownZoneError
from perjoule.units import JOULES_PER_KWH

_ALIASES = {"uk": "gbr"}
"""What people write that is no code of the standard, nor the beginning of the one they mean."""


@dataclass(frozen=True, slots=True)
class StaticIntensity:
    """Carbon intensity of one zone, in gCO2e per kWh, with what an auditor needs to trace it."""

    zone: str
    name: str
    level: str
    grams_per_kwh: float
    year: int
    basis: str
    source: str
    licence: str


@cache
def static_intensities() -> Mapping[str, StaticIntensity]:
    """Return every zone of ``data/carbon_intensity_static.csv`` by its code.

    Source: Our World in Data / Ember (countries, CC BY 4.0) and EPA eGRID2023 (US states, public domain), as carried by
    CodeCarbon 3.3.2; each row repeats its own source, year and licence.
    """
    text = files("perjoule").joinpath("data/carbon_intensity_static.csv").read_text(encoding="utf-8")
    rows = (
        StaticIntensity(
            zone=row["zone"],
            name=row["name"],
            level=row["level"],
            grams_per_kwh=float(row["gCO2e_per_kWh"]),
            year=int(row["year"]),
            basis=row["basis"],
            source=row["source"],
            licence=row["licence"],
        )
        for row in csv.DictReader(text.splitlines())
    )
    return MappingProxyType({row.zone: row for row in rows})


def static_intensity(zone: str) -> StaticIntensity:
    """Return the static intensity of ``zone`` (case does not matter).

    Raises:
        UnknownZoneError: no such zone; the message names the nearest ones.
    """
    table = static_intensities()
    by_folded = {code.casefold(): code for code in table}
    code = by_folded.get(zone.strip().casefold())
    if code is not None:
        return table[code]
    raise UnknownZoneError(f"no carbon intensity for zone {zone!r}{_suggestion(zone, table)}")


def _suggestion(zone: str, table: Mapping[str, StaticIntensity]) -> str:
    wanted = zone.strip().casefold()
    by_name = {row.name.casefold(): row for row in table.values()}
    names = difflib.get_close_matches(wanted, by_name, n=3, cutoff=0.75)
    meant = [_ALIASES.get(wanted, wanted.replace("usa-", "us-")), f"us-{wanted}"]
    codes = [code for code in table if code.casefold() in meant]
    codes += [code for code in table if len(wanted) > 1 and code.casefold().startswith(wanted)]
    near = list(dict.fromkeys([by_name[name].zone for name in names] + codes))[:3]
    if not near:
        return "; use an ISO 3166-1 alpha-3 code such as FRA, or US- and a state's two letters such as US-CA"
    return "; did you mean " + " or ".join(f"{code} ({table[code].name})" for code in near) + "?"


def grams(joules: float, grams_per_kwh: float, pue: float = 1.0) -> float:
    """Return gCO2e of ``joules`` used by devices at a site of the given PUE: J × PUE ÷ 3.6e6 × g/kWh."""
    return joules * pue / JOULES_PER_KWH * grams_per_kwh
