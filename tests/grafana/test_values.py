"""Every expression, on a real Prometheus: nothing empty, and the values are those that generated the series."""

import math
from collections.abc import Mapping
from typing import Any

import pytest

from perjoule_grafana.queries import WINDOWS, Window
from tests.grafana import world
from tests.grafana.board import RANGE, Query, queries
from tests.grafana.store import Store
from tests.grafana.world import Labels, labels

pytestmark = pytest.mark.prometheus

QUERIES = list(queries())
EVERYTHING = labels()


def values(vector: list[dict[str, Any]], *, drop: tuple[str, ...] = ("__name__",)) -> dict[Labels, float]:
    """Return a vector (or the last of each series of a matrix) by its labels."""
    return {
        labels(**{key: value for key, value in sample["metric"].items() if key not in drop}): float(
            (sample.get("values") or [sample.get("value")])[-1][1]
        )
        for sample in vector
    }


def total(figures: Mapping[Labels, float]) -> float:
    """Return the sum of all figures."""
    return sum(figures.values())


BUSY = {
    labels(node=device.node, device=device.name): sum(load.busy for load in world.LOADS if load.device is device)
    for device in (world.GPU, world.CPU_B)
}
TASK = ("task", "model")
EXPECTED: dict[str, Mapping[Labels, float]] = {
    "Energy per inference [A]": world.joules_per_inference(),
    "CO2e per inference [A]": world.grams_per_inference(),
    "Energy per 1,000 inferences [A]": {EVERYTHING: world.joules_per_inference()[EVERYTHING] / 3600},
    "Inferences per second, now [A]": world.rates_by(),
    "Power, now [A]": {EVERYTHING: sum(device.watts for device in world.DEVICES)},
    "Idle time, now [A]": {EVERYTHING: 1 - total(BUSY) / len(BUSY)},
    "Energy per inference, by task [A]": world.joules_per_inference("task"),
    "CO2e per inference, by task [A]": world.grams_per_inference("task"),
    "Energy per inference, by model [A]": world.joules_per_inference("model"),
    "Power, by task [A]": world.watts_by("task"),
    "All tasks and models [A]": world.joules_per_inference(*TASK),
    "All tasks and models [B]": world.grams_per_inference(*TASK),
    "All tasks and models [C]": {key: joules / 3600 for key, joules in world.joules_per_inference(*TASK).items()},
    "All tasks and models [D]": {key: rate * RANGE for key, rate in world.rates_by(*TASK).items()},
    "All tasks and models [E]": {
        key: watts / total(world.watts_by(*TASK)) for key, watts in world.watts_by(*TASK).items()
    },
    "All tasks and models [F]": dict.fromkeys(world.rates_by(*TASK), world.FAILURES / (1 + world.FAILURES)),
    "Power, by device and method [A]": {
        labels(node=device.node, device=device.name, method=device.method, **(
            {"name": "NVIDIA H200"} if device is world.GPU else {}
        )): device.watts
        for device in world.DEVICES
    },
    "Device time in use, by device [A]": BUSY,
    "Carbon intensity [A]": {labels(zone=world.ZONE, provider="static", basis="average"): world.GRAMS_PER_KWH},
    "PUE [A]": {labels(node="a"): world.PUE, labels(node="b"): world.PUE},
}  # fmt: skip


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query.id)
def test_panels_show_the_truth(store: Store, query: Query) -> None:
    """Each query of the dashboard gives the figures that the series were made from, and no others."""
    ask = store.instant(query.expr) if query.target.get("instant") else store.over(query.expr, RANGE, 15)
    assert values(ask) == pytest.approx(EXPECTED[query.id], rel=1e-9)


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query.id)
def test_panels_have_no_gap(store: Store, query: Query) -> None:
    """Each query gives finite figures at every step of the range."""
    for series in store.over(query.expr, RANGE, 60):
        assert len(series["values"]) == RANGE // 60 + 1
        assert all(math.isfinite(float(value)) for _, value in series["values"])


@pytest.mark.parametrize("window", WINDOWS, ids=lambda window: window.range)
def test_recorded_figures_are_the_truth(store: Store, window: Window) -> None:
    """Joules and grams per inference, by node, task and model, are what the fleet was made with, over each window."""
    by = ("node", "task", "model")
    assert values(store.instant(window.joules_per_inference)) == pytest.approx(
        world.joules_per_inference(*by), rel=1e-9
    )
    assert values(store.instant(window.grams_per_inference)) == pytest.approx(world.grams_per_inference(*by), rel=1e-9)


@pytest.mark.parametrize("window", WINDOWS[:2], ids=lambda window: window.range)
def test_tasks_sum_to_their_devices(store: Store, window: Window) -> None:
    """The tasks' joules add up to the joules of the devices that ran them, node by node."""
    used = f"{window.device_energy} and on (node, device) {window.busy}"
    parts = store.instant(f"sum by (node) ({window.energy})")
    assert values(parts) == pytest.approx(values(store.instant(f"sum by (node) ({used})")), rel=1e-12)
