"""Emissions of a GPU's manufacture, spread evenly over the lifetime that its owner states.

There is no default: published figures for one board differ by a factor of three to five, so the user names hers. It
does not know how long the board has already run, nor what it is shared with.
"""

import math
from dataclasses import dataclass

from perjoule.errors import UsageError

SECONDS_PER_YEAR = 365.25 * 86_400
_MOST_KILOGRAMS, _FEWEST_YEARS = 1e6, 0.001  # what is beyond is a slip, and would make sums that are no number


@dataclass(frozen=True, slots=True)
class Embodied:
    """Manufacture of one GPU: kilograms of CO2e, and the years over which they are spread."""

    kilograms: float
    years: float

    def __post_init__(self) -> None:
        for flag, value in (("kg", self.kilograms), ("years", self.years)):
            if not (math.isfinite(value) and value > 0):
                raise UsageError(f"--embodied.{flag} {value:g} is impossible: it must be above 0")
        if self.kilograms > _MOST_KILOGRAMS or self.years < _FEWEST_YEARS:
            raise UsageError(
                f"--embodied.kg {self.kilograms:g} over {self.years:g} years is impossible for a GPU: it must be "
                f"{_MOST_KILOGRAMS:g} kg at most, over {_FEWEST_YEARS:g} years at least"
            )

    @property
    def grams_per_second(self) -> float:
        """Grams of CO2e for each second of one GPU."""
        return self.kilograms * 1000 / (self.years * SECONDS_PER_YEAR)
