"""The sampler's shell: who is read when, what a loss costs, and how its thread ends."""

import logging
import threading

import pytest

from perjoule_exporter.pace import Pace
from perjoule_exporter.sampler import Sampler
from perjoule_exporter.seat import RETRY_SECONDS, STATUS_SECONDS, Rules
from perjoule_exporter.track import Charges
from tests.exporter.fakes import Hands, ScriptedMeter
from tests.exporter.running import wait_until


def sampler_of(meter: ScriptedMeter, **settings: object) -> Sampler:
    return Sampler([meter], Rules(Pace(), lambda: Charges(2.0)), meter.hands.clock, **settings)  # type: ignore[arg-type] # a test's shorthand


def sample_for(sampler: Sampler, hands: Hands, seconds: float, step: float = 0.025) -> None:
    for _ in range(round(seconds / step)):
        sampler.sample()
        hands.seconds += step


def test_energy_is_read_each_time_and_status_now_and_then() -> None:
    """The slow values cost more calls, so they are read a few times a second."""
    meter = ScriptedMeter(Hands())
    sample_for(sampler_of(meter), meter.hands, 2.0)
    assert meter.count("read", "GPU-0") == 80
    assert meter.count("status", "GPU-0") == pytest.approx(2.0 / STATUS_SECONDS, abs=1)


@pytest.mark.parametrize(
    ("utilization", "attended", "reads"),
    [(0.5, False, 40), (0.0, False, 10), (None, False, 40), (0.0, True, 40)],
    ids=["busy", "idle", "unknown", "idle, with a span open"],
)
def test_a_device_that_rests_is_read_seldom(*, utilization: float | None, attended: bool, reads: int) -> None:
    """Ten times a second once nothing has run for five seconds, unless somebody needs to know when it ticks."""
    meter = ScriptedMeter(Hands(), utilization=utilization)
    sampler = Sampler([meter], Rules(Pace(), Charges, lambda _: attended), meter.hands.clock)
    sample_for(sampler, meter.hands, 6.0)
    meter.calls.clear()
    sample_for(sampler, meter.hands, 1.0)
    assert meter.count("read", "GPU-0") == pytest.approx(reads, abs=1)


def test_a_tick_is_read_closely_while_a_span_is_open() -> None:
    """Around the time at which the counter should move next, once its tick is known; at the usual pace elsewhere."""
    meter = ScriptedMeter(Hands(), tick=0.1)
    sampler = Sampler([meter], Rules(Pace(), Charges, lambda _: True), meter.hands.clock)
    sample_for(sampler, meter.hands, 2.0, step=0.001)
    meter.calls.clear()
    meter.read_at.clear()
    sample_for(sampler, meter.hands, 1.0, step=0.001)
    times = [seconds % 0.1 for seconds in meter.read_at]
    near = sum(1 for seconds in times if min(seconds, 0.1 - seconds) <= 0.011)
    assert near >= 20  # each of ten ticks is between two readings close by
    assert len(times) < 100  # and the time between is not read as closely


def test_a_lost_device_costs_only_itself(caplog: pytest.LogCaptureFixture) -> None:
    """The others are read on, the lost one is asked once a second, and both its loss and its return are said once."""
    meter = ScriptedMeter(Hands(), gpus=2)
    sampler = sampler_of(meter)
    sample_for(sampler, meter.hands, 1.0)
    meter.lost = {"GPU-0"}
    meter.calls.clear()
    with caplog.at_level(logging.INFO):
        sample_for(sampler, meter.hands, 5.0)
        assert meter.count("read", "GPU-0") == pytest.approx(5.0 / RETRY_SECONDS, abs=1)
        assert meter.count("read", "GPU-1") == 200
        gone, there = sampler.views()
        assert gone.measured is None
        assert there.measured is not None
        meter.lost = set()
        sample_for(sampler, meter.hands, 2.0)
    assert sampler.views()[0].measured is not None
    assert [record.getMessage() for record in caplog.records] == [
        "lost a device, its series are withdrawn: GPU-0: fell off the bus",
        "GPU-0 is back",
    ]


def test_a_reading_is_as_old_as_its_beginning() -> None:
    """A call that took a minute gives a value of a minute ago, which is not shown."""
    meter = ScriptedMeter(Hands(), takes=60.0)
    sampler = sampler_of(meter)
    sampler.sample()
    (view,) = sampler.views()
    assert view.measured is None
    assert view.read_bucket_counts[-1] == 1


def test_emissions_use_the_factor_asked_at_each_reading() -> None:
    """100 W for 10 s at 2 g/J."""
    meter = ScriptedMeter(Hands())
    sampler = sampler_of(meter)
    sample_for(sampler, meter.hands, 10.0)
    sampler.sample()
    measured = sampler.views()[0].measured
    assert measured is not None
    assert measured.energy_joules == pytest.approx(1000.0)
    assert measured.emissions_grams == pytest.approx(2000.0)


def test_the_thread_samples_until_closed_and_gives_the_meter_back() -> None:
    """``start`` has a first reading at once; ``close`` ends the thread."""
    meter = ScriptedMeter(Hands())
    sampler = Sampler([meter], Rules(Pace(0.001), Charges), meter.hands.clock)
    sampler.start()
    assert sampler.views()[0].measured is not None
    sampler.close()
    assert meter.closed
    assert not {"reader", "watchdog", "discovery"} & {thread.name for thread in threading.enumerate()}


def test_a_fault_of_ours_is_reported_and_freezes_nothing() -> None:
    """An error that is no loss ends the thread, is logged, and tells the program, whose exit code it becomes."""
    hands, failed = Hands(), threading.Event()
    meter = ScriptedMeter(hands)
    sampler = Sampler([meter], Rules(Pace(0.001), Charges), failed=failed.set)
    sampler.start()
    meter.fault = ZeroDivisionError("a bug")
    assert failed.wait(10)
    wait_until(lambda: sampler.views()[0].measured is None, "the last reading is too old", seconds=5.0)
    sampler.close()
