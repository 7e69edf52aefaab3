"""The shape of the catalogue: names, types, labels and help texts keep Prometheus's conventions and the contract's."""

import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from perjoule.errors import RequestError
from perjoule.metrics import CATALOGUE, METHODS, REQUEST_OUTCOMES, Kind, Metric, Program

ROOT = Path(__file__).resolve().parents[2]
METRICS = pytest.mark.parametrize("metric", CATALOGUE.values(), ids=list(CATALOGUE))


@METRICS
def test_name(metric: Metric) -> None:
    """Names are lower case in base units; counters, and only they, end in _total."""
    assert re.fullmatch(r"(?:gpu|cpu|grid|datacenter|electricity|inference|perjoule)_[a-z0-9_]+", metric.name)
    assert metric.name.endswith("_total") == (metric.kind is Kind.COUNTER)
    assert not re.search(r"_(?:ms|milliseconds|mj|percent|mib|mhz|celcius|created|bucket|count|sum)\b", metric.name)


@METRICS
def test_labels(metric: Metric) -> None:
    """Labels are distinct, of Prometheus's form, and free of the names that the scrape and histograms use."""
    assert len(set(metric.labels)) == len(metric.labels)
    assert all(re.fullmatch(r"[a-z][a-z0-9_]*", label) for label in metric.labels)
    assert not {"instance", "job", "node", "host", "hostname", "le", "quantile"} & set(metric.labels)


@METRICS
def test_model_names_and_versions_stand_on_info_only(metric: Metric) -> None:
    """What describes a device does not split its series."""
    if not metric.name.endswith("_info"):
        assert not {"name", "driver", "vendor", "version", "method", "revision", "dtype"} & set(metric.labels)


@METRICS
def test_help(metric: Metric) -> None:
    """A sentence on one line."""
    assert re.fullmatch(r"[A-Z0-9].{10,}\.|[A-Z0-9].{10,}; always 1\.", metric.help)
    assert "\n" not in metric.help


@METRICS
def test_buckets(metric: Metric) -> None:
    """Histograms, and only they, have bounds: positive, growing, without infinity."""
    assert bool(metric.buckets) == (metric.kind is Kind.HISTOGRAM)
    assert all(0 < low < high < float("inf") for low, high in pairwise(metric.buckets))


def test_energy_has_its_emissions_and_its_time() -> None:
    """For GPUs and CPUs alike: joules, grams and timestamp with the same labels, and an info that joins to them."""
    for device in ("gpu", "cpu"):
        energy = CATALOGUE[f"{device}_energy_joules_total"]
        assert CATALOGUE[f"{device}_emissions_grams_total"].labels == energy.labels
        assert CATALOGUE[f"{device}_energy_timestamp_seconds"].labels == energy.labels
        assert CATALOGUE[f"{device}_info"].labels[: len(energy.labels)] == energy.labels


def test_programs() -> None:
    """The exporter speaks of devices, the server of inferences."""
    assert {m.name.split("_")[0] for m in CATALOGUE.values() if m.program is Program.SERVER} == {"inference"}
    assert {m.name for m in CATALOGUE.values() if m.program is Program.BOTH} == {"perjoule_build_info"}


def test_outcomes_are_those_of_the_errors() -> None:
    """Every request error counts under an outcome of the list; only ok has no error."""

    def tree(error: type[RequestError]) -> set[str]:
        return {error.outcome}.union(*(tree(child) for child in error.__subclasses__()))

    assert tree(RequestError) == set(REQUEST_OUTCOMES) - {"ok", "cancelled"}


def test_methods() -> None:
    """The ways in which joules come about."""
    assert METHODS == ("counter", "integrated", "estimated", "simulated", "replayed")


def test_the_document_is_up_to_date() -> None:
    """docs/metrics.md is what the catalogue and the rules give now."""
    command = [sys.executable, str(ROOT / "docs" / "generate_metrics.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
