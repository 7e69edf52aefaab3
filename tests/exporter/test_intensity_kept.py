"""Emissions over a restart, by the basis that they were counted by."""

from typing import Any

import pytest

from perjoule_exporter.intensity import Carbon, CarbonSettings
from perjoule_exporter.intensity.kept import basis_of, marked, of_basis
from perjoule_exporter.intensity.value import AVERAGE, MARGINAL

SUMS: dict[str, Any] = {"GPU-a": {"energy": {"total": 5, "grams": 1.5}, "resets": 0}}


def test_sums_carry_their_basis() -> None:
    """And say it again after the restart."""
    assert basis_of(marked(SUMS, MARGINAL)) == MARGINAL
    assert basis_of(marked(SUMS, AVERAGE)) == AVERAGE
    assert basis_of(marked(SUMS, None)) is None
    assert marked(SUMS, AVERAGE)["GPU-a"].items() >= SUMS["GPU-a"].items()


def test_the_same_basis_goes_on() -> None:
    """So do sums of no basis (an earlier version's), and settings that count nothing."""
    for saved, basis in ((marked(SUMS, MARGINAL), MARGINAL), (SUMS, MARGINAL), (marked(SUMS, MARGINAL), None)):
        assert of_basis(saved, basis) == saved


def test_another_basis_starts_at_0(caplog: pytest.LogCaptureFixture) -> None:
    """The grams go, the joules stay, and one line says so."""
    kept = of_basis(marked(SUMS, AVERAGE), MARGINAL)
    assert kept["GPU-a"]["energy"] == {"total": 5, "grams": None}
    assert [record.levelname for record in caplog.records] == ["WARNING"]


@pytest.mark.parametrize("saved", [{}, {"GPU-a": None}, {"GPU-a": {}}, {"GPU-a": 3, "GPU-b": {"basis": "half"}}])
def test_sums_that_make_no_sense_are_left_to_others(saved: dict[str, Any]) -> None:
    """They say no basis and are not touched."""
    assert basis_of(saved) is None
    assert of_basis(saved, AVERAGE) == saved


def test_a_device_that_makes_no_sense_beside_one_that_does() -> None:
    """Only the latter loses its grams."""
    saved = {**marked(SUMS, AVERAGE), "GPU-b": {"basis": "average", "energy": 4}}
    assert of_basis(saved, MARGINAL)["GPU-b"] == saved["GPU-b"]


def test_counted_emissions_are_remembered_without_a_zone() -> None:
    """A run without a zone goes on showing them, so it goes on knowing what they are."""
    assert Carbon(CarbonSettings(), counted=MARGINAL).basis == MARGINAL
    assert Carbon(CarbonSettings(zone="FRA"), counted=MARGINAL).basis == AVERAGE
    assert Carbon(CarbonSettings()).basis is None
