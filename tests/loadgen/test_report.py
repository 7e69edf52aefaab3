"""The table and its notes: what is shown at which width, and that what is not shown has no note."""

import io
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from perjoule_loadgen import report
from perjoule_loadgen.config import Config, Rules
from perjoule_loadgen.figures import Carbon
from perjoule_loadgen.measurement import Measurement
from perjoule_loadgen.result import Setting, conclude, document, idle_report, load_of
from perjoule_loadgen.target import Model
from tests.loadgen.test_figures import BASELINES, measurement

FRANCE = Carbon("FRA", 44.18, "Ember", 2024, 1.2, recomputed=False)


def run(task: str, weights: str | None = None, answers: int = 100, *, reset: bool = False, zone: bool = True) -> Any:
    made = measurement(task=task, reset=reset)
    made.plan = replace(made.plan, model=Model("m", ("GPU-a",), weights))
    made.steady.results = made.steady.results[:answers]
    return documented(made, FRANCE if zone else None)


def documented(made: Measurement, carbon: Carbon | None = FRANCE) -> Any:
    found = conclude(made, BASELINES, carbon, Rules())
    return document(found, Setting("http://s", load_of(Config((made.plan.task,))), {"idle": idle_report(BASELINES)}))


def shown(*runs: Any, columns: int | None = None) -> str:
    """What is printed on a terminal of so many columns, or into a pipe."""
    stream = io.StringIO()
    out = report.console(stream)
    if columns is not None:
        out = Console(file=stream, highlight=False, force_terminal=True, width=columns, color_system=None)
    report.show(out, runs, ())
    return stream.getvalue()


@pytest.mark.parametrize("columns", [None, 60, 80, 120])
def test_the_first_column_is_the_id_whole(columns: int | None) -> None:
    """What the table calls a task is what flags, reasons and folders call it, at any width, on one line."""
    text = shown(run("fill-mask"), run("automatic-speech-recognition"), columns=columns)
    rows = [line.split()[0] for line in text.splitlines() if "VALID" in line]
    assert rows == ["fill-mask", "automatic-speech-recognition"]
    assert "…" not in text
    assert columns is None or max(map(len, text.splitlines())) <= columns


@pytest.mark.parametrize(
    ("weights", "says"),
    [("tiny", "tiny, random weights: the cost of these small models, not comparable with the study's"),
     ("architecture", "random weights in architectures of full size"), ("odd", "odd weights, not published ones"),
     ("hub", None), ("packaged", None), (None, None)],
)  # fmt: skip
def test_weights_that_are_no_real_ones_are_told(weights: str | None, says: str | None) -> None:
    """Beside the study's figures it must stand that the models are not comparable."""
    text = shown(run("fill-mask", weights))
    assert ("  models " in text) == (says is not None)
    assert says is None or says in text


def test_weights_of_some_tasks_name_them() -> None:
    """Where only some models are tiny the note says which."""
    assert " fill-mask: tiny, random" in shown(run("fill-mask", "tiny"), run("summarization", "hub"))


def test_caveats_stand_only_beside_the_figures_they_are_of() -> None:
    """Boundary, CO2 factor and phone charges beside the study's figures; no word where it measured no task."""
    text = shown(run("summarization"))
    assert "seven idle" in text
    assert "297.6" in text
    assert "Phone charges: 0.012 kWh" in text
    assert "Power Hungry" not in shown(run("feature-extraction"))


def test_a_figure_that_is_not_there_has_no_note() -> None:
    """Without energy there is neither uncertainty nor carbon to explain; without a zone it says how to name one."""
    without = shown(run("summarization", reset=True))
    assert "one counter update" not in without
    assert "44.2 g/kWh" not in without
    assert "44.2 g/kWh" in shown(run("summarization"))
    assert "--carbon.zone" in shown(run("summarization", zone=False))
    assert "--carbon.zone" not in shown(run("summarization", reset=True, zone=False))


def test_too_few_answers_for_a_percentile_are_explained() -> None:
    """A dash in p95 has its rule below the table, and only then."""
    assert "p90 from 64, p95 from 130, p99 from 662" in shown(run("summarization", answers=100))
    made = measurement([result for _ in range(2) for result in measurement().steady.results])
    assert "p90 from 64" not in shown(documented(made))
