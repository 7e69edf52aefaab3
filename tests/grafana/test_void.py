"""What voids a load test on the dashboard *Load-test run*: each reason alone, on a real Prometheus."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.grafana.board import FROM, RANGE, queries
from tests.grafana.store import Store, running, write
from tests.grafana.world import END, STEP

pytestmark = pytest.mark.prometheus

FIGURES = {query.panel["title"]: query for query in queries() if query.board == "load-test-run"}
JOULES, ASKED = 300.0, 4.0  # per second
FAILING = {"good": 0.0, "some": 0.009, "errors": 0.011}
NODES = ("good", "some", "errors", "reset", "late", "restarted")


def lines() -> Iterator[str]:
    """Yield one machine for each reason: its device's joules, and requests by outcome."""
    for at in range(FROM - 600, END + STEP, STEP):
        for node in NODES:
            joules = JOULES * (at - FROM + 600)
            if node == "reset" and at > FROM + 600:
                joules = JOULES * (at - FROM - 600)
            if node != "late" or at > FROM + 60:
                yield f'gpu_energy_joules_total{{cluster="x",node="{node}",gpu="0",uuid="GPU-{node}"}} {joules} {at}'
            yield from _served(node, at)


def _served(node: str, at: int) -> Iterator[str]:
    since = at - FROM + 600 if node != "restarted" or at < FROM + 900 else at - FROM - 900
    failing = FAILING.get(node, 0.0)
    task = f'cluster="x",node="{node}",task="t",model="m"'
    yield f'inference_requests_total{{{task},outcome="ok"}} {ASKED * (1 - failing) * since} {at}'
    yield f'inference_requests_total{{{task},outcome="error"}} {ASKED * failing * since} {at}'
    yield f'inference_device_busy_seconds_total{{{task},device="GPU-{node}"}} {0.5 * since} {at}'


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, prometheus_binary: Path, promtool: Path) -> Iterator[Store]:
    """A Prometheus with a load test on each of the machines."""
    folder = tmp_path_factory.mktemp("runs")
    write(folder, promtool, [*sorted(lines(), key=lambda line: line.split(" ")[0]), "# EOF"])
    with running(folder, prometheus_binary) as filled:
        yield filled


def figure(runs: Store, title: str, node: str) -> float | None:
    """Return a figure of the dashboard with one node chosen; None where it is empty."""
    found = runs.instant(FIGURES[title].choosing(node=node))
    return float(found[0]["value"][1]) if found else None


@pytest.mark.parametrize("node", NODES)
def test_a_run_is_void_for_its_reason_alone(runs: Store, node: str) -> None:
    """Only resets, counters that came late, and more than one per cent of errors void a run."""
    assert figure(runs, "Verdict", node) == (node not in {"good", "some"})
    assert figure(runs, "Counter resets", node) == float(node in {"reset", "restarted"})
    assert figure(runs, "Counters missing at the start", node) == (node == "late")
    if node != "restarted":
        assert figure(runs, "Requests not answered well", node) == pytest.approx(FAILING.get(node, 0.0), abs=1e-9)


def test_joules_are_exact_and_absent_where_they_are_not_known(runs: Store) -> None:
    """Gross is the difference of the counters over the requests, to the joule; none without a counter at the start."""
    assert figure(runs, "Gross", "good") == pytest.approx(JOULES / ASKED, rel=1e-12)
    assert figure(runs, "Inferences", "good") == ASKED * RANGE
    assert figure(runs, "Gross", "late") is None


def test_a_range_before_everything_is_void(runs: Store) -> None:
    """A range that begins before the first scrape is void, though its requests cannot be counted."""
    early = {"__from": f"{FROM - 7200}000", "__range": f"{RANGE + 7200}s", "node": "good"}
    (verdict,) = runs.instant(FIGURES["Verdict"].choosing(**early))
    assert float(verdict["value"][1]) == 1
    assert runs.instant(FIGURES["Inferences"].choosing(**early)) == []


def test_nothing_measured_has_no_verdict(runs: Store) -> None:
    """Where nothing is chosen that exists, the verdict is empty rather than good."""
    assert figure(runs, "Verdict", "nobody") is None
