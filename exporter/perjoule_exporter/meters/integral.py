"""Energy out of power: the integral of power samples by the trapezoid rule, for devices that count no energy.

Pure: time comes in with the samples, in whatever seconds they were taken in. It does not know what happened between two
samples: a load that comes and goes between them is missed or counted twice.
"""

from perjoule_exporter.meters import MICRO

MAX_GAP_SECONDS = 1.0
"""Nothing is integrated between two samples that are further apart: nobody knows what was drawn meanwhile."""


class PowerIntegral:
    """The joules between the first sample and the last. They never fall."""

    def __init__(self) -> None:
        self.time: float | None = None  # of the last sample; None before the first and after a break
        self._watts = 0.0
        self._joules = 0.0

    @property
    def microjoules(self) -> int:
        """The integral so far."""
        return round(self._joules * MICRO)

    def add(self, time: float, watts: float) -> None:
        """Add a sample. One that is not later than the last tells nothing new and is left out."""
        if self.time is not None:
            gap = time - self.time
            if gap <= 0:
                return
            if gap <= MAX_GAP_SECONDS:
                self._joules += (max(watts, 0.0) + self._watts) / 2 * gap
        self.time, self._watts = time, max(watts, 0.0)

    def break_off(self) -> None:
        """Forget the last sample: what comes next is not connected with it (power is unknown, or time has jumped)."""
        self.time = None
