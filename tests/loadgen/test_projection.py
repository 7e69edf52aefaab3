"""So many requests a day, by hand."""

from typing import Any

import pytest

from perjoule_loadgen.projection import amounts, footnotes, likened, project

GROSS = {"value": 3.6, "low": 3.5, "high": 3.7}
RUN: dict[str, Any] = {
    "task": "summarization",
    "joules_per_inference": {"gross": GROSS},
    "grams_per_inference": {"value": 6e-5},
    "cost_per_inference": {"value": 3e-7},
    "price": {"per_kwh": 0.25, "currency": "EUR"},
    "carbon": {"pue": 1.2},
}


def test_a_day_of_a_million_requests() -> None:
    """3.6 J × 1.2 × 1e6 are 1.2 kWh; grams and cost have the PUE in them already."""
    found = project(RUN, 1_000_000)
    assert found is not None
    assert found.kwh == pytest.approx(1.2)
    assert amounts(found) == "1.20 kWh, 60.0 g CO2e, 0.300 EUR"
    assert amounts(found, 365) == "438 kWh, 21.9 kg CO2e, 110 EUR"
    assert likened(found) == (
        "55 phone charges of 0.022 kWh (EPA 2024) or 100 phone charges of 0.012 kWh (EPA 2023);"
        " 0.25 km by petrol car (244 g/km, EPA 2026)"
    )


def test_what_is_unknown_is_not_projected() -> None:
    """Without gross joules there is nothing; without zone and price there is energy alone, and PUE is not claimed."""
    assert footnotes([RUN | {"joules_per_inference": {"gross": None}}], 10) == []
    bare = RUN | {"grams_per_inference": None, "cost_per_inference": None, "carbon": None, "price": None}
    (sentence,) = footnotes([bare], 1_000_000)
    assert sentence.startswith("at 1,000,000 requests a day: 1.00 kWh a day, 365 kWh a year;")
    assert "CO2e" not in sentence
    assert "km" not in sentence
    assert sentence.endswith("(gross, devices alone, at this load)")


def test_many_tasks_are_a_range() -> None:
    """Least and most of more than three."""
    runs = [RUN | {"task": f"t{n}", "joules_per_inference": {"gross": GROSS | {"value": n}}} for n in (4, 1, 3, 2)]
    (sentence,) = footnotes(runs, 1000)
    assert "(t1) to" in sentence
    assert "(t4) a day" in sentence
    assert len(footnotes(runs[:3], 1000)) == 3
