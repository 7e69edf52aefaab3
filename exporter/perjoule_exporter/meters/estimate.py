"""CPU packages on a machine that shows no energy counter: an estimate from utilisation, and it says so.

Power = idle + utilisation × (max − idle), so that energy is exactly idle × time + (max − idle) ÷ CPUs × busy seconds.
It does not know clocks, instructions, memory, or what other guests of the same host do; figures from it compare
workloads on one machine, and are no measurement.

Default coefficients, per hardware thread: 0.74 W idle and 3.5 W at full load, the averages over the processor
generations of AWS of Cloud Carbon Footprint (``MIN_WATTS_AVG`` and ``MAX_WATTS_AVG`` of its AWS constants, derived from
SPECpower_ssj2008, https://www.cloudcarbonfootprint.org/docs/methodology/). A generation alone is between 0.47 and 1.7 W
(EPYC Rome) and 3.0 and 8.3 W (Ivy Bridge).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from perjoule.errors import UsageError
from perjoule_exporter.clock import Clock, Moment
from perjoule_exporter.meters import MICRO, Device, DeviceKind, Reading, Status
from perjoule_exporter.meters.procstat import CPU_FOLDER, CPU_INFO, CpuTimes, packages, processor

IDLE_WATTS_PER_THREAD = 0.74
MAX_WATTS_PER_THREAD = 3.5

_AVERAGE_SECONDS = 1.0
"""Average power is taken over at least this: the kernel's 10 ms ticks make shorter intervals jump."""


_MOST_WATTS = 1e6  # no machine draws a megawatt


@dataclass(frozen=True, slots=True)
class EstimateSettings:
    """Watts of the whole machine, all packages together; None takes the default per hardware thread."""

    idle_watts: float | None = None
    max_watts: float | None = None

    def resolved(self, threads: int) -> tuple[float, float]:
        """Return (idle, max) watts for a machine of ``threads`` hardware threads.

        Raises:
            UsageError: a negative or unlimited power, or an idle power above the highest.
        """
        idle = IDLE_WATTS_PER_THREAD * threads if self.idle_watts is None else self.idle_watts
        most = MAX_WATTS_PER_THREAD * threads if self.max_watts is None else self.max_watts
        if not (math.isfinite(idle) and math.isfinite(most) and 0 <= idle <= most <= _MOST_WATTS):
            raise UsageError(
                f"estimated power cannot go from {idle:g} W idle to {most:g} W at full load on {threads} hardware "
                "threads: set --estimate.idle-watts and --estimate.max-watts so that 0 <= idle <= max "
                f"<= {_MOST_WATTS:g}"
            )
        return idle, most


@dataclass(slots=True)
class _Package:
    """One package: its CPUs, its coefficients, and what the last readings left."""

    cpus: tuple[int, ...]
    idle_watts: float
    watts_per_busy_cpu: float
    busy_seen: dict[int, float]
    busy_seconds: float = 0.0
    anchor: tuple[float, float] | None = None  # (time, joules) that average power is counted from
    average_watts: float | None = None
    utilization: float | None = None


class EstimateMeter:
    """Every CPU package of this machine."""

    def __init__(
        self,
        settings: EstimateSettings,
        clock: Clock,
        times: CpuTimes | None = None,
        cpu_folder: Path = CPU_FOLDER,
        cpu_info: Path = CPU_INFO,
    ) -> None:
        """Find the packages.

        Raises:
            NoMeterError: there are no CPU times to read.
            UsageError: the settings contradict each other.
        """
        self._clock = clock
        self._times = times or CpuTimes()
        self._started = clock.monotonic()
        found = packages(self._times, cpu_folder)
        threads = sum(len(cpus) for cpus in found.values())
        idle, most = settings.resolved(threads)
        self.watts = (idle, most)
        busy = self._times.busy_seconds()
        self._packages = {
            package: _Package(cpus, idle * len(cpus) / threads, (most - idle) / threads, {c: busy[c] for c in cpus})
            for package, cpus in found.items()
        }
        self._model = processor("model name", cpu_info)

    def devices(self) -> list[Device]:
        """Return the packages in their order."""
        return [
            Device(
                kind=DeviceKind.CPU,
                uuid=f"cpu-{number}",
                index=number,
                method="estimated",
                scope="package",
                name=self._model,
                idle_watts=package.idle_watts,
            )
            for number, package in self._packages.items()
        ]

    def read(self, device: Device) -> Reading:
        """Estimate the energy of one package since the meter was made. The counter moves at every reading."""
        package = self._packages[device.index]
        now = self._clock.now()
        _add_busy(package, self._times.busy_seconds())
        joules = package.idle_watts * (now.monotonic - self._started)
        joules += package.watts_per_busy_cpu * package.busy_seconds
        _average(package, now, joules)
        return Reading(
            energy_microjoules=round(joules * MICRO),
            energy_time=now.wall,
            average_power_watts=package.average_watts,
        )

    def status(self, device: Device) -> Status:
        """Return the utilisation behind the average power."""
        return Status(utilization_ratio=self._packages[device.index].utilization)

    def close(self) -> None:
        """Nothing is held open."""


def _add_busy(package: _Package, busy: Mapping[int, float]) -> None:
    """Add what each CPU was busy since it was last seen; one that is offline adds nothing meanwhile."""
    for cpu in package.cpus:
        seen = busy.get(cpu)
        if seen is not None:
            package.busy_seconds += max(0.0, seen - package.busy_seen.get(cpu, seen))
            package.busy_seen[cpu] = seen


def _average(package: _Package, now: Moment, joules: float) -> None:
    if package.anchor is None:
        package.anchor = (now.monotonic, joules)
    elapsed = now.monotonic - package.anchor[0]
    if elapsed < _AVERAGE_SECONDS:
        return
    package.average_watts = (joules - package.anchor[1]) / elapsed
    swing = package.watts_per_busy_cpu * len(package.cpus)
    package.utilization = min(1.0, (package.average_watts - package.idle_watts) / swing) if swing else None
    package.anchor = (now.monotonic, joules)
