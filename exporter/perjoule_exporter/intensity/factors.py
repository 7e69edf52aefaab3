"""The factors of one instant, as a scrape and the landing page show them."""

from dataclasses import dataclass

from perjoule.carbon import StaticIntensity
from perjoule_exporter.intensity.value import Intensity
from perjoule_exporter.price import Price


@dataclass(frozen=True, slots=True)
class Factors:
    """What is in force now. ``intensity`` is None without a zone, and while nothing may stand in for a live value.

    ``static`` is the zone's yearly average with its source, in force or not.
    """

    intensity: Intensity | None
    static: StaticIntensity | None
    pue: float
    price: Price | None = None
