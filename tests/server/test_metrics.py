"""What ``/metrics`` shows, held against the catalogue and promtool."""

import subprocess
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from perjoule.metrics import CATALOGUE, REQUEST_OUTCOMES, TOKEN_KINDS, Kind
from perjoule_server.metrics import rows
from tests.server.fakes import Running

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
