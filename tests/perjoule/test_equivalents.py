"""What amounts are likened to, by hand."""

from perjoule.equivalents import car_kilometres, equivalents, phone_charges


def test_a_phone_charge_says_which() -> None:
    """2.907 kWh, the study's mean of 1,000 images, by both definitions, each with its kWh and year."""
    assert phone_charges(2.907 * 3.6e6) == (
        "130 phone charges of 0.022 kWh (EPA 2024) or 240 phone charges of 0.012 kWh (EPA 2023)"
    )


def test_kilometres_by_car() -> None:
    """393 grams are a mile, 1.6 km."""
    assert car_kilometres(393.0) == "1.6 km by petrol car (244 g/km, EPA 2026)"


def test_every_row_names_its_source() -> None:
    """And has an amount."""
    assert all(row.source and row.value > 0 for row in equivalents())
