"""Every expression, on a real Prometheus: nothing empty, and the values are those that generated the series."""

import math
from typing import Any

import pytest

from perjoule.reference import references, study_figure
from perjoule_grafana.queries import WINDOWS, Window
from tests.grafana import world
from tests.grafana.board import RANGE, Query, queries
from tests.grafana.store import Store
from tests.grafana.truth import (
    EVERYTHING,
    Figures,
    active_per_inference,
    embodied,
    grams,
    joules_per_inference,
    joules_per_token,
    loaded,
    of_devices,
    of_loads,
    one,
    over,
    short,
    times,
    whole,
)
from tests.grafana.world import DEVICES, GRAMS_PER_JOULE, LOADS, Labels, labels

pytestmark = pytest.mark.prometheus

QUERIES = list(queries())
AFTER = world.END + 1
"""A second past the last evaluation of a group: a range then holds as many of them on Prometheus 2 as on 3."""

TASK = ("task", "model")
KWH = 1 / 3.6e6
WATTS = sum(device.watts for device in DEVICES)
IDLE = sum(device.idle for device in DEVICES)
RATE = sum(load.rate for load in LOADS)
SERVING = sum(device.watts for device in DEVICES if device is not world.CPU_A)
JOULES = joules_per_inference()
OUTCOMES = [load.outcomes for load in LOADS if load.device.spans]
CHARGED = sum(sum(outcomes.values()) for outcomes in OUTCOMES)
GRAMS_PER_INFERENCE = times(joules_per_inference(), GRAMS_PER_JOULE)
ALL_BUT_CPUS = over(
    of_loads(lambda load: grams(load) + embodied(load), only=lambda load: load.device.spans),
    of_loads(lambda load: load.settled, only=lambda load: load.device.spans),
)
"""SCI of the tasks whose devices' manufacture is stated."""

EXPECTED: dict[str, Figures] = {
    "energy-per-inference: Energy per inference [A]": JOULES,
    "energy-per-inference: CO2e per inference [A]": GRAMS_PER_INFERENCE,
    "energy-per-inference: Energy per output token [A]": joules_per_token(),
    "energy-per-inference: Energy per 1,000 inferences [A]": times(JOULES, 1 / 3600),
    "energy-per-inference: Phone charges per 1,000 [A]": times(JOULES, 1 / 3600 / 0.022),
    "energy-per-inference: Idle share of energy [A]": one(IDLE / WATTS),
    "energy-per-inference: Energy per inference, active [A]": active_per_inference(),
    "energy-per-inference: Energy of the devices [A]": one(WATTS * RANGE * KWH),
    "energy-per-inference: CO2e of the devices [A]": one(WATTS * RANGE * GRAMS_PER_JOULE),
    "energy-per-inference: Energy without an answer [A]": one(
        sum(outcomes["cancelled"] for outcomes in OUTCOMES) / CHARGED
    ),
    "energy-per-inference: Power, now [A]": one(WATTS),
    "energy-per-inference: Inferences per second, now [A]": one(RATE),
    "energy-per-inference: Energy per inference, by task [A]": joules_per_inference("task"),
    "energy-per-inference: CO2e per inference, by task [A]": times(joules_per_inference("task"), GRAMS_PER_JOULE),
    "energy-per-inference: Energy per inference, by model [A]": joules_per_inference("model"),
    "energy-per-inference: Where the power goes [B]": one(world.CPU_B.watts),
    "energy-per-inference: Where the power goes [C]": one(IDLE),
    "energy-per-inference: All tasks and models [A]": joules_per_inference(*TASK),
    "energy-per-inference: All tasks and models [B]": active_per_inference(*TASK),
    "energy-per-inference: All tasks and models [C]": times(joules_per_inference(*TASK), GRAMS_PER_JOULE),
    "energy-per-inference: All tasks and models [D]": joules_per_token(*TASK),
    "energy-per-inference: All tasks and models [E]": times(joules_per_inference(*TASK), 1 / 3600),
    "energy-per-inference: All tasks and models [F]": of_loads(lambda load: load.rate * RANGE, *TASK),
    "energy-per-inference: All tasks and models [G]": times(
        of_loads(loaded, *TASK), 1 / whole(of_loads(loaded))
    ),
    "energy-per-inference: All tasks and models [H]": dict.fromkeys(
        of_loads(loaded, *TASK), world.FAILURES / (1 + world.FAILURES)
    ),
    "load-test-run: Gross [A]": one(SERVING / RATE),
    "load-test-run: Active [A]": one((SERVING - IDLE + world.CPU_A.idle) / RATE),
    "load-test-run: Attributed [A]": active_per_inference(),
    "load-test-run: CO2e, gross [A]": one(SERVING * GRAMS_PER_JOULE / RATE),
    "load-test-run: Inferences [A]": one(RATE * RANGE),
    "load-test-run: Latency, p95 [A]": one(0.75),
    "load-test-run: Verdict [A]": one(0.0),
    "load-test-run: Counter resets [A]": one(0.0),
    "load-test-run: Counters missing at the start [A]": one(0.0),
    "load-test-run: Requests not answered well [A]": one(world.FAILURES / (1 + world.FAILURES)),
    "load-test-run: Device time in use [A]": {
        tuple(sorted((*key, ("cluster", world.CLUSTER)))): busy
        for key, busy in short(of_loads(lambda load: load.busy, "node", "device")).items()
    },
    "load-test-run: Each task [A]": active_per_inference(*TASK),
    "load-test-run: Each task [B]": of_loads(lambda load: load.rate * RANGE, *TASK),
    "fleet: Power [A]": one(WATTS),
    "fleet: Devices measured [A]": one(len(DEVICES)),
    "fleet: Devices that serve [A]": one(3),
    "fleet: Idle share of energy [A]": one(IDLE / WATTS),
    "fleet: Energy [A]": one(WATTS * RANGE * KWH),
    "fleet: Power per device that serves [A]": one(SERVING / 3),
    "fleet: Power, by node [A]": of_devices(lambda device: device.watts, "node"),
    "fleet: Power, by node [B]": one(700.0, node="a"),
    "fleet: Top 10 devices by power [A]": short(of_devices(lambda device: device.watts, "node", "device")),
    "fleet: All devices [A]": of_devices(lambda device: device.watts, "node", "device", "name", "method"),
    "fleet: All devices [D]": of_devices(
        lambda device: device.watts * RANGE * KWH, "node", "device", "name", "method"
    ),
    "fleet: All devices [E]": of_devices(
        lambda device: device.idle / device.watts, "node", "device", "name", "method"
    ),
    "carbon-and-budget: Carbon intensity [A]": one(world.GRAMS_PER_KWH, zone=world.ZONE, provider="static"),
    "carbon-and-budget: CO2e per second [A]": one(WATTS * GRAMS_PER_JOULE),
    "carbon-and-budget: CO2e of the devices [A]": one(WATTS * RANGE * GRAMS_PER_JOULE),
    "carbon-and-budget: Intensity paid [A]": one(world.GRAMS_PER_KWH * world.PUE),
    "carbon-and-budget: SCI per inference [A]": {
        labels(of="SCI"): ALL_BUT_CPUS[EVERYTHING], labels(of="operation alone"): GRAMS_PER_INFERENCE[EVERYTHING],
    },
    "carbon-and-budget: PUE [A]": {labels(node="a"): world.PUE, labels(node="b"): world.PUE},
    "carbon-and-budget: CO2e in 30 days, at this rate [A]": one(
        WATTS * GRAMS_PER_JOULE * 30 * 86_400, cluster=world.CLUSTER
    ),
    "carbon-and-budget: Nodes [D]": {
        tuple(sorted((*key, ("currency", world.CURRENCY)))): watts * RANGE * KWH * world.PRICE
        for key, watts in of_devices(lambda device: device.watts, "node").items()
    },
    "carbon-and-budget: All tasks and models, carbon and cost [B]": of_loads(lambda load: grams(load) * RANGE, *TASK),
    "against-the-study: Each workload [A]": joules_per_inference("task"),
    "against-the-study: Each workload [B]": active_per_inference("task"),
    "against-the-study: Each workload [E]": {
        labels(task=task): figure.joules_per_inference for task in references() if (figure := study_figure(task))
    },
    "trust: Energy in no account [A]": one(0.0),
    "trust: Power that is modelled [A]": one((world.CPU_A.watts + world.CPU_B.watts) / WATTS),
    "trust: Energy of nobody [A]": one(sum(device.nobody for device in DEVICES) / WATTS),
    "trust: Unmeasured inferences [A]": one(world.UNMEASURED),
    "trust: Spans dropped [A]": one(0.0),
    "trust: Programs that do not answer [A]": one(0.0),
    "trust: Rule failures [A]": one(0.0),
    "trust: Age of recorded figures [A]": one(AFTER - world.END),
    "trust: Counter over the integral of power [A]": {
        tuple(sorted((*key, ("cluster", world.CLUSTER)))): 1 / world.INTEGRAL
        for key in short(of_devices(lambda _: 0.0, "node", "device", only=lambda device: bool(device.limit)))
    },
}  # fmt: skip


LINES = [query for query in QUERIES if not query.target.get("instant")]


def values(vector: list[dict[str, Any]]) -> dict[Labels, float]:
    """Return a vector (or the last of each series of a matrix) by its labels, without the name."""
    return {
        labels(**{key: value for key, value in sample["metric"].items() if key != "__name__"}): float(
            (sample.get("values") or [sample.get("value")])[-1][1]
        )
        for sample in vector
    }


def ask(store: Store, query: Query) -> list[dict[str, Any]]:
    """Return what the panel gets for the range."""
    return store.instant(query.expr, AFTER) if query.target.get("instant") else store.over(query.expr, RANGE, 15)


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query.id)
def test_panels_show_finite_figures(store: Store, query: Query) -> None:
    """Each query of each dashboard gives figures, and none that is not a number or infinite."""
    found = ask(store, query)
    assert found
    points = [value for series in found for _, value in series.get("values") or [series["value"]]]
    assert all(math.isfinite(float(value)) for value in points)


@pytest.mark.parametrize("query", [q for q in QUERIES if q.id in EXPECTED], ids=lambda query: query.id)
def test_panels_show_the_truth(store: Store, query: Query) -> None:
    """The query gives the figures that the series were made from, and no others."""
    assert values(ask(store, query)) == pytest.approx(EXPECTED[query.id], rel=1e-9, abs=1e-6)


def test_every_single_figure_has_a_truth() -> None:
    """No headline is without an expectation, and none is expected that no dashboard shows."""
    assert {query.id for query in QUERIES if query.panel["type"] == "stat"} <= set(EXPECTED)
    assert set(EXPECTED) <= {query.id for query in QUERIES}


@pytest.mark.parametrize("query", LINES, ids=lambda query: query.id)
def test_lines_have_no_gap(store: Store, query: Query) -> None:
    """Each line has a figure at every step of the range."""
    for series in store.over(query.expr, RANGE, 60):
        assert len(series["values"]) == RANGE // 60 + 1


@pytest.mark.parametrize("window", WINDOWS, ids=lambda window: window.range)
def test_recorded_figures_are_the_truth(store: Store, window: Window) -> None:
    """Joules per inference, by node, task and model, are what the fleet was made with, over each window."""
    found = values(store.instant(f"sum without (cluster) ({window.joules_per_inference})"))
    assert found == pytest.approx(joules_per_inference("node", "task", "model"), rel=1e-9)


@pytest.mark.parametrize("choice", [{"node": "b"}, {"task": "summarization"}, {"model": "gpt2-large"}], ids=str)
def test_a_choice_narrows_the_headline(store: Store, choice: dict[str, str]) -> None:
    """With a node, task or model chosen, energy per inference is that of its requests alone."""
    (name, value), *_ = choice.items()
    (query,) = [query for query in QUERIES if query.id == "energy-per-inference: Energy per inference [A]"]
    expected = joules_per_inference(name)[labels(**choice)]
    assert values(store.instant(query.choosing(**choice), AFTER)) == pytest.approx({EVERYTHING: expected}, rel=1e-9)
    assert value


def test_another_cluster_shows_nothing(store: Store) -> None:
    """Where the chosen cluster has no series there is no figure: nothing falls back to 0."""
    figures = {
        query.id: store.instant(query.choosing(cluster="elsewhere"), AFTER)
        for query in QUERIES
        if query.panel["type"] == "stat" and "rule_evaluation" not in query.expr
    }
    assert {name for name, found in figures.items() if found} == set()
