"""PromQL as the second way to the same number: targets, expressions, and a real Prometheus over the stubs."""

import json
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from perjoule.errors import MeasurementError
from perjoule_loadgen.crosscheck import instant, match, scrape_interval
from tests.loadgen.conftest import SHORT, Bench
from tests.loadgen.stubs import Site


def target(url: str, job: str = "j", interval: str = "1s") -> dict[str, Any]:
    return {"scrapeUrl": url, "labels": {"job": job, "instance": url}, "scrapeInterval": interval}


@pytest.mark.parametrize(
    ("targets", "found"),
    [
        ([target("http://127.0.0.1:1/metrics"), target("http://other:1/metrics")], "http://127.0.0.1:1/metrics"),
        ([target("http://exporter:1/metrics"), target("http://server:2/metrics")], "http://exporter:1/metrics"),
        ([target("http://pod:9/metrics", "wanted"), target("http://pod:8/metrics")], "http://pod:9/metrics"),
        ([target("http://a:1/metrics"), target("http://b:1/metrics")], None),
        ([target("http://pod:8/metrics")], None),
        ([], None),
    ],
)
def test_a_target_is_found_by_address_port_or_job(targets: list[dict[str, Any]], found: str | None) -> None:
    """In containers a program has another host name; where two could be meant none is taken."""
    assert getattr(match(targets, "http://localhost:1/metrics", "wanted"), "instance", None) == found


def test_an_instant_is_never_before_the_edge() -> None:
    """``@`` takes milliseconds: rounded up, so that a sample at the edge is seen."""
    assert instant(1700000000.1234) == "1700000000.124"


@pytest.mark.parametrize(("text", "seconds"), [("1s", 1.0), ("1m30s", 90.0), ("500ms", 0.5), ("1h0m5s", 3605.0)])
def test_scrape_intervals(text: str, seconds: float) -> None:
    """As Prometheus writes them, in one unit or several."""
    assert scrape_interval(text) == pytest.approx(seconds)


@pytest.mark.parametrize("url", ["http://[::1", "http://a:port/metrics", "http://a:99999/metrics", "", "\x00"])
def test_a_scrape_url_that_is_none_is_no_target(url: str) -> None:
    """One target of a Prometheus that cannot be read is passed over, and the others are found all the same."""
    targets = [target(url), target("http://127.0.0.1:1/metrics")]
    assert getattr(match(targets, "http://localhost:1/metrics", "wanted"), "instance", None) == targets[1]["scrapeUrl"]
    assert match([target(url)], "http://localhost:1/metrics", "wanted") is None


@pytest.mark.parametrize("text", ["", "0s", "fast", "1x", "1m 30s", "None", f"{'9' * 5000}s"])
def test_what_is_no_scrape_interval(text: str) -> None:
    """A bound cannot be made of it: refused, not guessed."""
    with pytest.raises(MeasurementError, match="as a scrape interval"):
        scrape_interval(text)


def get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=5) as reply:
        return json.loads(reply.read())


@pytest.fixture
def prometheus(bench: Bench, prometheus_binary: Path, tmp_path: Path) -> Iterator[str]:
    """A Prometheus that scrapes the stubs every half second; its URL."""
    config = tmp_path / "prometheus.yml"
    jobs = {"gpu-energy-exporter": bench.energy.port, "inference-server": bench.target.port}
    scrape = [{"job_name": job, "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]} for job, port in jobs.items()]
    config.write_text(json.dumps({"global": {"scrape_interval": "500ms"}, "scrape_configs": scrape}))
    log = tmp_path / "prometheus.log"
    with log.open("w") as out:
        process = subprocess.Popen(
            [prometheus_binary, f"--config.file={config}", f"--storage.tsdb.path={tmp_path / 'tsdb'}",
             "--web.listen-address=127.0.0.1:0", "--log.level=info"],
            stdout=out, stderr=subprocess.STDOUT,
        )  # fmt: skip
    yield f"http://127.0.0.1:{_port(log, process)}"
    process.terminate()
    process.wait(10)


def _port(log: Path, process: subprocess.Popen[bytes]) -> str:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and process.poll() is None:
        text = log.read_text()
        if "Server is ready" in text and "Listening on" in text:
            return text.partition('msg="Listening on" address=127.0.0.1:')[2].split()[0]
        time.sleep(0.05)
    pytest.fail(f"Prometheus did not start:\n{log.read_text()}")


@pytest.mark.prometheus
def test_promql_agrees_and_another_client_is_found_out(
    bench: Bench, prometheus: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """PromQL's joules are within the bound of the bracket's; when the server works for others too, the run is void."""
    rules = replace(SHORT, edge_seconds=3.0)
    code, run = bench.run("--prometheus", prometheus, "--duration", "2s", rules=rules)
    assert (code, run["reasons"]) == (0, [])
    check, gross = run["crosscheck"], run["joules_per_inference"]["gross"]["value"]
    assert abs(check["difference_ratio"]) <= check["bound_ratio"] < 0.2
    assert check["joules_per_inference"] == pytest.approx(gross, rel=check["bound_ratio"])
    value = get(f"{prometheus}/api/v1/query?query={urllib.parse.quote(check['query'])}")["data"]["result"]
    assert float(value[0]["value"][1]) == check["joules_per_inference"]
    assert "PromQL" in capsys.readouterr().out

    # half of the device's time now belongs to another task
    bench.server.busy_elsewhere = 1.0
    code, run = bench.run("--prometheus", prometheus, "--duration", "1s", "--idle", "0", rules=rules)
    assert code == 3
    assert "beyond the bound" in run["reasons"][0]


def test_a_prometheus_that_scrapes_something_else(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    """A program that Prometheus does not scrape is named, before anything is sent."""

    async def targets(_: web.Request) -> web.Response:
        return web.json_response({"data": {"activeTargets": [target(bench.energy.url)]}})

    app = web.Application()
    app.router.add_get("/api/v1/targets", targets)
    other = Site(app)
    try:
        assert bench.loadgen("--task", "summarization", "--prometheus", other.url) == 2
    finally:
        other.close()
    assert f"does not scrape {bench.target.url}" in capsys.readouterr().err
    assert bench.server.served == 0


def test_something_else_than_a_prometheus(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    """A URL that answers, but not as Prometheus does, is said so."""
    assert bench.loadgen("--task", "summarization", "--prometheus", bench.target.url) == 1
    assert "/api/v1/targets answered 404" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("sample", "told"),
    [
        (b'{"metric": {}, "value": [1, "abc"]}', "no sample"),
        (b'{"metric": {}}', "no sample"),
        (b"[" * 100_000, "not JSON"),
    ],
)
def test_a_prometheus_that_answers_nonsense_costs_no_measurement(bench: Bench, sample: bytes, told: str) -> None:
    """What cannot be read in the middle of a run is a reason against it, and what was measured is written."""
    urls = {"j": f"{bench.energy.url}/metrics", "k": f"{bench.target.url}/metrics"}

    async def targets(_: web.Request) -> web.Response:
        return web.json_response({"data": {"activeTargets": [None, {}, *(target(u, job) for job, u in urls.items())]}})

    async def query(_: web.Request) -> web.Response:
        return web.Response(body=b'{"data": {"result": [' + sample + b"]}}")

    app = web.Application()
    app.router.add_get("/api/v1/targets", targets)
    app.router.add_get("/api/v1/query", query)
    site = Site(app)
    code, run = bench.run("--prometheus", site.url)
    site.close()
    assert (code, told in run["reasons"][0]) == (3, True)


def test_without_a_prometheus(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    """One line that says how to start one."""
    assert bench.loadgen("--task", "summarization", "--prometheus", "127.0.0.1:1") == 2
    assert "start one with: prometheus --config.file=prometheus.yml" in capsys.readouterr().err
    assert bench.server.served == 0
