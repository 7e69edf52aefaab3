"""What ``/metrics`` shows, held against the catalogue and promtool."""

import subprocess
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from perjoule.metrics import CATALOGUE, REQUEST_OUTCOMES, TOKEN_KINDS, Kind
from perjoule_server.metrics import ModelMetrics, ServerMetrics, rows
from tests.server.fakes import Running, spec

NAMES = {"counter": Kind.COUNTER, "gauge": Kind.GAUGE, "histogram": Kind.HISTOGRAM}


def test_exposed_names_are_the_catalogues(server: Running) -> None:
    """Every row of the server is exposed with its type and labels, and nothing else but the process's own."""
    server.infer("text-classification", "a")
    exposed = {}
    for family in text_string_to_metric_families(server.get("/metrics").body.decode()):
        name = family.name + ("_total" if family.type == "counter" else "")
        if not name.startswith("process_"):
            labels = {label for sample in family.samples for label in sample.labels} - {"le"}
            exposed[name] = (NAMES[family.type], labels, family.documentation)
    assert exposed == {row.name: (row.kind, set(row.labels), row.help) for row in rows()}
    assert exposed.keys() <= CATALOGUE.keys()


def test_label_sets_exist_at_zero(server: Running) -> None:
    """Before the first request every counter of every model is there, so that no first delta is lost."""
    for task in ("text-classification", "image-classification"):
        labels = {"task": task, "model": f"fake/{task}"}
        for outcome in REQUEST_OUTCOMES:
            assert server.metric("inference_requests_total", **labels, outcome=outcome) == 0
        for kind in TOKEN_KINDS:
            assert server.metric("inference_tokens_total", **labels, kind=kind) == 0
        assert server.metric("inference_device_busy_seconds_total", **labels, device="cpu-test") == 0
        assert server.metric("inference_request_seconds_count", **labels) == 0
        assert server.metric("inference_queue_depth", **labels) == 0
    assert server.metric("inference_work_units_total", task="image-classification", unit="image") == 0
    assert server.metric("inference_model_info", device="cpu-test", dtype="float32", weights="tiny") == 2
    assert server.metric("perjoule_build_info", program="inference-server") == 1
    assert server.metric("process_start_time_seconds") > 1.6e9
    assert b"_created" not in server.get("/metrics").body


class _Named:
    """A device whose name changes."""

    def __init__(self) -> None:
        self.name = "cpu-0"

    def __call__(self) -> str:
        return self.name


def _samples(metrics: ServerMetrics, name: str) -> dict[str, float]:
    """Return the samples of a name, by their device."""
    metrics.refresh()
    return {s.labels["device"]: s.value for f in metrics.registry.collect() for s in f.samples if s.name == name}


def test_a_model_follows_its_device_to_another_name() -> None:
    """One info series at any time; a counter that has counted stays, one that has not goes."""
    metrics, device = ServerMetrics(CollectorRegistry()), _Named()
    model = ModelMetrics(metrics, spec("fill-mask"), device)
    busy = "inference_device_busy_seconds_total"
    assert _samples(metrics, busy) == {"cpu-0": 0}
    model.loaded("float32", "local", "tiny")
    device.name = "GPU-simulated-0"
    assert _samples(metrics, busy) == {"GPU-simulated-0": 0}
    assert _samples(metrics, "inference_model_info") == {"GPU-simulated-0": 1}
    model.batch(0.5, [0.0], 1, 0)
    device.name = "GPU-2"
    model.batch(0.25, [0.0], 1, 0)
    assert _samples(metrics, busy) == {"GPU-simulated-0": 0.5, "GPU-2": 0.25}
    assert _samples(metrics, "inference_model_info") == {"GPU-2": 1}


def test_dropped_spans_only_count_upwards() -> None:
    """A client that counts from 0 again, as after a fork, takes nothing away."""
    metrics, dropped = ServerMetrics(CollectorRegistry()), iter([0, 3, 3, 1, 2])
    metrics.count_dropped(lambda: next(dropped))
    shown = []
    for _ in range(5):
        metrics.refresh()
        shown.append(metrics.registry.get_sample_value("inference_spans_dropped_total"))
    assert shown == [0, 3, 3, 3, 4]


def test_an_odd_accept_header_costs_no_scrape(server: Running) -> None:
    """A format version that is no number is answered in the plain format."""
    reply = server.get("/metrics", accept="application/openmetrics-text;version=1.0.0-rc1")
    assert (reply.status, reply.headers["content-type"].startswith("text/plain")) == (200, True)


def test_openmetrics_is_spoken_to_those_who_ask(server: Running) -> None:
    """Prometheus asks for it when exemplars are on."""
    reply = server.get("/metrics", accept="application/openmetrics-text; version=1.0.0")
    assert reply.headers["content-type"].startswith("application/openmetrics-text")
    assert reply.body.endswith(b"# EOF\n")


@pytest.mark.prometheus
def test_promtool_accepts_the_exposition(server: Running, promtool: Path) -> None:
    """``promtool check metrics`` has nothing to say."""
    server.infer("text-classification", "a")
    body = server.get("/metrics").body
    check = subprocess.run([promtool, "check", "metrics"], input=body, capture_output=True, check=False, timeout=20)
    assert (check.returncode, check.stdout + check.stderr) == (0, b"")
