"""What is read from an exporter's answer, and the history that is made of it."""

from random import Random

import pytest

from perjoule.errors import MeasurementError
from perjoule_loadgen.books import books
from perjoule_loadgen.clock import offset
from perjoule_loadgen.energy import Device, Pair, Reading, exposition
from perjoule_loadgen.meter import Track, idle_between

TEXT = """\
# HELP gpu_energy_joules_total Energy
# TYPE gpu_energy_joules_total counter
gpu_energy_joules_total{gpu="0",uuid="GPU-a"} 1000.5
gpu_energy_timestamp_seconds{gpu="0",uuid="GPU-a"} 1.7e9
gpu_energy_update_interval_seconds{gpu="0",uuid="GPU-a"} 0.1
gpu_energy_resets_total{gpu="0",uuid="GPU-a"} 2.0
gpu_info{gpu="0",uuid="GPU-a",name="H100",vendor="nvidia",driver="1",pci_bus_id="x",method="counter",scope="gpu"} 1
gpu_energy_joules_total{gpu="1",uuid="GPU-timeless"} 5
gpu_energy_joules_total{gpu="2",uuid="GPU-bad"} NaN
gpu_energy_timestamp_seconds{gpu="2",uuid="GPU-bad"} 1.7e9
cpu_energy_joules_total{package="0",zone="package"} 10
cpu_energy_timestamp_seconds{package="0",zone="package"} 1.7e9
cpu_energy_joules_total{package="0",zone="dram"} 3
cpu_energy_timestamp_seconds{package="0",zone="dram"} 1.7e9
cpu_info{package="0",zone="package",method="estimated"} 1
grid_carbon_intensity_grams_per_kwh{zone="FRA",provider="static",basis="average"} 44.18
datacenter_pue_ratio 1.3
process_start_time_seconds 1.6e9
"""


def test_devices_of_an_exposition() -> None:
    """A counter with its time is a reading; one without a time or a finite value is absent, never 0."""
    said = exposition(TEXT, "u")
    assert list(said.readings) == ["GPU-a", "cpu-0", "cpu-0-dram"]
    board = said.readings["GPU-a"]
    assert board == Reading(Device("GPU-a", "gpu", "H100", "counter", "u"), Pair(1000.5, 1.7e9), 2.0, 0.1, None)
    assert [said.readings[id_].device.base for id_ in ("cpu-0", "cpu-0-dram")] == ["cpu-0", "cpu-0"]
    assert [factor.zone for factor in said.factors] == ["FRA"]
    assert (said.pue, said.started) == (1.3, 1.6e9)


@pytest.mark.parametrize("text", ["", "<html>not metrics</html>", "gpu_power_watts 3\n"])
def test_no_device_in_other_pages(text: str) -> None:
    """A page without energy gives no devices and no error."""
    assert exposition(text, "u").readings == {}


def test_garbage_in_a_line_of_interest_is_an_error() -> None:
    """A broken sample is not skipped in silence."""
    with pytest.raises(MeasurementError, match="not a Prometheus exposition"):
        exposition('gpu_energy_joules_total{gpu="0 nonsense', "u")


def test_whatever_is_wrong_with_a_sample_is_one_kind_of_error() -> None:
    """Thousands of scrapes with broken lines: each is read, or refused as no exposition; nothing else happens."""
    random, refused = Random(5), 0  # noqa: S311 (broken text, not secrets)
    for _ in range(3000):
        lines = TEXT.splitlines()
        broken = list(lines[line := random.randrange(len(lines))])
        for _ in range(random.randint(1, 4)):
            broken.insert(random.randrange(len(broken) + 1), random.choice('{}",=\\ \t#eE+-_.09anNiI\x00\u2028é'))
            del broken[random.randrange(len(broken))]
        lines[line] = "".join(broken)
        try:
            exposition("\n".join(lines), "u")
            books("\n".join(lines), 0.0)
        except MeasurementError:
            refused += 1
    assert 100 < refused < 2900


DEVICE = Device("GPU-a", "gpu", None, "counter", "u")


def track(*pairs: tuple[float, float]) -> Track:
    made = Track(DEVICE)
    for at, joules in pairs:
        made.add(Reading(DEVICE, Pair(joules, at), None, None, None))
    return made


def test_track_keeps_moves_only() -> None:
    """A reading of the same tick adds nothing; the tick is the shortest interval seen."""
    made = track((1.0, 10.0), (1.0, 10.0), (1.1, 20.0), (1.3, 40.0))
    assert made.times == [1.0, 1.1, 1.3]
    assert made.tick == pytest.approx(0.1)
    assert made.went_back == []


def test_time_without_energy_is_no_move() -> None:
    """A counter that stands still has not moved, whatever its time says."""
    assert track((1.0, 10.0), (1.1, 10.0), (1.2, 10.0), (1.3, 20.0)).times == [1.0, 1.3]


@pytest.mark.parametrize(("line", "zones", "pue"), [
    ('grid_carbon_intensity_grams_per_kwh{zone="FRA",provider="x",basis="average"} -5', [], None),
    ("datacenter_pue_ratio 0", [], None),
    ("datacenter_pue_ratio 1", [], 1.0),
])  # fmt: skip
def test_impossible_factors_are_absent(line: str, zones: list[str], pue: float | None) -> None:
    """No site uses less than its machines, and no grid takes carbon away."""
    said = exposition(line + "\n", "u")
    assert ([factor.zone for factor in said.factors], said.pue) == (zones, pue)


@pytest.mark.parametrize("last", [(1.2, 5.0), (1.0, 25.0), (1.1, 5.0)])
def test_track_notes_a_counter_that_goes_back(last: tuple[float, float]) -> None:
    """Energy or time that goes back is noted."""
    assert len(track((1.0, 10.0), (1.1, 20.0), last).went_back) == 1


@pytest.mark.parametrize(
    ("watts", "steady"),
    [((300.0, 300.0), True), ((300.0, 320.0), True), ((150.0, 300.0), False), ((300.0, 150.0), False)],
)
def test_power_has_settled_when_two_spans_agree(watts: tuple[float, float], *, steady: bool) -> None:
    """Two spans of the same power are steady within 10 %; a rise or a fall, or no reading at all, is not."""
    powers = [watts[0]] * 20 + [watts[1]] * 20
    pairs, joules = [(100.0, 0.0)], 0.0
    for number, power in enumerate(powers, 1):
        joules += power * 0.05
        pairs.append((100.0 + number * 0.05, joules))
    assert track(*pairs).steady(102.0, 1.0) is steady
    assert Track(DEVICE).steady(102.0, 1.0) is False


def test_edges() -> None:
    """The start edge is the last pair up to a time, the end edge the first from it; absent beyond what was read."""
    made = track((1.0, 10.0), (2.0, 20.0), (3.0, 30.0))

    def joules(found: Reading | None) -> float | None:
        return None if found is None else found.pair.joules

    assert [joules(made.last_until(at)) for at in (0.9, 1.0, 1.9, 9.0)] == [None, 10.0, 10.0, 30.0]
    assert [joules(made.first_from(at)) for at in (0.0, 1.0, 1.1, 3.1)] == [10.0, 10.0, 20.0, None]


def test_the_clock_s_offset_survives_an_interruption() -> None:
    """Of several readings of both clocks the one without a pause between them counts."""
    pauses = iter([0.0, 0.3, 0.0, 0.0, 0.0, 0.2] + [0.0, 0.1, 0.1] * 20)
    now = [100.0]

    def monotonic() -> float:
        now[0] += next(pauses)
        return now[0]

    assert offset(monotonic, lambda: monotonic() + 1000.0) == pytest.approx(1000.0)


def test_idle_baseline_of_a_reset_counter_is_absent() -> None:
    """Idle watts are energy over time between pairs; none where the counter went back or stood still."""
    idle = idle_between(track((1.0, 10.0), (2.0, 60.0), (3.0, 110.0)), 1.0, 2.5)
    assert idle is not None
    assert (idle.watts, idle.seconds) == (50.0, 2.0)
    assert idle_between(track((1.0, 10.0), (2.0, 5.0), (3.0, 110.0)), 1.0, 2.5) is None
    assert idle_between(track((1.0, 10.0)), 0.5, 0.9) is None
