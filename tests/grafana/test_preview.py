"""The previews' own arithmetic; the drawing itself needs npm packages and is left to ``make dashboards-preview``."""

import re
from pathlib import Path

import pytest

from preview import page, sources
from tests.grafana.board import Query, queries
from tests.grafana.world import LOADS

VIEW = page.View("http://127.0.0.1:9090", 1000.0, 4600.0, "")


@pytest.mark.parametrize("query", list(queries()), ids=lambda query: query.id)
def test_no_variable_is_left(query: Query) -> None:
    """Every variable of Grafana is filled in; capture groups of label_replace stay."""
    left = re.findall(r"\$\{?\w+\}?", page.filled_in(query.target["expr"], VIEW))
    assert set(left) <= {"$1"}


def test_times_are_those_of_the_view() -> None:
    """The range is the view's, in whole seconds and in milliseconds."""
    assert page.filled_in("x[$__range] @ ${__to}e-3 * $__range_s", VIEW) == "x[3600s] @ 4600000e-3 * 3600"


def test_missing_packages_say_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the npm packages the message names the make target."""
    monkeypatch.setattr(page, "HERE", tmp_path)
    with pytest.raises(page.PreviewError, match="make dashboards-preview"):
        page.bundle(tmp_path)


@pytest.mark.parametrize("task", sorted({load.task for load in LOADS}))
def test_a_varying_load_only_grows(task: str) -> None:
    """The integral of a load begins at 0, never falls, and comes to its mean after a period."""
    grown = [sources.varying(task, seconds) for seconds in range(0, int(sources.PERIOD) + 1, 60)]
    assert grown == sorted(grown)
    assert grown[0] == 0
    assert grown[-1] == pytest.approx(sources.PERIOD)
