"""AMD boards: the real amdsmi package, and a driver written in C behind it."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from perjoule.errors import DeviceLostError, NoMeterError
from perjoule_exporter.meters import MICRO, Device
from perjoule_exporter.meters.amd import AmdMeter
from tests.exporter import fake_amdsmi
from tests.exporter.fake_amdsmi import (
    BOOTTIME,
    DRIVER_NOT_LOADED,
    IO,
    NOT_FOUND,
    NOT_SUPPORTED,
    TIMEOUT,
    FakeAmd,
    joules,
)
from tests.exporter.fakes import WALL, Hands
from tests.exporter.running import RunningExporter, StartExporter, wait_until

GPU_0, GPU_1 = (f"fake000{gpu}-0000-1000-8000-00000000fake" for gpu in (0, 1))


@pytest.fixture(scope="session")
def compiler() -> str:
    """Give a C compiler."""
    found = fake_amdsmi.compiler()
    if found is None:
        reason = "no C compiler for the fake AMD driver (Debian: apt install gcc libc6-dev)"
        if os.environ.get("CI"):
            pytest.fail(f"{reason}, and CI must not pass without it", pytrace=False)
        pytest.skip(reason)
    return found


@pytest.fixture(scope="session")
def rocm(tmp_path_factory: pytest.TempPathFactory, compiler: str) -> Path:
    """Build the fake driver once."""
    return fake_amdsmi.build(tmp_path_factory.mktemp("rocm"), compiler)


@pytest.fixture
def driver(rocm: Path, tmp_path: Path) -> FakeAmd:
    """Give a driver with one healthy GPU, to be scripted."""
    return FakeAmd(rocm, tmp_path / "amd-control")


class Node:
    """The driver in this process, on a clock that is set by hand."""

    def __init__(self, driver: FakeAmd) -> None:
        self.driver = driver
        self.hands = Hands()
        self.meters: list[AmdMeter] = []
        self.passes(0.0)

    def passes(self, seconds: float) -> None:
        self.hands.seconds += seconds
        self.driver.follow(self.hands)

    def meter(self, **switches: int) -> AmdMeter:
        self.driver.set(**switches)
        self.meters.append(AmdMeter(self.hands.clock, self.passes, lambda: BOOTTIME + self.hands.seconds))
        return self.meters[-1]


@pytest.fixture
def node(driver: FakeAmd, monkeypatch: pytest.MonkeyPatch) -> Iterator[Node]:
    """Give the driver in this process. The package loads its library once; the script is another for each test."""
    for name, value in driver.environment.items():
        monkeypatch.setenv(name, value)
    node = Node(driver)
    yield node
    for meter in node.meters:
        meter.close()


def counted(meter: AmdMeter, device: Device) -> int:
    energy = meter.read(device).energy_microjoules
    assert energy is not None
    return energy


def test_a_board_says_what_it_is(node: Node) -> None:
    """The driver's uuid, name, version and bus id; a counter that outlives the program and wraps at 64 bits."""
    (device,) = node.meter().devices()
    step = 15.25900  # as a 32-bit float
    assert device.counter_range_microjoules == pytest.approx(2**64 * step, rel=1e-6)
    assert (device.kind, device.uuid, device.index, device.method, device.scope) == ("gpu", GPU_0, 0, "counter", "gpu")
    assert (device.name, device.vendor, device.driver) == ("Fake Instinct MI300X", "AMD", "6.12.12")
    assert (device.pci_bus_id, device.lasting) == ("0000:01:00.0", True)


def test_energy_is_what_the_board_drew(node: Node) -> None:
    """Steps × resolution, over any time, is the integral of the power, for every board."""
    meter = node.meter(gpus=2)
    node.passes(0.017)
    start = WALL + node.hands.seconds
    before = [counted(meter, device) for device in meter.devices()]
    node.passes(123.456)
    after = [counted(meter, device) for device in meter.devices()]
    for gpu, (first, last) in enumerate(zip(before, after, strict=True)):
        drew = joules(gpu, start, WALL + node.hands.seconds)
        assert (last - first) / MICRO == pytest.approx(drew, abs=2 * 300 * 0.001)  # two ticks


def test_a_reading_has_both_powers_and_the_drivers_time(node: Node) -> None:
    """The time is the driver's stamp of the tick, on our clock; average power is absent where the board has none."""
    meter = node.meter(tick_us=20_000)
    node.passes(0.110)  # 10 ms after a tick, in the high half of the wave
    reading = meter.read(meter.devices()[0])
    assert reading.energy_time == pytest.approx(WALL + node.hands.seconds - 0.010, abs=1e-6)
    assert (reading.power_watts, reading.average_power_watts) == (100.0, None)


@pytest.mark.parametrize(("field", "expected"), [(0, (100.0, None)), (1, (None, 100.0)), (2, (100.0, None))])
def test_each_generation_has_its_own_power_field(
    node: Node, field: int, expected: tuple[float | None, float | None]
) -> None:
    """Current on MI300, average before, one common field at last; what is "N/A" is absent."""
    meter = node.meter(power_field=field)
    reading = meter.read(meter.devices()[0])
    assert (reading.power_watts, reading.average_power_watts) == expected


@pytest.mark.parametrize("switches", [{"call_stamps": 1, "tick_us": 100_000}, {"stamp_offset_us": -5_000_000}])
def test_stamps_that_mark_nothing_are_not_used(node: Node, switches: dict[str, int]) -> None:
    """Stamps of the call, or of another clock, are no time of the counter's move: it is absent."""
    meter = node.meter(**switches)
    assert meter.read(meter.devices()[0]).energy_time is None


@pytest.mark.parametrize(
    ("switches", "said"),
    [
        ({"frozen_mask": 1}, "the energy counter stands still"),
        ({"resolution_nj": 1000}, "the energy counter went 6.55 J while power made 100 J"),
        ({"resolution_nj": 61_035}, "the energy counter went 400 J while power made 100 J"),
        ({"resolution_nj": 0}, "the driver tells no energy"),
        ({"resolution_nj": -15_259}, "the driver tells no energy"),
        ({"no_counter_mask": 1}, "the driver tells no energy"),
    ],
)
def test_a_counter_that_is_not_to_be_believed_is_integrated(
    node: Node, caplog: pytest.LogCaptureFixture, switches: dict[str, int], said: str
) -> None:
    """Frozen, of another step, without a step, or none at all: power is integrated, and one line says why."""
    meter = node.meter(**switches)
    (device,) = meter.devices()
    assert (device.method, device.lasting, device.counter_range_microjoules) == ("integrated", False, None)
    assert [message.split("; ")[0] for message in caplog.messages] == [f"{GPU_0}: {said}"]
    before = counted(meter, device)
    start = WALL + node.hands.seconds
    for _ in range(400):
        node.passes(0.005)
        reading = meter.read(device)
    assert reading.energy_microjoules is not None
    drew = joules(0, start, WALL + node.hands.seconds)
    assert (reading.energy_microjoules - before) / MICRO == pytest.approx(drew, rel=0.01)
    assert reading.energy_time == WALL + node.hands.seconds


@pytest.mark.parametrize("nanojoules", [15_300, 15_258, 10_000, 25_000])
def test_a_resolution_within_a_factor_of_two_is_believed(node: Node, nanojoules: int) -> None:
    """What may be an averaged power is no reason to drop a counter."""
    assert node.meter(resolution_nj=nanojoules).devices()[0].method == "counter"


@pytest.mark.parametrize(("frozen", "seconds"), [(0, 0.5), (0b10, 1.0)])
def test_all_boards_are_checked_at_once(node: Node, frozen: int, seconds: float) -> None:
    """Half a second for all of them; one that is in doubt is tried a second time, and no board is checked again."""
    meter = node.meter(gpus=8, frozen_mask=frozen)
    assert node.hands.seconds == pytest.approx(seconds)
    assert [device.method == "counter" for device in meter.devices()].count(False) == (1 if frozen else 0)
    assert node.hands.seconds == pytest.approx(seconds)


def test_without_power_a_counter_that_moves_is_believed(node: Node) -> None:
    """There is nothing to hold it against; one that stands still then has nothing at all, and is left out."""
    meter = node.meter(gpus=2, no_power_mask=0b11, no_counter_mask=0b10)
    assert [(device.uuid, device.method) for device in meter.devices()] == [(GPU_0, "counter")]
    assert meter.read(meter.devices()[0]).power_watts is None


def test_the_second_half_of_an_mi250_is_left_out(node: Node, caplog: pytest.LogCaptureFixture) -> None:
    """It says 0 W and no energy, for its twin says both: it is no board that draws nothing."""
    meter = node.meter(gpus=2, zero_power_mask=0b10, no_counter_mask=0b10)
    assert [device.uuid for device in meter.devices()] == [GPU_0]
    meter.devices()
    assert caplog.messages == ["AMD GPU 1 is left out: it tells neither energy nor power"]  # said once


def test_partitions_of_a_board_count_once(node: Node) -> None:
    """Parts of one board carry its energy each: one device."""
    assert [device.pci_bus_id for device in node.meter(gpus=4, one_slot=1).devices()] == ["0000:01:00.0"]


def test_boards_without_serial_numbers_keep_apart(node: Node) -> None:
    """The same uuid twice, in two slots: the second is named with its slot."""
    devices = node.meter(gpus=2, same_uuid=1).devices()
    assert [device.uuid for device in devices] == [GPU_0, f"{GPU_0}-0000:02:00.0"]


def test_the_slow_values_in_base_units(node: Node) -> None:
    """Watts, bytes, hertz and ratios; a clock that is off has none; nobody knows why clocks are held down."""
    meter = node.meter()
    status = meter.status(meter.devices()[0])
    assert (status.limit_watts, status.utilization_ratio, status.temperature_celsius) == (750.0, 0.5, 51.0)
    assert (status.memory_used_bytes, status.memory_total_bytes) == (2**30, 192 * 2**30)
    assert dict(status.clocks_hertz) == {"graphics": 2.1e9, "memory": 1.3e9}
    assert status.throttle_reasons is None


def test_slow_values_that_are_not_told_are_absent(node: Node) -> None:
    """A board without any of them still gives energy."""
    meter = node.meter(no_status_mask=1)
    (device,) = meter.devices()
    status = meter.status(device)
    known = (status.limit_watts, status.utilization_ratio, status.memory_used_bytes, status.memory_total_bytes)
    assert (*known, status.temperature_celsius, dict(status.clocks_hertz)) == (None, None, None, None, None, {})
    assert counted(meter, device) > 0


@pytest.mark.parametrize(
    ("switches", "name", "expected"),
    [
        ({"cap_in_watts": 1}, "limit_watts", 750.0),
        ({"activity": 0xFFFF}, "utilization_ratio", None),
        ({"activity": 101}, "utilization_ratio", None),
        ({"no_hotspot": NOT_SUPPORTED}, "temperature_celsius", 41.0),
        ({"no_hotspot": TIMEOUT}, "temperature_celsius", None),
    ],
)
def test_oddities_of_slow_values(node: Node, switches: dict[str, int], name: str, expected: float | None) -> None:
    """Caps in watts, "N/A", nonsense, and another sensor only where the first is not there at all."""
    meter = node.meter(**switches)
    assert getattr(meter.status(meter.devices()[0]), name) == expected


def test_texts_that_cannot_be_decoded_are_empty(node: Node) -> None:
    """The package decodes without looking; a garbled name costs the name alone."""
    (device,) = node.meter(garbled=1).devices()
    assert (device.name, device.method) == ("", "counter")


@pytest.mark.parametrize("code", [NOT_FOUND, IO, TIMEOUT])
def test_a_lost_board_raises_and_comes_back(node: Node, code: int) -> None:
    """Also where the driver only times out: neither energy nor power is no reading. Its neighbour goes on."""
    meter = node.meter(gpus=2, lost_code=code)
    first, second = meter.devices()
    before = counted(meter, first)
    node.driver.set(lost_mask=0b01)
    with pytest.raises(DeviceLostError, match=f"^{GPU_0}: "):
        meter.read(first)
    assert counted(meter, second) > 0
    assert meter.devices() == [first, second]
    node.driver.set(lost_mask=0)
    node.passes(1.0)
    assert (counted(meter, first) - before) / MICRO == pytest.approx(200.0, abs=0.6)


def test_status_of_a_lost_board_raises(node: Node) -> None:
    """One error, with the board's name."""
    meter = node.meter()
    node.driver.set(lost_mask=1)
    with pytest.raises(DeviceLostError, match=f"^{GPU_0}: .*NOT_FOUND"):
        meter.status(meter.devices()[0])


def test_a_board_lost_at_the_start_is_found_later(node: Node, caplog: pytest.LogCaptureFixture) -> None:
    """It costs only itself, one line names it, and once it answers it is checked and listed."""
    meter = node.meter(gpus=2, lost_mask=0b01)
    assert [device.uuid for device in meter.devices()] == [GPU_1]
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith("AMD GPU 0 is left out: it does not answer: ")
    node.driver.set(lost_mask=0)
    assert [(d.uuid, d.index, d.method) for d in meter.devices()] == [(GPU_0, 0, "counter"), (GPU_1, 1, "counter")]


def test_boards_that_the_driver_lists_no_more_are_gone(node: Node) -> None:
    """They leave the list and cannot be read; what is listed anew is checked before it counts."""
    meter = node.meter(gpus=2)
    first, second = meter.devices()
    node.driver.set(gpus=1)
    assert meter.devices() == [first]
    with pytest.raises(DeviceLostError, match=f"{GPU_1}: AMD SMI lists it no more"):
        meter.read(second)
    node.driver.set(gpus=2)
    assert meter.devices() == [first, second]


def test_a_driver_that_lists_nothing_now_says_so(node: Node) -> None:
    """No list is not an empty list."""
    meter = node.meter()
    node.driver.set(handles=TIMEOUT)
    with pytest.raises(DeviceLostError, match="TIMEOUT"):
        meter.devices()


@pytest.mark.parametrize(
    ("switches", "said"),
    [
        ({"init": DRIVER_NOT_LOADED}, "the AMD driver does not answer: .*Driver not loaded"),
        ({"handles": IO}, "the AMD driver does not answer: .*I/O Error"),
        ({"gpus": 0}, "the AMD driver is loaded but lists no GPU that answers"),
        ({"lost_mask": 1}, "the AMD driver is loaded but lists no GPU that answers"),
        ({"no_uuid": 1}, "the AMD driver is loaded but lists no GPU that answers"),
    ],
)
def test_a_driver_without_boards_is_no_meter(node: Node, switches: dict[str, int], said: str) -> None:
    """One sentence on one line."""
    with pytest.raises(NoMeterError, match=said) as raised:
        node.meter(**switches)
    assert "\n" not in str(raised.value)


def test_an_accumulator_that_wraps_goes_on(node: Node) -> None:
    """At 2**64 steps it starts again at 0: modulo its range nothing is lost, in the check and after it."""
    meter = node.meter(wrap_us=round((WALL + 0.2) * 1e6))
    (device,) = meter.devices()
    assert device.method == "counter"
    node.driver.set(wrap_us=round((WALL + node.hands.seconds + 0.5) * 1e6))
    before = counted(meter, device)
    node.passes(1.0)
    after = counted(meter, device)
    assert device.counter_range_microjoules is not None
    assert before > device.counter_range_microjoules - 200 * MICRO > 200 * MICRO > after
    assert (after - before) % device.counter_range_microjoules == pytest.approx(200 * MICRO, abs=0.6 * MICRO)


def test_the_program_publishes_amd_boards(start_exporter: StartExporter, driver: FakeAmd) -> None:
    """From end to end: two (energy, time) pairs differ by what the board drew, and only metrics reach stdout."""
    driver.set(gpus=2, tick_us=20_000)
    exporter = start_exporter("--meter", "amd", environment=driver.environment).ready()
    first = energy_pair(exporter, GPU_1)
    wait_until(lambda: energy_pair(exporter, GPU_1)[0] > first[0] + 150, "150 J more")
    last = energy_pair(exporter, GPU_1)
    assert last[0] - first[0] == pytest.approx(joules(1, first[1], last[1]), abs=0.01)
    scrape = exporter.scrape()
    assert scrape.value("gpu_info", uuid=GPU_1, gpu="1", vendor="AMD", method="counter", scope="gpu") == 1
    assert scrape.value("gpu_power_limit_watts", uuid=GPU_1) == 750
    assert scrape.value("gpu_energy_resets_total", uuid=GPU_1) == 0
    assert all(line.startswith("ts=") for line in exporter.text().splitlines())


def test_a_lost_board_leaves_the_scrape(start_exporter: StartExporter, driver: FakeAmd) -> None:
    """gpu_up turns 0 and its figures go, its neighbour's stay; it comes back by itself."""
    driver.set(gpus=2)
    exporter = start_exporter("--meter", "amd", environment=driver.environment).ready()
    driver.set(lost_mask=0b01)
    wait_until(lambda: exporter.scrape().value("gpu_up", uuid=GPU_0) == 0, "gpu_up turns 0")
    scrape = exporter.scrape()
    assert scrape.value("gpu_energy_joules_total", uuid=GPU_0) is None
    assert scrape.number("gpu_energy_joules_total", uuid=GPU_1) > 0
    driver.set(lost_mask=0)
    wait_until(lambda: exporter.scrape().value("gpu_up", uuid=GPU_0) == 1, "gpu_up turns 1")


def test_auto_takes_amd_boards(start_exporter: StartExporter, driver: FakeAmd, tmp_path: Path) -> None:
    """Where an AMD driver answers, ``auto`` reads it and estimates nothing."""
    flags = ("--path.sysfs", str(tmp_path))
    scrape = start_exporter(*flags, environment=driver.environment).ready().scrape()
    assert scrape.value("gpu_info", vendor="AMD", method="counter") == 1
    assert scrape.value("cpu_info") is None


def ended_with(start_exporter: StartExporter, rocm: Path) -> str:
    """Start on the ROCm of that folder, and return what the program says at its end."""
    exporter = start_exporter("--meter", "amd", environment={"ROCM_HOME": str(rocm), "ROCM_PATH": str(rocm)})
    assert exporter.ended() == 1
    return exporter.text()


def test_without_the_library_one_line_and_exit_code_1(start_exporter: StartExporter, tmp_path: Path) -> None:
    """The package prints and then raises a KeyError: only our one line is seen."""
    assert ended_with(start_exporter, tmp_path) == (
        "gpu-energy-exporter: no AMD driver: libamd_smi.so was not found; "
        "install ROCm's amd-smi-lib, or name its folder in ROCM_PATH "
        "(named by --meter amd: leave it out, or use --meter auto)\n"
    )


def test_a_library_of_another_version_is_named(start_exporter: StartExporter, tmp_path: Path, compiler: str) -> None:
    """A symbol that the package wants and the library has not got: one line that says what does not fit."""
    rocm = fake_amdsmi.build(tmp_path, compiler, without="amdsmi_get_link_metrics")
    said = ended_with(start_exporter, rocm)
    assert said.startswith("gpu-energy-exporter: the amdsmi package does not fit the installed libamd_smi.so (")
    assert "undefined symbol: amdsmi_get_link_metrics" in said
    assert said.count("\n") == 1


def test_without_the_package_the_extra_is_named(start_exporter: StartExporter, tmp_path: Path) -> None:
    """A plain installation has no amdsmi: the line says which pip line brings it."""
    # A package of that name that is not there: as if it had not been installed.
    (tmp_path / "amdsmi.py").write_text("raise ModuleNotFoundError(\"No module named 'amdsmi'\", name='amdsmi')\n")
    exporter = start_exporter("--meter", "amd", environment={"PYTHONPATH": str(tmp_path)})
    assert exporter.ended() == 1
    assert exporter.text() == (
        "gpu-energy-exporter: no amdsmi: pip install 'perjoule[amd]' "
        "(named by --meter amd: leave it out, or use --meter auto)\n"
    )


def energy_pair(exporter: RunningExporter, uuid: str) -> tuple[float, float]:
    """Return (energy, time) of one scrape, once the counter was seen to move."""

    def scraped() -> tuple[float, float] | None:
        scrape = exporter.scrape()
        time = scrape.value("gpu_energy_timestamp_seconds", uuid=uuid)
        return None if time is None else (scrape.number("gpu_energy_joules_total", uuid=uuid), time)

    return wait_until(scraped, f"an energy pair of {uuid}")
