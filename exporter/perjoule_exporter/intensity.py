"""The carbon factors in force: grid intensity of a zone and the site's PUE.

Static now: a yearly average, known from the start and never changing while the exporter runs. The callers ask again at
each reading all the same, because a live provider will answer differently from hour to hour.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

from perjoule.carbon import StaticIntensity, grams

PROVIDER = "static"
BASIS = "average"
"""All static values average over the mix of a year; none is marginal."""


@dataclass(frozen=True, slots=True)
class Factors:
    """What turns joules into grams. ``intensity`` is None where no zone was named: then there are no emissions."""

    intensity: StaticIntensity | None
    pue: float

    def grams_per_joule(self) -> float | None:
        """Return gCO2e per joule of a device now, PUE included; None without a zone."""
        return None if self.intensity is None else grams(1.0, self.intensity.grams_per_kwh, self.pue)

    def valid_at(self) -> float | None:
        """Return the Unix time that the intensity is of: the end of its year."""
        return None if self.intensity is None else datetime(self.intensity.year + 1, 1, 1, tzinfo=UTC).timestamp()
