"""Arithmetic of the benchmarks: quantiles, errors, and figures in units that a person reads.

Numbers in, numbers or short texts out. It knows no program, no clock and no file.
"""

from collections.abc import Sequence
from dataclasses import dataclass

MILLION = 1e6


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value below which ``share`` (0 to 1) of the values lie, by straight lines between neighbours.

    Raises:
        ValueError: there is no value, or the share is none.
    """
    if not values or not 0 <= share <= 1:
        raise ValueError(f"no quantile {share:g} of {len(values)} values")
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def median(values: Sequence[float]) -> float:
    """Return the middle value."""
    return quantile(values, 0.5)


def relative_error(measured: float, true: float) -> float:
    """Return how far ``measured`` is from ``true``, as a ratio of it, with its sign."""
    return (measured - true) / true


def tick_bound(edge_watts: Sequence[float], tick_seconds: float) -> float:
    """Return the joules that a window may be off when its edges fall within a tick: power × tick at each edge."""
    return sum(watts * tick_seconds for watts in edge_watts)


_SCALES: dict[str, tuple[tuple[float, str], ...]] = {
    "s": ((60.0, "min"), (1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns")),
    "B": ((1e9, "GB"), (MILLION, "MB"), (1e3, "kB"), (1.0, "B")),
    "J": ((MILLION, "MJ"), (1e3, "kJ"), (1.0, "J"), (1e-3, "mJ")),
}
_SMALLEST_MINUTES = 120.0  # below this, seconds read better


def scaled(value: float, unit: str) -> str:
    """Return a figure in three digits with the prefix that suits it, as ``1.23 ms``; unit is s, B or J."""
    size = abs(value)
    if not size:
        return f"0 {unit}"
    for scale, name in _SCALES[unit]:
        if size >= (_SMALLEST_MINUTES if name == "min" else scale * 0.9995):
            return f"{digits(value / scale)} {name}"
    scale, name = _SCALES[unit][-1]
    return f"{digits(value / scale)} {name}"


def digits(value: float) -> str:
    """Return a number in three digits without an exponent; whole numbers from a hundred on, in groups of three."""
    size = abs(value)
    if size >= 99.95:  # noqa: PLR2004 (three digits)
        return f"{value:,.0f}"
    if size >= 9.995:  # noqa: PLR2004
        return f"{value:.1f}"
    if size >= 0.9995:  # noqa: PLR2004
        return f"{value:.2f}"
    return f"{value:.3f}" if size >= 0.0005 else f"{value:.2g}"  # noqa: PLR2004


def percent(ratio: float) -> str:
    """Return a ratio as per cent; parts per million where it is that small."""
    if 0 < abs(ratio) < 1e-5:  # noqa: PLR2004 (a thousandth of a per cent)
        return f"{ratio * MILLION:.2g} ppm"
    return f"{digits(ratio * 100)} %" if ratio else "0 %"


def times(ours: float, theirs: float) -> str:
    """Return ours as a multiple of theirs, as ``0.45×``."""
    return f"{digits(ours / theirs)}×" if theirs else "—"


@dataclass(frozen=True, slots=True)
class Check:
    """One figure against its target. ``measured`` and ``target`` are texts; only ``passed`` is judged."""

    what: str
    measured: str
    target: str
    passed: bool

    @property
    def verdict(self) -> str:
        """Return PASS or FAIL."""
        return "PASS" if self.passed else "FAIL"
