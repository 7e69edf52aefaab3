"""The Software Carbon Intensity of an inference: ((E × I) + M) ÷ R, ISO/IEC 21031:2024. Pure.

E is all energy of the window, idle included: hardware that is reserved counts whole. I is the intensity, times PUE. M
is the devices' manufacture, as stated to the exporter, for the window's share of their lifetime and all of their
resources. R is one inference. It does not know what else shared the devices, nor any manufacture but the GPUs'.
"""

from dataclasses import dataclass

from perjoule_loadgen.measurement import Bracket, Measurement
from perjoule_loadgen.stats import Interval


@dataclass(frozen=True, slots=True)
class Sci:
    """Grams of CO2e per inference; the interval is that of the operational part, ``embodied`` the rest of it."""

    value: float
    low: float
    high: float
    embodied: float


def sci(measurement: Measurement, grams: Interval | None) -> Sci | None:
    """Return the score, from operational ``grams`` per inference; None where any part of it is not known."""
    parts = [_embodied(measurement, bracket) for bracket in measurement.charged]
    known = [part for part in parts if part is not None]
    if grams is None or grams.value is None or not parts or len(known) < len(parts):
        return None
    each = sum(known) / measurement.steady.ok
    return Sci(grams.value + each, grams.low + each, grams.high + each, each)


def _embodied(measurement: Measurement, bracket: Bracket) -> float | None:
    """Return a device's grams of manufacture for the window; None where nobody stated any."""
    opening, closing = measurement.opening, measurement.closing
    if opening is None or closing is None:
        return None
    before, after = (edge.books.get(bracket.device.exporter) for edge in (opening, closing))
    if before is None or after is None or after.at <= before.at:
        return None
    first, last = (found.embodied.get(bracket.device.id) for found in (before, after))
    if first is None or last is None or last < first:
        return None
    # The edges were read a little outside of the window; manufacture is spread evenly over time.
    return (last - first) / (after.at - before.at) * bracket.seconds
