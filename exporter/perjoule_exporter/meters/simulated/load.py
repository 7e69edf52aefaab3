"""The load of the node's CPUs, which drives a simulated board that has no power curve of its own."""

from perjoule_exporter.meters.procstat import CpuTimes


class NodeLoad:
    """The utilisation of the node's CPUs as a load."""

    def __init__(self, times: CpuTimes | None = None) -> None:
        self._times = times or CpuTimes()
        self._busy = dict(self._times.busy_seconds())

    def __call__(self, start: float, end: float) -> float:
        """Return the mean utilisation since the call before, over all CPUs."""
        busy = dict(self._times.busy_seconds())
        spent = sum(max(0.0, seconds - self._busy.get(cpu, seconds)) for cpu, seconds in busy.items())
        self._busy = busy
        return min(1.0, spent / (len(busy) * (end - start))) if end > start and busy else 0.0
