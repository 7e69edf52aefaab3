"""Conversions are exact, and figures print with the digits they deserve."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perjoule.units import (
    ABSENT,
    JOULES_PER_KWH,
    JOULES_PER_WH,
    joules_from_kwh_per_thousand,
    kwh_per_thousand,
    scaled,
    significant,
)


def test_constants() -> None:
    """A kilowatt-hour is 3.6 MJ, a watt-hour a thousandth of it."""
    assert (JOULES_PER_KWH, JOULES_PER_WH) == (3_600_000, 3_600)


def test_kwh_per_thousand() -> None:
    """One joule an inference is a thousand joules a thousand: 1/3600 kWh."""
    assert kwh_per_thousand(3600) == 1.0
    assert joules_from_kwh_per_thousand(0.047) == pytest.approx(169.2)


@given(st.floats(1e-9, 1e9))
def test_conversion_and_back(joules: float) -> None:
    """The two directions undo each other."""
    assert joules_from_kwh_per_thousand(kwh_per_thousand(joules)) == pytest.approx(joules, rel=1e-12)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0 J"),
        (1, "1.00 J"),
        (0.00123, "1.23 mJ"),
        (12.345, "12.3 J"),
        (123.45, "123 J"),
        (999.4, "999 J"),
        (999.6, "1.00 kJ"),
        (0.9996, "1.00 J"),
        (1234, "1.23 kJ"),
        (3.6e6, "3.60 MJ"),
        (-0.0213, "-21.3 mJ"),
        (4.2e-8, "42.0 nJ"),
        (None, ABSENT),
        (math.nan, ABSENT),
        (math.inf, ABSENT),
    ],
)
def test_scaled(value: float | None, text: str) -> None:
    """A figure prints with an SI prefix and three digits; an unknown one as a dash, never as 0."""
    assert scaled(value, "J") == text


@given(st.floats(1e-11, 1e14))
def test_scaled_reads_between_one_and_a_thousand(value: float) -> None:
    """The printed number lies in 1 to 999 for all magnitudes that have a prefix."""
    assert 1 <= float(scaled(value, "J").split()[0]) < 1000


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (0.01234, 3, "0.0123"),
        (1.2, 3, "1.20"),
        (1234.5, 3, "1,230"),
        (9.996, 3, "10.0"),
        (0.09996, 3, "0.100"),
        (999.6, 3, "1,000"),
        (5, 1, "5"),
        (0, 3, "0"),
        (math.nan, 3, ABSENT),
        (-math.inf, 3, ABSENT),
    ],
)
def test_significant(value: float, digits: int, text: str) -> None:
    """A figure keeps its significant digits, trailing zeros included, and has no exponent."""
    assert significant(value, digits) == text
