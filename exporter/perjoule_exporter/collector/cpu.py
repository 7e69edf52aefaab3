"""The families of CPU packages and of the zones that overlap them."""

from collections.abc import Iterator

from prometheus_client.metrics_core import Metric as Family

from perjoule_exporter.collector.family import family, of_measured
from perjoule_exporter.collector.snapshot import Snapshot


def energy(now: Snapshot) -> Iterator[Family]:
    """Joules of packages, when they are of, and by which method; overlapping zones apart."""
    yield of_measured("cpu_energy_joules_total", now.packages, lambda m: m.energy_joules)
    yield of_measured("cpu_energy_timestamp_seconds", now.packages, lambda m: m.energy_time)
    methods = (({**package.labels, "method": package.view.device.method}, 1) for package in now.packages)
    yield family("cpu_info", methods)
    yield of_measured("cpu_zone_energy_joules_total", now.zones, lambda m: m.energy_joules)
