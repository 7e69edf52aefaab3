"""MIG: the slices that a board is cut into, as information. Nobody counts their energy: they repeat the board's.

It does not know slices that a container hides, nor which process runs on which.
"""

from collections.abc import Iterator

from perjoule.errors import DeviceLostError
from perjoule_exporter.meters import Slice
from perjoule_exporter.meters.nvml.driver import Handle


def slices_of(board: Handle) -> tuple[Slice, ...]:
    """Return the slices of a board; none where MIG is off or unknown.

    Raises:
        DeviceLostError: the GPU does not answer.
    """
    mode = board.ask("nvmlDeviceGetMigMode")
    if mode is None or mode[0] == 0:
        return ()
    return tuple(_found(board, board.ask("nvmlDeviceGetMaxMigDeviceCount") or 0))


def _found(board: Handle, places: int) -> Iterator[Slice]:
    for place in range(places):
        raw = board.ask("nvmlDeviceGetMigDeviceHandleByIndex", place)
        if raw is None:
            continue
        try:
            found = _slice(Handle(raw, f"MIG slice {place} of {board.name}"))
        except DeviceLostError:  # taken down just now; whether the board is lost, its next reading says
            continue
        if found is not None:
            yield found


def _slice(handle: Handle) -> Slice | None:
    uuid = handle.text("nvmlDeviceGetUUID")
    gpu_instance = handle.ask("nvmlDeviceGetGpuInstanceId")
    compute_instance = handle.ask("nvmlDeviceGetComputeInstanceId")
    if not uuid or gpu_instance is None or compute_instance is None:
        return None
    return Slice(uuid, handle.text("nvmlDeviceGetName"), gpu_instance, compute_instance)
