"""What the NVML meter reads, over the real binding and the driver in C: energy, boundary, slices, processes."""

import itertools
import time

import pytest

from perjoule.errors import DeviceLostError
from perjoule_exporter.meters import ProcessUse, Slice
from tests.exporter.driver import MODULE_WATTS, FakeDriver, joules
from tests.exporter.nvml_remote import RemoteMeter
from tests.exporter.running import wait_until

GIB = 2**30


def test_mig_slices_are_information(nvml_meter: RemoteMeter, driver: FakeDriver) -> None:
    """A board cut in three is one device with its own joules; its utilisation is absent, its slices are named."""
    driver.set(mig=3)
    (device,) = nvml_meter.open()
    assert device.uuid == "GPU-fake-0"
    name = 'Fake "H100" 80GB MIG 1g.10gb'
    assert device.slices == tuple(Slice(f"MIG-fake-0-{i}", name, 7 + i, 0) for i in range(3))
    assert nvml_meter.read(device).energy_microjoules is not None
    assert nvml_meter.status(device).utilization_ratio is None


def test_slices_come_and_go(nvml_meter: RemoteMeter, driver: FakeDriver) -> None:
    """MIG switched on and off is seen within some seconds, and what it had forbidden is asked for again."""
    (device,) = nvml_meter.open()
    for count, utilization in ((2, None), (0, 0.5)):
        driver.set(mig=count)
        nvml_meter.ask("skip", 6.0)
        nvml_meter.status(device)
        assert len(nvml_meter.devices()[0].slices) == count
        assert nvml_meter.status(device).utilization_ratio == utilization


@pytest.mark.parametrize(
    ("module", "more", "scope"), [(0, 0.0, "gpu"), (1, MODULE_WATTS, "module"), (2, 0.0, "gpu")], ids=str
)
def test_a_superchip_is_told_by_its_power(
    nvml_meter: RemoteMeter, driver: FakeDriver, module: int, more: float, scope: str
) -> None:
    """Where the counter is the module's so are all watts, and the label says so; scope 1 alone does not decide it."""
    driver.set(module=module)
    (device,) = nvml_meter.open()
    assert device.scope == scope
    reading = nvml_meter.read(device)
    assert reading.average_power_watts == 200 + more
    assert reading.power_watts in {100 + more, 300 + more}
    moved = [each for each in nvml_meter.ask("readings", device, 0.5, 0.005) if each.energy_time is not None]
    used = (moved[-1].energy_microjoules - moved[0].energy_microjoules) / 1e6
    assert used == pytest.approx(
        joules(0, moved[0].energy_time, moved[-1].energy_time, module=scope == "module"), abs=0.003
    )


@pytest.mark.parametrize(
    ("switches", "sampled_seconds"),
    [
        ({"no_counter": 1}, 0.020),  # the driver's samples
        ({"no_counter": 1, "sample_us": 5000}, 0.005),
        ({"no_counter": 1, "no_samples": 1}, None),  # polls
        ({"no_counter": 1, "no_fields": 1, "no_samples": 1}, None),  # as before Volta
        ({"no_counter": 1, "stamp_offset_us": 3_600_000_000}, None),  # samples by another clock are not used
        ({"zero_counter": 1}, 0.020),
        ({"no_counter": 1, "module": 1}, None),
    ],
    ids=str,
)
def test_integrated_energy_is_the_integral(
    nvml_meter: RemoteMeter, driver: FakeDriver, switches: dict[str, int], sampled_seconds: float | None
) -> None:
    """Power is integrated to the exact energy within half an interval at each change of the load."""
    driver.set(**switches)
    (device,) = nvml_meter.open()
    assert (device.method, device.lasting) == ("integrated", False)
    readings = [each for each in nvml_meter.ask("readings", device, 1.2, 0.025) if each.energy_time is not None]
    energies = [each.energy_microjoules for each in readings]
    times = [each.energy_time for each in readings]
    assert energies == sorted(energies)
    assert times[-1] - times[0] > 0.9
    used = (energies[-1] - energies[0]) / 1e6
    polled_seconds = max(later - earlier for earlier, later in itertools.pairwise(times))
    # A poll's power is of a moment before its time: of any moment since the clock was read before.
    interval = sampled_seconds / 2 if sampled_seconds else polled_seconds / 2 + 0.005
    changes = int(times[-1] / 0.25) - int(times[0] / 0.25)
    exact = joules(0, times[0], times[-1], module=device.scope == "module")
    assert used == pytest.approx(exact, abs=changes * 200 * interval + 1e-3)


def test_a_gap_is_not_integrated(nvml_meter: RemoteMeter, driver: FakeDriver) -> None:
    """What was drawn in five seconds without a reading nobody knows: nothing is added for them."""
    driver.set(no_counter=1, no_samples=1)
    (device,) = nvml_meter.open()
    before = nvml_meter.ask("readings", device, 0.1, 0.01)[-1].energy_microjoules
    nvml_meter.ask("skip", 5.0)
    after = nvml_meter.read(device).energy_microjoules
    assert after == before
    assert before > 0


def test_a_counter_at_0_for_ever_is_no_counter(nvml_meter: RemoteMeter, driver: FakeDriver) -> None:
    """Power is drawn and nothing counted: the energy is integrated, and stays so."""
    driver.set(zero_counter=1)
    (device,) = nvml_meter.open()
    assert device.method == "integrated"
    driver.set(zero_counter=0)
    assert nvml_meter.devices()[0].method == "integrated"
    assert (nvml_meter.read(device).energy_microjoules or 0) < 1e9  # not the driver's hour


def test_a_counter_that_has_just_begun_at_0_is_one(nvml_meter: RemoteMeter, driver: FakeDriver) -> None:
    """Right after the driver was loaded the counter is at 0 for a tick: that is waited for."""
    driver.set(tick_us=100_000)
    driver.set(reset=1)
    (device,) = nvml_meter.open()
    assert device.method == "counter"
    assert device.lasting


@pytest.mark.parametrize(("offset", "known"), [(0, True), (5_000_000, False), (-5_000_000, False)])
def test_stamps_of_another_clock_are_not_used(
    nvml_meter: RemoteMeter, driver: FakeDriver, offset: int, *, known: bool
) -> None:
    """Energy is read all the same, but when it was is not taken from a clock that is seconds off."""
    driver.set(stamp_offset_us=offset)
    (device,) = nvml_meter.open()
    readings = nvml_meter.ask("readings", device, 0.1, 0.005)
    assert all(each.energy_microjoules is not None for each in readings)
    assert any(each.energy_time is not None for each in readings) == known


def test_processes_have_their_mean_utilisation_and_memory(nvml_meter: RemoteMeter, driver: FakeDriver) -> None:
    """Samples since the last call are averaged by pid; who computes and draws holds its memory once."""
    driver.set(processes=2, graphics=1, first_pid=100)
    (device,) = nvml_meter.open()
    uses = nvml_meter.processes(device)
    assert uses is not None
    assert [(use.pid, use.memory_bytes) for use in uses] == [(100, GIB), (101, 2 * GIB)]
    assert [use.utilization_ratio for use in uses] == [pytest.approx(0.1, abs=0.005), pytest.approx(0.2, abs=0.005)]
    # Samples come six times a second: asked again at once, nobody knows, and nobody says 0.
    wait_until(
        lambda: all(use.utilization_ratio is None for use in nvml_meter.processes(device) or ()), "no new sample"
    )
    wait_until(lambda: any(use.utilization_ratio for use in nvml_meter.processes(device) or ()), "a new sample")


@pytest.mark.parametrize(
    ("switches", "uses"),
    [
        ({"no_process_utilization": 1}, (ProcessUse(100, None, GIB),)),
        ({"no_compute_processes": 1}, (ProcessUse(100, 0.1, None),)),
        ({"no_compute_processes": 1, "no_graphics_processes": 1}, (ProcessUse(100, 0.1, None),)),
        ({"no_compute_processes": 1, "no_graphics_processes": 1, "no_process_utilization": 1}, None),
        ({"processes": 0}, ()),
    ],
    ids=str,
)
def test_of_processes_only_what_is_told(
    nvml_meter: RemoteMeter, driver: FakeDriver, switches: dict[str, int], uses: tuple[ProcessUse, ...] | None
) -> None:
    """A driver that does not tell gives None, one without processes none, and half of an answer is half known."""
    driver.set(**{"processes": 1, "first_pid": 100, **switches})
    (device,) = nvml_meter.open()
    found = nvml_meter.processes(device)
    if found is not None:
        ratios = [use.utilization_ratio and round(use.utilization_ratio, 1) for use in found]
        found = tuple(ProcessUse(use.pid, ratio, use.memory_bytes) for use, ratio in zip(found, ratios, strict=True))
    assert found == uses


def test_128_gpus_are_read(nvml_meter: RemoteMeter, driver: FakeDriver) -> None:
    """All have their own watts, and one that is lost beyond the first 64 costs only itself."""
    driver.set(gpus=128)
    devices = nvml_meter.open()
    assert [device.index for device in devices] == list(range(128))
    watts = [nvml_meter.read(device).power_watts or 0.0 for device in devices]
    assert all(w - 10 * i in {100.0, 300.0} for i, w in enumerate(watts))
    driver.set(lost_100=1)
    with pytest.raises(DeviceLostError, match="GPU-fake-100"):
        nvml_meter.read(devices[100])
    assert len(nvml_meter.devices()) == 127


def test_a_slow_driver_is_read_slowly(nvml_meter: RemoteMeter, driver: FakeDriver) -> None:
    """A call of 20 ms takes 20 ms, and its values are those of the driver."""
    (device,) = nvml_meter.open()
    driver.set(slow_us=20_000)
    began = time.monotonic()
    assert nvml_meter.read(device).power_watts in {100.0, 300.0}
    assert time.monotonic() - began >= 0.02


def test_a_counter_jumps_and_stands_as_it_is_told(nvml_meter: RemoteMeter, driver: FakeDriver) -> None:
    """What the driver says is passed on as it is: judging a counter is the sampler's."""
    (device,) = nvml_meter.open()
    before = nvml_meter.read(device).energy_microjoules or 0
    driver.set(jump_mj=10_000_000)
    assert (nvml_meter.read(device).energy_microjoules or 0) - before >= 10_000_000_000
    driver.set(frozen=1)
    stands = [each.energy_microjoules for each in nvml_meter.ask("readings", device, 0.1, 0.01)]
    assert all(one == other for one, other in itertools.pairwise(stands))
