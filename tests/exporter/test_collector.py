"""From views to families: the catalogue's names, and only what is known."""

import gzip
import subprocess
from collections.abc import Iterable
from dataclasses import fields, replace
from pathlib import Path
from types import MappingProxyType

import pytest
from prometheus_client import generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from perjoule.metrics import CATALOGUE, METHODS, Kind, Program
from perjoule_exporter.collector import registry
from perjoule_exporter.collector.groups import DEFAULT_GROUPS
from perjoule_exporter.intensity import Carbon, CarbonSettings, Factors, Intensity, ProviderState
from perjoule_exporter.meters import THROTTLE_REASONS, Device, DeviceKind, Slice, Status
from perjoule_exporter.price import Price
from perjoule_exporter.processes.owner import IDLE, Owner
from perjoule_exporter.processes.owner import Kind as OwnerKind
from perjoule_exporter.track import OUTCOMES, READ_BUCKETS
from perjoule_exporter.view import Charged, DeviceView, Measured
from tests.exporter.charged import some_charged
from tests.exporter.running import Scrape, StartExporter, request

AVERAGE = Carbon(CarbonSettings(zone="FRA", pue=1.2)).factors()
FACTORS = replace(
    AVERAGE, price=Price(0.25, "EUR"), asked=ProviderState("electricitymaps", answered=False, failure="x")
)
STATUS = Status(700.0, 0.5, 2**30, 2**36, 41.0, MappingProxyType({"sm": 1.1e9}), frozenset())
MEASURED = Measured(
    energy_joules=12.345678,
    energy_time=1.8e9,
    integrated_joules=12.5,
    update_interval_seconds=0.1,
    resets=0,
    power_watts=100.0,
    average_power_watts=101.0,
    max_power_watts=300.0,
    min_power_watts=60.0,
    emissions_grams=0.001,
    embodied_grams=0.002,
    throttled_seconds=MappingProxyType(dict.fromkeys(THROTTLE_REASONS, 0.0)),
    status=STATUS,
    split=MappingProxyType({Owner(OwnerKind.PROCESS, "python", "0123456789ab"): 12_000_000, IDLE: 345_678}),
)
UNKNOWN = replace(
    MEASURED,
    **{field.name: None for field in fields(Measured) if field.name not in {"throttled_seconds", "status"}},
    throttled_seconds=MappingProxyType({}),
    status=Status(),
)
SLICE = Slice("MIG-a", "1g.10gb", 7, 0)
GPU = Device(DeviceKind.GPU, "GPU-a", 3, "counter", "gpu", 'A "board"\\\n', "Vendor", "1.0", "0:0", (SLICE,))
CORE = Device(DeviceKind.CPU_ZONE, "cpu-1-core", 1, "counter", "core")
CPU = Device(DeviceKind.CPU, "cpu-1", 1, "estimated", "package")


def view(device: Device, measured: Measured | None, charged: Charged | None = None) -> DeviceView:
    counts = (1, *[0] * (len(READ_BUCKETS) - 1), 2)
    return DeviceView(device, measured, 0.01, MappingProxyType(dict.fromkeys(OUTCOMES, 3)), counts, 0.25, charged)


def scrape(views: Iterable[DeviceView], factors: Factors = FACTORS) -> Scrape:
    groups = DEFAULT_GROUPS | {"process"}
    return Scrape(generate_latest(registry(lambda: views, lambda: factors, lambda: groups)).decode())


def test_exposed_families_are_the_catalogues() -> None:
    """Every row of the exporter is exposed with its type, labels and help, and nothing else but the process's own."""
    text = scrape([view(GPU, MEASURED, some_charged()), view(CPU, MEASURED), view(CORE, MEASURED)]).text
    exposed = {}
    for family in text_string_to_metric_families(text):
        name = family.name + ("_total" if family.type == "counter" else "")
        if not name.startswith("process_"):
            labels = {label for sample in family.samples for label in sample.labels} - {"le"}
            exposed[name] = (Kind(family.type), labels, family.documentation)
    rows = [row for row in CATALOGUE.values() if row.program is not Program.SERVER]
    assert exposed == {row.name: (row.kind, set(row.labels), row.help) for row in rows}
    assert "_created" not in text
    assert "python_" not in text
    assert "process_start_time_seconds" in text


def test_values_go_to_their_rows() -> None:
    """Each figure of a view is found under its name and labels."""
    found = scrape([view(GPU, MEASURED), view(CPU, MEASURED)])
    gpu = {"gpu": "3", "uuid": "GPU-a"}
    assert found.value("gpu_energy_joules_total", **gpu) == 12.345678
    assert found.value("gpu_energy_timestamp_seconds", **gpu) == 1.8e9
    assert found.value("gpu_clock_hertz", domain="sm", **gpu) == 1.1e9
    assert found.value("gpu_samples_total", outcome="lost", **gpu) == 3
    assert found.value("gpu_up", **gpu) == 1
    owner = {"kind": "process", "command": "python", "container": "0123456789ab", "pod_uid": "", "unit": ""}
    assert found.value("gpu_process_energy_joules_total", **gpu, **owner) == 12
    assert found.value("gpu_process_energy_joules_total", **gpu, kind="idle", command="") == 0.345678
    assert found.value("cpu_energy_joules_total", package="1", zone="package") == 12.345678
    assert found.value("cpu_info", package="1", zone="package", method="estimated") == 1
    factor = {"zone": "FRA", "provider": "static", "basis": "average"}
    assert found.value("grid_carbon_intensity_grams_per_kwh", **factor) == 56.039
    assert found.value("grid_carbon_intensity_timestamp_seconds", **factor) == 1704067200  # 2024-01-01T00:00:00Z
    assert found.value("datacenter_pue_ratio") == 1.2
    assert found.value("electricity_price_per_kwh", currency="EUR") == 0.25


def test_the_intensity_in_force_is_one_series() -> None:
    """A live value has its own zone, provider, basis and time; the average beside it has no series."""
    live = Intensity("CAISO_NORTH", "watttime", "marginal", 400.0, 1.8e9, estimated=True)
    found = scrape([], replace(FACTORS, intensity=live))
    labels = {"zone": "CAISO_NORTH", "provider": "watttime", "basis": "marginal"}
    assert found.value("grid_carbon_intensity_grams_per_kwh") == 400.0
    assert found.value("grid_carbon_intensity_grams_per_kwh", **labels) == 400.0
    assert found.value("grid_carbon_intensity_timestamp_seconds", **labels) == 1.8e9


@pytest.mark.parametrize(("answered", "up"), [(True, 1), (False, 0), (None, None)])
def test_a_provider_that_was_asked_has_its_state(*, answered: bool | None, up: int | None) -> None:
    """1, 0, and nothing before it was asked; with the average alone there is none."""
    found = scrape([], replace(FACTORS, asked=ProviderState("uk", answered=answered, failure=None)))
    assert found.value("grid_carbon_provider_up", provider="uk") == up
    assert scrape([], AVERAGE).value("grid_carbon_provider_up") is None


def test_no_intensity_in_force_no_series() -> None:
    """A live value that is too old and that nothing may stand in for leaves nothing."""
    found = scrape([], replace(FACTORS, intensity=None))
    assert found.value("grid_carbon_intensity_grams_per_kwh") is None
    assert found.value("datacenter_pue_ratio") == 1.2


def test_histograms_are_cumulative_and_have_sum_and_count() -> None:
    """One reading in the first bucket, two beyond the last."""
    found = scrape([view(GPU, MEASURED)])
    buckets = [s.value for s in found.samples if s.name == "gpu_read_duration_seconds_bucket"]
    assert buckets == [1.0] * len(READ_BUCKETS) + [3.0]
    assert found.value("gpu_read_duration_seconds_count") == 3
    assert found.value("gpu_read_duration_seconds_sum") == 0.25


def test_what_is_unknown_has_no_family_at_all() -> None:
    """A GPU that answers and tells nothing is up, and nothing else is said of it, not even HELP lines."""
    found = scrape([view(replace(GPU, slices=()), UNKNOWN)], Factors(None, None, 1.0))
    health = {"gpu_up", "gpu_info", "gpu_sample_age_seconds", "gpu_samples_total", "gpu_read_duration_seconds"}
    families = {line.split()[2] for line in found.text.splitlines() if line.startswith("# HELP")}
    assert {name for name in families if not name.startswith("process_")} == health | {
        "datacenter_pue_ratio",
        "gpu_exporter_collector_success",
        "perjoule_build_info",
    }


def test_a_device_that_is_down_shows_only_that() -> None:
    """gpu_up 0; a CPU package just disappears."""
    found = scrape([view(GPU, None), view(CPU, None)])
    assert found.value("gpu_up") == 0
    assert not {"gpu_energy_joules_total", "gpu_power_watts", "cpu_energy_joules_total"} & found.names()


def test_methods_are_the_vocabularys() -> None:
    """The labels that the meters give are those that everybody else knows."""
    assert {"counter", "integrated", "estimated", "simulated"} <= set(METHODS)


def test_registering_reads_no_device() -> None:
    """The registry asks for names at registration, not for values."""

    def views() -> Iterable[DeviceView]:
        pytest.fail("a device was read")

    registry(views, lambda: FACTORS)


def test_openmetrics_parses_strictly() -> None:
    """The strict parser of the other format takes it too, odd characters in a board's name included."""
    from prometheus_client.openmetrics.exposition import generate_latest as generate

    text = generate(registry(lambda: [view(GPU, MEASURED), view(CPU, MEASURED)], lambda: FACTORS)).decode()  # type: ignore[no-untyped-call] # not typed there
    families = {family.name: family for family in openmetrics(text)}  # type: ignore[no-untyped-call] # as above
    assert families["gpu_energy_joules"].samples[0].value == 12.345678
    assert families["gpu_info"].samples[0].labels["name"] == 'A "board"\\\n'


@pytest.mark.prometheus
@pytest.mark.parametrize("meter", ["simulated", "estimate"])
def test_promtool_accepts_what_is_exposed(start_exporter: StartExporter, promtool: Path, meter: str) -> None:
    """``promtool check metrics`` has nothing to say about the running program."""
    exporter = start_exporter("--meter", meter, "--carbon.zone", "FRA").ready()
    reply = request(f"{exporter.url}/metrics", Accept_Encoding="gzip")
    body = gzip.decompress(reply.body)
    check = subprocess.run([promtool, "check", "metrics"], input=body, capture_output=True, check=False, timeout=20)
    assert (check.returncode, check.stdout + check.stderr) == (0, b"")


@pytest.mark.prometheus
def test_promtool_accepts_every_family(promtool: Path) -> None:
    """The same for a board that tells everything."""
    body = scrape([view(GPU, MEASURED), view(CPU, MEASURED)]).text.encode()
    check = subprocess.run([promtool, "check", "metrics"], input=body, capture_output=True, check=False, timeout=20)
    assert (check.returncode, check.stdout + check.stderr) == (0, b"")
