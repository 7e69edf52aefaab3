"""AMD's energy accumulator: steps, microjoules, time stamps, and whether it is to be believed. Pure.

The accumulator counts steps of about 15.26 µJ in 64 bits. It has been seen frozen, and the size of a step is a constant
of the library, whatever the board (https://github.com/ROCm/amdsmi/issues/38). So before a counter is believed it must
agree with the board's own power within a factor of two. That is far from both errors that are known (no energy at all,
steps of another size) and leaves room for what is none: a power that is averaged over a second, a load that starts
meanwhile. It cannot find a counter that is wrong by a tenth: the integral of power stands beside it for that.
"""

import math
from dataclasses import dataclass

from perjoule_exporter.meters import MICRO
from perjoule_exporter.meters.integral import PowerIntegral

MOST_STEPS = 2**64
"""Where the accumulator starts again, and one more than what stands where there is no value."""

_LEAST_RATIO, _MOST_RATIO = 0.5, 2.0

_MAX_STAMP_AGE = 1.0  # seconds; a stamp further from the machine's clock than this is of another clock


@dataclass(frozen=True, slots=True)
class Count:
    """One reading: steps, the microjoules of a step, and the driver's time stamp in ns of CLOCK_BOOTTIME."""

    steps: int
    resolution: float
    stamp: int

    @property
    def valid(self) -> bool:
        """Whether there is a count, and a size of its steps."""
        return 0 <= self.steps < MOST_STEPS - 1 and math.isfinite(self.resolution) and self.resolution > 0


def microjoules(steps: int, resolution: float) -> int:
    """Return the energy of ``steps``, exact but for the last microjoule however far the accumulator got."""
    numerator, denominator = resolution.as_integer_ratio()
    return steps * numerator // denominator


class Stamps:
    """Whether time stamps mark when the counter moved, and then when it last did.

    They do as long as no two readings of the same count carry different stamps.
    """

    def __init__(self) -> None:
        self._last: Count | None = None
        self._mark_moves = True

    def moved_at(self, count: Count, boottime: float, wall: float) -> float | None:
        """Return the Unix time of the last move, if it can be told. ``boottime`` and ``wall`` are now, in seconds."""
        if self._last is not None and self._last.steps == count.steps and self._last.stamp != count.stamp:
            self._mark_moves = False
        self._last = count
        age = boottime - count.stamp / 1e9
        return wall - age if self._mark_moves and 0 <= age < _MAX_STAMP_AGE else None


class CounterCheck:
    """Whether an energy counter agrees with the power that is read beside it."""

    def __init__(self) -> None:
        self._first: Count | None = None
        self._last: Count | None = None
        self._power = PowerIntegral()

    def add(self, time: float, count: Count | None, watts: float | None) -> None:
        """Take in one reading of both, at ``time`` seconds of any clock."""
        if count is not None:
            self._first = self._first or count
            self._last = count
        if watts is not None:
            self._power.add(time, watts)

    @property
    def resolution(self) -> float | None:
        """Microjoules of one step; None where there was no count."""
        return self._last.resolution if self._last is not None else None

    def complaint(self) -> str | None:
        """Return what is wrong with the counter, or None. Without power a counter that moves must be believed."""
        if self._first is None or self._last is None:
            return "the driver tells no energy"
        steps = (self._last.steps - self._first.steps) % MOST_STEPS
        counted, drawn = microjoules(steps, self._last.resolution) / MICRO, self._power.microjoules / MICRO
        if steps == 0:
            return "the energy counter stands still"
        if drawn and not _LEAST_RATIO <= counted / drawn <= _MOST_RATIO:
            return f"the energy counter went {counted:.3g} J while power made {drawn:.3g} J"
        return None
