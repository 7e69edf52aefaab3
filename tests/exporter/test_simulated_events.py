"""Scripted boards through the meter's interface, with a clock that is set by hand: sensors, events, and the truth."""

import json
import threading
import tomllib
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perjoule.errors import DeviceLostError
from perjoule_exporter.meters import MICRO, ProcessUse, Reading
from perjoule_exporter.meters.simulated import SimulatedMeter, TruthFile
from perjoule_exporter.meters.simulated.script import script_of
from tests.exporter.fakes import WALL, Hands
from tests.exporter.running import wait_until

READING = ("energy_microjoules", "energy_time", "power_watts", "average_power_watts")
IDLE = "[[gpu]]\npower = 100\n"
"""10 J every tick of 100 ms, readable 200 ms later."""


class Bench:
    """A scripted meter and the hands of its clock."""

    def __init__(
        self, text: str, truth: Path | None = None, load: Callable[[float, float], float] | None = None
    ) -> None:
        self.hands = Hands()
        script = script_of(tomllib.loads(text), "s.toml", Path())
        self.meter = SimulatedMeter(script, self.hands.clock, load, TruthFile(truth) if truth is not None else None)
        self.gpus = [gpu.device for gpu in script.gpus]

    def at(self, seconds: float, gpu: int = 0) -> Reading:
        self.hands.seconds = seconds
        return self.meter.read(self.gpus[gpu])

    def joules(self, seconds: float, gpu: int = 0) -> float | None:
        microjoules = self.at(seconds, gpu).energy_microjoules
        return None if microjoules is None else microjoules / MICRO

    def stamp(self, seconds: float, gpu: int = 0) -> float | None:
        time = self.at(seconds, gpu).energy_time
        return None if time is None else round(time - WALL, 6)


def lost(bench: Bench, seconds: float, gpu: int = 0) -> bool:
    try:
        bench.at(seconds, gpu)
    except DeviceLostError:
        return True
    return False


def test_tick_and_delay_are_the_scripts() -> None:
    """A tick of 20 ms that is readable at once: 2 J more at each."""
    bench = Bench(IDLE + "tick_seconds = 0.02\ndelay_seconds = 0")
    assert [bench.joules(t) for t in (0.0, 0.019, 0.0201, 0.0399, 0.0401)] == [0.0, 0.0, 2.0, 2.0, 4.0]
    assert bench.stamp(0.05) == 0.04


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.floats(0.001, 0.7), min_size=1, max_size=15),
    st.integers(1, 200),
    st.sampled_from([0.01, 0.02, 0.1]),
    st.floats(0.5, 2.0),
)
def test_the_counter_does_not_depend_on_polling(steps: list[float], period: int, tick: float, gain: float) -> None:
    """However it was polled before, the same time shows the same microjoules as a board that is read only then."""
    text = f"""
    [[gpu]]
    power = {{ square = [60, 390], period_seconds = {period / 1000}, duty = 0.3 }}
    tick_seconds = {tick}
    gain = {gain}
    [[gpu.event]]
    kind = "reset"
    at_seconds = 1.234
    every_seconds = 3
    [[gpu.event]]
    kind = "frozen"
    from_seconds = 2
    to_seconds = 2.5
    """
    polled, seconds = Bench(text), 0.0
    for step in steps:
        seconds += step
        last = polled.at(seconds)
    fresh = Bench(text).at(seconds)
    assert last._replace(energy_time=None) == fresh._replace(energy_time=None)
    assert last.energy_time == pytest.approx(fresh.energy_time, abs=1e-6)  # the wall clock resolves 0.2 µs


def test_gain_is_the_sensors_and_not_the_truths(tmp_path: Path) -> None:
    """A sensor that tells 5 % too much: counter and both powers are wrong by it, the truth file is right."""
    bench = Bench(IDLE + "gain = 1.05", tmp_path / "truth")
    reading = bench.at(2.25)
    assert reading.energy_microjoules == 210 * MICRO
    assert [reading.power_watts, reading.average_power_watts] == pytest.approx([105.0, 105.0])
    truth = [json.loads(line) for line in (tmp_path / "truth").read_text().splitlines()]
    assert [(line["device"], line["joules"], line["total_joules"]) for line in truth[:2]] == [
        ("GPU-simulated-0", 10.0, 10.0),
        ("GPU-simulated-0", 10.0, 20.0),
    ]


def test_the_instant_field_sees_a_quarter_of_the_time() -> None:
    """A 100 ms square wave, load first: the last 25 ms of each tick say idle, average and counter do not."""
    text = """
    [[gpu]]
    idle_watts = 50
    power = { square = [50, 350], period_seconds = 0.1 }
    instant_seconds = 0.025
    """
    reading = Bench(text).at(10.25)
    assert reading.power_watts == pytest.approx(50.0)
    assert reading.average_power_watts == pytest.approx(200.0)
    assert reading.energy_microjoules == 2000 * MICRO


def test_the_instant_field_beats_with_a_period_off_the_tick() -> None:
    """130 ms against 100 ms: instant power is anything between idle and full, its mean is still that of the wave."""
    bench = Bench("[[gpu]]\npower = { square = [0, 400], period_seconds = 0.13 }\ninstant_seconds = 0.025")
    powers = [bench.at(0.31 + tick / 10).power_watts or 0.0 for tick in range(130)]
    assert min(powers) == pytest.approx(0.0)
    assert max(powers) == pytest.approx(400.0)
    assert sum(powers) / len(powers) == pytest.approx(200.0, rel=0.02)


def test_a_module_counts_its_cpu_too(tmp_path: Path) -> None:
    """Scope module: counter and power hold the CPU's 80 W, utilisation does not, and the truth tells them apart."""
    text = '[[gpu]]\nscope = "module"\npower = 235\ncpu_power = 80'
    bench = Bench(text, tmp_path / "truth")
    assert bench.joules(1.25) == 315.0
    assert bench.at(1.25).power_watts == pytest.approx(315.0)
    assert bench.meter.status(bench.gpus[0]).utilization_ratio == pytest.approx(0.5)
    last = json.loads((tmp_path / "truth").read_text().splitlines()[9])
    assert (last["total_joules"], last["gpu_total_joules"]) == (315.0, 235.0)


def test_a_reset_shows_at_once_and_counts_from_its_moment() -> None:
    """Reset at 1.05 s: the counter is 0 and has not moved until the tick after it, which holds half of its energy."""
    bench = Bench(IDLE + "start_joules = 500\n[[gpu.event]]\nkind = 'reset'\nat_seconds = 1.05")
    assert (bench.joules(1.04), bench.stamp(1.04)) == (580.0, 0.8)
    assert (bench.joules(1.051), bench.stamp(1.06)) == (0.0, None)
    assert (bench.joules(1.29), bench.stamp(1.29)) == (0.0, None)
    assert (bench.joules(1.31), bench.stamp(1.31)) == (5.0, 1.1)
    assert bench.joules(1.41) == 15.0
    assert bench.at(1.06).power_watts == pytest.approx(100.0)


def test_resets_come_again() -> None:
    """Every ten seconds, so a board has at most a hundred and a few ticks' joules on its counter."""
    bench = Bench(IDLE + "[[gpu.event]]\nkind = 'reset'\nat_seconds = 5\nevery_seconds = 10")
    assert [bench.joules(t) for t in (4.95, 5.35, 14.95, 15.35, 95.35)] == [470.0, 10.0, 970.0, 10.0, 10.0]


def test_a_jump_adds_energy_that_was_never_used(tmp_path: Path) -> None:
    """50 kJ out of nothing on the counter, none in the truth; a jump back does not go below 0."""
    text = IDLE + "[[gpu.event]]\nkind = 'jump'\nat_seconds = 1\njoules = {}"
    bench = Bench(text.format(50_000), tmp_path / "truth")
    assert (bench.joules(1.15), bench.joules(1.25)) == (90.0, 50_100.0)
    assert json.loads((tmp_path / "truth").read_text().splitlines()[-1])["total_joules"] == 120.0
    assert Bench(text.format(-95)).joules(1.25) == 5.0
    assert Bench(text.format(-500)).joules(1.25) == 0.0


@pytest.mark.parametrize(("catch_up", "after"), [("true", 330.0), ("false", 130.0)])
def test_a_frozen_counter_stands_still(catch_up: str, after: float) -> None:
    """From 1 to 3 s nothing moves, not even its stamp; then all shows at once, or is never counted. Power goes on."""
    bench = Bench(
        IDLE + f"[[gpu.event]]\nkind = 'frozen'\nfrom_seconds = 1\nto_seconds = 3\ncatch_up = {catch_up}",
    )
    assert [bench.joules(t) for t in (1.25, 2.0, 3.15)] == [100.0, 100.0, 100.0]
    assert bench.stamp(3.15) == 1.0
    assert bench.at(3.15).power_watts == pytest.approx(100.0)
    assert bench.joules(3.55) == after


def test_a_lost_board_raises_and_comes_back_with_its_energy() -> None:
    """Lost from 1 to 2 s: neither reading nor status, still listed; afterwards the counter has gone on."""
    bench = Bench(IDLE + IDLE + "[[gpu.event]]\nkind = 'lost'\nfrom_seconds = 1\nto_seconds = 2")
    assert [lost(bench, t, 1) for t in (0.9, 1.0, 1.9, 2.0)] == [False, True, True, False]
    assert [lost(bench, t, 0) for t in (0.9, 1.0, 1.9, 2.0)] == [False] * 4
    bench.hands.seconds = 1.5
    assert bench.meter.devices() == bench.gpus
    for call in (bench.meter.status, bench.meter.processes):
        with pytest.raises(DeviceLostError, match="GPU-simulated-1: the script says that it is lost"):
            call(bench.gpus[1])
    assert bench.joules(2.25, 1) == 200.0


def test_a_board_appears_and_disappears() -> None:
    """Absent boards are not listed and do not answer."""
    text = IDLE + "[[gpu.event]]\nkind = 'absent'\nto_seconds = 5\n[[gpu.event]]\nkind = 'absent'\nfrom_seconds = 9"
    bench = Bench(text)
    seen = []
    for seconds in (0.0, 4.9, 5.0, 8.9, 9.0, 99.0):
        bench.hands.seconds = seconds
        seen.append((len(bench.meter.devices()), lost(bench, seconds)))
    assert seen == [(0, True), (0, True), (1, False), (1, False), (0, True), (0, True)]


HANG = IDLE + IDLE + "[[gpu.event]]\nkind = 'hang'\nfrom_seconds = 1\nto_seconds = 5"


def test_a_hang_blocks_its_own_board_until_it_is_over() -> None:
    """The call really does not return; the other board answers meanwhile; then it returns what is true by then."""
    bench = Bench(HANG)
    bench.hands.seconds = 1.0
    answers: list[Reading] = []
    thread = threading.Thread(target=lambda: answers.append(bench.meter.read(bench.gpus[1])), daemon=True)
    thread.start()
    thread.join(0.1)
    assert thread.is_alive()
    assert bench.joules(4.25, 0) == 400.0
    assert bench.meter.devices() == bench.gpus
    bench.hands.seconds = 5.25
    thread.join(5)
    assert [answer.energy_microjoules for answer in answers] == [500 * MICRO]


@pytest.mark.parametrize("call", ["read", "status", "processes"])
def test_closing_ends_a_hang(call: str) -> None:
    """A call that hangs for good ends with the meter, as a lost device."""
    bench = Bench(IDLE + "[[gpu.event]]\nkind = 'hang'")
    errors: list[str] = []

    def run() -> None:
        try:
            getattr(bench.meter, call)(bench.gpus[0])
        except DeviceLostError as error:
            errors.append(str(error))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(0.05)
    assert thread.is_alive()
    bench.meter.close()
    wait_until(lambda: not thread.is_alive(), "the call returns")
    assert errors == ["GPU-simulated-0: the simulation ended while a call hung"]


def test_status_follows_its_rows() -> None:
    """Rows add up in their order and begin again with their period; utilisation is the power's unless a row says it."""
    bench = Bench(
        """
        [[gpu]]
        power = 235
        status_period_seconds = 100
        unsupported = ["memory_used_bytes"]
        [[gpu.status]]
        temperature_celsius = 40
        memory_used_bytes = 5
        memory_total_bytes = 10
        [[gpu.status]]
        from_seconds = 60
        temperature_celsius = 91
        throttle_reasons = ["hw_thermal_slowdown"]
        utilization_ratio = 1
        """
    )
    device = bench.gpus[0]
    seen = []
    for seconds in (0.0, 1.0, 60.0, 99.0, 101.0):
        bench.hands.seconds = seconds
        status = bench.meter.status(device)
        seen.append((status.temperature_celsius, status.throttle_reasons, status.utilization_ratio))
    hot = (91.0, {"hw_thermal_slowdown"}, 1.0)
    cool = (40.0, None, pytest.approx(0.5))
    assert seen == [(40.0, None, None), cool, hot, hot, cool]
    assert (status.memory_used_bytes, status.memory_total_bytes, status.limit_watts) == (None, 10, 400.0)


@pytest.mark.parametrize(
    ("unsupported", "absent"),
    [
        ('"energy_time"', {"energy_time"}),
        ('"power"', {"power_watts"}),
        ('"average_power"', {"average_power_watts"}),
        ('"energy", "power", "average_power"', set(READING)),
    ],
)
def test_what_a_board_does_not_support_is_absent(unsupported: str, absent: set[str]) -> None:
    """Each field on its own, and a board that tells nothing at all: None, never 0."""
    reading = Bench(IDLE + f"unsupported = [{unsupported}]").at(2.0)
    assert {name for name in READING if getattr(reading, name) is None} == absent


def test_without_a_counter_power_is_integrated() -> None:
    """Trapezoids over the power of each tick: all but the first tick's 10 J, which no two samples enclose."""
    bench = Bench(IDLE + 'unsupported = ["energy"]')
    assert (bench.joules(0.35), bench.joules(10.25)) == (0.0, 990.0)
    assert bench.stamp(10.25) == 10.0


def test_without_a_counter_the_instant_window_is_believed() -> None:
    """A wave whose last quarter of each tick is idle: integrated power is wrong by four times, and a counter is not."""
    wave = "[[gpu]]\npower = { square = [50, 350], period_seconds = 0.1 }\ninstant_seconds = 0.025\n"
    assert Bench(wave).joules(10.25) == pytest.approx(2000.0)
    assert Bench(wave + 'unsupported = ["energy"]').joules(10.25) == pytest.approx(495.0)


def test_what_nobody_could_read_is_not_integrated() -> None:
    """A board without a counter that was lost for a second has no joules of that second."""
    text = IDLE + 'unsupported = ["energy"]\n[[gpu.event]]\nkind = "lost"\nfrom_seconds = 2\nto_seconds = 3'
    assert Bench(text).joules(10.25) == 990.0 - 110.0


def test_processes_are_told_for_the_time_since_the_last_call() -> None:
    """A process that ran for half of it has half its utilisation; one that did not is not there; no list is None."""
    text = (
        IDLE
        + """
        [[gpu.process]]
        pid = 11
        utilization_ratio = 0.8
        memory_bytes = 1000
        from_seconds = 0
        to_seconds = 5
        [[gpu.process]]
        pid = 12
        from_seconds = 8
        """
    )
    bench = Bench(text)
    device = bench.gpus[0]
    bench.hands.seconds = 1.0
    assert bench.meter.processes(device) == (ProcessUse(11, 0.8, 1000),)
    bench.hands.seconds = 7.0
    (use,) = bench.meter.processes(device) or ()
    assert (use.pid, use.memory_bytes) == (11, 1000)
    assert use.utilization_ratio == pytest.approx(0.8 * 4 / 6)
    bench.hands.seconds = 7.5
    assert bench.meter.processes(device) == ()
    bench.hands.seconds = 9.0
    assert bench.meter.processes(device) == (ProcessUse(12, None, None),)
    plain = Bench(IDLE)
    assert plain.meter.processes(plain.gpus[0]) is None


def test_boards_that_follow_the_node_share_one_question_for_load() -> None:
    """Two boards, read one after the other: load is asked for intervals without gap or overlap, and drives both."""
    asked: list[tuple[float, float]] = []

    def load(start: float, end: float) -> float:
        asked.append((start, end))
        return 0.5

    bench = Bench('[[gpu]]\ncount = 2\npower = "node"', load=load)
    for tenth in range(1, 31):
        first, second = bench.joules(tenth / 10 + 0.05, 0), bench.joules(tenth / 10 + 0.0501, 1)
    assert first == second == pytest.approx(235 * 2.8)
    assert asked[0][0] == 1000.0
    assert all(before[1] == after[0] for before, after in pairwise(asked))


def test_events_of_long_ago_hold_for_a_board_that_follows_the_node() -> None:
    """The load is forgotten after seconds, a reset's energy is not; and a board that hung has all its ticks later."""
    text = '[[gpu]]\npower = "node"\n[[gpu]]\npower = "node"\n'
    text += "[[gpu.event]]\nkind = 'reset'\nat_seconds = 1.05\n"
    text += "[[gpu.event]]\nkind = 'lost'\nfrom_seconds = 2\nto_seconds = 60"
    bench = Bench(text, load=lambda start, _end: float(start < 1030.0))
    for tenth in range(1, 610):
        bench.at(tenth / 10, 0)
    assert bench.joules(61.05, 1) == pytest.approx(400 * (30 - 1.05) + 70 * 30.8, rel=1e-6)
    assert bench.joules(61.05, 0) == pytest.approx(400 * 30 + 70 * 30.8, rel=1e-6)


def test_every_board_has_its_truth_even_if_nobody_reads_it(tmp_path: Path) -> None:
    """One board is read, both have lines for every tick."""
    bench = Bench(IDLE + "[[gpu]]\npower = 200\n[[gpu.event]]\nkind = 'lost'", tmp_path / "truth")
    bench.at(1.05)
    lines = [json.loads(line) for line in (tmp_path / "truth").read_text().splitlines()]
    totals = {line["device"]: (line["tick"], line["total_joules"]) for line in lines}
    assert totals == {"GPU-simulated-0": (10, 100.0), "GPU-simulated-1": (10, 200.0)}


def test_a_device_of_nobody_is_lost() -> None:
    """A uuid that the script does not have."""
    other = Bench('[[gpu]]\nuuid = "GPU-other"\npower = 1').gpus[0]
    with pytest.raises(DeviceLostError, match="the script has no such board"):
        Bench(IDLE).meter.read(other)
