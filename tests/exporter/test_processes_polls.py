"""The shell around the shares: who is asked when, and what a driver that fails, hangs or comes late costs."""

import shutil
import sys
import threading
import time
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from perjoule.errors import DeviceLostError
from perjoule_exporter.clock import Clock
from perjoule_exporter.meters import Device, Meter, ProcessUse
from perjoule_exporter.meters.simulated import SimulatedMeter
from perjoule_exporter.meters.simulated.script import script_of
from perjoule_exporter.pace import Pace
from perjoule_exporter.processes.owner import IDLE, OPEN, UNKNOWN, Kind, Owner
from perjoule_exporter.processes.polls import SLOW_SECONDS, Polls
from perjoule_exporter.processes.settings import ProcessSettings
from perjoule_exporter.sampler import Sampler
from perjoule_exporter.seat import Rules
from perjoule_exporter.track import Charges
from tests.exporter.fakes import Hands, ScriptedMeter, gpu
from tests.exporter.running import wait_until

SELF = Owner(Kind.PROCESS, "python")


@dataclass
class SeeingMeter(ScriptedMeter):
    """Boards at 100 W whose one process is busy all the time; some do not answer, or hang, when asked for it."""

    silent: set[str] = field(default_factory=set)
    hanging: dict[str, threading.Event] = field(default_factory=dict)
    answer_takes: float = 0.0

    def processes(self, device: Device) -> tuple[ProcessUse, ...] | None:
        self.calls.append(("processes", device.uuid))
        self.hands.seconds += self.answer_takes
        if device.uuid in self.hanging:
            self.hanging[device.uuid].wait(10)
        if device.uuid in self.silent:
            raise DeviceLostError(f"{device.uuid}: does not tell")
        return (ProcessUse(7, 0.5, 1),)


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    folder = tmp_path / "7"
    folder.mkdir()
    (folder / "stat").write_bytes(b"7 (python) S " + b"1 " * 40)
    (folder / "cgroup").write_bytes(b"0::/\n")
    (tmp_path / "2").mkdir()
    (tmp_path / "2" / "comm").write_bytes(b"kthreadd\n")
    return tmp_path


class Bench:
    """A sampler and its polls, moved on by hand."""

    def __init__(self, meter: Meter, hands: Hands, proc: Path) -> None:
        self.hands = hands
        self.sampler = Sampler([meter], Rules(Pace(), Charges), hands.clock)
        self.polls = Polls(self.sampler.seats, hands.clock, ProcessSettings(procfs=proc))

    def run(self, seconds: float) -> None:
        """Sample 20 times a second, and ask for processes each second."""
        for step in range(round(seconds * 20)):
            self.sampler.sample()
            if step % 20 == 0:
                for watch in self.polls._watches.values():
                    watch.look()
            self.hands.seconds += 0.05

    def joules(self, index: int = 0) -> dict[Owner, float]:
        """Return the rows, which add up, of a board that answers."""
        measured = self.sampler.views()[index].measured
        assert measured is not None
        assert measured.split is not None
        rows = {owner: microjoules / 1e6 for owner, microjoules in measured.split.items()}
        assert sum(rows.values()) == pytest.approx(measured.energy_joules, abs=1e-6)
        return rows


def test_energy_finds_its_process(proc: Path) -> None:
    """But for the newest joules, all of it."""
    meter = SeeingMeter(Hands())
    bench = Bench(meter, meter.hands, proc)
    bench.run(10.0)
    rows = bench.joules()
    assert rows[OPEN] == pytest.approx(100, abs=11)
    assert rows[SELF] == pytest.approx(1000 - rows[OPEN], abs=11)


TRUTH = """
[[gpu]]
unsupported = UNSUPPORTED
power = { points = [[0, 60], [4.3, 60], [4.301, 360], [7.6, 360], [7.601, 60], [10.2, 60], [10.201, 260], [15.7, 260],
                    [15.701, 60], [3600, 60]] }
[[gpu.process]]
pid = 7
utilization_ratio = 0.9
from_seconds = 4.3
to_seconds = 7.6
[[gpu.process]]
pid = 8
utilization_ratio = 0.5
from_seconds = 10.2
to_seconds = 15.7
"""


@pytest.mark.parametrize(("unsupported", "off"), [([], 0.001), (["energy_time"], 0.1)])
def test_the_shares_are_the_truth_where_one_works_at_a_time(proc: Path, unsupported: list[str], off: float) -> None:
    """Bursts that begin and end within looks, told late: 300 W × 3.3 s and 200 W × 5.5 s above an idle power of 60 W.

    A counter that is 200 ms late and does not say so costs some of that.
    """
    shutil.copytree(proc / "7", proc / "8")
    (proc / "8" / "stat").write_bytes(b"8 (vllm) S " + b"1 " * 40)
    script = script_of(tomllib.loads(TRUTH.replace("UNSUPPORTED", str(unsupported))), "truth", proc)
    hands = Hands()
    bench = Bench(SimulatedMeter(script, hands.clock), hands, proc)
    bench.run(40.0)
    rows = bench.joules()
    assert rows[SELF] == pytest.approx(300 * 3.3, rel=off)
    assert rows[Owner(Kind.PROCESS, "vllm")] == pytest.approx(200 * 5.5, rel=off)
    assert rows[IDLE] + rows[OPEN] == pytest.approx(60 * 40, rel=0.1)


def test_a_meter_that_sees_no_processes_is_left_alone(proc: Path) -> None:
    """Its boards have no rows."""
    meter = ScriptedMeter(Hands())
    sampler = Sampler([meter], Rules(Pace(), Charges), meter.hands.clock)
    polls = Polls(sampler.seats, meter.hands.clock, ProcessSettings(procfs=proc))
    polls.start()
    sampler.sample()
    polls.close()
    (shown,) = sampler.views()
    assert shown.measured is not None
    assert shown.measured.split is None


def test_a_driver_that_does_not_tell_for_a_while_costs_that_while(proc: Path) -> None:
    """It is unknown's, and with it the time up to the first answer afterwards."""
    meter = SeeingMeter(Hands())
    bench = Bench(meter, meter.hands, proc)
    bench.run(5.0)
    meter.silent = {"GPU-0"}
    bench.run(10.0)
    meter.silent = set()
    bench.run(15.0)
    rows = bench.joules()
    assert rows[UNKNOWN] == pytest.approx(1000 + 100, abs=60)
    assert rows[SELF] == pytest.approx(3000 - rows[UNKNOWN] - rows[OPEN], abs=6)


def test_a_lost_board_is_not_asked(proc: Path) -> None:
    """Who reads it finds out when it is back."""
    meter = SeeingMeter(Hands())
    bench = Bench(meter, meter.hands, proc)
    bench.run(2.0)
    meter.lost = {"GPU-0"}
    bench.run(1.0)
    meter.calls.clear()
    bench.run(5.0)
    assert meter.count("processes", "GPU-0") == 0
    meter.lost = set()
    bench.run(5.0)
    assert bench.joules()[UNKNOWN] > 500


def test_an_answer_that_took_long_is_of_no_time(proc: Path) -> None:
    """It is not believed."""
    meter = SeeingMeter(Hands(), answer_takes=SLOW_SECONDS + 0.1)
    bench = Bench(meter, meter.hands, proc)
    bench.run(5.0)
    measured = bench.sampler.views()[0].measured
    assert measured is not None
    assert measured.split is None


def test_a_driver_that_hangs_costs_its_own_board_only(proc: Path) -> None:
    """In real threads: the other board's rows go on, and the end waits for nobody."""
    meter, released = SeeingMeter(Hands(), gpus=21), threading.Event()
    meter.hanging = {f"GPU-{number}": released for number in range(21) if number != 1}
    settings = ProcessSettings(interval_seconds=0.5, procfs=proc)
    sampler = Sampler([meter], Rules(Pace(), Charges), Clock())
    polls = Polls(sampler.seats, Clock(), settings)
    polls.start()
    asked = meter.count("processes", "GPU-1")
    wait_until(lambda: meter.count("processes", "GPU-1") > asked, "the other board is asked again")
    assert meter.count("processes", "GPU-0") == 1
    closing = time.monotonic()
    polls.close()
    assert time.monotonic() - closing < 0.5
    released.set()


def test_rows_and_joules_are_of_one_moment(proc: Path) -> None:
    """Under threads that change hands at every chance, each picture adds up."""
    meter = SeeingMeter(Hands())
    bench = Bench(meter, meter.hands, proc)
    done = threading.Event()

    def sample() -> None:
        while not done.is_set():
            bench.sampler.sample()
            bench.hands.seconds += 0.05

    def look() -> None:
        while not done.is_set():
            for watch in bench.polls._watches.values():
                watch.look()

    bench.run(2.0)
    before, workers = sys.getswitchinterval(), [threading.Thread(target=job) for job in (sample, look)]
    sys.setswitchinterval(1e-5)
    try:
        for worker in workers:
            worker.start()
        for _ in range(500):
            bench.joules()
    finally:
        done.set()
        for worker in workers:
            worker.join()
        sys.setswitchinterval(before)
    assert bench.joules()[SELF] > 0


def test_a_board_that_is_found_later_has_rows(proc: Path) -> None:
    """What it used until then is unknown's."""
    meter = SeeingMeter(Hands(), gpus=1)
    bench = Bench(meter, meter.hands, proc)
    bench.run(2.0)
    meter.gpus = 2
    bench.sampler.discover()
    bench.run(1.0)
    assert [watch._seat.device for watch in bench.polls._adopt()] == [gpu(1)]
    bench.run(5.0)
    rows = bench.joules(1)
    assert rows[UNKNOWN] == pytest.approx(100, abs=11)
    assert rows[SELF] > 300


def test_asked_again_after_a_pause_rows_go_on(proc: Path) -> None:
    """As when the setting was taken back for a while: the same account, and the pause is unknown's."""
    meter = SeeingMeter(Hands())
    bench = Bench(meter, meter.hands, proc)
    bench.run(5.0)
    before = bench.joules()
    bench.polls = Polls(bench.sampler.seats, bench.hands.clock, ProcessSettings(procfs=proc))
    for _ in range(200):
        bench.sampler.sample()
        bench.hands.seconds += 0.05
    bench.run(5.0)
    rows = bench.joules()
    assert all(rows[owner] >= joules for owner, joules in before.items())
    assert rows[UNKNOWN] == pytest.approx(1000 + 100, abs=60)


@pytest.mark.parametrize("saved", [{"rows": 1}, [], "x"])
def test_saved_shares_of_no_use_are_said_and_unknowns(
    proc: Path, saved: object, caplog: pytest.LogCaptureFixture
) -> None:
    """The joules stay, and nobody's row is invented."""
    meter = SeeingMeter(Hands())
    first = Sampler([meter], Rules(Pace(), Charges), meter.hands.clock)
    for _ in range(40):
        first.sample()
        meter.hands.seconds += 0.05
    sums = {uuid: {**dict(kept), "split": saved} for uuid, kept in first.views_and_sums()[1].items()}
    sampler = Sampler([meter], Rules(Pace(), Charges), meter.hands.clock, sums)
    Polls(sampler.seats, meter.hands.clock, ProcessSettings(procfs=proc))
    assert [r.getMessage().partition(":")[0] for r in caplog.records] == ["the saved shares of GPU-0 are of no use"]
    splitter = sampler.seats.all[0].track.splitter
    assert splitter is not None
    assert splitter.saved()["rows"]["rows"] == [["unknown", "", "", "", "", sampler.seats.all[0].track.energy.total]]


def test_a_proc_of_a_container_is_said_once(proc: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Names may be wrong there."""
    (proc / "2" / "comm").write_bytes(b"sh\n")
    meter = SeeingMeter(Hands(), gpus=3)
    Bench(meter, meter.hands, proc)
    assert [record.getMessage().split(" does ")[0] for record in caplog.records] == [str(proc)]


def test_a_fault_of_ours_ends_the_shares_and_not_the_joules(
    proc: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is logged, and all energy from then on is unknown's."""
    meter = SeeingMeter(Hands())
    sampler = Sampler([meter], Rules(Pace(), Charges), meter.hands.clock)
    polls = Polls(sampler.seats, Clock(), ProcessSettings(procfs=proc))
    monkeypatch.setattr(SeeingMeter, "processes", lambda *_: 1 / 0)
    polls.start()
    polls.close()
    assert [record.getMessage() for record in caplog.records] == ["the processes of GPU-0 are no longer told"]
    sampler.sample()
    assert sampler.views()[0].measured is not None
