"""The NVML meter itself over the real binding and the driver in C: what each answer of the driver turns into."""

import itertools
import time
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest

from perjoule.errors import DeviceLostError, NoMeterError
from perjoule_exporter.meters import Device, ProcessUse, Reading, Slice, Status
from tests.exporter.driver import MODULE_WATTS, UNKNOWN_ERROR, FakeDriver, joules
from tests.exporter.nvml_remote import RemoteMeter
from tests.exporter.running import wait_until

NO_PERMISSION = 4
GIB = 2**30


@pytest.fixture
def kernel(tmp_path: Path) -> Path:
    """Give the folder in which the kernel lists its GPUs. It has one."""
    folder = tmp_path / "gpus"
    folder.mkdir()
    (folder / "0000:01:00.0").mkdir()
    return folder


@pytest.fixture
def meter(driver: FakeDriver, kernel: Path) -> Iterator[RemoteMeter]:
    """Give a meter in a process of its own, not yet opened."""
    driver.set(strict=1)
    remote = RemoteMeter(driver, kernel)
    yield remote
    remote.end()


def told(meter: RemoteMeter, device: Device) -> set[str]:
    """Return the names of all that is known of a device."""
    values: dict[str, object] = {}
    for answer in (device, meter.read(device), meter.status(device)):
        assert isinstance(answer, (Device, Reading, Status))
        values |= {each.name: getattr(answer, each.name) for each in fields(answer)}
    clocks = values.pop("clocks_hertz")
    assert isinstance(clocks, dict)
    values |= {f"{domain} clock": clocks.get(domain) for domain in ("graphics", "sm", "memory", "video")}
    return {name for name, value in values.items() if value not in {None, ""}}


@pytest.mark.parametrize(
    ("switches", "absent"),
    [
        (["no_field_energy"], {"energy_time"}),  # the older call answers, without a stamp
        (["no_field_average"], {"average_power_watts"}),
        (["no_field_instant"], set()),
        (["no_fields"], {"energy_time", "average_power_watts"}),
        (["no_total_energy"], set()),
        (["no_power_usage"], set()),
        (["no_field_instant", "no_power_usage"], {"power_watts"}),
        (["no_fields", "no_power_usage"], {"energy_time", "average_power_watts", "power_watts"}),
        (["no_fields", "no_total_energy", "no_power_usage"], {"energy_time", "average_power_watts", "power_watts"}),
        (["no_samples"], set()),
        (["no_counter"], set()),  # integrated
        (["no_counter", "no_samples"], set()),
        (["no_limit"], {"limit_watts"}),
        (["no_temperature"], {"temperature_celsius"}),
        (["no_clock_graphics"], {"graphics clock"}),
        (["no_clock_sm"], {"sm clock"}),
        (["no_clock_memory"], {"memory clock"}),
        (["no_utilization"], {"utilization_ratio"}),
        (["no_memory"], {"memory_used_bytes", "memory_total_bytes"}),
        (["no_event_reasons"], set()),
        (["no_throttle_reasons"], set()),
        (["no_event_reasons", "no_throttle_reasons"], {"throttle_reasons"}),
        (["no_mig_mode"], set()),
        (["no_compute_processes", "no_graphics_processes", "no_process_utilization"], set()),
        (["no_name"], {"name"}),
        (["no_pci"], {"pci_bus_id"}),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, list) else "",
)
@pytest.mark.parametrize("code", [1, NO_PERMISSION], ids=["not supported", "not permitted"])
def test_an_answer_that_is_refused_costs_only_itself(
    meter: RemoteMeter, driver: FakeDriver, switches: list[str], absent: set[str], code: int
) -> None:
    """Whatever call or field a driver refuses, the value is absent, and nothing else is, in all later readings too."""
    (device,) = meter.open()
    everything = told(meter, device)
    driver.set(**dict.fromkeys(switches, code))
    (device,) = meter.open()
    for _ in range(2):
        assert everything - told(meter, device) == absent - (
            {"energy_time"} if device.method == "integrated" else set()
        )


@pytest.mark.parametrize(
    ("switch", "absent"),
    [
        ("no_limit", {"limit_watts"}),
        ("no_temperature", {"temperature_celsius"}),
        ("no_clock_sm", {"sm clock"}),
        ("no_utilization", {"utilization_ratio"}),
        ("no_memory", {"memory_used_bytes", "memory_total_bytes"}),
        ("no_event_reasons", set()),
        ("no_mig_mode", set()),
    ],
)
def test_an_unknown_error_of_a_slow_value_loses_no_gpu(
    meter: RemoteMeter, driver: FakeDriver, switch: str, absent: set[str]
) -> None:
    """Joules are read on when a driver fails over a clock; the value is absent, and there again when it is told."""
    (device,) = meter.open()
    everything = told(meter, device)
    driver.set(**{switch: UNKNOWN_ERROR})
    assert everything - told(meter, device) == absent
    driver.set(**{switch: 0})
    assert told(meter, device) == everything


@pytest.mark.parametrize(
    "switches", [["no_fields"], ["no_field_energy"], ["no_field_instant", "no_power_usage"]], ids=str
)
def test_an_unknown_error_of_energy_or_power_is_a_loss(
    meter: RemoteMeter, driver: FakeDriver, switches: list[str]
) -> None:
    """Nobody knows what such a board draws: it is lost until it answers."""
    (device,) = meter.open()
    driver.set(**dict.fromkeys(switches, UNKNOWN_ERROR))
    with pytest.raises(DeviceLostError):
        meter.read(device)
    driver.set(**dict.fromkeys(switches, 0))
    assert meter.read(device).energy_microjoules is not None


def test_nothing_that_gives_energy_means_no_energy(meter: RemoteMeter, driver: FakeDriver) -> None:
    """Without counter, samples and power the reading is empty, and the device is there all the same."""
    driver.set(no_fields=1, no_total_energy=1, no_power_usage=1, no_samples=1)
    (device,) = meter.open()
    assert meter.read(device) == Reading()
    assert meter.status(device).temperature_celsius == 41


@pytest.mark.parametrize("code", [15, 16, 999, 1])
def test_a_lost_gpu_is_found_again_in_the_same_session(meter: RemoteMeter, driver: FakeDriver, code: int) -> None:
    """Readings raise while it is lost, naming it; afterwards they go on, and its neighbour never notices."""
    driver.set(gpus=2, lost_code=code)
    first, second = meter.open()
    before = meter.read(first).energy_microjoules
    driver.set(lost_0=1)
    with pytest.raises(DeviceLostError, match="GPU-fake-0: "):
        meter.read(first)
    with pytest.raises(DeviceLostError, match="GPU-fake-0: "):
        meter.status(first)
    assert meter.devices() == (second,)
    assert meter.read(second).energy_microjoules is not None
    driver.set(lost_0=0)
    assert (meter.read(first).energy_microjoules or 0) >= (before or 0) > 0
    assert meter.devices() == (first, second)
    assert driver.inits == 1


def test_a_gpu_that_stays_lost_until_the_next_session_comes_back(meter: RemoteMeter, driver: FakeDriver) -> None:
    """As with the real driver: NVML is initialised again, after which it answers under its uuid."""
    driver.set(gpus=2, lost_stays=1)
    first, second = meter.open()
    driver.set(lost_0=1)
    with pytest.raises(DeviceLostError):
        meter.read(first)
    driver.set(lost_0=0)
    with pytest.raises(DeviceLostError):
        meter.read(first)
    meter.ask("skip", 10.0)
    assert meter.devices() == (first, second)
    assert driver.inits == 2
    assert meter.read(first).energy_microjoules is not None
    assert meter.read(second).energy_microjoules is not None


def test_a_gpu_lost_at_the_start_is_found_later(meter: RemoteMeter, driver: FakeDriver) -> None:
    """It had no name to be published under; once it answers it has."""
    driver.set(gpus=2, lost_0=1, lost_stays=1)
    (second,) = meter.open()
    driver.set(lost_0=0)
    meter.ask("skip", 10.0)
    found = meter.devices()
    assert [device.uuid for device in found] == ["GPU-fake-0", "GPU-fake-1"]
    assert second in found
    assert meter.read(found[0]).energy_microjoules is not None


@pytest.mark.parametrize("listed", [True, False], ids=["the kernel lists it", "no list"])
def test_a_gpu_that_appears_is_found(meter: RemoteMeter, driver: FakeDriver, kernel: Path, *, listed: bool) -> None:
    """Without a restart, and without a jump of the others' counters."""
    if not listed:
        (kernel / "0000:01:00.0").rmdir()
        kernel.rmdir()
    (first,) = meter.open()
    energy, moment = meter.read(first).energy_microjoules, time.time()
    driver.set(gpus=2)
    if listed:
        (kernel / "0000:02:00.0").mkdir()
    meter.ask("skip", 10.0)
    assert [device.uuid for device in meter.devices()] == ["GPU-fake-0", "GPU-fake-1"]
    assert all(meter.read(device).power_watts for device in meter.devices())
    later, passed = meter.read(first).energy_microjoules, time.time() - moment
    assert energy is not None
    assert later is not None
    assert 0 <= later - energy <= (passed + 0.05) * 300 * 1e6


def test_looking_for_devices_costs_the_driver_nothing(meter: RemoteMeter, driver: FakeDriver) -> None:
    """While the kernel lists the same GPUs and none is lost, the driver is not called, let alone initialised."""
    meter.open()
    calls = driver.calls
    for _ in range(5):
        meter.ask("skip", 1000.0)
        meter.devices()
    assert (driver.calls, driver.inits) == (calls, 1)


def test_initialising_takes_a_thousandth_of_the_time_at_most(
    meter: RemoteMeter, driver: FakeDriver, kernel: Path
) -> None:
    """A driver that is slow to begin is initialised again the more seldom."""
    driver.set(init_us=50_000)
    meter.open()
    driver.set(gpus=2)
    (kernel / "0000:02:00.0").mkdir()
    meter.ask("skip", 40.0)
    assert len(meter.devices()) == 1
    meter.ask("skip", 100.0)
    assert len(meter.devices()) == 2


def test_a_gpu_that_stays_lost_is_asked_for_more_and_more_seldom(
    meter: RemoteMeter, driver: FakeDriver, kernel: Path
) -> None:
    """Each new session disturbs the others for a moment: a dead GPU must not cause one every few seconds for ever."""
    driver.set(gpus=2, lost_1=1)
    meter.open()
    for _ in range(120):  # an hour
        meter.ask("skip", 30.0)
        meter.devices()
    assert 8 <= driver.inits <= 16  # 2, 4, … 600 s
    driver.set(gpus=3)
    (kernel / "0000:03:00.0").mkdir()
    meter.ask("skip", 5.0)
    assert [device.index for device in meter.devices()] == [0, 2]  # what the kernel tells is not made to wait


def test_a_gpu_that_is_taken_out_is_gone_and_the_others_move_up(
    meter: RemoteMeter, driver: FakeDriver, kernel: Path
) -> None:
    """Its readings raise, it is not listed, and its neighbour has its number and its own joules."""
    driver.set(gpus=2)
    (kernel / "0000:02:00.0").mkdir()
    first, second = meter.open()
    driver.set(gone_0=1)
    (kernel / "0000:01:00.0").rmdir()
    with pytest.raises(DeviceLostError):
        meter.read(first)
    meter.ask("skip", 10.0)
    (left,) = meter.devices()
    assert (left.uuid, left.index) == (second.uuid, 0)
    assert meter.read(left).power_watts in {110.0, 310.0}
    with pytest.raises(DeviceLostError):
        meter.read(first)


def test_nvml_is_not_shut_down_under_a_call_that_hangs(meter: RemoteMeter, driver: FakeDriver, kernel: Path) -> None:
    """The others are read on, a new GPU waits until the call has returned; the driver aborts if it is otherwise."""
    driver.set(gpus=2)
    first, second = meter.open()
    driver.set(hang_0=1, gpus=3)
    hanging = meter.begin("read", first)
    (kernel / "0000:03:00.0").mkdir()
    meter.ask("skip", 10.0)
    assert len(meter.devices()) == 2
    assert meter.read(second).energy_microjoules is not None
    assert driver.inits == 1
    driver.set(hang_0=0)
    assert meter.answer(hanging).energy_microjoules is not None
    meter.ask("skip", 10.0)
    assert len(meter.devices()) == 3


def test_readings_go_on_while_nvml_is_initialised_again(meter: RemoteMeter, driver: FakeDriver, kernel: Path) -> None:
    """A reader beside twenty new sessions never fails, never sees another board's counter, and never goes back."""
    driver.set(gpus=2)
    _, second = meter.open()
    reading = meter.begin("readings", second, 1.0, 0.0005)
    for number in range(20):
        (kernel / f"0000:{number + 16:02x}:00.0").mkdir()
        meter.ask("skip", 10.0)
        meter.devices()
    readings = meter.answer(reading)
    energies = [each.energy_microjoules for each in readings]
    assert driver.inits == 21
    assert energies == sorted(energies)
    assert {each.power_watts for each in readings} <= {110.0, 310.0}


def test_a_driver_that_does_not_begin_again_loses_all_until_it_does(
    meter: RemoteMeter, driver: FakeDriver, kernel: Path
) -> None:
    """Nobody can tell which devices there are, no reading is made up, and later all are back."""
    (device,) = meter.open()
    driver.set(init=999)
    (kernel / "0000:02:00.0").mkdir()
    meter.ask("skip", 10.0)
    with pytest.raises(DeviceLostError):
        meter.devices()
    with pytest.raises(DeviceLostError):
        meter.read(device)
    driver.set(init=0)
    meter.ask("skip", 10.0)
    assert meter.devices() == (device,)
    assert meter.read(device).energy_microjoules is not None


def test_mig_slices_are_information(meter: RemoteMeter, driver: FakeDriver) -> None:
    """A board cut in three is one device with its own joules; its utilisation is absent, its slices are named."""
    driver.set(mig=3)
    (device,) = meter.open()
    assert device.uuid == "GPU-fake-0"
    name = 'Fake "H100" 80GB MIG 1g.10gb'
    assert device.slices == tuple(Slice(f"MIG-fake-0-{i}", name, 7 + i, 0) for i in range(3))
    assert meter.read(device).energy_microjoules is not None
    assert meter.status(device).utilization_ratio is None


def test_slices_come_and_go(meter: RemoteMeter, driver: FakeDriver) -> None:
    """MIG switched on and off is seen within some seconds, and what it had forbidden is asked for again."""
    (device,) = meter.open()
    for count, utilization in ((2, None), (0, 0.5)):
        driver.set(mig=count)
        meter.ask("skip", 6.0)
        meter.status(device)
        assert len(meter.devices()[0].slices) == count
        assert meter.status(device).utilization_ratio == utilization


@pytest.mark.parametrize(
    ("module", "more", "scope"), [(0, 0.0, "gpu"), (1, MODULE_WATTS, "module"), (2, 0.0, "gpu")], ids=str
)
def test_a_superchip_is_told_by_its_power(
    meter: RemoteMeter, driver: FakeDriver, module: int, more: float, scope: str
) -> None:
    """Where the counter is the module's so are all watts, and the label says so; scope 1 alone does not decide it."""
    driver.set(module=module)
    (device,) = meter.open()
    assert device.scope == scope
    reading = meter.read(device)
    assert reading.average_power_watts == 200 + more
    assert reading.power_watts in {100 + more, 300 + more}
    moved = [each for each in meter.ask("readings", device, 0.5, 0.005) if each.energy_time is not None]
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
    meter: RemoteMeter, driver: FakeDriver, switches: dict[str, int], sampled_seconds: float | None
) -> None:
    """Power is integrated to the exact energy within half an interval at each change of the load."""
    driver.set(**switches)
    (device,) = meter.open()
    assert (device.method, device.lasting) == ("integrated", False)
    readings = [each for each in meter.ask("readings", device, 1.2, 0.025) if each.energy_time is not None]
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


def test_a_gap_is_not_integrated(meter: RemoteMeter, driver: FakeDriver) -> None:
    """What was drawn in five seconds without a reading nobody knows: nothing is added for them."""
    driver.set(no_counter=1, no_samples=1)
    (device,) = meter.open()
    before = meter.ask("readings", device, 0.1, 0.01)[-1].energy_microjoules
    meter.ask("skip", 5.0)
    after = meter.read(device).energy_microjoules
    assert after == before
    assert before > 0


def test_a_counter_at_0_for_ever_is_no_counter(meter: RemoteMeter, driver: FakeDriver) -> None:
    """Power is drawn and nothing counted: the energy is integrated, and stays so."""
    driver.set(zero_counter=1)
    (device,) = meter.open()
    assert device.method == "integrated"
    driver.set(zero_counter=0)
    assert meter.devices()[0].method == "integrated"
    assert (meter.read(device).energy_microjoules or 0) < 1e9  # not the driver's hour


def test_a_counter_that_has_just_begun_at_0_is_one(meter: RemoteMeter, driver: FakeDriver) -> None:
    """Right after the driver was loaded the counter is at 0 for a tick: that is waited for."""
    driver.set(tick_us=100_000)
    driver.set(reset=1)
    (device,) = meter.open()
    assert device.method == "counter"
    assert device.lasting


@pytest.mark.parametrize(("offset", "known"), [(0, True), (5_000_000, False), (-5_000_000, False)])
def test_stamps_of_another_clock_are_not_used(
    meter: RemoteMeter, driver: FakeDriver, offset: int, *, known: bool
) -> None:
    """Energy is read all the same, but when it was is not taken from a clock that is seconds off."""
    driver.set(stamp_offset_us=offset)
    (device,) = meter.open()
    readings = meter.ask("readings", device, 0.1, 0.005)
    assert all(each.energy_microjoules is not None for each in readings)
    assert any(each.energy_time is not None for each in readings) == known


def test_processes_have_their_mean_utilisation_and_memory(meter: RemoteMeter, driver: FakeDriver) -> None:
    """Samples since the last call are averaged by pid; who computes and draws holds its memory once."""
    driver.set(processes=2, graphics=1, first_pid=100)
    (device,) = meter.open()
    uses = meter.processes(device)
    assert uses is not None
    assert [(use.pid, use.memory_bytes) for use in uses] == [(100, GIB), (101, 2 * GIB)]
    assert [use.utilization_ratio for use in uses] == [pytest.approx(0.1, abs=0.005), pytest.approx(0.2, abs=0.005)]
    # Samples come six times a second: asked again at once, nobody knows, and nobody says 0.
    wait_until(lambda: all(use.utilization_ratio is None for use in meter.processes(device) or ()), "no new sample")
    wait_until(lambda: any(use.utilization_ratio for use in meter.processes(device) or ()), "a new sample")


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
    meter: RemoteMeter, driver: FakeDriver, switches: dict[str, int], uses: tuple[ProcessUse, ...] | None
) -> None:
    """A driver that does not tell gives None, one without processes none, and half of an answer is half known."""
    driver.set(**{"processes": 1, "first_pid": 100, **switches})
    (device,) = meter.open()
    found = meter.processes(device)
    if found is not None:
        ratios = [use.utilization_ratio and round(use.utilization_ratio, 1) for use in found]
        found = tuple(ProcessUse(use.pid, ratio, use.memory_bytes) for use, ratio in zip(found, ratios, strict=True))
    assert found == uses


def test_a_name_that_is_no_text_is_no_name(meter: RemoteMeter, driver: FakeDriver) -> None:
    """Nobody can show it; the GPU is read all the same."""
    driver.set(odd_name=1)
    (device,) = meter.open()
    assert device.name == ""
    assert meter.read(device).energy_microjoules is not None


def test_128_gpus_are_read(meter: RemoteMeter, driver: FakeDriver) -> None:
    """All have their own watts, and one that is lost beyond the first 64 costs only itself."""
    driver.set(gpus=128)
    devices = meter.open()
    assert [device.index for device in devices] == list(range(128))
    watts = [meter.read(device).power_watts or 0.0 for device in devices]
    assert all(w - 10 * i in {100.0, 300.0} for i, w in enumerate(watts))
    driver.set(lost_100=1)
    with pytest.raises(DeviceLostError, match="GPU-fake-100"):
        meter.read(devices[100])
    assert len(meter.devices()) == 127


def test_opened_again_the_counter_goes_on(meter: RemoteMeter) -> None:
    """It is the driver's and lasts longer than we do: that is what ``lasting`` says."""
    (device,) = meter.open()
    energies = [meter.read(device).energy_microjoules or 0]
    meter.ask("open")
    energies.append(meter.read(device).energy_microjoules or 0)
    assert device.lasting
    assert energies[0] <= energies[1] < energies[0] + 300e6 * 20


def test_a_slow_driver_is_read_slowly(meter: RemoteMeter, driver: FakeDriver) -> None:
    """A call of 20 ms takes 20 ms, and its values are those of the driver."""
    (device,) = meter.open()
    driver.set(slow_us=20_000)
    began = time.monotonic()
    assert meter.read(device).power_watts in {100.0, 300.0}
    assert time.monotonic() - began >= 0.02


@pytest.mark.parametrize("switches", [{"gpus": 0}, {"lost": 1}, {"init": 999}], ids=str)
def test_without_gpus_there_is_no_meter(meter: RemoteMeter, driver: FakeDriver, switches: dict[str, int]) -> None:
    """No GPU, only lost ones, or a driver that does not begin: an error that says so, and nothing is left open."""
    driver.set(**switches)
    with pytest.raises(NoMeterError):
        meter.open()
    driver.set(**dict.fromkeys(switches, 0) | {"gpus": 1})
    assert len(meter.open()) == 1


def test_a_counter_jumps_and_stands_as_it_is_told(meter: RemoteMeter, driver: FakeDriver) -> None:
    """What the driver says is passed on as it is: judging a counter is the sampler's."""
    (device,) = meter.open()
    before = meter.read(device).energy_microjoules or 0
    driver.set(jump_mj=10_000_000)
    assert (meter.read(device).energy_microjoules or 0) - before >= 10_000_000_000
    driver.set(frozen=1)
    stands = [each.energy_microjoules for each in meter.ask("readings", device, 0.1, 0.01)]
    assert all(one == other for one, other in itertools.pairwise(stands))
