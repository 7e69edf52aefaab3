"""promtool's verdict on the configuration and the rules, and what the two configurations must have in common."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / "prometheus.yml"
COMPOSE = ROOT / "prometheus" / "compose.yml"
RULES = sorted((ROOT / "prometheus" / "rules").glob("*.yml"))
ADAPTERS = sorted((ROOT / "prometheus" / "adapters").glob("*.yml"))
TESTS = sorted((ROOT / "prometheus" / "tests").glob("*_test.yml"))


def run(promtool: Path, *arguments: str | Path) -> str:
    """Run promtool and return what it printed; anything but success fails."""
    done = subprocess.run([promtool, *arguments], capture_output=True, text=True, check=False, cwd=ROOT, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def parsed(path: Path) -> dict[str, Any]:
    """Return a configuration file as data."""
    data = yaml.safe_load(path.read_text())
    assert isinstance(data, dict)
    return data


@pytest.mark.prometheus
def test_config_is_valid_and_finds_its_rules(promtool: Path) -> None:
    """``prometheus.yml`` passes promtool, rules included."""
    assert f"{len(RULES)} rule files found" in run(promtool, "check", "config", CONFIG)


@pytest.mark.prometheus
def test_compose_config_is_valid(promtool: Path) -> None:
    """The configuration of docker-compose passes promtool (its rules lie elsewhere on this machine)."""
    run(promtool, "check", "config", "--syntax-only", COMPOSE)


@pytest.mark.prometheus
@pytest.mark.parametrize("path", [*RULES, *ADAPTERS], ids=lambda path: path.stem)
def test_rules_are_valid(promtool: Path, path: Path) -> None:
    """Each rule file passes every lint of promtool."""
    run(promtool, "check", "rules", "--lint=all", "--lint-fatal", path)


@pytest.mark.prometheus
@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_rule_tests_pass(promtool: Path, path: Path) -> None:
    """Each file of rule tests passes."""
    assert "SUCCESS" in run(promtool, "test", "rules", path)


def test_ratios_and_windows_have_tests() -> None:
    """Both windows' figures per inference are expected somewhere in the rule tests."""
    text = "".join(path.read_text() for path in TESTS)
    for window in ("5m", "1h"):
        for what in ("energy_joules", "emissions_grams"):
            assert f"task_model:inference_{what}_per_inference:ratio{window}" in text


@pytest.mark.parametrize("text", ["127.0.0.1:10101", "127.0.0.1:8080", "prometheus/rules/"])
def test_what_the_demo_replaces_stands_there_once(text: str) -> None:
    """The demo puts other ports and an absolute path into a copy of the file."""
    assert CONFIG.read_text().count(text) == 1


def test_jobs_and_node() -> None:
    """Both jobs have the names of the contract, and both targets carry the same node; Prometheus itself has none."""
    *jobs, itself = parsed(CONFIG)["scrape_configs"]
    assert [job["job_name"] for job in jobs] == ["gpu-energy-exporter", "inference-server"]
    assert {config["labels"]["node"] for job in jobs for config in job["static_configs"]} == {"local"}
    assert (itself["job_name"], itself["static_configs"]) == ("prometheus", [{"targets": ["127.0.0.1:9090"]}])


def test_compose_config_differs_in_addresses_alone() -> None:
    """The containers' Prometheus scrapes and evaluates like the machine's."""
    here, there = parsed(CONFIG), parsed(COMPOSE)
    targets = [job["static_configs"][0].pop("targets") for job in there["scrape_configs"]]
    assert targets == [["exporter:10101"], ["server:8080"], ["127.0.0.1:9090"]]
    for job in here["scrape_configs"]:
        job["static_configs"][0].pop("targets")
    assert there.pop("rule_files") == ["/etc/prometheus/rules/*.yml"]
    here.pop("rule_files")
    told = [config["alerting"]["alertmanagers"][0]["static_configs"][0].pop("targets") for config in (here, there)]
    assert told == [["127.0.0.1:9093"], ["alertmanager:9093"]]
    assert there == here
