"""The committed dashboards keep the rules of Grafana's dashboard linter, and the house's own.

The linter wants the template variables ``job`` and ``instance``; ours are ``cluster`` and ``node``, since energy and
requests come from two targets of one node, and ``instance`` where all is of the exporter (docs/adr/0003-node-label.md).
"""

import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from perjoule.metrics import CATALOGUE, Kind
from perjoule_grafana.queries import ONE_HOUR, WINDOWS
from perjoule_grafana.recording import REQUEST_SECONDS, device_rules
from perjoule_grafana.rules import window_rules
from perjoule_grafana.thresholds import CARBON_BUDGET
from tests.grafana.board import DASHBOARDS, ROOT, Query, load, panels, queries

BOARDS = pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
QUERIES = pytest.mark.parametrize("query", list(queries()), ids=lambda query: query.id)
RULES = [*device_rules(), *(rule for window in WINDOWS for rule in window_rules(window))]
RECORDED = {rule.record for rule in RULES}
EXPRESSIONS = [query.target["expr"] for query in queries()] + [rule.expr for rule in RULES]
HISTOGRAMS = {
    f"{metric.name}_{part}"
    for metric in CATALOGUE.values()
    if metric.kind is Kind.HISTOGRAM
    for part in ("sum", "count", "bucket")
}
METRIC = re.compile(r"\b(?:gpu|cpu|inference|grid|datacenter|electricity|perjoule)_[a-z0-9_]+\b(?=[\[{\s)]|$)")
SCRAPED = {"up", "scrape_duration_seconds", "process_start_time_seconds", "prometheus_rule_evaluation_failures_total"}
"""Names that Prometheus and client_python give."""

SCRAPED_LABELS = {"cluster", "node", "instance", "job", "le", "hour", "rule_group"}
SELECTOR = re.compile(r"\b([a-z_][a-z0-9_:]*)\{([^}]*)\}")
FILES = [
    "against-the-study.json",
    "carbon-and-budget.json",
    "energy-per-inference.json",
    "fleet.json",
    "load-test-run.json",
    "trust.json",
]
RECORDING = re.compile(r"\b[a-z_]+:[a-z_]+:[a-z0-9]+\b")


def variables(board: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the template variables by name."""
    return {variable["name"]: variable for variable in board["templating"]["list"]}


def test_there_are_six_dashboards() -> None:
    """The dashboards are committed where provisioning looks for them."""
    assert [path.name for path in DASHBOARDS] == FILES


@BOARDS
def test_identity(path: Path) -> None:
    """A dashboard has a uid, a title, tags and a description, is not editable, and holds no database id."""
    board = load(path)
    assert re.fullmatch(r"perjoule-[a-z-]{1,31}", board["uid"])
    assert board["title"]
    assert board["description"]
    assert "perjoule" in board["tags"]
    assert board["editable"] is False
    assert "id" not in board


def test_uids_differ() -> None:
    """No dashboard overwrites another."""
    uids = [load(path)["uid"] for path in DASHBOARDS]
    assert sorted(set(uids)) == sorted(uids)


@BOARDS
def test_variables(path: Path) -> None:
    """The data source is a template; the others offer all values, follow the time range and the data source."""
    found = variables(load(path))
    assert list(found)[:3] == ["datasource", "cluster", "node"]
    assert set(found) <= {"datasource", "cluster", "node", "instance", "task", "model"}
    assert (found["datasource"]["type"], found["datasource"]["query"]) == ("datasource", "prometheus")
    for name, variable in found.items():
        assert variable["label"]
        if name != "datasource":
            assert (variable["includeAll"], variable["multi"], variable["allValue"]) == (True, True, ".*")
            assert variable["refresh"] == 2, "on time range change"
            assert variable["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


@BOARDS
def test_variables_choose(path: Path) -> None:
    """Each variable is asked for by a query, and each one asked for is there."""
    board = load(path)
    asked = " ".join(target["expr"] for panel in panels(board) for target in panel.get("targets", []))
    chosen = set(re.findall(r'\w+=~"\$(\w+)"', asked))
    assert chosen == set(variables(board)) - {"datasource"}


@BOARDS
def test_links_lead_somewhere(path: Path) -> None:
    """A dashboard links to its siblings with range and variables, and its cells to dashboards that exist."""
    board = load(path)
    (link,) = board["links"]
    assert (link["type"], link["tags"], link["includeVars"], link["keepTime"]) == (
        "dashboards",
        ["perjoule"],
        True,
        True,
    )
    uids = {load(other)["uid"] for other in DASHBOARDS}
    for url in re.findall(r'"url": "([^"]+)"', path.read_text(encoding="utf-8")):
        assert re.match(r"/d/([\w-]+)\?", url)[1] in uids  # type: ignore[index]  # no match fails just so
        assert url.endswith("${__url_time_range}")


@BOARDS
def test_load_tests_are_marked(path: Path) -> None:
    """Each dashboard shows the annotations that load tests leave."""
    marks = [mark for mark in load(path)["annotations"]["list"] if mark["name"] == "Load tests"]
    assert [mark["target"]["tags"] for mark in marks] == [["perjoule", "load-test"]]


@BOARDS
def test_panels_are_named_described_and_in_a_unit(path: Path) -> None:
    """Each panel has a title, a description, a unit, the template data source, queries, and something for no value."""
    for panel in panels(load(path)):
        assert panel["title"]
        assert len(panel["description"]) > 20
        if panel["type"] == "text":
            assert panel["options"]["content"]
            continue
        defaults = panel["fieldConfig"]["defaults"]
        assert defaults["unit"]
        assert defaults["noValue"] == "—"
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert panel["targets"]


@BOARDS
def test_titles_and_ids_are_unique(path: Path) -> None:
    """Panels can be linked to and talked about."""
    every = load(path)["panels"]
    assert len({panel["id"] for panel in every}) == len(every)
    assert len({panel["title"] for panel in every}) == len(every)


@BOARDS
def test_queries_of_a_panel_have_their_own_letters(path: Path) -> None:
    """No two queries of a panel share a refId, and each asks the template data source."""
    for panel in panels(load(path)):
        letters = [target["refId"] for target in panel.get("targets", [])]
        assert sorted(set(letters)) == letters
        assert all(target["datasource"]["uid"] == "${datasource}" for target in panel.get("targets", []))


@BOARDS
def test_no_overlap_and_no_hole(path: Path) -> None:
    """Panels lie inside the grid of 24 columns, on no cell twice, and every line of the grid is full."""
    cells: dict[tuple[int, int], str] = {}
    for panel in load(path)["panels"]:
        place = panel["gridPos"]
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert (x, y) not in cells, f"{panel['title']} lies on {cells[x, y]}"
                cells[x, y] = panel["title"]
    assert {x for x, _ in cells} == set(range(24))
    assert len(cells) == 24 * (1 + max(y for _, y in cells))


@BOARDS
def test_panels_are_in_reading_order(path: Path) -> None:
    """The file lists panels as they are read: top to bottom, left to right."""
    places = [(panel["gridPos"]["y"], panel["gridPos"]["x"]) for panel in load(path)["panels"]]
    assert all(before < after for before, after in pairwise(places))


@QUERIES
def test_counters_only_grow_inside_a_rate(query: Query) -> None:
    """A raw counter is shown as a rate, an increase, its resets, or its difference between two instants."""
    expr = query.target["expr"]
    for name in METRIC.findall(expr):
        if name in CATALOGUE and CATALOGUE[name].kind is Kind.COUNTER:
            uses = len(re.findall(rf"\b{name}\b", expr))
            exact = rf"(?:rate|increase|resets)\({name}\b|{name}\{{[^}}]*\}} @ \$"
            assert len(re.findall(exact, expr)) == uses


@QUERIES
def test_rates_follow_the_panel(query: Query) -> None:
    """A rate over time uses $__rate_interval, one over the selected range $__range; no window is written out."""
    windows = set(re.findall(r"\[([$0-9][^\]]*)\]", query.target["expr"]))
    assert windows <= {"$__range", "$__rate_interval", "$__range:5m"}
    assert query.target.get("instant") or "$__rate_interval" in windows or not windows


@QUERIES
def test_every_selector_follows_the_choice(query: Query) -> None:
    """Each series that a query reads is filtered by the chosen clusters and nodes, but those that have none."""
    expr = query.target["expr"]
    selectors = [(name, matchers) for name, matchers in SELECTOR.findall(expr) if name != CARBON_BUDGET]
    for name, matchers in selectors:
        assert 'cluster=~"$cluster", node=~"$node"' in matchers, name
    read = METRIC.findall(expr) + RECORDING.findall(expr)
    assert len([name for name, _ in selectors if name not in SCRAPED]) == len(read)


@QUERIES
def test_tasks_follow_the_choice(query: Query) -> None:
    """What has a task is filtered by the chosen tasks and models, where the dashboard offers them."""
    for name, matchers in SELECTOR.findall(query.target["expr"]):
        labels = CATALOGUE[name].labels if name in CATALOGUE else name.split(":")[0].split("_")
        if "task" in labels and query.board not in WHOLE:
            assert 'task=~"$task", model=~"$model"' in matchers, name


WHOLE = {"fleet"}
"""Dashboards of devices, whatever runs on them."""


@QUERIES
def test_figures_and_tables_ask_once(query: Query) -> None:
    """Single figures, bars and tables are instant queries, lines are range queries."""
    assert bool(query.target.get("instant")) == (query.panel["type"] in {"stat", "table", "bargauge", "barchart"})


def test_names_are_those_of_the_catalogue() -> None:
    """Every metric in a dashboard or rule is one that the programs expose or that a rule records."""
    for expression in EXPRESSIONS:
        assert set(METRIC.findall(expression)) <= set(CATALOGUE) | HISTOGRAMS
        assert set(RECORDING.findall(expression)) <= RECORDED | {REQUEST_SECONDS}
        assert {name for name, _ in SELECTOR.findall(expression) if "_" not in name} <= SCRAPED


def test_labels_are_those_of_the_catalogue() -> None:
    """Every label that a rule matches or groups by is one of a metric, or one that the scrape gives."""
    known = {label for metric in CATALOGUE.values() for label in metric.labels} | SCRAPED_LABELS
    for expression in EXPRESSIONS:
        grouped = re.findall(r"\b(?:by|on|group_left) \(([^)]*)\)", expression)
        used = {label.strip() for labels in grouped for label in labels.split(",") if label.strip()}
        used |= set(re.findall(r"(\w+)(?:=~|!~|!=|=)\"", expression))
        assert used <= known


def test_rules_are_in_the_order_in_which_they_build_upon_each_other() -> None:
    """A rule reads only what rules before it in its own group recorded, or whole hours: one evaluation, one instant."""
    hourly = {rule.record for rule in window_rules(ONE_HOUR)}
    for window in WINDOWS:
        rules = window_rules(window)
        for place, rule in enumerate(rules):
            read = set(RECORDING.findall(rule.expr))
            if ":1h])" in rule.expr:
                assert len(read) == 1
                assert read <= hourly
            else:
                assert read - {REQUEST_SECONDS} <= {earlier.record for earlier in rules[:place]}


def test_generated_files_are_up_to_date() -> None:
    """What is committed is what the code generates now."""
    from perjoule_grafana.generate import generated_files, stale

    assert stale(generated_files(), ROOT) == []
