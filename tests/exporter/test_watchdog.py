"""Threads against drivers that hang: what a hang costs, and that it ends by itself."""

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from perjoule_exporter.meters import MICRO, Device, Reading, Status
from perjoule_exporter.pace import Pace
from perjoule_exporter.sampler import Sampler
from perjoule_exporter.seat import Rules
from perjoule_exporter.track import Charges
from perjoule_exporter.view import DeviceView
from tests.exporter.fakes import gpu
from tests.exporter.running import wait_until


@dataclass
class HangingMeter:
    """GPUs at 100 W by the machine's own clock, each with a gate: a call waits while the gate is shut.

    ``takes``: the seconds that a reading of a GPU lasts.
    """

    gpus: int
    gates: list[threading.Event] = field(default_factory=list)
    readers: dict[int, set[str]] = field(default_factory=dict)
    takes: dict[int, float] = field(default_factory=dict)
    shut_calls: int = 0
    status_gate: threading.Event = field(default_factory=threading.Event)
    closed: bool = False

    def __post_init__(self) -> None:
        self.gates = [threading.Event() for _ in range(self.gpus)]
        for gate in (*self.gates, self.status_gate):
            gate.set()

    def devices(self) -> list[Device]:
        return [gpu(index) for index in range(self.gpus)]

    def read(self, device: Device) -> Reading:
        self.readers.setdefault(threading.get_ident(), set()).add(device.uuid)
        if not self.gates[device.index].is_set():
            self.shut_calls += 1
        assert self.gates[device.index].wait(30)
        time.sleep(self.takes.get(device.index, 0.0))
        return Reading(energy_microjoules=round(time.monotonic() * 100 * MICRO), power_watts=100.0)

    def status(self, device: Device) -> Status:
        assert self.gates[device.index].wait(30)
        assert self.status_gate.wait(30)
        return Status(limit_watts=300.0)

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def running() -> Iterator[Callable[[HangingMeter], Sampler]]:
    """Give a function that starts a sampler over a meter; it is closed, and its gates opened, with the test."""
    started: list[tuple[Sampler, HangingMeter]] = []

    def start(*meters: HangingMeter) -> Sampler:
        sampler = Sampler(meters, Rules(Pace(0.005), Charges))
        started.extend((sampler, meter) for meter in meters)
        sampler.start()
        return sampler

    yield start
    for sampler, meter in started:
        sampler.close()
        for gate in (*meter.gates, meter.status_gate):
            gate.set()


def of(sampler: Sampler, index: int) -> DeviceView:
    return sampler.views()[index]


def test_a_hang_costs_its_own_gpu_only(running: Callable[[HangingMeter], Sampler]) -> None:
    """Within a second the hung one of eight is withdrawn, the others keep fresh readings, and it comes back."""
    meter = HangingMeter(8)
    sampler = running(meter)
    meter.gates[3].clear()
    began = time.monotonic()
    worst = 0.0

    def withdrawn() -> bool:
        nonlocal worst
        views = sampler.views()
        worst = max(worst, *(view.age_seconds or 0.0 for view in views if view.device.index != 3))
        return views[3].measured is None

    wait_until(withdrawn, "the hung GPU is withdrawn", seconds=5.0)
    assert time.monotonic() - began < 1.0
    assert worst < 0.6  # the watchdog's quarter second, and a busy machine
    assert all(of(sampler, index).measured is not None for index in range(8) if index != 3)
    assert of(sampler, 3).samples["hung"] == 1
    total = of(sampler, 4).measured
    meter.gates[3].set()
    wait_until(lambda: of(sampler, 3).measured is not None, "the GPU is back")
    back, other = of(sampler, 3).measured, of(sampler, 4).measured
    assert back is not None
    assert other is not None
    assert total is not None
    assert back.energy_joules == pytest.approx(other.energy_joules, abs=100 * 0.5)  # nothing was lost meanwhile
    assert back.resets == 0


@pytest.mark.parametrize("hung", [7, 31])
def test_one_gpu_goes_on_though_all_others_hang(running: Callable[[HangingMeter], Sampler], hung: int) -> None:
    """All but one hang at once: they are withdrawn within about a second, and the last is never without figures."""
    meter = HangingMeter(hung + 1)
    sampler = running(meter)
    for gate in meter.gates[:hung]:
        gate.clear()
    began = time.monotonic()

    def withdrawn() -> bool:
        *others, last = sampler.views()
        assert last.measured is not None
        return all(view.measured is None for view in others)

    wait_until(withdrawn, "all others are withdrawn", seconds=5.0)
    assert time.monotonic() - began < 2.0
    for gate in meter.gates:
        gate.set()
    wait_until(lambda: all(view.measured is not None for view in sampler.views()), "all are back")


def test_a_gpu_that_stays_slow_is_said_once_and_holds_up_nobody(
    running: Callable[[HangingMeter], Sampler], caplog: pytest.LogCaptureFixture
) -> None:
    """Each of its readings takes a third of a second. It is shown, since they do return, and the other is read on."""
    meter = HangingMeter(2)
    sampler = running(meter)
    meter.takes[0] = 0.35
    with caplog.at_level(logging.INFO):
        wait_until(lambda: caplog.records, "it is slow")
        count, other = of(sampler, 0).samples["ok"], of(sampler, 1).samples["ok"]
        wait_until(lambda: of(sampler, 0).samples["ok"] >= count + 5, "it was read five times")
        assert of(sampler, 1).samples["ok"] > other + 10 * 5
        assert all(view.measured is not None for view in sampler.views())
    assert [record.getMessage() for record in caplog.records] == [
        "GPU-0 is slow to answer: the others are read without it"
    ]


def test_one_thread_waits_for_each_hung_gpu_and_no_more(
    running: Callable[[HangingMeter], Sampler], caplog: pytest.LogCaptureFixture
) -> None:
    """A hung GPU is called once; two hung ones hold two threads; all of them end when the driver answers."""
    meter = HangingMeter(3)
    before = threading.active_count()
    with caplog.at_level(logging.WARNING):
        sampler = running(meter)
        healthy = threading.active_count()
        for index in (0, 2):
            meter.gates[index].clear()
        wait_until(lambda: of(sampler, 0).measured is None and of(sampler, 2).measured is None, "both are withdrawn")
        count = of(sampler, 1).samples["ok"]
        wait_until(lambda: of(sampler, 1).samples["ok"] > count + 100, "the healthy one is read on")
        assert meter.shut_calls <= 2  # a status call may have been the one that hangs
        assert threading.active_count() == healthy + 2
        for index in (0, 2):
            meter.gates[index].set()
        wait_until(lambda: all(view.measured is not None for view in sampler.views()), "both are back")
        wait_until(lambda: threading.active_count() == healthy, "their threads end")
    assert healthy == before + 3
    lines = [record.getMessage() for record in caplog.records]
    assert sum("a call of its driver does not return" in line for line in lines) == 2
    assert sum(line.endswith("is back") for line in lines) == 2


def test_a_sampler_closes_though_a_driver_hangs(running: Callable[[HangingMeter], Sampler]) -> None:
    """Within a second, and a driver that is being called is not given back."""
    meter = HangingMeter(2)
    sampler = running(meter)
    meter.gates[0].clear()
    wait_until(lambda: of(sampler, 0).measured is None, "the hung GPU is withdrawn")
    began = time.monotonic()
    sampler.close()
    assert time.monotonic() - began < 1.0
    assert not meter.closed


def test_a_gpu_that_hangs_from_the_start_keeps_nobody_waiting(running: Callable[[HangingMeter], Sampler]) -> None:
    """The others have their first readings; it never had one, and is not shown."""
    meter = HangingMeter(2)
    meter.gates[0].clear()
    began = time.monotonic()
    sampler = running(meter)
    assert time.monotonic() - began < 2.0
    assert of(sampler, 0).measured is None
    assert of(sampler, 1).measured is not None


def test_devices_that_come_later_are_found(running: Callable[[HangingMeter], Sampler]) -> None:
    """The next look of discovery brings a new GPU, which starts at 0."""
    meter = HangingMeter(1)
    sampler = running(meter)
    meter.gpus = 2
    meter.gates.append(threading.Event())
    meter.gates[1].set()
    sampler.discover()
    wait_until(lambda: of(sampler, 1).measured is not None, "the new GPU is read")
    new = of(sampler, 1).measured
    assert new is not None
    assert new.energy_joules is not None
    assert new.energy_joules < 100.0


def test_a_reading_counts_though_the_status_after_it_hangs(running: Callable[[HangingMeter], Sampler]) -> None:
    """It was good when it was made, ages from then on, and is not taken for a new one when the status comes at last."""
    meter = HangingMeter(1)
    sampler = running(meter)
    meter.status_gate.clear()
    wait_until(lambda: of(sampler, 0).measured is None, "the GPU is withdrawn", seconds=5.0)
    count = of(sampler, 0).samples["ok"]
    seen: list[tuple[int, bool]] = []

    def moved() -> bool:
        view = of(sampler, 0)
        seen.append((view.samples["ok"], view.measured is None))
        return view.samples["ok"] > count + 5

    meter.status_gate.set()
    wait_until(moved, "the GPU is read again")
    assert all(withdrawn for ok, withdrawn in seen if ok == count)


def test_what_is_shown_is_what_is_kept(running: Callable[[HangingMeter], Sampler]) -> None:
    """However threads take turns, the sums that go into the state file are those of the very same picture."""
    sampler = running(HangingMeter(4))
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(300):
            views, sums = sampler.views_and_sums()
            shown = [view.measured.energy_joules for view in views if view.measured is not None]
            kept = [sums[view.device.uuid]["energy"]["total"] / MICRO for view in views if view.measured is not None]
            assert shown == kept
    finally:
        sys.setswitchinterval(before)


def test_a_meter_that_hangs_while_it_lists_keeps_no_others_from_being_found(
    running: Callable[..., Sampler], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each meter is asked by a thread of its own."""
    monkeypatch.setattr("perjoule_exporter.sampler.DISCOVERY_SECONDS", 0.01)
    other, meter = HangingMeter(0), HangingMeter(1)
    release = threading.Event()
    other_devices = other.devices

    def hang() -> list[Device]:
        if threading.current_thread().name == "discovery":
            assert release.wait(30)
        return other_devices()

    other.devices = hang  # type: ignore[method-assign] # the driver's call that does not return
    sampler = running(other, meter)
    meter.gates.append(threading.Event())
    meter.gates[1].set()
    meter.gpus = 2
    wait_until(lambda: len(sampler.views()) == 2, "the new GPU of the other meter is found")
    release.set()
