"""AMD's energy accumulator as numbers: what is a count, what it is worth, when it moved."""

import math

import pytest

from perjoule_exporter.meters.amd.counter import MOST_STEPS, Count, CounterCheck, Stamps, microjoules
from tests.exporter.fakes import WALL


@pytest.mark.parametrize(
    ("steps", "resolution", "valid"),
    [
        (0, 15.259, True),
        (MOST_STEPS - 2, 15.259, True),
        (MOST_STEPS - 1, 15.259, False),
        (1, 0.0, False),
        (1, -1.0, False),
        (1, math.nan, False),
        (1, math.inf, False),
    ],
)
def test_what_is_a_count(steps: int, resolution: float, *, valid: bool) -> None:
    """The largest number stands for none, and steps have a size."""
    assert Count(steps, resolution, 0).valid is valid


def test_microjoules_are_exact_at_any_count() -> None:
    """Where a float has lost the last thousands of steps, the difference of two counts is still theirs."""
    far = 2**63
    assert microjoules(far + 1000, 15.25) - microjoules(far, 15.25) == 15_250
    assert microjoules(1000, 15.259) == 15_259


def test_a_check_without_readings_complains() -> None:
    """Nothing read is nothing to believe."""
    assert CounterCheck().complaint() == "the driver tells no energy"


def test_stamps_of_another_boot_clock_tell_nothing() -> None:
    """A stamp of the future, or of long ago, is of another clock."""
    for stamp in (6_000_000_000, 3_000_000_000):
        assert Stamps().moved_at(Count(1, 1.0, stamp), boottime=5.0, wall=WALL) is None
    assert Stamps().moved_at(Count(1, 1.0, 4_750_000_000), boottime=5.0, wall=WALL) == WALL - 0.25
