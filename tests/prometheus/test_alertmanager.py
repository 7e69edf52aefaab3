"""Whom Alertmanager tells what: routes by amtool, inhibitions and silences by a running Alertmanager."""

import contextlib
import json
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from perjoule_grafana.alerting import CRITICAL, INFO, Alert, alerts

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / "alertmanager.yml"
BY_NAME = {alert.name: alert for alert in alerts()}
OF_A = {"cluster": "x", "node": "a"}
INHIBITED = [
    ("GpuEnergyExporterAbsent", {}, "InferenceWithoutEnergy", OF_A),
    ("GpuEnergyExporterDown", OF_A, "GpuUnreadable", OF_A | {"uuid": "GPU-0"}),
    ("GpuEnergyExporterDown", OF_A, "InferenceWithoutEnergy", OF_A | {"task": "t", "model": "m"}),
    ("GpuUnreadable", OF_A | {"uuid": "GPU-0"}, "GpuEnergyCounterStuck", OF_A | {"uuid": "GPU-0"}),
    ("EnergyConservationBroken", OF_A | {"device": "GPU-0"}, "InferenceEnergyRegressed", OF_A | {"task": "t"}),
    ("InferenceSpansDropped", OF_A | {"instance": "a:2"}, "InferenceWithoutEnergy", OF_A | {"task": "t"}),
    ("InferenceEnergyOverBudgetFast", OF_A | {"task": "t"}, "InferenceEnergyOverBudgetSlow", OF_A | {"task": "t"}),
    ("CarbonBudgetBurnFast", {"cluster": "x"}, "CarbonBudgetBurnSlow", {"cluster": "x"}),
]
TOLD = [
    ("GpuEnergyExporterDown", OF_A, "InferenceWithoutEnergy", OF_A | {"node": "b"}),
    ("GpuEnergyExporterDown", OF_A, "CarbonBudgetBurnFast", {"cluster": "x"}),
    ("GpuUnreadable", OF_A | {"uuid": "GPU-0"}, "GpuEnergyCounterStuck", OF_A | {"uuid": "GPU-1"}),
    ("InferenceEnergyOverBudgetFast", OF_A | {"task": "t"}, "InferenceEnergyOverBudgetSlow", OF_A | {"task": "u"}),
    ("CarbonBudgetBurnFast", {"cluster": "x"}, "CarbonBudgetBurnSlow", {"cluster": "y"}),
]


class Alertmanager:
    """A running Alertmanager, asked through its own API."""

    def __init__(self, url: str) -> None:
        self.url = url

    def post(self, route: str, body: object) -> Any:
        """Send JSON and return the answer's, or nothing."""
        data, headers = json.dumps(body).encode(), {"Content-Type": "application/json"}
        with urllib.request.urlopen(
            urllib.request.Request(f"{self.url}/api/v2/{route}", data, headers), timeout=10
        ) as got:
            return json.loads(got.read() or b"null")

    def fire(self, *fired: dict[str, str]) -> None:
        """Send alerts as Prometheus does."""
        self.post("alerts", [{"labels": labels} for labels in fired])

    def state(self, labels: dict[str, str]) -> str:
        """Return whether the alert with these labels is active, or suppressed; wait until it is known."""
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            with urllib.request.urlopen(f"{self.url}/api/v2/alerts", timeout=10) as got:
                known = {tuple(sorted(a["labels"].items())): a["status"]["state"] for a in json.load(got)}
            state = known.get(tuple(sorted(labels.items())), "unprocessed")
            if state != "unprocessed":
                return str(state)
            time.sleep(0.05)
        raise AssertionError(f"{labels} never came up")


def labelled(name: str, labels: dict[str, str], case: str = "") -> dict[str, str]:
    """Return an alert's labels as Prometheus sends them; ``case`` is a suffix of the cluster, to keep cases apart."""
    alert = BY_NAME[name]
    found = {"alertname": name, "severity": alert.severity, "area": alert.area, **labels}
    return found | ({"cluster": found["cluster"] + case} if "cluster" in found else {})


@pytest.fixture
def alertmanager(tmp_path: Path, alertmanager_binary: Path) -> Iterator[Alertmanager]:
    """Alertmanager with our configuration, alone."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    flags = [f"--web.listen-address={address}", f"--storage.path={tmp_path}", "--cluster.listen-address="]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen([alertmanager_binary, f"--config.file={CONFIG}", *flags], stdout=log, stderr=log)
    try:
        wait(f"http://{address}/-/ready", process, tmp_path / "log")
        yield Alertmanager(f"http://{address}")
    finally:
        process.terminate()
        process.wait(20)


def wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until ``url`` answers."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=2):
            return
        time.sleep(0.05)
    raise AssertionError(f"Alertmanager did not become ready: {log.read_text()}")


def test_amtool_takes_the_configuration(amtool: Path) -> None:
    """The configuration has no fault that amtool knows."""
    done = subprocess.run([amtool, "check-config", CONFIG], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert.name)
def test_routes(amtool: Path, alert: Alert) -> None:
    """Critical alerts go to the pager, warnings become tickets, and information is shown only."""
    receiver = {CRITICAL: "page", INFO: "shown"}.get(alert.severity, "ticket")
    labels = [f"severity={alert.severity}", f"area={alert.area}", f"alertname={alert.name}"]
    command: list[str | Path] = [
        amtool,
        "config",
        "routes",
        "test",
        f"--config.file={CONFIG}",
        f"--verify.receivers={receiver}",
        *labels,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_alerts_of_others_are_shown_only(amtool: Path) -> None:
    """What is not ours falls through to the receiver that tells nobody."""
    command: list[str | Path] = [
        amtool,
        "config",
        "routes",
        "test",
        f"--config.file={CONFIG}",
        "--verify.receivers=shown",
    ]
    done = subprocess.run([*command, "severity=critical", "alertname=Other"], capture_output=True, check=False)
    assert done.returncode == 0


def test_load_tests_mute_budgets_and_not_the_reading() -> None:
    """The interval of load tests exists and mutes every route of energy and carbon, and no other."""
    config = yaml.safe_load(CONFIG.read_text())
    names = {interval["name"] for interval in config["time_intervals"]}
    for route in config["route"]["routes"]:
        muted = set(route.get("mute_time_intervals", []))
        assert muted == ({"load-tests"} if "energy|carbon" in route["matchers"][0] else set())
        assert muted <= names


def test_inhibitions(alertmanager: Alertmanager) -> None:
    """What follows from another alert is held back; the same of another machine, task or GPU is told."""
    cases = [(*case, "suppressed") for case in INHIBITED[1:]] + [(*case, "active") for case in TOLD]
    pairs = [
        (labelled(source, of, f"-{number}"), labelled(target, to, f"-{number}"), state)
        for number, (source, of, target, to, state) in enumerate(cases)
    ]
    alertmanager.fire(*(source for source, _, _ in pairs))
    alertmanager.fire(*(target for _, target, _ in pairs))
    assert [alertmanager.state(target) for _, target, _ in pairs] == [state for *_, state in pairs]


def test_without_any_exporter_nothing_else_is_told(alertmanager: Alertmanager) -> None:
    """The absence of all exporters holds back every alert that needs one, on any machine."""
    source, of, target, to = INHIBITED[0]
    alertmanager.fire(labelled(source, of))
    alertmanager.fire(labelled(target, to))
    assert alertmanager.state(labelled(target, to)) == "suppressed"


def test_the_silence_of_a_load_test(alertmanager: Alertmanager, amtool: Path) -> None:
    """The command in alertmanager.yml mutes energy and carbon of a machine: not its reading, nor other machines."""
    matchers = ['area=~"energy|carbon"', "node=gpu-1"]
    url = f"--alertmanager.url={alertmanager.url}"
    silence: list[str | Path] = [amtool, "silence", "add", url, "--duration=2h", "--author=test", "--comment=load test"]
    subprocess.run([*silence, *matchers], check=True, capture_output=True)
    there, elsewhere = {"node": "gpu-1"}, {"node": "gpu-2"}
    muted = labelled("InferenceEnergyRegressed", there)
    told = [labelled("InferenceEnergyRegressed", elsewhere), labelled("GpuUnreadable", there)]
    alertmanager.fire(muted, *told)
    assert alertmanager.state(muted) == "suppressed"
    assert [alertmanager.state(labels) for labels in told] == ["active", "active"]
