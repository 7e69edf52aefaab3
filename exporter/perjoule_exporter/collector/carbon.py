"""Grams of CO2e as energy is used, and the factors in force: intensity, PUE, and the price beside them."""

from collections.abc import Iterator

from prometheus_client.metrics_core import Metric as Family

from perjoule_exporter.collector.family import family, of_measured
from perjoule_exporter.collector.snapshot import Snapshot


def families(now: Snapshot) -> Iterator[Family]:
    """Emissions of GPUs and CPUs, and the factors in force."""
    yield of_measured("gpu_emissions_grams_total", now.gpus, lambda m: m.emissions_grams)
    yield of_measured("cpu_emissions_grams_total", now.packages, lambda m: m.emissions_grams)
    factors = now.factors()
    intensity, price = factors.intensity, factors.price
    if intensity is not None:
        labels = {"zone": intensity.zone, "provider": intensity.provider, "basis": str(intensity.basis)}
        yield family("grid_carbon_intensity_grams_per_kwh", [(labels, intensity.grams_per_kwh)])
        yield family("grid_carbon_intensity_timestamp_seconds", [(labels, intensity.valid_at)])
    if factors.asked is not None and factors.asked.answered is not None:
        yield family("grid_carbon_provider_up", [({"provider": factors.asked.provider}, factors.asked.answered)])
    yield family("datacenter_pue_ratio", [({}, factors.pue)])
    if price is not None:
        yield family("electricity_price_per_kwh", [({"currency": price.currency}, price.per_kwh)])
