"""Axes and the thinning of series for drawing: pure functions of numbers.

Knows nothing of HTML. Positions are fractions of the axis, 0 to 1.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from perjoule.units import scaled, significant

_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
_TICKS = 6
_ROUNDING = 1e-9

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis.

    Attributes:
        low, high: what it spans; both above 0 where it is logarithmic.
        unit: of its values, empty for none; ``%`` for shares, which are given as fractions of 1.
        log: whether it is logarithmic.
    """

    low: float
    high: float
    unit: str
    log: bool = False

    def at(self, value: float) -> float:
        """Return the position of a value; beyond the ends it lies at the end."""
        low, high = (math.log(end) for end in (self.low, self.high)) if self.log else (self.low, self.high)
        if self.log:
            value = math.log(value) if value > 0 else low
        return min(max((value - low) / (high - low), 0.0), 1.0)

    def ticks(self) -> list[tuple[float, str]]:
        """Return values to label and their labels."""
        values = _log_ticks(self.low, self.high) if self.log else linear_ticks(self.low, self.high)
        return [(value, self.label(value)) for value in values]

    def label(self, value: float) -> str:
        """Return a value as the axis calls it."""
        if self.unit == "%":
            return f"{value * 100:g} %"
        if self.unit in {"", "s from start"}:
            return f"{value:g}"
        return "0" if value == 0 else _short(scaled(value, self.unit))


def _short(text: str) -> str:
    """Leave out zeros that say nothing: ``1.00 kJ`` is ``1 kJ``."""
    number, _, unit = text.partition(" ")
    return f"{number.rstrip('0').rstrip('.') if '.' in number else number} {unit}"


def linear_ticks(low: float, high: float, wanted: int = _TICKS) -> list[float]:
    """Return about ``wanted`` round values from ``low`` to ``high``."""
    if high <= low:
        return [low]
    power = 10 ** math.floor(math.log10((high - low) / wanted))
    step = next(power * each for each in _STEPS if (high - low) / (power * each) <= wanted + _ROUNDING)
    first, last = math.ceil(low / step - _ROUNDING), math.floor(high / step + _ROUNDING)
    return [float(significant(number * step, 12).replace(",", "")) for number in range(first, last + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    each = (1.0,) if len(decades) > 3 else (1.0, 2.0, 5.0)  # noqa: PLR2004 (more would not fit)
    wide = max(len(decades) // _TICKS, 1)
    values = [step * 10.0**decade for decade in decades if decade % wide == 0 for step in each]
    return [value for value in values if low * (1 - _ROUNDING) <= value <= high * (1 + _ROUNDING)]


def linear(values: Sequence[float], unit: str, *, from_zero: bool = True) -> Axis:
    """Return an axis that holds all values and ends a little beyond them."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    low = min(low, 0.0) if from_zero else low
    if high <= low:
        high = low + (abs(low) or 1.0)
    return Axis(low, high + (high - low) * 0.05, unit)


def logarithmic(values: Sequence[float], unit: str) -> Axis:
    """Return a logarithmic axis of whole decades around all positive values."""
    known = [value for value in values if value > 0]
    low, high = math.floor(math.log10(min(known))), math.ceil(math.log10(max(known)))
    return Axis(10.0**low, 10.0 ** (high if high > low else low + 1), unit, log=True)


def thinned(points: Sequence[Point], most: int) -> list[Point]:
    """Return at most about ``most`` points; of each stretch the least and the greatest, so that no peak is lost."""
    if len(points) <= most:
        return list(points)
    size = math.ceil(len(points) / (most / 2))
    kept: list[Point] = []
    for first in range(0, len(points), size):
        part = points[first : first + size]
        kept += sorted({min(part, key=lambda p: p[1]), max(part, key=lambda p: p[1])})
    return kept


def cumulative(values: Sequence[float], most: int = 400) -> list[Point]:
    """Return the share of values up to each of at most ``most`` of them, from 0 to 1."""
    ordered = sorted(values)
    count = len(ordered)
    if not count:
        return []
    ranks = (
        range(1, count + 1) if count <= most else sorted({max(round(n * count / most), 1) for n in range(1, most + 1)})
    )
    return [(ordered[0], 0.0), *((ordered[rank - 1], rank / count) for rank in ranks)]


def histogram(values: Sequence[float], axis: Axis, bins: int = 40) -> list[tuple[float, float, int]]:
    """Return (from, to, count) of ``bins`` equal stretches of the axis."""
    counts = [0] * bins
    for value in values:
        counts[min(int(axis.at(value) * bins), bins - 1)] += 1
    return [(_back(axis, n / bins), _back(axis, (n + 1) / bins), count) for n, count in enumerate(counts)]


def _back(axis: Axis, position: float) -> float:
    if axis.log:
        return float(axis.low * (axis.high / axis.low) ** position)
    return axis.low + (axis.high - axis.low) * position


def per_second(times: Sequence[float], start: float, end: float, width: float) -> list[Point]:
    """Return (middle, events a second) of each whole stretch of ``width`` seconds between ``start`` and ``end``."""
    counts = [0] * max(int((end - start) / width + _ROUNDING), 0)
    for at in times:
        number = math.floor((at - start) / width)
        if 0 <= number < len(counts):
            counts[number] += 1
    return [(start + (number + 0.5) * width, count / width) for number, count in enumerate(counts)]
