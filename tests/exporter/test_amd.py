"""AMD boards: the real amdsmi package, and a driver written in C behind it."""

import math
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from perjoule.errors import DeviceLostError, NoMeterError
from perjoule_exporter.meters import MICRO, Device
from perjoule_exporter.meters.amd import AmdMeter
from perjoule_exporter.meters.amd.counter import MOST_STEPS, Count, CounterCheck, Stamps, microjoules
from tests.exporter import fake_amdsmi
from tests.exporter.fake_amdsmi import (
    BOOTTIME,
    DRIVER_NOT_LOADED,
    IO,
    NOT_FOUND,
    NOT_SUPPORTED,
    STEP_MICROJOULES,
    TIMEOUT,
    FakeAmd,
    joules,
)
from tests.exporter.fakes import WALL, Hands

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


@pytest.mark.parametrize(
    ("steps", "resolution", "valid"),
    [
        (0, 15.259, True),
        (MOST_STEPS - 2, 15.259, True),
        (MOST_STEPS - 1, 15.259, False),
        (1, 0.0, False),
        (1, -1.0, False),
        (1, math.nan, False),
        (1, math.inf, False),
    ],
)
def test_what_is_a_count(steps: int, resolution: float, *, valid: bool) -> None:
    """The largest number stands for none, and steps have a size."""
    assert Count(steps, resolution, 0).valid is valid


def test_microjoules_are_exact_at_any_count() -> None:
    """Where a float has lost the last thousands of steps, the difference of two counts is still theirs."""
    far = 2**63
    assert microjoules(far + 1000, 15.25) - microjoules(far, 15.25) == 15_250
    assert microjoules(1000, STEP_MICROJOULES) == 15_259


def test_a_check_without_readings_complains() -> None:
    """Nothing read is nothing to believe."""
    assert CounterCheck().complaint() == "the driver tells no energy"


def test_stamps_of_another_boot_clock_tell_nothing() -> None:
    """A stamp of the future, or of long ago, is of another clock."""
    for stamp in (6_000_000_000, 3_000_000_000):
        assert Stamps().moved_at(Count(1, 1.0, stamp), boottime=5.0, wall=WALL) is None
    assert Stamps().moved_at(Count(1, 1.0, 4_750_000_000), boottime=5.0, wall=WALL) == WALL - 0.25
