"""dcgm-exporter's names beside ours, with its labels and units: its dashboards and tools work unchanged.

Names, units and labels are those of https://github.com/NVIDIA/dcgm-exporter (``etc/default-counters.csv`` and
``internal/pkg/rendermetrics``, 4.8). Three things differ on purpose: a MIG board has one series and not one for each
slice, energy never goes back, and what is unknown is absent. ``docs/dcgm.md`` says more. It does not know fields that
no meter reads.
"""

import math
import os
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from prometheus_client.metrics_core import Metric as Family
from prometheus_client.samples import Sample

from perjoule_exporter.collector.family import Value
from perjoule_exporter.collector.snapshot import Labels, Shown, Snapshot
from perjoule_exporter.view import Measured

_MIB = 1 << 20
_MEGA = 1e6


@dataclass(frozen=True, slots=True)
class _Field:
    """One field: its help, its value in dcgm-exporter's unit, and its type.

    Its counters are untyped here: client libraries, and OpenMetrics itself, know no counter without ``_total``.
    """

    help: str
    value: Value
    kind: str = "gauge"


def _millijoules(measured: Measured) -> float | None:
    return None if measured.energy_joules is None else math.floor(measured.energy_joules * 1000)


def _watts(measured: Measured) -> float | None:
    """NVML's power usage is an average over a second on most boards; where only an instant power is known, that."""
    return measured.power_watts if measured.average_power_watts is None else measured.average_power_watts


def _percent(measured: Measured) -> float | None:
    ratio = measured.status.utilization_ratio
    return None if ratio is None else round(100 * ratio, 9)


def _clock(domain: str) -> Value:
    def megahertz(measured: Measured) -> float | None:
        hertz = measured.status.clocks_hertz.get(domain)
        return None if hertz is None else hertz / _MEGA

    return megahertz


def _total_mib(measured: Measured) -> float | None:
    total = measured.status.memory_total_bytes
    return None if total is None else total / _MIB


def _used_mib(measured: Measured) -> float | None:
    used = measured.status.memory_used_bytes
    return None if used is None else used / _MIB


def _free_mib(measured: Measured) -> float | None:
    total, used = _total_mib(measured), _used_mib(measured)
    return None if total is None or used is None else total - used


FIELDS: Mapping[str, _Field] = MappingProxyType(
    {
        "DCGM_FI_DEV_SM_CLOCK": _Field("SM clock frequency (in MHz).", _clock("sm")),
        "DCGM_FI_DEV_MEM_CLOCK": _Field("Memory clock frequency (in MHz).", _clock("memory")),
        "DCGM_FI_DEV_GPU_TEMP": _Field("GPU temperature (in C).", lambda m: m.status.temperature_celsius),
        "DCGM_FI_DEV_POWER_USAGE": _Field("Power draw (in W).", _watts),
        "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION": _Field(
            "Total energy consumption since the exporter first saw the GPU (in mJ).", _millijoules, "unknown"
        ),
        "DCGM_FI_DEV_ENFORCED_POWER_LIMIT": _Field("Power limit in force (in W).", lambda m: m.status.limit_watts),
        "DCGM_FI_DEV_POWER_MGMT_LIMIT": _Field("Power limit in force (in W).", lambda m: m.status.limit_watts),
        "DCGM_FI_DEV_GPU_UTIL": _Field("GPU utilization (in %).", _percent),
        "DCGM_FI_DEV_FB_TOTAL": _Field("Total framebuffer memory (in MiB).", _total_mib),
        "DCGM_FI_DEV_FB_FREE": _Field("Framebuffer memory free (in MiB).", _free_mib),
        "DCGM_FI_DEV_FB_USED": _Field("Framebuffer memory used (in MiB).", _used_mib),
    }
)
"""By dcgm-exporter's names."""


def families(now: Snapshot) -> Iterator[Family]:
    """The fields that some meter reads, one series for each GPU that answers."""
    host = _host()
    alive = [(_labels(gpu, host), gpu.measured) for gpu in now.gpus if gpu.measured is not None]
    for name, field in FIELDS.items():
        made = Family(name, field.help, field.kind)
        values = ((labels, field.value(measured)) for labels, measured in alive)
        made.samples = [Sample(name, labels, float(value)) for labels, value in values if value is not None]
        yield made


def _host() -> str:
    """Return the host's name as dcgm-exporter finds it: the Kubernetes node where that is told."""
    name = os.environ.get("NODE_NAME") or socket.gethostname()
    return name.encode("utf-8", "replace").decode()  # the environment may hold bytes that are no text


def _labels(gpu: Shown, host: str) -> Labels:
    device = gpu.view.device
    return {
        "gpu": str(device.index),
        "UUID": device.uuid,
        "pci_bus_id": device.pci_bus_id,
        "device": f"nvidia{device.index}",
        "modelName": device.name,
        # dcgm-exporter wrote it so up to 4.8.2 ...
        "Hostname": host,
        # ... and afterwards so: https://github.com/NVIDIA/dcgm-exporter/pull/655
        "hostname": host,
        "DCGM_FI_DRIVER_VERSION": device.driver,
    }
