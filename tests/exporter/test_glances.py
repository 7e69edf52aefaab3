"""Devices that are read at a glance: nothing is lost by it, and nothing made up."""

import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from perjoule_exporter import pace
from perjoule_exporter.meters import MICRO, Device, Glance, Reading, Status
from perjoule_exporter.pace import Pace
from perjoule_exporter.sampler import Sampler
from perjoule_exporter.seat import Rules
from perjoule_exporter.track import Charges
from perjoule_exporter.view import DeviceView, Measured
from tests.exporter.driver import FakeDriver
from tests.exporter.fakes import gpu
from tests.exporter.nvml_remote import RemoteMeter
from tests.exporter.running import wait_until

_WATTS = 100.0
_SEEN = struct.Struct("d")


Start = Callable[..., Sampler]


@dataclass
class GlancingMeter:
    """Two GPUs at 100 W by the machine's own clock, read at a glance while they are not ``odd``."""

    odd: set[int] = field(default_factory=set)
    utilization: float = 1.0
    gates: tuple[threading.Event, threading.Event] = field(
        default_factory=lambda: (threading.Event(), threading.Event())
    )
    calls: Counter[str] = field(default_factory=Counter)
    order: list[float] = field(default_factory=list)  # when the readings of the first one are of, as they are made

    def __post_init__(self) -> None:
        for gate in self.gates:
            gate.set()

    def devices(self) -> list[Device]:
        return [gpu(0), gpu(1)]

    def read(self, device: Device) -> Reading:
        self.calls[f"read {device.index}"] += 1
        return self._made(device, time.monotonic())

    def glance(self, device: Device) -> Glance | None:
        self.calls[f"glance {device.index}"] += 1

        def look() -> bytes | None:
            self.calls[f"look {device.index}"] += 1
            assert self.gates[device.index].wait(30)
            return _SEEN.pack(time.monotonic())

        def made(seen: bytes, _: float) -> Reading | None:
            return None if device.index in self.odd else self._made(device, *_SEEN.unpack(seen))

        return None if self.calls[f"read {device.index}"] and device.index in self.odd else Glance(look, made)

    def _made(self, device: Device, moment: float) -> Reading:
        if device.index == 0:
            self.order.append(moment)
        return Reading(energy_microjoules=round(moment * _WATTS * MICRO), power_watts=_WATTS)

    def status(self, device: Device) -> Status:
        self.calls[f"status {device.index}"] += 1
        return Status(utilization_ratio=self.utilization)

    def close(self) -> None:
        self.calls["close"] += 1


@pytest.fixture
def running() -> Iterator[Start]:
    """Give a function that starts a sampler over a meter; it is closed, and the meter's gates opened, with the test."""
    started: list[tuple[Sampler, GlancingMeter]] = []

    def start(meter: GlancingMeter, every: float = 0.005) -> Sampler:
        sampler = Sampler([meter], Rules(Pace(every), Charges))
        started.append((sampler, meter))
        sampler.start()
        return sampler

    yield start
    for sampler, meter in started:
        sampler.close()
        for gate in meter.gates:
            gate.set()


def _measured(view: DeviceView) -> Measured:
    assert view.measured is not None
    return view.measured


def test_most_readings_are_glances_and_count_as_readings(running: Start) -> None:
    """A device at work is read in full only where its slow values are due; its joules and readings are all there."""
    meter = GlancingMeter()
    sampler = running(meter)
    before = time.monotonic()
    first = sampler.views()[0]
    began = time.monotonic()
    wait_until(lambda: meter.calls["look 0"] > 200, "many glances")
    ended = time.monotonic()
    view = sampler.views()[0]
    elapsed = time.monotonic() - before
    joules = (_measured(view).energy_joules or 0.0) - (_measured(first).energy_joules or 0.0)
    least, most = ended - began - (view.age_seconds or 0.0), elapsed + (first.age_seconds or 0.0)
    assert _WATTS * least - 1e-3 <= joules <= _WATTS * most + 1e-3
    assert meter.calls["read 0"] <= 2 + meter.calls["status 0"]
    assert meter.calls["status 0"] <= 3 + elapsed / 0.3
    assert view.samples["ok"] >= 200
    assert _measured(view).energy_time is None or _measured(view).resets == 0


@pytest.mark.parametrize("utilization", [0.0, 1.0], ids=["at rest", "at work"])
@pytest.mark.parametrize("every", [0.005, 0.2, 0.6])
def test_nothing_is_done_between_readings(
    running: Start, every: float, utilization: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However the times of readings, sums and slow values fall, the reader prepares no more glances than it reads."""
    monkeypatch.setattr(pace, "REST_SECONDS", 0.0)
    meter = GlancingMeter(utilization=utilization)
    began = time.monotonic()
    running(meter, every)
    wait_until(lambda: meter.calls["status 0"] > 3, "some slow values")
    readings, elapsed = meter.calls["look 0"] + meter.calls["read 0"], time.monotonic() - began
    assert meter.calls["glance 0"] <= 2 * readings + 5 + elapsed / 0.1  # a sleep is no longer than that


def test_glances_are_made_readings_in_their_order(running: Start) -> None:
    """Whoever adds them up, none is made after a later reading in full, which a meter may remember things of."""
    meter = GlancingMeter()
    sampler = running(meter)

    def enough() -> bool:
        sampler.views()
        return meter.calls["read 0"] > 4

    wait_until(enough, "some readings in full")
    wait_until(lambda: meter.calls["read 0"] > 8, "some more, with nobody looking")
    assert meter.order == sorted(meter.order)


def test_what_turns_out_to_be_no_reading_is_none(running: Start) -> None:
    """Such glances publish nothing and count for nothing; the device is read in full from then on."""
    meter = GlancingMeter()
    sampler = running(meter)
    wait_until(lambda: meter.calls["look 1"] > 20, "glances")
    meter.odd.add(1)
    wait_until(lambda: meter.calls["read 1"] > 50, "readings in full")
    looks = meter.calls["look 1"]
    wait_until(lambda: meter.calls["read 1"] > 100, "further readings in full")
    assert meter.calls["look 1"] == looks
    view = sampler.views()[1]
    assert view.samples["ok"] < looks + meter.calls["read 1"]
    assert _measured(view).resets == 0


def test_a_glance_that_hangs_costs_its_own_device_only(running: Start) -> None:
    """It is withdrawn within a second, the other one stays fresh, and nothing is lost when it comes back."""
    meter = GlancingMeter()
    sampler = running(meter)
    wait_until(lambda: meter.calls["look 0"] > 20, "glances")
    meter.gates[1].clear()
    began = time.monotonic()
    wait_until(lambda: sampler.views()[1].measured is None, "the hung one is withdrawn", seconds=5.0)
    assert time.monotonic() - began < 1.2
    assert (sampler.views()[0].age_seconds or 0.0) < 0.6
    meter.gates[1].set()
    wait_until(lambda: sampler.views()[1].measured is not None, "it is back")
    one, other = (_measured(view).energy_joules or 0.0 for view in sampler.views())
    assert other == pytest.approx(one, abs=_WATTS * 0.5)


def test_a_glance_at_nvml_is_a_reading(nvml_meter: RemoteMeter) -> None:
    """Energy, its time, and both powers are what a reading in full tells."""
    (device,) = nvml_meter.open()
    nvml_meter.read(device)
    both = nvml_meter.glanced(device)
    assert both is not None
    full, glance = both
    assert glance is not None
    assert glance.energy_microjoules is not None
    assert full.energy_microjoules is not None
    assert 0 <= glance.energy_microjoules - full.energy_microjoules < 400 * MICRO
    assert glance.power_watts == pytest.approx(full.power_watts, rel=0.5)
    assert (glance.energy_time is None, glance.average_power_watts is None) == (False, False)


@pytest.mark.parametrize(
    "refused", ["no_field_energy", "no_field_average", "no_field_instant", "no_fields", "no_counter"]
)
def test_what_nvml_has_to_be_asked_more_than_once_is_no_glance(
    nvml_meter: RemoteMeter, driver: FakeDriver, refused: str
) -> None:
    """A driver without one of the fields is read in full each time."""
    driver.set(**{refused: 1})
    (device,) = nvml_meter.open()
    assert nvml_meter.glanced(device) is None


def test_a_glance_of_an_earlier_session_makes_no_call(nvml_meter: RemoteMeter) -> None:
    """Its handle is of no use any more, and a driver may do anything with it."""
    (device,) = nvml_meter.open()
    assert nvml_meter.glanced(device) is not None
    both = nvml_meter.glanced(device, "renew")
    assert both is not None
    assert both[1] is None
