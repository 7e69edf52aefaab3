"""What a board's energy and power are read from, found out by asking: fields, older calls, whose power it is.

Scope. On a superchip the counter and ``nvmlDeviceGetPowerUsage`` are those of the whole module, GPU and CPU. A driver
does not say so, but its power does: the scope is the module's where the driver answers the power fields in the module's
scope with more than the GPU's own, and ``nvmlDeviceGetPowerUsage`` is nearer to that than to the GPU's. Then all watts
are read in the module's scope, so that joules and watts have one boundary. It cannot know whether the counter has the
same boundary as that call (on GH200 it has: ml-energy/zeus, pull request 172), nor which GPUs share a module.
"""

from collections.abc import Callable, Sequence

from perjoule_exporter.meters.integral import PowerIntegral

ENERGY, AVERAGE_POWER, INSTANT_POWER = 83, 185, 186
"""NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION, NVML_FI_DEV_POWER_AVERAGE, NVML_FI_DEV_POWER_INSTANT."""

GPU_SCOPE, MODULE_SCOPE = 0, 1  # NVML_POWER_SCOPE_GPU, NVML_POWER_SCOPE_MODULE

TOTAL_POWER_SAMPLES = 0  # NVML_TOTAL_POWER_SAMPLES

_CPU_MILLIWATTS = 10_000  # less than the CPU of a module idles at; a driver that ignores scopes answers the GPU's again

_MOST_MILLIWATTS = 100_000_000  # more than any board or module draws: what is above is no power

MAX_STAMP_AGE = 1.0
"""Seconds. A driver's timestamp further from our clock than this is of another clock, and not used."""

_SAMPLES_EVERY = 0.1  # seconds; the driver keeps samples of some seconds, so that none is missed
_SILENT_SECONDS = 1.0  # a driver that gives no newer sample for so long has a clock that jumped back, or none to give


def watts_of(milliwatts: int | None) -> float | None:
    """Return the watts of an answer; None where it is none, or nothing that a board can draw."""
    return None if milliwatts is None or milliwatts > _MOST_MILLIWATTS else milliwatts / 1e3


def is_module(power: Sequence[int | None], legacy: int | None) -> bool:
    """Return whether a board's energy is its module's.

    ``power``: the answers, in milliwatts, to average and instant power of the GPU, then of the module. ``legacy``: that
    of ``nvmlDeviceGetPowerUsage``, which is an average where there is one. Without either it is taken for the GPU's.
    """
    average, instant, module_average, module_instant = power
    gpu, module = (average, module_average) if average and module_average else (instant, module_instant)
    if legacy is None or not gpu or not module or module < gpu + _CPU_MILLIWATTS:  # 0 W is no answer of a board
        return False
    return abs(legacy - module) < abs(legacy - gpu)


class TickStamps:
    """Whether a driver's timestamps mark the ticks of the counter, and then when it last moved.

    They do where two readings of the same count carry the same stamp. Elsewhere they are the time of the call.
    """

    def __init__(self) -> None:
        self._millijoules: int | None = None
        self._stamp = 0
        self._mark_ticks = False

    def moved_at(self, millijoules: int, stamp: int, wall: float) -> float | None:
        """Return the Unix time at which the counter last moved, if it can be told. ``stamp`` is in microseconds."""
        if self._millijoules == millijoules:
            self._mark_ticks = self._stamp == stamp
        self._millijoules, self._stamp = millijoules, stamp
        seconds = stamp / 1e6
        return seconds if self._mark_ticks and abs(wall - seconds) < MAX_STAMP_AGE else None


class SampledPower:
    """Integrates the power samples that the driver takes by itself, which are finer than what a poll sees.

    Not used, and ``advance`` answers False, where the driver keeps none or stamps them with another clock.
    """

    def __init__(self, samples: Callable[[int], Sequence[tuple[int, int]]], integral: PowerIntegral) -> None:
        """``samples(since)`` returns the (µs, milliwatts) after a stamp."""
        self._samples = samples
        self._integral = integral
        self._newest = 0
        self._asked_at = self._heard_at = float("-inf")
        self.useful = True

    def advance(self, monotonic: float, wall: float) -> bool:
        """Fold in what is new by now; return whether samples are what the energy is made of."""
        if self.useful and monotonic - self._asked_at >= _SAMPLES_EVERY:
            self._asked_at = monotonic
            self._fold(monotonic, wall)
        return self.useful

    def _fold(self, monotonic: float, wall: float) -> None:
        new = [sample for sample in self._samples(self._newest) if sample[0] > self._newest]
        if not new:
            if self._newest == 0:
                self.useful = False
            elif monotonic - self._heard_at > _SILENT_SECONDS:
                self._newest = 0
                self._integral.break_off()
            return
        if self._newest == 0:  # where the integral begins: what was before is nobody's
            new = new[-1:]
            self.useful = abs(wall - new[0][0] / 1e6) < MAX_STAMP_AGE
            if not self.useful:
                self._integral.break_off()
                return
        for stamp, milliwatts in new:
            watts = watts_of(milliwatts)
            if watts is None:
                self._integral.break_off()
            else:
                self._integral.add(stamp / 1e6, watts)
        self._newest, self._heard_at = new[-1][0], monotonic
