"""The factors of one instant, as a scrape and the landing page show them."""

from dataclasses import dataclass

from perjoule.carbon import StaticIntensity
from perjoule_exporter.intensity.value import Intensity
from perjoule_exporter.price import Price


@dataclass(frozen=True, slots=True)
class ProviderState:
    """How a live provider last answered. ``failure`` says what was wrong, after its name; None where nothing was.

    ``answered`` is None until it was asked for the first time.
    """

    provider: str
    answered: bool | None
    failure: str | None


@dataclass(frozen=True, slots=True)
class Factors:
    """What is in force now. ``intensity`` is None without a zone, and while nothing may stand in for a live value.

    ``static`` is the zone's yearly average with its source, in force or not. ``asked`` is there with a live provider.
    """

    intensity: Intensity | None
    static: StaticIntensity | None
    pue: float
    price: Price | None = None
    asked: ProviderState | None = None
