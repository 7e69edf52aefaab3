"""GPUs that come, go, hang and return, seen by the NVML meter over the real binding and the driver in C."""

import time
from pathlib import Path

import pytest

from perjoule.errors import DeviceLostError
from tests.exporter.driver import FakeDriver
from tests.exporter.nvml_remote import RemoteMeter
from tests.exporter.running import wait_until


@pytest.mark.parametrize("code", [15, 16, 999, 1])
def test_a_lost_gpu_is_found_again_in_the_same_session(nvml_meter: RemoteMeter, driver: FakeDriver, code: int) -> None:
    """Readings raise while it is lost, naming it; afterwards they go on, and its neighbour never notices."""
    driver.set(gpus=2, lost_code=code)
    first, second = nvml_meter.open()
    before = nvml_meter.read(first).energy_microjoules
    driver.set(lost_0=1)
    with pytest.raises(DeviceLostError, match="GPU-fake-0: "):
        nvml_meter.read(first)
    with pytest.raises(DeviceLostError, match="GPU-fake-0: "):
        nvml_meter.status(first)
    assert nvml_meter.devices() == (second,)
    assert nvml_meter.read(second).energy_microjoules is not None
    driver.set(lost_0=0)
    assert (nvml_meter.read(first).energy_microjoules or 0) >= (before or 0) > 0
    assert nvml_meter.devices() == (first, second)
    assert driver.inits == 1


def test_a_gpu_that_stays_lost_until_the_next_session_comes_back(nvml_meter: RemoteMeter, driver: FakeDriver) -> None:
    """As with the real driver: NVML is initialised again, after which it answers under its uuid."""
    driver.set(gpus=2, lost_stays=1)
    first, second = nvml_meter.open()
    driver.set(lost_0=1)
    with pytest.raises(DeviceLostError):
        nvml_meter.read(first)
    driver.set(lost_0=0)
    with pytest.raises(DeviceLostError):
        nvml_meter.read(first)
    nvml_meter.ask("skip", 10.0)
    assert nvml_meter.devices() == (first, second)
    assert driver.inits == 2
    assert nvml_meter.read(first).energy_microjoules is not None
    assert nvml_meter.read(second).energy_microjoules is not None


def test_a_gpu_lost_at_the_start_is_found_later(nvml_meter: RemoteMeter, driver: FakeDriver) -> None:
    """It had no name to be published under; once it answers it has."""
    driver.set(gpus=2, lost_0=1, lost_stays=1)
    (second,) = nvml_meter.open()
    driver.set(lost_0=0)
    nvml_meter.ask("skip", 10.0)
    found = nvml_meter.devices()
    assert [device.uuid for device in found] == ["GPU-fake-0", "GPU-fake-1"]
    assert second in found
    assert nvml_meter.read(found[0]).energy_microjoules is not None


def test_a_gpu_that_hangs_at_the_start_is_found_later(nvml_meter: RemoteMeter, driver: FakeDriver) -> None:
    """The others are there in seconds, and it is in its place as soon as its driver answers."""
    driver.set(gpus=3, hang_1=1)
    assert [device.uuid for device in nvml_meter.open()] == ["GPU-fake-0", "GPU-fake-2"]
    nvml_meter.ask("skip", 1000.0)
    assert [device.uuid for device in nvml_meter.devices()] == ["GPU-fake-0", "GPU-fake-2"]
    driver.set(hang_1=0)
    found = wait_until(lambda: nvml_meter.devices() if len(nvml_meter.devices()) > 2 else None, "it is found")
    assert [device.uuid for device in found] == ["GPU-fake-0", "GPU-fake-1", "GPU-fake-2"]
    assert nvml_meter.read(found[1]).energy_microjoules is not None
    assert driver.inits == 1


@pytest.mark.parametrize("listed", [True, False], ids=["the kernel lists it", "no list"])
def test_a_gpu_that_appears_is_found(
    nvml_meter: RemoteMeter, driver: FakeDriver, nvml_kernel: Path, *, listed: bool
) -> None:
    """Without a restart, and without a jump of the others' counters."""
    if not listed:
        (nvml_kernel / "0000:01:00.0").rmdir()
        nvml_kernel.rmdir()
    (first,) = nvml_meter.open()
    energy, moment = nvml_meter.read(first).energy_microjoules, time.time()
    driver.set(gpus=2)
    if listed:
        (nvml_kernel / "0000:02:00.0").mkdir()
    nvml_meter.ask("skip", 10.0)
    assert [device.uuid for device in nvml_meter.devices()] == ["GPU-fake-0", "GPU-fake-1"]
    assert all(nvml_meter.read(device).power_watts for device in nvml_meter.devices())
    later, passed = nvml_meter.read(first).energy_microjoules, time.time() - moment
    assert energy is not None
    assert later is not None
    assert 0 <= later - energy <= (passed + 0.05) * 300 * 1e6


def test_looking_for_devices_costs_the_driver_nothing(nvml_meter: RemoteMeter, driver: FakeDriver) -> None:
    """While the kernel lists the same GPUs and none is lost, the driver is not called, let alone initialised."""
    nvml_meter.open()
    calls = driver.calls
    for _ in range(5):
        nvml_meter.ask("skip", 1000.0)
        nvml_meter.devices()
    assert (driver.calls, driver.inits) == (calls, 1)


def test_initialising_takes_a_thousandth_of_the_time_at_most(
    nvml_meter: RemoteMeter, driver: FakeDriver, nvml_kernel: Path
) -> None:
    """A driver that is slow to begin is initialised again the more seldom."""
    driver.set(init_us=50_000)
    nvml_meter.open()
    driver.set(gpus=2)
    (nvml_kernel / "0000:02:00.0").mkdir()
    nvml_meter.ask("skip", 40.0)
    assert len(nvml_meter.devices()) == 1
    nvml_meter.ask("skip", 100.0)
    assert len(nvml_meter.devices()) == 2


def test_a_gpu_that_stays_lost_is_asked_for_more_and_more_seldom(
    nvml_meter: RemoteMeter, driver: FakeDriver, nvml_kernel: Path
) -> None:
    """Each new session disturbs the others for a moment: a dead GPU must not cause one every few seconds for ever."""
    driver.set(gpus=2, lost_1=1)
    nvml_meter.open()
    for _ in range(120):  # an hour
        nvml_meter.ask("skip", 30.0)
        nvml_meter.devices()
    assert 8 <= driver.inits <= 16  # 2, 4, … 600 s
    driver.set(gpus=3)
    (nvml_kernel / "0000:03:00.0").mkdir()
    nvml_meter.ask("skip", 5.0)
    assert [device.index for device in nvml_meter.devices()] == [0, 2]  # what the kernel tells is not made to wait


def test_a_gpu_that_is_taken_out_is_gone_and_the_others_move_up(
    nvml_meter: RemoteMeter, driver: FakeDriver, nvml_kernel: Path
) -> None:
    """Its readings raise, it is not listed, and its neighbour has its number and its own joules."""
    driver.set(gpus=2)
    (nvml_kernel / "0000:02:00.0").mkdir()
    first, second = nvml_meter.open()
    driver.set(gone_0=1)
    (nvml_kernel / "0000:01:00.0").rmdir()
    with pytest.raises(DeviceLostError):
        nvml_meter.read(first)
    nvml_meter.ask("skip", 10.0)
    (left,) = nvml_meter.devices()
    assert (left.uuid, left.index) == (second.uuid, 0)
    assert nvml_meter.read(left).power_watts in {110.0, 310.0}
    with pytest.raises(DeviceLostError):
        nvml_meter.read(first)


def test_nvml_is_not_shut_down_under_a_call_that_hangs(
    nvml_meter: RemoteMeter, driver: FakeDriver, nvml_kernel: Path
) -> None:
    """The others are read on, a new GPU waits until the call has returned; the driver aborts if it is otherwise."""
    driver.set(gpus=2)
    first, second = nvml_meter.open()
    driver.set(hang_0=1, gpus=3)
    hanging = nvml_meter.begin("read", first)
    (nvml_kernel / "0000:03:00.0").mkdir()
    nvml_meter.ask("skip", 10.0)
    assert len(nvml_meter.devices()) == 2
    assert nvml_meter.read(second).energy_microjoules is not None
    assert driver.inits == 1
    driver.set(hang_0=0)
    assert nvml_meter.answer(hanging).energy_microjoules is not None
    nvml_meter.ask("skip", 10.0)
    assert len(nvml_meter.devices()) == 3


def test_readings_go_on_while_nvml_is_initialised_again(
    nvml_meter: RemoteMeter, driver: FakeDriver, nvml_kernel: Path
) -> None:
    """A reader beside twenty new sessions never fails, never sees another board's counter, and never goes back."""
    driver.set(gpus=2)
    _, second = nvml_meter.open()
    reading = nvml_meter.begin("readings", second, 1.0, 0.0005)
    for number in range(20):
        (nvml_kernel / f"0000:{number + 16:02x}:00.0").mkdir()
        nvml_meter.ask("skip", 10.0)
        nvml_meter.devices()
    readings = nvml_meter.answer(reading)
    energies = [each.energy_microjoules for each in readings]
    assert driver.inits == 21
    assert energies == sorted(energies)
    assert {each.power_watts for each in readings} <= {110.0, 310.0}


def test_a_driver_that_does_not_begin_again_loses_all_until_it_does(
    nvml_meter: RemoteMeter, driver: FakeDriver, nvml_kernel: Path
) -> None:
    """Nobody can tell which devices there are, no reading is made up, and later all are back."""
    (device,) = nvml_meter.open()
    driver.set(init=999)
    (nvml_kernel / "0000:02:00.0").mkdir()
    nvml_meter.ask("skip", 10.0)
    with pytest.raises(DeviceLostError):
        nvml_meter.devices()
    with pytest.raises(DeviceLostError):
        nvml_meter.read(device)
    driver.set(init=0)
    nvml_meter.ask("skip", 10.0)
    assert nvml_meter.devices() == (device,)
    assert nvml_meter.read(device).energy_microjoules is not None


def test_opened_again_the_counter_goes_on(nvml_meter: RemoteMeter) -> None:
    """It is the driver's and lasts longer than we do: that is what ``lasting`` says."""
    (device,) = nvml_meter.open()
    energies = [nvml_meter.read(device).energy_microjoules or 0]
    nvml_meter.ask("open")
    energies.append(nvml_meter.read(device).energy_microjoules or 0)
    assert device.lasting
    assert energies[0] <= energies[1] < energies[0] + 300e6 * 20
