"""The ledger against a simulated device whose truth is known: a part of ``benchmarks/ledger.py``, in seconds."""

from pathlib import Path

import pytest

from benchmarks.ledger import BEGIN, END, main
from benchmarks.ledger_checks import MOST_TASK, MOST_TOTAL, SHORTEST, Run
from benchmarks.ledger_simulator import TWINS, Case, Device
from benchmarks.ledger_ways import by_average_power, by_ledger, by_window, by_window_or_power


def ran(case: Case) -> Run:
    """Return what the ledger made of a case."""
    device = Device(case)
    return Run.of(device, by_ledger(device))


@pytest.mark.parametrize("tick_seconds", [0.02, 0.1])
@pytest.mark.parametrize("load", [0.1, 0.5, 0.9, 1.0])
def test_one_stream_and_a_full_time_sensor(load: float, tick_seconds: float) -> None:
    """Totals within half a per cent, every task within five, and no mark; also on a device that is never idle."""
    run = ran(Case(load, tick_seconds=tick_seconds))
    assert run.conserved
    assert abs(run.total) <= MOST_TOTAL
    assert all(abs(error) <= MOST_TASK for error in run.errors.values())
    assert not run.marks


@pytest.mark.parametrize("load", [0.5, 1.0])
def test_two_streams_and_a_full_time_sensor(load: float) -> None:
    """The same of runs that overlap."""
    run = ran(Case(load, streams=2, seconds=200.0))
    assert run.conserved
    assert abs(run.total) <= MOST_TOTAL
    assert all(abs(error) <= MOST_TASK for error in run.errors.values())


@pytest.mark.parametrize("tick_seconds", [0.02, 0.1])
def test_drifting_idle_power(tick_seconds: float) -> None:
    """It is followed where the device is idle now and then."""
    run = ran(Case(0.5, tick_seconds=tick_seconds, drift=True))
    assert abs(run.total) <= MOST_TOTAL
    assert all(abs(error) <= MOST_TASK for error in run.errors.values())


@pytest.mark.parametrize("tick_seconds", [0.02, 0.1])
@pytest.mark.parametrize("streams", [1, 2])
def test_a_sensor_that_sees_a_quarter(streams: int, tick_seconds: float) -> None:
    """What the counter saw is given exactly; the shortest tasks cannot be known, and say so, the longest can."""
    run = ran(Case(0.5, streams, tick_seconds, full=False, seconds=150.0))
    assert run.conserved
    assert SHORTEST in run.marks
    assert "600 ms" not in run.marks
    assert abs(run.errors["600 ms"]) <= MOST_TASK


def test_tasks_that_always_run_together() -> None:
    """Nobody can tell them apart: their sum is right, and both are marked."""
    run = ran(Case(streams=2, twins=True, seconds=60.0))
    assert run.conserved
    assert abs(run.total) <= MOST_TOTAL
    assert run.marks == set(TWINS)


def test_ticks_that_are_found_by_reading() -> None:
    """Without stamps the middle of two readings is near enough for five per cent."""
    run = ran(Case(0.5, stamps=False))
    assert abs(run.total) <= MOST_TOTAL
    assert all(abs(error) <= MOST_TASK for error in run.errors.values())


@pytest.mark.slow
def test_the_benchmark_writes_its_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Between its marks in the file that was named; what else is there stays."""
    path = tmp_path / "energy.md"
    path.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n", encoding="utf-8")
    assert main(["--quick", "--markdown", str(path)]) == 0
    text = path.read_text(encoding="utf-8")
    assert text.startswith(f"before\n{BEGIN}\n")
    assert text.endswith(f"{END}\nafter\n")
    assert "old" not in text
    assert "counter over the window" in text
    assert "parts sum to the counter" in capsys.readouterr().out


def test_the_other_ways_are_what_they_are_said_to_be() -> None:
    """A single long run is right by all of them, or the comparison would be unfair; the shortest runs are not."""
    device = Device(Case(0.1, tick_seconds=0.02, seconds=200.0))
    for way in (by_window, by_window_or_power):
        joules = way(device)
        assert joules["600 ms"] == pytest.approx(device.truth["600 ms"], rel=0.05)
        assert joules["8 ms"] != pytest.approx(device.truth["8 ms"], rel=0.05)
    assert by_average_power(device)["600 ms"] < device.truth["600 ms"]


def test_a_simulated_device_is_consistent() -> None:
    """Its counter is the integral of its power, and the truth of its tasks with the idle rest is that too."""
    device = Device(Case(0.5, streams=2, seconds=50.0))
    end = 53.0
    covered, until = 0.0, 0.0
    for work in device.work:
        covered += max(0.0, work.end - max(until, work.start))
        until = max(until, work.end)
    total = sum(device.truth.values()) + 70.0 * (end - covered)
    assert device.power.until(end) - device.power.until(0.0) == pytest.approx(total)
    assert device.counted(end) - device.counted(0.0) == pytest.approx(total, abs=2 * 70.0 * 0.1)
