"""The benchmark of the rules: its fleet, its figures, and its Prometheus."""

import time
from pathlib import Path

import pytest

from benchmarks import rules, rules_store, rules_world
from benchmarks.rules import HOUR, LONG, SHORT, Cost

ORIGIN = 1_750_000_000


def cost(gpus: int, short: float, long: float | None = None) -> Cost:
    """Return what would be found where a group takes this long."""
    found = Cost(gpus, raw=63 * gpus, recorded=70 * gpus, rss_bytes=10**9)
    found.seconds = {SHORT: [short, short * 3]} | ({} if long is None else {LONG: [long * 2, long]})
    found.cpu = {SHORT: short} | ({} if long is None else {LONG: long})
    found.weekly = gpus / 4 if long is not None else 0.0
    found.of_node = [{"__name__": "task_model:a:b", "task": "t", "model": "m"}] * 3
    return found


def test_machines_differ_by_their_names_alone() -> None:
    """No series occurs twice, and each machine has as many."""
    series = [each.text for each in rules_world.fleet(24, ORIGIN)]
    assert len(set(series)) == len(series) == 3 * len(rules_world.node(ORIGIN))
    assert sum("node1" in text for text in series) == len(rules_world.node(ORIGIN))


def test_the_fleet_has_every_counter_that_the_rules_read() -> None:
    """A family that a rule reads and the fleet lacks would make the rules look cheap."""
    text = "".join(path.read_text() for path in rules.FILES)
    shown = {each.text.partition("{")[0] for each in rules_world.node(ORIGIN)}
    assert {name for name in shown if name not in text} == set()
    families = {"gpu_energy_joules_total", "inference_energy_joules_total", "inference_device_busy_seconds_total"}
    assert families <= shown
    assert len(shown) >= 25


def test_counters_grow_and_are_exact() -> None:
    """A piece for each time, all series in it, with the time at its end."""
    pieces = list(rules_world.lines(rules_world.node(ORIGIN), ORIGIN, [ORIGIN, ORIGIN + 30]))
    energy = [line for piece in pieces for line in piece.splitlines() if line.startswith("gpu_energy_joules_total")]
    assert [line.split()[1:] for line in (energy[0], energy[-1])] == [
        ["0", str(ORIGIN)], ["6000", str(ORIGIN + 30)],
    ]  # fmt: skip


def test_a_week_is_whole_hours_of_every_machine() -> None:
    """168 of them, before the raw series begin."""
    hourly = [('a:b:c{node="node0",device="GPU-node0-1"}', "5")]
    lines = "".join(rules._week(2, hourly, ORIGIN)).splitlines()
    times = sorted({int(line.split()[-1]) for line in lines})
    assert len(times) == 168
    assert all(at % 3600 == 0 for at in times)
    assert times[-1] <= ORIGIN - 3600
    assert {line.split()[0] for line in lines} == {
        'a:b:c{node="node0",device="GPU-node0-1"}', 'a:b:c{node="node1",device="GPU-node1-1"}',
    }  # fmt: skip


def test_checks_judge_the_cpu_time() -> None:
    """Targets hold at 1,000 GPUs, and growth is held against that of the fleet."""
    found = list(rules._checks([cost(104, 0.1, 0.5), cost(1000, 1.0, 6.0), cost(5000, 12.0)]))
    verdicts = {check.what: check.passed for check in found}
    assert verdicts == {
        f"{SHORT}, 1,000 GPUs": True,
        f"{LONG}, 1,000 GPUs": True,
        "series of seven days, 104 GPUs": True,
        "series of seven days, 1,000 GPUs": True,
        f"{SHORT}, from 104 to 1,000 GPUs": True,
        f"{LONG}, from 104 to 1,000 GPUs": True,
        f"{SHORT}, from 1,000 to 5,000 GPUs": False,
    }
    slow = list(rules._checks([cost(1000, 2.1, 10.5)]))
    assert [check.passed for check in slow if "series" not in check.what] == [False, False]


def test_a_week_that_is_not_read_is_told() -> None:
    """A seven-day group that found nothing would be fast: it fails."""
    empty = cost(1000, 1.0, 1.0)
    empty.weekly = 0.0
    assert [check.passed for check in rules._checks([empty]) if "seven days" in check.what] == [False]


def test_tables_have_a_column_for_each_fleet() -> None:
    """Groups that were not measured on a fleet are a dash."""
    cpu, first, second, kinds = rules._section([cost(104, 0.1, 0.5), cost(5000, 2.0)]).tables
    assert {row[0]: row[2:] for row in cpu.rows}[LONG] == ("500 ms", "—")
    assert first.headings[2:] == ("104 GPUs", "5,000 GPUs")
    assert {row[0]: row[2:] for row in first.rows}[LONG] == ("500 ms, 750 ms", "—")
    assert {row[0]: row[2:] for row in first.rows}[HOUR] == ("—", "—")
    assert len(second.rows) == 2
    assert {row[0]: row[3] for row in kinds.rows}["model"] == "3.00"
    assert {row[0]: row[1] for row in kinds.rows}["server"] == "14.0"


@pytest.mark.prometheus
def test_a_real_prometheus_is_timed(tmp_path: Path, prometheus_binary: Path, promtool: Path) -> None:
    """Blocks of the past, a scrape of the present, and the committed group over both."""
    tools = rules_store.Tools(str(prometheus_binary), str(promtool))
    origin = int(time.time()) - 600
    fleet = rules_store.Fleet(rules_world.fleet(8, origin), origin)
    rules_store.write_past(tools, tmp_path, fleet)
    path = rules_store.rules_file(tmp_path, rules.FILES, {SHORT: "1s"})
    with rules_store.running(tools, tmp_path, fleet, path) as store:
        seconds = rules._watched(store, [SHORT], 1)[SHORT]
        assert seconds[0] > 0
        (energy,) = store.vector('node:energy_joules:increase5m{node="node0"}')
        assert float(energy["value"][1]) == pytest.approx(8 * 200 * 300, rel=0.15)
        store.without_rules()
        assert store.evaluations() == []
        assert store.cpu_seconds("rate(gpu_energy_joules_total[5m])") > 0
