"""Every recorded series, on a real Prometheus, is the truth that generated the counters, and there are no others."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from perjoule_grafana.queries import AGREEMENT, DEVICE_INFO, ONE_HOUR, POWER, RESIDUAL, WINDOWS, Rule, Window
from perjoule_grafana.recording import device_rules
from perjoule_grafana.rules import energy_groups, window_rules
from tests.grafana.store import Store, running, write
from tests.prometheus import truth
from tests.prometheus.ledger_world import Labels, Rates, labels, of_devices, of_works, openmetrics

pytestmark = [pytest.mark.prometheus, pytest.mark.slow, pytest.mark.timeout(240)]

SECONDS = {"5m": 300, "1h": 3600, "7d": 7 * 86400}
WINDOW = pytest.mark.parametrize("window", WINDOWS, ids=lambda window: window.range)


@pytest.fixture(scope="module")
def ledger_store(tmp_path_factory: pytest.TempPathFactory, prometheus_binary: Path, promtool: Path) -> Iterator[Store]:
    """A Prometheus with the machines' series and everything recorded from them, one-hour series for a week."""
    folder = tmp_path_factory.mktemp("ledger")
    write(folder, promtool, [*openmetrics(), "# EOF"])
    hourly = {rule.record for rule in window_rules(ONE_HOUR)}
    for rules in levels():
        with running(folder, prometheus_binary) as store:
            lines = [
                line for rule in rules for line in recorded(store, rule, 7 * 86400 if rule.record in hourly else 0)
            ]
        write(folder, promtool, [*lines, "# EOF"])
    with running(folder, prometheus_binary) as store:
        yield store


def levels() -> list[list[Rule]]:
    """Return the rules in levels, each of which needs only what the levels before it record."""
    depth: dict[str, int] = {}
    rules = [*device_rules(), *(rule for window in WINDOWS for rule in window_rules(window))]
    for rule in rules:
        depth[rule.record] = 1 + max((depth[name] for name in depth if name in rule.expr), default=-1)
    return [[rule for rule in rules if depth[rule.record] == level] for level in range(max(depth.values()) + 1)]


def recorded(store: Store, rule: Rule, seconds: int) -> Iterator[str]:
    """Yield the rule's series at whole hours up to the end."""
    for series in store.over(rule.expr, seconds, 3600):
        pairs = ",".join(f'{key}="{value}"' for key, value in series["metric"].items() if key != "__name__")
        for at, value in series["values"]:
            yield f"{rule.record}{{{pairs}}} {value} {at}"


def values(vector: list[dict[str, Any]]) -> dict[Labels, float]:
    """Return a vector by its labels, without the name."""
    named: list[tuple[dict[str, str], str]] = [(dict(sample["metric"]), sample["value"][1]) for sample in vector]
    return {labels(**{k: v for k, v in pairs.items() if k != "__name__"}): float(value) for pairs, value in named}


def expected(window: Window) -> dict[str, Rates]:
    """Return the truth of every series of the window."""
    sums = {
        name: {key: rate * SECONDS[window.range] for key, rate in rates.items()}
        for name, rates in truth.increases(window).items()
    }
    extra: dict[str, Rates] = {}
    if not window.hours:
        busy = of_works(lambda work: work.busy * SECONDS[window.range], *truth.TASK, "device")
        counters = of_devices(lambda _: 1 / 0.98, *truth.DEVICE, only=truth.gpu)
        covered = of_devices(lambda _: 1.0, *truth.DEVICE)
        extra = {window.busy: busy, window.share: truth.shares(), window.coverage: covered}
        extra[AGREEMENT[window.range]] = counters
    return {**sums, **truth.ratios(window), **extra}


@WINDOW
def test_every_series_has_a_truth(window: Window) -> None:
    """No rule is recorded that this file has no expectation of, and none is expected that no rule records."""
    assert {rule.record for rule in window_rules(window)} == set(expected(window))


@WINDOW
def test_recorded_series_are_the_truth(ledger_store: Store, window: Window) -> None:
    """Each recorded series has the labels and the value that the counters were generated from."""
    wrong = {
        name: (found, rates)
        for name, rates in expected(window).items()
        if (found := values(ledger_store.instant(name))) != pytest.approx(rates, rel=1e-7)
    }
    assert not wrong


def test_devices_are_the_truth(ledger_store: Store) -> None:
    """Watts are the devices', nothing is left between the ledger's counter and its parts, methods are told."""
    assert values(ledger_store.instant(POWER)) == pytest.approx(of_devices(lambda device: device.watts, *truth.DEVICE))
    residual = of_devices(lambda _: 0.0, *truth.DEVICE, only=truth.ledger)
    assert values(ledger_store.instant(RESIDUAL)) == pytest.approx(residual, abs=1e-6)
    assert len(values(ledger_store.instant(DEVICE_INFO))) == 3


def test_a_group_is_evaluated_as_often_as_its_windows_say() -> None:
    """The interval in the file is the constant that integrals and coverages are taken with."""
    assert {group.name: group.every for group in energy_groups()} == {
        "perjoule-devices": WINDOWS[0].every,
        **{f"perjoule-energy-{window.range}": window.every for window in WINDOWS},
    }
