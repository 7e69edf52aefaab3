"""Adapters translate into our names alone, are tested each, and are documented as they are."""

import re
from pathlib import Path

import pytest
import yaml

from perjoule.metrics import CATALOGUE
from perjoule.workloads import WORKLOADS
from perjoule_grafana.adapters import (
    DEVICES,
    EMBEDDING,
    GENERATION,
    MAPPING,
    SERVER_SECONDS,
    UNPLACED,
    Adapter,
    adapters,
)
from perjoule_grafana.queries import FIVE_MINUTES
from perjoule_grafana.recording import REQUEST_SECONDS

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "prometheus" / "adapters"
TESTS = sorted((ROOT / "prometheus" / "tests").glob("adapters_*_test.yml"))
OWN = {SERVER_SECONDS, REQUEST_SECONDS, DEVICES, UNPLACED}
FOREIGN = re.compile(
    r"\b(?:DCGM_FI_DEV_|kepler_|nvidia_smi_|vllm:|sglang:|tgi_|te_|nv_inference_|ray_serve_)[A-Za-z_]+\b"
)
ADAPTER = pytest.mark.parametrize("adapter", adapters(), ids=lambda adapter: adapter.file)


@ADAPTER
def test_an_adapter_records_our_names(adapter: Adapter) -> None:
    """Each series is one of the catalogue, with labels that it has there or that the scrape gives."""
    for rule in adapter.rules:
        assert rule.record in set(CATALOGUE) | OWN
        if rule.record in CATALOGUE:
            assert {name for name, _ in rule.labels} <= set(CATALOGUE[rule.record].labels)


@ADAPTER
def test_an_adapter_is_tested_with_every_counter_that_it_reads(adapter: Adapter) -> None:
    """Each foreign name that it reads is a series of some rule test."""
    fed = " ".join(series["series"] for path in TESTS for test in yaml.safe_load(path.read_text())["tests"]
                   for series in test["input_series"])  # fmt: skip
    names = {name for rule in adapter.rules for name in FOREIGN.findall(rule.expr)}
    assert names or adapter.file == "servers.yml"
    assert {name for name in names if f"{name}{{" not in fed} == set()


@ADAPTER
def test_an_adapter_is_documented(adapter: Adapter) -> None:
    """It stands in the table of docs/adapters.md, and its file says of which versions it is."""
    assert f"`{adapter.file}`" in (ROOT / "docs" / "adapters.md").read_text()
    assert (FOLDER / adapter.file).read_text().startswith(f"# {adapter.title}\n")


def test_no_file_without_an_adapter() -> None:
    """Files of adapters that are gone are removed."""
    assert {path.name for path in FOLDER.glob("*.yml")} == {adapter.file for adapter in adapters()}


def test_default_tasks_are_workloads() -> None:
    """A server's requests are beside those of our own server under the same task."""
    assert {GENERATION, EMBEDDING} <= set(WORKLOADS)


def test_the_factor_of_an_integral_is_the_interval_of_its_group() -> None:
    """Power is added up over exactly the time between two evaluations."""
    group = yaml.safe_load((FOLDER / "nvidia-gpu-exporter.yml").read_text())["groups"][0]
    (seconds,) = re.findall(r"\* (\d+) \+", group["rules"][0]["expr"])
    assert group["interval"] == f"{seconds}s" == FIVE_MINUTES.every


def test_the_mapping_s_documented_name_is_the_one_that_is_read() -> None:
    """docs/adapters.md shows the setting under its name."""
    assert f"record: {MAPPING}" in (ROOT / "docs" / "adapters.md").read_text()
