"""The tick of a counter, from readings: known where they come faster than it moves, and else not."""

from itertools import pairwise

import pytest

from perjoule_exporter.ticks import Ticks


class Counter:
    """A counter that moves every so often, read by hand."""

    def __init__(self, tick: float, *, stamps: bool = False) -> None:
        self.ticks = Ticks()
        self.tick = tick
        self.stamps = stamps
        self.time = 0.003
        self._seen = -1

    def read(self, *pauses: float) -> None:
        """Read after each of these pauses."""
        for pause in pauses:
            self.time += pause
            moved = int(self.time / self.tick)
            if moved == self._seen:
                self.ticks.stood(pause)
            else:
                self._seen = moved
                at = moved * self.tick if self.stamps else self.time - pause / 2
                self.ticks.moved(at, pause, exact=self.stamps)


@pytest.mark.parametrize("stamps", [True, False])
@pytest.mark.parametrize(
    ("tick", "pause"), [(0.1, 0.025), (0.1, 0.09), (0.05, 0.025), (0.04, 0.025), (0.03, 0.0249), (0.02, 0.005)]
)
def test_readings_faster_than_the_tick_tell_it(tick: float, pause: float, *, stamps: bool) -> None:
    """To a few per cent, though each reading tells only that it moved since the one before."""
    counter = Counter(tick, stamps=stamps)
    counter.read(*[pause] * 200)
    assert counter.ticks.interval == pytest.approx(tick, rel=0.06)


@pytest.mark.parametrize("stamps", [True, False])
@pytest.mark.parametrize(("tick", "pause"), [(0.02, 0.1), (0.02, 0.02), (0.1, 0.1001), (0.001, 0.025)])
def test_readings_slower_than_the_tick_do_not(tick: float, pause: float, *, stamps: bool) -> None:
    """The distance of the readings is not the counter's; it only says by when the counter will have moved."""
    counter = Counter(tick, stamps=stamps)
    counter.read(*[pause] * 200)
    assert counter.ticks.interval is None
    following = counter.ticks.next_move()
    assert following is not None
    assert following <= counter.time + pause + 1e-9


@pytest.mark.parametrize(("tick", "pause"), [(0.02, 0.025), (0.01, 0.025), (0.02, 0.0951), (0.02, 0.033)])
def test_slower_readings_tell_it_by_the_times_that_the_source_tells(tick: float, pause: float) -> None:
    """They lie whole ticks apart, and not always equally many."""
    counter = Counter(tick, stamps=True)
    counter.read(*[pause] * 200)
    assert counter.ticks.interval == pytest.approx(tick, rel=0.01)


def test_a_reading_that_comes_early_now_and_then() -> None:
    """A late reading and the next in time see the counter stand; what the source tells is enough all the same."""
    counter = Counter(0.02, stamps=True)
    counter.read(*[0.025, 0.026, 0.024, 0.043, 0.007] * 20)
    assert counter.ticks.interval == pytest.approx(0.02, rel=0.05)


def test_a_device_that_wakes() -> None:
    """What was read at rest does not count; a few ticks after it is read faster the tick is known, and stays so."""
    counter = Counter(0.02)
    counter.read(*[0.1] * 50)
    counter.read(*[0.005] * 20)
    assert counter.ticks.interval == pytest.approx(0.02, rel=0.1)
    counter.read(*[0.1] * 50)
    assert counter.ticks.interval == pytest.approx(0.02, rel=0.1)
    counter.ticks.clear()
    assert (counter.ticks.interval, counter.ticks.next_move()) == (None, None)


def test_one_pause_of_the_driver_changes_nothing() -> None:
    """It is no tick, and does not make slow readings fast ones."""
    counter = Counter(0.1)
    counter.read(*[0.025] * 80)
    before = counter.ticks.interval
    for _ in range(36):
        counter.ticks.stood(0.025)
    counter.time += 0.9
    counter.read(*[0.025] * 40)
    assert counter.ticks.interval == pytest.approx(before, rel=0.05)
    slow = Counter(0.02)
    slow.read(*[0.025] * 20)
    slow.ticks.stood(0.9)
    slow.read(*[0.025] * 10)
    assert slow.ticks.interval is None


def test_predicted_moves_are_the_counters() -> None:
    """Within half of a reading, one after the other."""
    counter = Counter(0.1)
    counter.read(*[0.025] * 100)
    predicted = []
    for _ in range(100):
        counter.read(0.025)
        predicted.append(counter.ticks.next_move())
    known = sorted({each for each in predicted if each is not None})
    assert all(abs(each / 0.1 - round(each / 0.1)) * 0.1 <= 0.0126 for each in known)
    assert all(later - earlier == pytest.approx(0.1, abs=0.026) for earlier, later in pairwise(known))
