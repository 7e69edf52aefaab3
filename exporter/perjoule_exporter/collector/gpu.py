"""The families of GPUs. Figures only while the GPU answers; identity and the health of its readings always."""

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from prometheus_client.metrics_core import Metric as Family

from perjoule_exporter.collector.family import Distribution, Value, family, histogram, of_each, of_measured
from perjoule_exporter.collector.snapshot import Labels, Shown, Snapshot

_ENERGY: Mapping[str, Value] = MappingProxyType(
    {
        "gpu_energy_joules_total": lambda m: m.energy_joules,
        "gpu_energy_timestamp_seconds": lambda m: m.energy_time,
        "gpu_energy_integrated_joules_total": lambda m: m.integrated_joules,
        "gpu_energy_update_interval_seconds": lambda m: m.update_interval_seconds,
        "gpu_energy_resets_total": lambda m: m.resets,
    }
)
_POWER: Mapping[str, Value] = MappingProxyType(
    {
        "gpu_power_watts": lambda m: m.power_watts,
        "gpu_power_average_watts": lambda m: m.average_power_watts,
        "gpu_power_max_watts": lambda m: m.max_power_watts,
        "gpu_power_min_watts": lambda m: m.min_power_watts,
    }
)
_STATUS: Mapping[str, Value] = MappingProxyType(
    {
        "gpu_power_limit_watts": lambda m: m.status.limit_watts,
        "gpu_utilization_ratio": lambda m: m.status.utilization_ratio,
        "gpu_memory_used_bytes": lambda m: m.status.memory_used_bytes,
        "gpu_memory_total_bytes": lambda m: m.status.memory_total_bytes,
        "gpu_temperature_celsius": lambda m: m.status.temperature_celsius,
    }
)


def energy(now: Snapshot) -> Iterator[Family]:
    """Joules, their time and their quality, which GPU they are of, and whether it answers."""
    for name, value in _ENERGY.items():
        yield of_measured(name, now.gpus, value)
    yield family("gpu_info", ((_identity(gpu), 1) for gpu in now.gpus))
    yield family("gpu_up", ((gpu.labels, gpu.measured is not None) for gpu in now.gpus))


def power(now: Snapshot) -> Iterator[Family]:
    """Watts."""
    for name, value in _POWER.items():
        yield of_measured(name, now.gpus, value)


def status(now: Snapshot) -> Iterator[Family]:
    """Power limit, utilisation, memory and temperature."""
    for name, value in _STATUS.items():
        yield of_measured(name, now.gpus, value)


def clocks(now: Snapshot) -> Iterator[Family]:
    """Clock frequencies by domain."""
    yield of_each("gpu_clock_hertz", now.gpus, lambda m: m.status.clocks_hertz)


def throttle(now: Snapshot) -> Iterator[Family]:
    """Time that the clocks were held down, by reason."""
    yield of_each("gpu_throttled_seconds_total", now.gpus, lambda m: m.throttled_seconds)


def embodied(now: Snapshot) -> Iterator[Family]:
    """Emissions of the GPUs' manufacture."""
    yield of_measured("gpu_embodied_emissions_grams_total", now.gpus, lambda m: m.embodied_grams)


def health(now: Snapshot) -> Iterator[Family]:
    """How reading goes: ages, outcomes, durations."""
    yield family("gpu_sample_age_seconds", ((gpu.labels, gpu.view.age_seconds) for gpu in now.gpus))
    outcomes = (
        ({**gpu.labels, "outcome": outcome}, number) for gpu in now.gpus for outcome, number in gpu.view.samples.items()
    )
    yield family("gpu_samples_total", outcomes)
    durations = (Distribution(gpu.labels, gpu.view.read_bucket_counts, gpu.view.read_seconds_sum) for gpu in now.gpus)
    yield histogram("gpu_read_duration_seconds", durations)


def mig(now: Snapshot) -> Iterator[Family]:
    """The MIG slices of the GPUs, which have no energy of their own."""
    yield family("gpu_mig_info", ((labels, 1) for gpu in now.gpus for labels in _slices(gpu)))


def _slices(gpu: Shown) -> Iterator[Labels]:
    for part in gpu.view.device.slices:
        yield {
            **gpu.labels,
            "mig_uuid": part.uuid,
            "profile": part.name,
            "gpu_instance": str(part.gpu_instance),
            "compute_instance": str(part.compute_instance),
        }


def _identity(gpu: Shown) -> Labels:
    device = gpu.view.device
    return {
        **gpu.labels,
        "name": device.name,
        "vendor": device.vendor,
        "driver": device.driver,
        "pci_bus_id": device.pci_bus_id,
        "method": device.method,
        "scope": device.scope,
    }
