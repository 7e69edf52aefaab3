"""Who uses a board: utilisation of its SMs by process since the last look, and memory.

The driver samples utilisation a few times a second and keeps some seconds of it. A process without a sample has no
known utilisation, which may be none at all. What it does not know is power: two processes with one utilisation may draw
differently. Pids are those of the host's namespace, or of the container's when the exporter runs in one.
"""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from perjoule_exporter.meters import ProcessUse
from perjoule_exporter.meters.nvml.driver import Handle

_UTILIZATION = "nvmlDeviceGetProcessUtilization"
_RUNNING = (  # each kind by its newest call, then by that of drivers before 510
    ("nvmlDeviceGetComputeRunningProcesses_v3", "nvmlDeviceGetComputeRunningProcesses_v2"),
    ("nvmlDeviceGetGraphicsRunningProcesses_v3", "nvmlDeviceGetGraphicsRunningProcesses_v2"),
)


class ProcessWatch:
    """Remembers up to when utilisation was read."""

    def __init__(self) -> None:
        self._newest = 0

    def read(self, board: Handle) -> tuple[ProcessUse, ...] | None:
        """Return the processes that run on the board or have run since the last call; None where nobody tells.

        Raises:
            DeviceLostError: the GPU does not answer.
        """
        ratios = self._ratios(board)
        memory = _memory(board)
        if not board.has(_UTILIZATION) and memory is None:
            return None
        pids = sorted({*ratios, *(memory or {})})
        return tuple(ProcessUse(pid, ratios.get(pid), (memory or {}).get(pid)) for pid in pids)

    def _ratios(self, board: Handle) -> dict[int, float]:
        percents: dict[int, list[int]] = defaultdict(list)
        newest = self._newest
        for sample in board.ask(_UTILIZATION, self._newest) or ():
            # Drivers were seen to give samples that are older than asked for, and ratios above one.
            if sample.timeStamp > self._newest and sample.smUtil <= 100:  # noqa: PLR2004 (percent)
                percents[sample.pid].append(sample.smUtil)
                newest = max(newest, sample.timeStamp)
        self._newest = newest
        # Who did nothing in a sampling period has no sample of it, so the mean is over the periods that anybody has.
        periods = max((len(values) for values in percents.values()), default=0)
        return {pid: sum(values) / periods / 100 for pid, values in percents.items()}


def _memory(board: Handle) -> dict[int, int | None] | None:
    """Return the bytes of each process; a process that draws and computes is in both lists, with the same bytes."""
    lists = [entries for entries in (_running(board, calls) for calls in _RUNNING) if entries is not None]
    if not lists:
        return None
    parts: dict[tuple[int, int, int], int | None] = {}
    for entry in (entry for entries in lists for entry in entries):
        key = (entry.pid, entry.gpuInstanceId or 0, entry.computeInstanceId or 0)
        parts[key] = _larger(parts.get(key), entry.usedGpuMemory)
    total: dict[int, int | None] = {}
    for (pid, _, _), size in parts.items():
        total[pid] = size if total.get(pid) is None else (total[pid] or 0) + (size or 0)
    return total


def _running(board: Handle, calls: Iterable[str]) -> Iterable[Any] | None:
    for call in calls:
        entries = board.ask(call)
        if entries is not None:
            return list(entries)
    return None


def _larger(one: int | None, other: int | None) -> int | None:
    return max((size for size in (one, other) if size is not None), default=None)
