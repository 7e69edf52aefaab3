"""One carbon intensity: a number, of which zone, by whom, of when, and of which kind.

Average intensity is what a kilowatt hour of the whole mix emitted; marginal intensity is what one more kilowatt hour
would emit. They answer different questions and are never mixed. What a value does not know is whether it still holds.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from perjoule.carbon import StaticIntensity

Basis = Literal["average", "marginal"]

AVERAGE: Basis = "average"
MARGINAL: Basis = "marginal"

STATIC = "static"
"""Provider of the yearly averages that Perjoule carries; all of them are averages, none is marginal."""

MOST_GRAMS_PER_KWH = 5000.0
"""Above this no grid exists, only a wrong unit: burning lignite in an old plant emits about 1,500 g/kWh."""


@dataclass(frozen=True, slots=True)
class Intensity:
    """Carbon intensity of electricity in gCO2e per kWh.

    ``zone`` is what the value is of: our code (``FRA``), or the provider's spelling where one was given (``DK1``).
    ``valid_at`` is the Unix time that it is of: the start of its interval for values of minutes and hours, the end of
    the period for averages of past months and years. ``estimated`` is what the provider says: a forecast, a model.
    """

    zone: str
    provider: str
    basis: Basis
    grams_per_kwh: float
    valid_at: float
    estimated: bool


def yearly(static: StaticIntensity) -> Intensity:
    """Return a yearly average as what may be in force; it is of the end of its year."""
    end = datetime(static.year + 1, 1, 1, tzinfo=UTC).timestamp()
    return Intensity(static.zone, STATIC, AVERAGE, static.grams_per_kwh, end, estimated=False)
