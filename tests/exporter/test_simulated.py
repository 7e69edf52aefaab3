"""The simulated GPU: exact, late as a driver is, and true to its truth file."""

import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perjoule.errors import UsageError
from perjoule_exporter.meters import MICRO
from perjoule_exporter.meters.simulated import DEFAULT, SimulatedMeter, Tick, TruthFile
from tests.exporter.fakes import WALL, Hands


def constant(load: float) -> SimulatedMeter:
    return SimulatedMeter(DEFAULT, Hands().clock, lambda _start, _end: load)


def read_at(meter: SimulatedMeter, hands: Hands, *times: float) -> Iterator[tuple[int, float]]:
    for time in times:
        hands.seconds = time
        reading = meter.read(meter.devices()[0])
        assert reading.energy_microjoules is not None
        assert reading.energy_time is not None
        yield reading.energy_microjoules, reading.energy_time - WALL


def truth_of(path: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_it_says_that_it_is_simulated() -> None:
    """Name, method and driver leave no doubt."""
    (device,) = constant(0.0).devices()
    assert (device.uuid, device.method, device.name) == ("GPU-simulated-0", "simulated", "Simulated GPU")


def test_a_tick_is_readable_200_ms_after_its_stamp() -> None:
    """Idle, 7 J every 100 ms, each shown with the time that it is of."""
    hands = Hands()
    meter = SimulatedMeter(DEFAULT, hands.clock, lambda _start, _end: 0.0)
    seen = list(read_at(meter, hands, 0.0, 0.29, 0.31, 0.39, 0.41, 1.05))
    assert [energy / MICRO for energy, _ in seen] == pytest.approx([0, 0, 7, 7, 14, 56])
    assert [time for _, time in seen] == pytest.approx([0.0, 0.0, 0.1, 0.1, 0.2, 0.8], abs=1e-6)


def test_power_is_that_of_the_last_tick_and_of_the_last_second() -> None:
    """Before the first tick is readable power is unknown; then 70 W idle and 400 W at full load."""
    hands = Hands()
    meter = SimulatedMeter(DEFAULT, hands.clock, lambda start, _end: float(start >= 1001.0))
    device = meter.devices()[0]
    assert meter.read(device).power_watts is None
    assert meter.status(device).utilization_ratio is None
    for n in range(1, 66):
        hands.seconds = n * 0.025
        reading = meter.read(device)
    # At 1.625 s the tick that ended at 1.4 s is the last one readable: four of the last ten were under load.
    assert reading.power_watts == pytest.approx(400.0)
    assert reading.average_power_watts == pytest.approx(70 + 330 * 0.4, rel=0.01)
    assert meter.status(device).utilization_ratio == pytest.approx(1.0)


@given(st.lists(st.tuples(st.floats(0.001, 0.4), st.floats(0.0, 1.0)), min_size=1, max_size=80))
def test_the_counter_is_the_exact_integral(steps: list[tuple[float, float]]) -> None:
    """Whatever the load and however it is polled, energy at a tick is the integral up to it, to the microjoule."""
    hands = Hands()
    loads: dict[tuple[float, float], float] = {}
    meter = SimulatedMeter(DEFAULT, hands.clock, lambda start, end: loads[start, end])
    edges = [(0.0, 0.0)]  # (time, exact joules)
    for step, load in [*steps, (0.4, 0.0)]:
        before = hands.clock.monotonic()
        hands.seconds += step
        loads[before, hands.clock.monotonic()] = load
        passed = hands.clock.monotonic() - before
        edges.append((edges[-1][0] + passed, edges[-1][1] + (70 + 330 * load) * passed))
        reading = meter.read(meter.devices()[0])
    assert reading.energy_microjoules is not None
    assert reading.energy_time is not None
    time = reading.energy_time - WALL
    (t0, j0), (t1, j1) = next(pair for pair in pairwise(edges) if time <= pair[1][0] + 1e-9)
    exact = j0 + (j1 - j0) * (time - t0) / (t1 - t0)
    assert reading.energy_microjoules / MICRO == pytest.approx(exact, abs=1e-3)  # the wall clock resolves 0.2 µs


def test_the_truth_file_holds_every_tick_and_sums_exactly(tmp_path: Path) -> None:
    """Ticks follow each other without gap, joules sum to the total, and the counter shows the very same figures."""
    hands, path = Hands(), tmp_path / "truth.jsonl"
    meter = SimulatedMeter(DEFAULT, hands.clock, lambda start, _end: start % 1, TruthFile(path))
    shown = {round(time, 3): energy for energy, time in read_at(meter, hands, *(n * 0.03 for n in range(100)))}
    ticks = truth_of(path)
    assert [tick["tick"] for tick in ticks] == list(range(1, 30))
    assert [tick["start_seconds"] for tick in ticks[1:]] == [tick["end_seconds"] for tick in ticks[:-1]]
    total = 0
    for tick in ticks:
        total += round(tick["joules"] * MICRO)
        assert round(tick["total_joules"] * MICRO) == total
        time = round(tick["end_seconds"] - WALL, 3)
        assert shown.get(time, total) == total
    assert ticks[0].keys() == {"device", "tick", "start_seconds", "end_seconds", "joules", "total_joules"}


def test_a_suspended_machine_has_all_its_ticks(tmp_path: Path) -> None:
    """A minute without a reading is six hundred ticks afterwards, not one."""
    hands, path = Hands(), tmp_path / "truth.jsonl"
    meter = SimulatedMeter(DEFAULT, hands.clock, lambda _start, _end: 0.0, TruthFile(path))
    ((energy, time),) = read_at(meter, hands, 60.05)
    assert energy == pytest.approx(59.8 * 70 * MICRO)
    assert time == pytest.approx(59.8, abs=1e-6)
    assert len(truth_of(path)) == 600


def test_a_clock_that_steps_moves_stamps_and_no_joules() -> None:
    """NTP sets the wall clock an hour on: later ticks carry the new time, the energy is as if nothing was."""
    hands = Hands()
    meter = SimulatedMeter(DEFAULT, hands.clock, lambda _start, _end: 0.0)
    list(read_at(meter, hands, 0.05, 0.15))
    object.__setattr__(meter, "_clock", type(hands.clock)(hands.clock.monotonic, lambda: WALL + 3600 + hands.seconds))
    energy, time = list(read_at(meter, hands, 0.25, 0.55))[-1]
    assert energy == pytest.approx(0.3 * 70 * MICRO)
    assert time == pytest.approx(3600.3, abs=1e-6)


def test_a_truth_file_that_cannot_be_made_is_a_usage_error(tmp_path: Path) -> None:
    """The folder does not exist: the sentence says which file and why."""
    with pytest.raises(UsageError, match=r"cannot write the truth file .*truth: No such file or directory"):
        TruthFile(tmp_path / "none" / "truth")


def test_a_full_disk_is_said_once_and_stops_no_measurement(caplog: pytest.LogCaptureFixture) -> None:
    """The kernel's own full device: one warning, and the counter goes on."""
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full on this system")
    hands = Hands()
    meter = SimulatedMeter(DEFAULT, hands.clock, lambda _start, _end: 0.0, TruthFile(Path("/dev/full")))
    energies = [energy for energy, _ in read_at(meter, hands, 1.0, 2.0, 3.0)]
    assert energies == sorted(set(energies))
    assert [record.getMessage() for record in caplog.records] == [
        "the truth file /dev/full ends here: No space left on device"
    ]
    meter.close()


def test_a_line_is_one_write(tmp_path: Path) -> None:
    """A reader that looks at any time finds whole lines."""
    truth = TruthFile(tmp_path / "truth")
    truth.write(Tick("GPU-0", 1, WALL, WALL + 0.1, 7 * MICRO, 7 * MICRO))
    assert truth_of(tmp_path / "truth") == [
        {
            "device": "GPU-0",
            "tick": 1,
            "start_seconds": WALL,
            "end_seconds": WALL + 0.1,
            "joules": 7.0,
            "total_joules": 7.0,
        }
    ]
    truth.close()
    truth.write(Tick("GPU-0", 2, WALL, WALL + 0.1, 7 * MICRO, 7 * MICRO))  # after its end nothing is written
    assert len(truth_of(tmp_path / "truth")) == 1
