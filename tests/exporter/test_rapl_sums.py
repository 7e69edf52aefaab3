"""What RAPL's wrapping counters add up to, through the exporter's own sums and in its metrics."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perjoule_exporter.clock import Moment
from perjoule_exporter.meters import MICRO, Device, DeviceKind, Reading
from perjoule_exporter.meters.rapl import RaplMeter
from perjoule_exporter.track import Charges, Track
from tests.exporter.fakes import Hands
from tests.exporter.powercap import STEPS, Powercap
from tests.exporter.running import StartExporter, wait_until


def joules(track: Track, at: float) -> float:
    measured = track.view(Moment(at, at)).measured
    assert measured is not None
    assert measured.energy_joules is not None
    assert measured.resets == 0
    return measured.energy_joules


def test_243_joules_over_a_wrap_are_243_joules(tmp_path: Path) -> None:
    """143 J before the counter starts again and 100 J after it: all are there, and no reset is counted."""
    machine, hands = Powercap(tmp_path, "server"), Hands()
    meter = RaplMeter(hands.clock, tmp_path, pause=lambda _: machine.use(0.1))
    device = meter.devices()[0]
    machine.show("intel-rapl:1", machine.largest("intel-rapl:1") - 143 * MICRO)
    track = Track(device)
    track.advance(meter.read(device), hands.clock.now(), Charges())
    hands.seconds += 1.0
    machine.use(243.0, "intel-rapl:1")
    after = meter.read(device)
    assert after.energy_microjoules == pytest.approx(100 * MICRO, abs=100)
    track.advance(after, hands.clock.now(), Charges())
    assert joules(track, hands.clock.monotonic()) == pytest.approx(243.0, abs=1e-4)


@given(
    nanojoules=st.sampled_from([61_035, 15_300, 15_258]),
    start=st.integers(0, STEPS - 1),
    used=st.lists(st.integers(0, 2**26), max_size=200),  # steps between two readings, up to 4 kJ
)
def test_any_energies_come_back_from_a_wrapping_counter(nanojoules: int, start: int, used: list[int]) -> None:
    """Whatever is used between readings, and however often the counter comes round, the sum is what was used.

    The kernel rounds what it shows, and its range, down to microjoules: one at each end, and one for each wrap.
    """
    counter_range = STEPS * nanojoules // 1000
    track = Track(
        Device(DeviceKind.CPU, "cpu-0", 0, "counter", "package", counter_range_microjoules=counter_range, lasting=True)
    )
    steps, total = start, 0
    for second, more in enumerate([0, *used]):
        steps, total = steps + more, total + more
        reading = Reading(energy_microjoules=steps % STEPS * nanojoules // 1000)
        track.advance(reading, Moment(float(second), float(second)), Charges())
    wraps = steps // STEPS
    assert joules(track, float(len(used))) == pytest.approx(total * nanojoules / 1e9, abs=(2 + wraps) / MICRO)


def test_the_program_publishes_disjoint_zones_apart_from_the_rest(
    start_exporter: StartExporter, tmp_path: Path
) -> None:
    """Packages and memory in one family that may be summed; parts and wholes in another; a wrap in none of them."""
    machine = Powercap(tmp_path, "laptop")
    machine.show("intel-rapl:0", machine.largest("intel-rapl:0") - MICRO)
    exporter = start_exporter("--meter", "rapl", "--path.sysfs", str(tmp_path))

    def moved() -> bool:  # the counters have to move while the program looks for them
        machine.use(0.001)
        assert exporter.process.poll() is None, exporter.text()
        return "listening on" in exporter.text()

    wait_until(moved, "the exporter listens")
    before = exporter.scrape().number("cpu_energy_joules_total", package="0", zone="package")
    machine.use(5.0)

    def rose() -> float:
        return exporter.scrape().number("cpu_energy_joules_total") - before

    wait_until(lambda: rose() > 4, "5 J more")
    # The last of the small steps above may have been read after the first scrape.
    assert rose() == pytest.approx(5.0, abs=0.01)
    scrape = exporter.scrape()
    assert scrape.value("cpu_info", package="0", zone="package", method="counter") == 1
    zones = {s.labels["zone"] for s in scrape.samples if s.name == "cpu_zone_energy_joules_total"}
    assert zones == {"core", "uncore", "psys"}


def test_rapl_and_estimate_are_both_of_the_packages(start_exporter: StartExporter) -> None:
    """Asked for together they would both be cpu-0: exit code 2, one line."""
    exporter = start_exporter("--meter", "rapl", "--meter", "estimate")
    assert exporter.ended() == 2
    assert exporter.text().endswith(
        "--meter rapl and --meter estimate are both of the CPU packages: name one of them\n"
    )


def test_without_rapl_one_line_and_exit_code_1(start_exporter: StartExporter, tmp_path: Path) -> None:
    """``--meter rapl`` on a machine without it says where it looked."""
    exporter = start_exporter("--meter", "rapl", "--path.sysfs", str(tmp_path))
    assert exporter.ended() == 1
    assert exporter.text().startswith(f"gpu-energy-exporter: no RAPL: {tmp_path}/class/powercap shows no package (")
    assert exporter.text().count("\n") == 1


def test_auto_prefers_counters_to_the_estimate(start_exporter: StartExporter, tmp_path: Path) -> None:
    """A machine without a GPU and with RAPL is measured."""
    machine = Powercap(tmp_path, "mmio")
    exporter = start_exporter("--path.sysfs", str(tmp_path))

    def listening() -> bool:
        machine.use(0.001)
        return "listening on" in exporter.text()

    wait_until(listening, "the exporter listens")
    assert exporter.scrape().value("cpu_info", package="0", zone="package", method="counter") == 1
