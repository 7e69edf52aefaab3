"""The carbon factors in force: grid intensity of a zone, static or live, and the site's PUE.

``Carbon`` is what the rest of the exporter sees; ``CarbonSettings`` is what makes one. Inside: ``value`` (what an
intensity is), ``providers`` (whom to ask, and how an answer reads), ``force`` (which value holds at an instant),
``poll`` and ``fetch`` (the thread and the network), ``cache`` and ``secret`` (the two files).
"""

from dataclasses import dataclass

from perjoule.carbon import StaticIntensity, grams
from perjoule_exporter.intensity.carbon import Carbon
from perjoule_exporter.intensity.settings import PROVIDER_NAMES, CarbonSettings, checked
from perjoule_exporter.intensity.value import AVERAGE, STATIC, Intensity, yearly

__all__ = ["BASIS", "PROVIDER", "PROVIDER_NAMES", "Carbon", "CarbonSettings", "Factors", "Intensity", "checked"]

PROVIDER, BASIS = STATIC, AVERAGE


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
        return None if self.intensity is None else yearly(self.intensity).valid_at
