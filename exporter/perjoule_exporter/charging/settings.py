"""Settings of the span socket and of the ledgers, and how they are written."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from perjoule.errors import UsageError
from perjoule_exporter.meters import Device, DeviceKind

_MOST_WATTS = 10_000.0


@dataclass(frozen=True, slots=True)
class IdleWatts:
    """Watts of devices without work, where they are known beforehand: of some by their names, else of each GPU.

    Else as the device's own method says: an estimate has a constant for it.
    """

    of_gpus: float | None = None
    of_device: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))

    def of(self, device: Device) -> float | None:
        """Return those of a device; None where they are to be learned."""
        of_kind = self.of_gpus if device.kind is DeviceKind.GPU else None
        return self.of_device.get(device.uuid, device.idle_watts if of_kind is None else of_kind)


@dataclass(frozen=True, slots=True)
class SpanSettings:
    """``socket``: the span socket's path, None for the default ones; ``group``: whose members may connect too."""

    socket: Path | None = None
    group: str | None = None


def idle_watts(texts: Sequence[str]) -> IdleWatts:
    """Return what these say, each ``W`` or ``DEVICE=W``.

    Raises:
        UsageError: one is no power, or there are two of one device.
    """
    of_device: dict[str, float] = {}
    for text in texts:
        device, _, watts = text.rpartition("=")
        if device in of_device:
            raise UsageError(f"--ledger.idle-watts {text!r} is a second one for {device or 'all GPUs'}")
        of_device[device] = _watts(watts, text)
    return IdleWatts(of_device.pop("", None), MappingProxyType(of_device))


def _watts(watts: str, text: str) -> float:
    try:
        value = float(watts)
    except ValueError:
        value = math.nan
    if not 0 <= value <= _MOST_WATTS:
        raise UsageError(f"--ledger.idle-watts {text!r} must be W or DEVICE=W, such as 70 or cpu-0=20")
    return value
