"""What all families of one scrape are made from: the devices by kind, each with its labels, and the factors.

Labels are made once for each device and shared by all of its samples: nobody may change them.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from perjoule_exporter.intensity import Factors
from perjoule_exporter.meters import Device, DeviceKind
from perjoule_exporter.view import DeviceView, Measured

Labels = dict[str, str]


@dataclass(frozen=True, slots=True)
class Shown:
    """One device and the labels of its series. ``measured`` is None while it does not answer."""

    labels: Labels
    view: DeviceView
    measured: Measured | None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One scrape's picture. ``factors`` is a function, so that a fault in it costs those alone who ask."""

    gpus: tuple[Shown, ...]
    packages: tuple[Shown, ...]
    zones: tuple[Shown, ...]
    factors: Callable[[], Factors]


def snapshot(views: Iterable[DeviceView], factors: Callable[[], Factors]) -> Snapshot:
    """Return the picture of these devices."""
    views = tuple(views)

    def of(kind: DeviceKind, labels: Callable[[Device], Labels]) -> tuple[Shown, ...]:
        return tuple(Shown(labels(view.device), view, view.measured) for view in views if view.device.kind is kind)

    return Snapshot(of(DeviceKind.GPU, _gpu), of(DeviceKind.CPU, _cpu), of(DeviceKind.CPU_ZONE, _cpu), factors)


def _gpu(device: Device) -> Labels:
    return {"gpu": str(device.index), "uuid": device.uuid}


def _cpu(device: Device) -> Labels:
    return {"package": str(device.index), "zone": device.scope}
