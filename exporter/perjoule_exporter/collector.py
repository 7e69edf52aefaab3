"""From the frozen views of the devices to Prometheus families, built fresh at every scrape.

Names, types, labels and help come from ``perjoule.metrics``; here stands only which value goes into which row. A value
that is unknown is no sample, and a family without a sample is not exposed. Nothing here can touch a device, so that no
device can cost the scrape. What it does not know is how a value came about.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import accumulate
from types import MappingProxyType

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from perjoule import __version__
from perjoule.metrics import CATALOGUE, Kind, Program
from perjoule_exporter.intensity import Factors
from perjoule_exporter.meters import DeviceKind
from perjoule_exporter.view import DeviceView, Measured

Views = Callable[[], Iterable[DeviceView]]
Samples = Iterable[tuple[tuple[str, ...], float | None]]

_GPU_VALUES: Mapping[str, Callable[[Measured], float | None]] = MappingProxyType(
    {
        "gpu_energy_joules_total": lambda m: m.energy_joules,
        "gpu_energy_timestamp_seconds": lambda m: m.energy_time,
        "gpu_energy_integrated_joules_total": lambda m: m.integrated_joules,
        "gpu_energy_update_interval_seconds": lambda m: m.update_interval_seconds,
        "gpu_energy_resets_total": lambda m: m.resets,
        "gpu_power_watts": lambda m: m.power_watts,
        "gpu_power_average_watts": lambda m: m.average_power_watts,
        "gpu_power_max_watts": lambda m: m.max_power_watts,
        "gpu_power_min_watts": lambda m: m.min_power_watts,
        "gpu_power_limit_watts": lambda m: m.status.limit_watts,
        "gpu_utilization_ratio": lambda m: m.status.utilization_ratio,
        "gpu_memory_used_bytes": lambda m: m.status.memory_used_bytes,
        "gpu_memory_total_bytes": lambda m: m.status.memory_total_bytes,
        "gpu_temperature_celsius": lambda m: m.status.temperature_celsius,
        "gpu_emissions_grams_total": lambda m: m.emissions_grams,
        "gpu_embodied_emissions_grams_total": lambda m: m.embodied_grams,
    }
)
"""One sample a GPU, and only while the GPU answers."""

_GPU_MAPS: Mapping[str, Callable[[Measured], Mapping[str, float]]] = MappingProxyType(
    {
        "gpu_clock_hertz": lambda m: m.status.clocks_hertz,
        "gpu_throttled_seconds_total": lambda m: m.throttled_seconds,
    }
)
"""One sample for each key, which is the value of the last label."""

_CPU_VALUES: Mapping[str, Callable[[Measured], float | None]] = MappingProxyType(
    {
        "cpu_energy_joules_total": lambda m: m.energy_joules,
        "cpu_energy_timestamp_seconds": lambda m: m.energy_time,
        "cpu_emissions_grams_total": lambda m: m.emissions_grams,
    }
)


class EnergyCollector(Collector):
    """All rows of the catalogue that the exporter exposes."""

    def __init__(self, views: Views, factors: Callable[[], Factors]) -> None:
        self._views = views
        self._factors = factors

    def describe(self) -> Iterator[Family]:
        """Return every family without samples, so that registering reads nothing."""
        return (_family(name, ()) for name, row in CATALOGUE.items() if row.program is not Program.SERVER)

    def collect(self) -> Iterator[Family]:
        """Return the families that have something to say now, from one snapshot of all devices."""
        views = tuple(self._views())
        gpus = [view for view in views if view.device.kind is DeviceKind.GPU]
        cpus = [view for view in views if view.device.kind is DeviceKind.CPU]
        zones = [view for view in views if view.device.kind is DeviceKind.CPU_ZONE]
        factors = _factor_families(self._factors())
        for family in (*_gpu_families(gpus), *_cpu_families(cpus, zones), *factors, _build_info()):
            if family.samples:
                yield family


def registry(views: Views, factors: Callable[[], Factors]) -> CollectorRegistry:
    """Return a registry with the exporter's families and its own process's, and nothing else."""
    made = CollectorRegistry(auto_describe=False)
    made.register(EnergyCollector(views, factors))
    ProcessCollector(registry=made)
    return made


def _gpu_families(views: list[DeviceView]) -> Iterator[Family]:
    alive = [(_gpu(view), view.measured) for view in views if view.measured is not None]
    for name, value in _GPU_VALUES.items():
        yield _family(name, ((labels, value(measured)) for labels, measured in alive))
    for name, values in _GPU_MAPS.items():
        yield _family(name, (((*ids, key), value) for ids, m in alive for key, value in values(m).items()))
    yield _family("gpu_info", ((_gpu_identity(view), 1) for view in views))
    slices = ((_gpu(view), part) for view in views for part in view.device.slices)
    yield _family(
        "gpu_mig_info",
        (((*gpu, s.uuid, s.name, str(s.gpu_instance), str(s.compute_instance)), 1) for gpu, s in slices),
    )
    yield _family("gpu_up", ((_gpu(view), view.measured is not None) for view in views))
    yield _family("gpu_sample_age_seconds", ((_gpu(view), view.age_seconds) for view in views))
    yield _family("gpu_samples_total", (((*_gpu(view), key), n) for view in views for key, n in view.samples.items()))
    yield _read_durations("gpu_read_duration_seconds", views)


def _cpu_families(views: list[DeviceView], overlapping: list[DeviceView]) -> Iterator[Family]:
    alive = [(_cpu(view), view.measured) for view in views if view.measured is not None]
    for name, value in _CPU_VALUES.items():
        yield _family(name, ((labels, value(measured)) for labels, measured in alive))
    yield _family("cpu_info", (((*_cpu(view), view.device.method), 1) for view in views))
    parts = [(_cpu(view), view.measured) for view in overlapping if view.measured is not None]
    yield _family("cpu_zone_energy_joules_total", ((labels, measured.energy_joules) for labels, measured in parts))


def _factor_families(factors: Factors) -> Iterator[Family]:
    if factors.intensity is not None:
        labels = (factors.intensity.zone, factors.intensity.provider, factors.intensity.basis)
        yield _family("grid_carbon_intensity_grams_per_kwh", [(labels, factors.intensity.grams_per_kwh)])
        yield _family("grid_carbon_intensity_timestamp_seconds", [(labels, factors.intensity.valid_at)])
    yield _family("datacenter_pue_ratio", [((), factors.pue)])
    if factors.price is not None:
        yield _family("electricity_price_per_kwh", [((factors.price.currency,), factors.price.per_kwh)])


def _build_info() -> Family:
    return _family("perjoule_build_info", [((__version__, Program.EXPORTER.value), 1)])


def _family(name: str, samples: Samples) -> Family:
    row = CATALOGUE[name]
    if row.kind is Kind.HISTOGRAM:
        return HistogramMetricFamily(name, row.help, labels=row.labels)
    kind = CounterMetricFamily if row.kind is Kind.COUNTER else GaugeMetricFamily
    family = kind(name, row.help, labels=row.labels)
    for labels, value in samples:
        if value is not None:
            family.add_metric(labels, float(value))
    return family


def _read_durations(name: str, views: list[DeviceView]) -> Family:
    row = CATALOGUE[name]
    family = HistogramMetricFamily(name, row.help, labels=row.labels)
    bounds = [*map(floatToGoString, row.buckets), "+Inf"]
    for view in views:
        counts = map(float, accumulate(view.read_bucket_counts))
        # The sum must be given: with None the client library drops sum and count in silence.
        family.add_metric(_gpu(view), list(zip(bounds, counts, strict=True)), sum_value=view.read_seconds_sum)
    return family


def _gpu(view: DeviceView) -> tuple[str, str]:
    return str(view.device.index), view.device.uuid


def _gpu_identity(view: DeviceView) -> tuple[str, ...]:
    device = view.device
    return (*_gpu(view), device.name, device.vendor, device.driver, device.pci_bus_id, device.method, device.scope)


def _cpu(view: DeviceView) -> tuple[str, str]:
    return str(view.device.index), view.device.scope
