"""The pure parts behind the NVML meter: whose power it is, what stamps mark, and the driver's own samples."""

from pathlib import Path

import pytest

from perjoule_exporter.meters.integral import PowerIntegral
from perjoule_exporter.meters.nvml.kernel import bound_gpus
from perjoule_exporter.meters.nvml.power import SampledPower, TickStamps, is_module

WALL = 1.8e9


@pytest.mark.parametrize(
    ("power", "legacy", "expected"),
    [
        ((200, 210, 500, 510), 500, True),
        ((200, 210, 500, 510), 480, True),
        ((200, 210, 500, 510), 200, False),  # the module is told of, and the older call is the GPU's
        ((None, 210, None, 510), 505, True),  # no averages: the instant ones
        ((200, 210, None, 510), 505, True),
        ((200, None, None, 510), 505, False),  # nothing to compare with
        ((200, 210, None, None), 200, False),
        ((200, 210, 0, 0), 0, False),  # 0 W is no answer
        ((None, None, 500, 510), 500, False),
        ((None, None, None, None), 200, False),
        ((200, 210, 500, 510), None, False),
        ((200, 210, 200, 210), 200, False),  # one board, one module
        ((200, 210, 205, 215), 205, False),  # scopes ignored, while the load rises
    ],
)
def test_whose_power_it_is(power: tuple[int | None, ...], legacy: int | None, *, expected: bool) -> None:
    """The module's only where it is told of and the older call is nearer to it."""
    milliwatts = [watts and watts * 1000 for watts in power]
    assert is_module(milliwatts, legacy and legacy * 1000) == expected


def test_stamps_that_stand_with_the_counter_mark_its_ticks() -> None:
    """Once two readings of one count had one stamp, the stamp is when the counter moved; before nobody knows."""
    stamps = TickStamps()
    stamp = round(WALL * 1e6)
    assert stamps.moved_at(100, stamp, WALL) is None
    assert stamps.moved_at(100, stamp, WALL + 0.01) == WALL
    assert stamps.moved_at(200, stamp + 20_000, WALL + 0.02) == WALL + 0.02
    assert stamps.moved_at(200, stamp + 30_000, WALL + 0.03) is None  # it moved on alone: the time of the call


class Samples:
    """A driver's buffer of samples, which can be stopped."""

    def __init__(self, ahead: float = 0.0) -> None:
        self.buffer: list[tuple[int, int]] = []
        self.asked = 0
        self._ahead = ahead

    def take(self, wall: float, milliwatts: int = 100_000) -> None:
        self.buffer.append((round((wall + self._ahead) * 1e6), milliwatts))

    def since(self, stamp: int) -> list[tuple[int, int]]:
        self.asked += 1
        return [sample for sample in self.buffer if sample[0] > stamp]


def test_each_sample_counts_once() -> None:
    """From the newest at the beginning on, whatever the driver gives again."""
    samples, integral = Samples(), PowerIntegral()
    power = SampledPower(lambda _: samples.buffer, integral)  # a driver that ignores since when
    for step in range(50):
        samples.take(WALL + step * 0.02)
    assert power.advance(0.0, WALL + 1.0)
    assert integral.microjoules == 0
    for step in range(50, 60):
        samples.take(WALL + step * 0.02)
    assert power.advance(0.2, WALL + 1.2)
    assert power.advance(0.4, WALL + 1.2)
    assert integral.microjoules == pytest.approx(20_000_000, abs=50)  # 100 W × 0.2 s; stamps are good to 0.3 µs


def test_samples_are_asked_for_ten_times_a_second() -> None:
    """The driver keeps them: asking at each reading would cost its time for nothing."""
    samples = Samples()
    samples.take(WALL)
    power = SampledPower(samples.since, PowerIntegral())
    for step in range(41):
        power.advance(step * 0.025, WALL + step * 0.025)
    assert 9 <= samples.asked <= 11


@pytest.mark.parametrize("ahead", [-2.0, 2.0, 3600.0, -WALL])
def test_samples_of_another_clock_are_of_no_use(ahead: float) -> None:
    """Their stamps could jump against ours at any time."""
    samples, integral = Samples(ahead), PowerIntegral()
    samples.take(WALL)
    power = SampledPower(samples.since, integral)
    assert not power.advance(0.0, WALL)
    assert not power.advance(1.0, WALL + 1.0)
    assert integral.microjoules == 0


def test_no_samples_are_of_no_use() -> None:
    """A driver that keeps none is polled."""
    assert not SampledPower(Samples().since, PowerIntegral()).advance(0.0, WALL)


def test_a_clock_that_steps_back_costs_a_second() -> None:
    """Stamps that are older than what was seen give nothing for a second, then it begins anew, and never goes back."""
    samples, integral, seen = Samples(), PowerIntegral(), []
    power = SampledPower(samples.since, integral)
    for step in range(100):
        stepped = -600.0 if step >= 20 else 0.0
        samples.take(WALL + step * 0.1 + stepped)
        assert power.advance(step * 0.1, WALL + step * 0.1 + stepped)
        seen.append(integral.microjoules)
        if step == 20:
            samples.buffer = samples.buffer[-1:]
    assert seen == sorted(seen)
    assert seen[19] == pytest.approx(190_000_000, abs=50)
    assert 0 < seen[-1] - seen[20] < 1e6 * 100 * 7.0
    assert seen[-1] - seen[20] > 1e6 * 100 * 6.0


def test_samples_that_end_are_of_no_use_any_more() -> None:
    """The readings take over, and nothing is integrated from the one to the other."""
    samples, integral = Samples(), PowerIntegral()
    samples.take(WALL)
    power = SampledPower(samples.since, integral)
    assert power.advance(0.0, WALL)
    samples.buffer.clear()
    assert [power.advance(step * 0.5, WALL) for step in range(1, 6)] == [True, True, True, False, False]
    assert integral.time is None


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ([], frozenset()),
        (["0000:01:00.0", "0000:c1:00.0"], {"0000:01:00.0", "0000:c1:00.0"}),
        (["0000:01:00.0", "bind", "module", "new_id", "uevent"], {"0000:01:00.0"}),
        (["0008:01:00.0", "00000018:01:00.0"], {"0008:01:00.0", "00000018:01:00.0"}),
    ],
)
def test_the_kernels_gpus(tmp_path: Path, entries: list[str], expected: set[str]) -> None:
    """Entries that are PCI addresses, of the first folder that is there."""
    for entry in entries:
        (tmp_path / entry).mkdir()
    assert bound_gpus((tmp_path / "none", tmp_path)) == frozenset(expected)


def test_no_list_of_the_kernel_is_no_empty_one(tmp_path: Path) -> None:
    """Nobody can tell: None."""
    assert bound_gpus((tmp_path / "none",)) is None
