"""Every alert says what it must, has a page that helps, and is tested to fire; budgets are settings that work."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from perjoule.metrics import CATALOGUE, Kind
from perjoule_grafana.alerting import CRITICAL, INFO, WARNING, Alert, alerts
from perjoule_grafana.rules import energy_groups
from perjoule_grafana.thresholds import CARBON_BUDGET, ENERGY_BUDGET

ROOT = Path(__file__).resolve().parents[2]
RULES = ROOT / "prometheus" / "rules"
TESTS = sorted((ROOT / "prometheus" / "tests").glob("alerts_*_test.yml"))
RUNBOOKS = ROOT / "docs" / "runbooks"
SECTIONS = ["Meaning", "Impact", "Diagnosis", "Mitigation"]
ALERT = pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert.name)
RECORDED = {rule.record for group in energy_groups() for rule in group.rules} | {ENERGY_BUDGET, CARBON_BUDGET}
EXPOSED = set(CATALOGUE) | {
    f"{metric.name}_{part}"
    for metric in CATALOGUE.values()
    if metric.kind is Kind.HISTOGRAM
    for part in ("sum", "count")
}
NAME = re.compile(r"(?<![\w:$\"])(?:(?:gpu|cpu|inference|grid)_[a-z0-9_]+|[a-z_]+:[a-z0-9_]+:[a-z0-9]+)(?![\w:=\"])")


def queries(page: Path) -> list[str]:
    """Return the PromQL blocks of a page."""
    return re.findall(r"```promql\n(.+?)\n```", page.read_text(), re.DOTALL)


def fired() -> set[str]:
    """Return the alerts that a rule test expects to fire."""
    names: set[str] = set()
    for path in TESTS:
        for test in yaml.safe_load(path.read_text())["tests"]:
            cases = test.get("alert_rule_test", [])
            names |= {case["alertname"] for case in cases if case["exp_alerts"]}
            samples = [sample for case in test.get("promql_expr_test", []) for sample in case["exp_samples"]]
            names |= {name for sample in samples for name in re.findall(r'alertname="(\w+)"', sample["labels"])}
    return names


def checked(promtool: Path, rules: list[dict[str, Any]], folder: Path) -> None:
    """Let promtool judge a group of rules."""
    path = folder / "rules.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "checked", "rules": rules}]}))
    done = subprocess.run([promtool, "check", "rules", path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@ALERT
def test_what_an_alert_says(alert: Alert) -> None:
    """A wait, a severity, an area, a summary that is no sentence, a description that is, and metrics that exist."""
    assert re.fullmatch(r"\d+[mh]", alert.hold)
    assert alert.severity in {CRITICAL, WARNING, INFO}
    assert alert.area in {"reading", "trust", "energy", "carbon"}
    assert not alert.summary.endswith(".")
    assert alert.description.endswith(".")
    assert set(NAME.findall(alert.expr)) - {"gpu_uuid"} <= RECORDED | EXPOSED


@ALERT
def test_an_alert_has_a_page(alert: Alert, tmp_path: Path, promtool: Path) -> None:
    """Meaning, impact, diagnosis with queries that Prometheus takes, of series that exist, and what to do."""
    page = ROOT / alert.runbook
    text = page.read_text()
    assert text.startswith(f"# {alert.name}\n")
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == SECTIONS
    assert len(queries(page)) >= 2
    for query in queries(page):
        assert set(NAME.findall(query)) <= RECORDED | EXPOSED, query
    rules = [{"record": f"level:query:number{number}", "expr": query} for number, query in enumerate(queries(page))]
    checked(promtool, rules, tmp_path)


@ALERT
def test_an_alert_s_dashboard_exists(alert: Alert) -> None:
    """The link leads to a committed dashboard."""
    uids = [
        re.search(r'"uid": "(perjoule-[a-z-]+)"', path.read_text()) for path in ROOT.glob("grafana/dashboards/*.json")
    ]
    assert re.match(r"/d/([\w-]+)", alert.dashboard)[1] in {uid[1] for uid in uids if uid}  # type: ignore[index] # fails just so


def test_every_alert_is_seen_firing() -> None:
    """Each alert fires in a rule test; most tests name all that fire, so that the others are seen quiet."""
    assert {alert.name for alert in alerts()} <= fired()


def test_no_page_without_an_alert() -> None:
    """Pages of alerts that are gone are removed."""
    assert {page.stem for page in RUNBOOKS.glob("*.md")} == {alert.name for alert in alerts()}


def test_pages_link_to_what_exists() -> None:
    """Each relative link of a page leads to a file."""
    for page in RUNBOOKS.glob("*.md"):
        for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
            assert (page.parent / target).is_file(), f"{page.name}: {target}"


def test_the_example_of_budgets_works(tmp_path: Path, promtool: Path) -> None:
    """The comment of budgets.yml shows a rule file with the names that the alerts read; as it comes, it has none."""
    text = (RULES / "budgets.yml").read_text()
    assert yaml.safe_load(text) == {"groups": []}
    example = text[text.index("# groups:") :].rpartition("groups: []")[0]
    rules = yaml.safe_load(re.sub(r"^# ?", "", example, flags=re.MULTILINE))["groups"][0]["rules"]
    assert {rule["record"] for rule in rules} == {ENERGY_BUDGET, CARBON_BUDGET}
    checked(promtool, rules, tmp_path)
