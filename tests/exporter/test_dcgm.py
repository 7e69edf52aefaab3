"""dcgm-exporter's names: its labels and units, and that what was written for it works on ours."""

import re
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import pytest

from perjoule_exporter.collector import registry
from perjoule_exporter.collector.dcgm import FIELDS
from perjoule_exporter.exposition import openmetrics, plain
from perjoule_exporter.meters import Device, DeviceKind, Slice, Status
from perjoule_exporter.view import DeviceView, Measured
from tests.exporter.driver import FakeDriver
from tests.exporter.running import Scrape, StartExporter, request, wait_until
from tests.exporter.test_collector import FACTORS, MEASURED, UNKNOWN, view
from tests.integration.stack import Stack, free_port, wait_for

GPU = Device(
    DeviceKind.GPU, "GPU-a", 3, "counter", "gpu", "NVIDIA H100", "NVIDIA", "550.54.15", "00000000:01:00.0",
    (Slice("MIG-a", "1g.10gb", 7, 0), Slice("MIG-b", "1g.10gb", 8, 0)),
)  # fmt: skip
FULL = replace(
    MEASURED,
    status=Status(700.0, 0.29, 2**30, 2**36, 41.0, MappingProxyType({"sm": 1.98e9, "memory": 2.619e9}), frozenset()),
)
LABELS = {
    "gpu": "3",
    "UUID": "GPU-a",
    "pci_bus_id": "00000000:01:00.0",
    "device": "nvidia3",
    "modelName": "NVIDIA H100",
    "Hostname": "node-7",
    "hostname": "node-7",
    "DCGM_FI_DRIVER_VERSION": "550.54.15",
}
VALUES = {
    "DCGM_FI_DEV_SM_CLOCK": 1980,
    "DCGM_FI_DEV_MEM_CLOCK": 2619,
    "DCGM_FI_DEV_GPU_TEMP": 41,
    "DCGM_FI_DEV_POWER_USAGE": 101,
    "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION": 12345,
    "DCGM_FI_DEV_ENFORCED_POWER_LIMIT": 700,
    "DCGM_FI_DEV_POWER_MGMT_LIMIT": 700,
    "DCGM_FI_DEV_GPU_UTIL": 29,
    "DCGM_FI_DEV_FB_TOTAL": 65536,
    "DCGM_FI_DEV_FB_FREE": 64512,
    "DCGM_FI_DEV_FB_USED": 1024,
}


@pytest.fixture(autouse=True)
def _node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NODE_NAME", "node-7")


def scrape(*views: DeviceView) -> Scrape:
    return Scrape(plain(registry(lambda: views, lambda: FACTORS, lambda: frozenset({"dcgm"}))).decode())


def test_labels_and_units_are_dcgm_exporters() -> None:
    """Every series has exactly its labels, the host in both spellings, and its units; a MIG board has one series."""
    found = [s for s in scrape(view(GPU, FULL)).samples if s.name.startswith("DCGM_")]
    assert {s.name: s.value for s in found} == VALUES
    assert len(found) == len(VALUES) == len(FIELDS)
    assert all(s.labels == LABELS for s in found)


@pytest.mark.parametrize("measured", [None, UNKNOWN], ids=["does not answer", "tells nothing"])
def test_what_is_unknown_is_absent(measured: Measured | None) -> None:
    """Neither 0 nor blank: no series, and no HELP."""
    assert "DCGM_" not in scrape(view(GPU, measured)).text


def test_power_without_an_average_is_the_instant_one() -> None:
    """And memory that is known in part shows that part."""
    status = Status(memory_used_bytes=2**30)
    found = scrape(view(GPU, replace(FULL, average_power_watts=None, status=status)))
    assert found.value("DCGM_FI_DEV_POWER_USAGE") == 100
    assert found.value("DCGM_FI_DEV_FB_USED") == 1024
    assert not {"DCGM_FI_DEV_FB_FREE", "DCGM_FI_DEV_FB_TOTAL", "DCGM_FI_DEV_GPU_UTIL"} & found.names()


def test_energy_keeps_its_name_in_both_formats() -> None:
    """A counter would get ``_total`` from client libraries: it is untyped, and unknown in OpenMetrics."""
    made = registry(lambda: [view(GPU, FULL)], lambda: FACTORS, lambda: frozenset({"dcgm"}))
    name = "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION"
    for text, kind in ((plain(made).decode(), "untyped"), (openmetrics(made).decode(), "unknown")):
        assert f"# TYPE {name} {kind}\n" in text
        assert f"\n{name}{{" in text
        assert f"{name}_total" not in text


def test_without_a_node_name_the_host_is_the_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    """As dcgm-exporter's."""
    monkeypatch.delenv("NODE_NAME")
    monkeypatch.setattr("socket.gethostname", lambda: "machine")
    assert scrape(view(GPU, FULL)).value("DCGM_FI_DEV_GPU_TEMP", Hostname="machine", hostname="machine") == 41


def test_a_node_name_that_is_no_text_costs_no_scrape(monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be written is replaced."""
    monkeypatch.setenv("NODE_NAME", "node-\udcff")
    assert scrape(view(GPU, FULL)).value("DCGM_FI_DEV_GPU_TEMP", hostname="node-?") == 41


def test_the_documentation_names_every_series() -> None:
    """docs/dcgm.md has a row for each, and none for what is not there."""
    text = (Path(__file__).resolve().parents[2] / "docs" / "dcgm.md").read_text(encoding="utf-8")
    table = "\n".join(line for line in text.splitlines() if line.startswith("| `DCGM_"))
    assert set(re.findall(r"`(DCGM_\w+)`", table)) == set(FIELDS)


PANELS = {
    "GPU Temperature": 'DCGM_FI_DEV_GPU_TEMP{instance=~"$instance", gpu=~"$gpu"}',
    "GPU Avg. Temp": 'avg(DCGM_FI_DEV_GPU_TEMP{instance=~"$instance", gpu=~"$gpu"})',
    "GPU Power Usage": 'DCGM_FI_DEV_POWER_USAGE{instance=~"$instance", gpu=~"$gpu"}',
    "GPU Power Total": 'sum(DCGM_FI_DEV_POWER_USAGE{instance=~"$instance", gpu=~"$gpu"})',
    "GPU SM Clocks": 'DCGM_FI_DEV_SM_CLOCK{instance=~"$instance", gpu=~"$gpu"} * 1000000',
    "GPU Utilization": 'DCGM_FI_DEV_GPU_UTIL{instance=~"$instance", gpu=~"$gpu"}',
    "GPU Framebuffer Mem Used": 'DCGM_FI_DEV_FB_USED{instance=~"$instance", gpu=~"$gpu"}',
}
"""The queries of dcgm-exporter's ``grafana/dcgm-exporter-dashboard.json`` (12239), but for tensor cores."""


@pytest.fixture
def two_gpus(start_exporter: StartExporter, driver: FakeDriver) -> str:
    """URL of an exporter of two GPUs with dcgm's names."""
    driver.set(gpus=2)
    return start_exporter("--meter", "nvml", "--compat.dcgm", environment=driver.environment).ready().url


@pytest.fixture
def prometheus(two_gpus: str, prometheus_binary: Path, tmp_path: Path) -> Iterator[Stack]:
    """A Prometheus that scrapes it once a second."""
    target, address = two_gpus.removeprefix("http://"), f"127.0.0.1:{free_port()}"
    config, log = tmp_path / "prometheus.yml", tmp_path / "prometheus.log"
    config.write_text(
        "global: {scrape_interval: 1s}\n"
        f"scrape_configs: [{{job_name: dcgm-exporter, static_configs: [{{targets: ['{target}']}}]}}]\n"
    )
    command = [str(prometheus_binary), f"--config.file={config}", f"--storage.tsdb.path={tmp_path / 'tsdb'}",
               "--log.level=warn", f"--web.listen-address={address}"]  # fmt: skip
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
    try:
        wait_for(f"http://{address}/-/ready", process, log)
        yield Stack(two_gpus, "", f"http://{address}", tmp_path)
    finally:
        process.terminate()
        process.wait(10)


@pytest.mark.prometheus
def test_dcgm_exporters_dashboard_works(prometheus: Stack) -> None:
    """Each panel of dashboard 12239 has its GPUs, in its units; energy rises at the power that is shown."""
    energy = "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION"
    wait_for_value(prometheus, f"count(count_over_time({energy}[1m]) >= 4)", 2)
    filled = {title: query.replace("$instance", ".*").replace("$gpu", "0|1") for title, query in PANELS.items()}
    found = {title: [float(s["value"][1]) for s in prometheus.query(query)] for title, query in filled.items()}
    assert found == {
        "GPU Temperature": [41, 41],
        "GPU Avg. Temp": [41],
        "GPU Power Usage": [200, 210],
        "GPU Power Total": [410],
        "GPU SM Clocks": [1.1e9, 1.1e9],
        "GPU Utilization": [50, 50],
        "GPU Framebuffer Mem Used": [1024, 1024],
    }
    for host in ("Hostname", "hostname"):
        assert prometheus.value(f'count(DCGM_FI_DEV_GPU_TEMP{{{host}="node-7"}})') == 2
    assert prometheus.value(f'irate({energy}{{gpu="0"}}[30s]) / 1000') == pytest.approx(200, rel=0.2)


def wait_for_value(prometheus: Stack, query: str, value: float) -> None:
    def there() -> bool:
        return [float(s["value"][1]) for s in prometheus.query(query)] == [value]

    wait_until(there, f"{query} is {value}")


@pytest.mark.prometheus
def test_promtool_minds_dcgms_names_only(two_gpus: str, promtool: Path) -> None:
    """All that ``promtool check metrics`` says is about names that are not ours."""
    body = request(f"{two_gpus}/metrics").body
    check = subprocess.run([promtool, "check", "metrics"], input=body, capture_output=True, check=False, timeout=20)
    said = (check.stdout + check.stderr).decode().splitlines()
    assert said
    assert all(line.startswith("DCGM_FI_") for line in said)
