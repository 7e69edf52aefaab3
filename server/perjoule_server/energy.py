"""Which device computes, and what the exporter calls it.

The name in spans and in the server's metrics is the exporter's own spelling, so that energy and busy time join: what
``--energy-device`` says, else a GPU's uuid as NVML writes it. Any other device has the name that the exporter suggests,
the simulated GPU's if it has one; until one does, ``cpu-0``. Knows nothing of joules: those are the exporter's.
"""

from collections.abc import Callable
from dataclasses import dataclass

from perjoule.errors import UsageError

CPU = "cpu-0"
"""The exporter's name of the first CPU package."""


@dataclass(frozen=True, slots=True)
class Device:
    """Where models run.

    Attributes:
        torch: what torch calls it: ``cpu``, ``cuda:0``.
        name: what the exporter calls it; None for what it suggests.
    """

    torch: str
    name: str | None


def resolve(wanted: str, energy_device: str | None) -> Device:
    """Return the device for ``auto``, ``cpu``, ``cuda`` or ``cuda:<n>``.

    Raises:
        UsageError: torch sees no such GPU.
    """
    import torch

    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if wanted == "cpu" or (wanted == "auto" and gpus == 0):
        return Device("cpu", energy_device)
    index = int(wanted.partition(":")[2] or 0)
    if index >= gpus:
        raise UsageError(f"--device {wanted}: torch {torch.__version__} sees {gpus} GPUs; use --device cpu or auto")
    return Device(f"cuda:{index}", energy_device or f"GPU-{torch.cuda.get_device_properties(index).uuid}")


def synchronizer(device: Device) -> Callable[[], None]:
    """Return what waits until the device has done all that it was asked for; a CPU has, when it returns."""
    if not device.torch.startswith("cuda"):
        return lambda: None
    import torch

    return lambda: torch.cuda.synchronize(device.torch)


def releaser(device: Device) -> Callable[[], None]:
    """Return what gives back the memory that torch keeps for later; on a CPU it keeps none."""
    if not device.torch.startswith("cuda"):
        return lambda: None
    import torch

    return torch.cuda.empty_cache
