"""Static carbon intensity: every zone of the table, traceable, and a helpful answer to a wrong one."""

import csv
import re
from importlib.resources import files

import pytest

from perjoule.carbon import grams, static_intensities, static_intensity
from perjoule.errors import UnknownZoneError, UsageError

ROWS = list(
    csv.DictReader(
        files("perjoule").joinpath("data/carbon_intensity_static.csv").read_text(encoding="utf-8").splitlines()
    )
)


@pytest.mark.parametrize("row", ROWS, ids=[row["zone"] for row in ROWS])
def test_every_zone_resolves(row: dict[str, str]) -> None:
    """Each row of the table is found by its code, in any case, with its value, year, source and licence."""
    found = static_intensity(row["zone"].lower())
    assert (found.zone, found.name) == (row["zone"], row["name"])
    assert found.grams_per_kwh == float(row["gCO2e_per_kWh"])
    assert found.grams_per_kwh >= 0
    assert 2000 <= found.year <= 2030
    assert all((found.basis, found.source, found.licence, found.level))
    assert re.fullmatch(r"[A-Z]{3}|US-[A-Z]{2}|US-usa", found.zone), "US-usa is eGRID's figure for the whole country"


def test_no_zone_stands_twice() -> None:
    """The table has one row a zone."""
    assert len(static_intensities()) == len(ROWS)


def test_the_table_covers_the_states() -> None:
    """Every US state is there."""
    states = [zone for zone in static_intensities() if zone.startswith("US-")]
    assert len(states) >= 50


def test_the_table_cannot_be_changed() -> None:
    """Nobody's factor is overwritten by accident."""
    with pytest.raises(TypeError):
        static_intensities()["FRA"] = static_intensity("DEU")  # type: ignore[index]  # that it fails is what is tested


def test_spaces_around_a_zone_are_forgiven() -> None:
    """A zone from a file with a newline is still the zone."""
    assert static_intensity(" fra\n").zone == "FRA"


@pytest.mark.parametrize(
    ("zone", "suggestion"),
    [
        ("France", "did you mean FRA (France)?"),
        ("franse", "did you mean FRA (France)?"),
        ("Germany", "did you mean DEU (Germany)?"),
        ("UK", "did you mean GBR (United Kingdom) or UKR (Ukraine)?"),
        ("ca", "did you mean US-CA (California) or CAF (Central African Republic) or CAN (Canada)?"),
        ("USA-CA", "did you mean US-CA (California)?"),
        ("US-C", "US-CA (California)"),
        ("", "use an ISO 3166-1 alpha-3 code such as FRA"),
        ("zz9", "use an ISO 3166-1 alpha-3 code such as FRA"),
        ("../etc/passwd", "use an ISO 3166-1 alpha-3 code such as FRA"),
    ],
)
def test_an_unknown_zone_is_answered_with_the_nearest(zone: str, suggestion: str) -> None:
    """The message repeats what was asked for and says what to write instead."""
    with pytest.raises(UnknownZoneError) as failed:
        static_intensity(zone)
    assert repr(zone) in str(failed.value)
    assert suggestion in str(failed.value)
    assert "\n" not in str(failed.value)
    assert isinstance(failed.value, UsageError)


def test_grams() -> None:
    """One kilowatt-hour at 100 g/kWh is 100 g; a PUE of 1.5 makes it 150; nothing costs nothing."""
    assert grams(3.6e6, 100.0) == 100.0
    assert grams(3.6e6, 100.0, pue=1.5) == 150.0
    assert grams(0.0, 100.0) == 0.0
