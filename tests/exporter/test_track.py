"""The sampler's pure core: sums that never go back, from readings at given times."""

import json
import math
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perjoule_exporter.clock import Moment
from perjoule_exporter.energy import LATE_SECONDS, Used
from perjoule_exporter.meters import MICRO, THROTTLE_REASONS, Device, DeviceKind, Reading, Status
from perjoule_exporter.processes.owner import UNKNOWN, Owner
from perjoule_exporter.track import READ_BUCKETS, Charges, Track
from perjoule_exporter.view import Measured

GPU = Device(DeviceKind.GPU, "GPU-test", 0, "counter", "gpu")
WALL = 1.8e9


def at(seconds: float) -> Moment:
    return Moment(1000.0 + seconds, WALL + seconds)


def measured(track: Track, seconds: float) -> Measured:
    found = track.view(at(seconds)).measured
    assert found is not None
    return found


def fed(readings: list[tuple[float, Reading]], grams_per_joule: float | None = None) -> Track:
    track = Track(GPU)
    for seconds, reading in readings:
        track.advance(reading, at(seconds), Charges(grams_per_joule))
    return track


def joules(value: float, moved_at: float | None = None, watts: float | None = None) -> Reading:
    return Reading(energy_microjoules=round(value * MICRO), energy_time=moved_at, power_watts=watts)


@pytest.mark.parametrize(
    ("name", "readings", "total", "resets"),
    [
        ("starts at 0 whatever the driver has counted", [(0.0, joules(5000))], 0.0, 0),
        ("adds what the counter moved", [(0.0, joules(5000)), (0.1, joules(5030)), (0.2, joules(5050))], 50.0, 0),
        ("stands still with it", [(0.0, joules(7)), (0.1, joules(7)), (0.2, joules(7))], 0.0, 0),
        ("a reset without power adds nothing", [(0.0, joules(10)), (0.1, joules(40)), (0.2, joules(0))], 30.0, 1),
        (
            "a reset is bridged by power",
            [(0.0, joules(10, watts=100)), (0.1, joules(40, watts=100)), (0.2, joules(3, watts=300))],
            30.0 + 0.1 * 200,
            1,
        ),
        ("goes on after a reset", [(0.0, joules(10)), (0.1, joules(4)), (0.2, joules(9))], 9.0, 1),
        (
            "of a long silence counts what the new counter shows, and no guess",
            [(0.0, joules(9000, watts=100)), (60.0, joules(3, watts=100)), (60.1, joules(13, watts=100))],
            13.0,
            1,
        ),
        (
            "after a silence, of a new counter that shows the impossible counts nothing",
            [(0.0, joules(9e6)), (2.0, joules(8e6)), (2.1, joules(8e6 + 10))],
            10.0,
            1,
        ),
        (
            "a jump that no board draws is bridged by power, and so is the way back",
            [(0.0, joules(10, watts=100)), (0.1, joules(1e13, watts=100)), (0.2, joules(20, watts=300))],
            0.1 * 100 + 0.1 * 200,
            2,
        ),
        (
            "a long silence is no jump",
            [(0.0, joules(10, watts=100)), (3600.0, joules(10 + 3600 * 400, watts=400))],
            3600 * 400.0,
            0,
        ),
        ("a little back is a reset", [(0.0, joules(1e6, watts=80)), (0.1, joules(1e6 - 1, watts=80))], 8.0, 1),
        ("a count that is missing once is no reset", [(0.0, joules(5)), (0.1, Reading()), (0.2, joules(9))], 4.0, 0),
    ],
)
def test_energy(name: str, readings: list[tuple[float, Reading]], total: float, resets: int) -> None:
    """The table above, each line by its own name."""
    last = measured(fed(readings), readings[-1][0])
    assert last.energy_joules == pytest.approx(total), name
    assert last.resets == resets, name


def test_what_was_not_read_is_absent() -> None:
    """A reading without energy and power shows neither, whatever came before."""
    track = fed([(0.0, joules(5, watts=50)), (0.1, joules(9, watts=50)), (0.2, Reading())], grams_per_joule=1.0)
    last = measured(track, 0.2)
    absent = (last.energy_joules, last.energy_time, last.resets, last.emissions_grams, last.update_interval_seconds)
    assert absent == (None,) * 5
    assert (last.power_watts, last.integrated_joules, last.max_power_watts, last.min_power_watts) == (None,) * 4


def test_the_time_of_the_first_count_is_unknown_unless_told() -> None:
    """When the counter moved last before we looked cannot be known: no pair is shown until it moves or is told."""
    assert measured(fed([(0.0, joules(5))]), 0.0).energy_time is None
    assert measured(fed([(0.0, joules(5, moved_at=WALL - 0.05))]), 0.0).energy_time == WALL - 0.05


def test_the_time_of_a_move_is_told_or_the_middle_of_two_reads() -> None:
    """The source's own stamp wins; without one the move fell between the reads; standing still keeps it."""
    assert measured(fed([(0.0, joules(5)), (0.1, joules(6, moved_at=WALL + 0.08))]), 0.1).energy_time == WALL + 0.08
    track = fed([(0.0, joules(5)), (0.1, joules(6)), (0.2, joules(6))])
    assert measured(track, 0.2).energy_time == pytest.approx(WALL + 0.05, abs=1e-6)


def test_a_move_within_a_long_silence_is_dated_to_its_end() -> None:
    """After a gap the counter's last move is at most a tick old, not half of the gap."""
    assert measured(fed([(0.0, joules(5)), (600.0, joules(6))]), 600.0).energy_time == WALL + 600.0


def test_the_tick_is_inferred() -> None:
    """The usual distance between moves, once three moves were seen; after a gap it is not known at first."""
    readings = [(n * 0.025, joules(n * 25 // 100)) for n in range(40)]
    assert measured(fed(readings[:9]), readings[8][0]).update_interval_seconds is None
    assert measured(fed(readings), readings[-1][0]).update_interval_seconds == pytest.approx(0.1, abs=1e-6)
    gap = [(seconds + 100.0, joules(999 + n)) for n, (seconds, _) in enumerate(readings[:4])]
    assert measured(fed(readings + gap), 100.075).update_interval_seconds is None


def test_power_is_integrated_by_trapezoids_and_not_over_gaps() -> None:
    """100 W to 300 W over 0.5 s is 100 J; ten silent seconds add nothing."""
    powered = [(t, Reading(power_watts=w)) for t, w in ((0.0, 100.0), (0.5, 300.0), (10.5, 300.0), (11.0, 300.0))]
    assert measured(fed(powered), 11.0).integrated_joules == pytest.approx(100 + 150)


def test_average_power_stands_in_for_missing_instant_power_in_the_integral_only() -> None:
    """What was not read as instant power is not shown as instant power."""
    last = measured(fed([(t, Reading(average_power_watts=200.0)) for t in (0.0, 0.5)]), 0.5)
    assert last.integrated_joules == pytest.approx(100.0)
    assert (last.power_watts, last.average_power_watts) == (None, 200.0)


def test_extremes_are_of_the_last_15_seconds() -> None:
    """A peak is seen for 15 s, so that two scrapers agree, and then forgotten."""
    peak = [(0.0, Reading(power_watts=50.0)), (1.0, Reading(power_watts=900.0))]
    after = [(float(t), Reading(power_watts=100.0)) for t in range(2, 40)]
    early, late = measured(fed(peak + after[:12]), 13.0), measured(fed(peak + after), 39.0)
    assert (early.min_power_watts, early.max_power_watts) == (50.0, 900.0)
    assert (late.min_power_watts, late.max_power_watts) == (100.0, 100.0)


def test_emissions_count_at_the_factor_of_the_time_of_use() -> None:
    """A later factor rewrites nothing, and without a factor there are none."""
    track = fed([(0.0, joules(0)), (0.1, joules(10))], grams_per_joule=2.0)
    track.advance(joules(15), at(0.2), Charges(1.0))
    assert measured(track, 0.2).emissions_grams == pytest.approx(10 * 2 + 5 * 1)
    assert measured(fed([(0.0, joules(0)), (0.1, joules(10))]), 0.1).emissions_grams is None


def test_an_old_reading_is_not_shown() -> None:
    """Up to a second it is fresh; then nothing measured is left, and the age says why."""
    track = fed([(0.0, joules(5, watts=100))])
    assert track.view(at(1.0)).measured is not None
    view = track.view(at(1.001))
    assert view.measured is None
    assert view.age_seconds == pytest.approx(1.001)


def test_a_lost_device_shows_nothing_at_once_and_goes_on_later() -> None:
    """The sums survive the loss; the losses are counted."""
    track = fed([(0.0, joules(5)), (0.1, joules(8))])
    track.lost()
    assert track.view(at(0.1)).measured is None
    track.advance(joules(20), at(5.0), Charges())
    assert measured(track, 5.0).energy_joules == 15.0
    assert dict(track.view(at(5.0)).samples) == {"ok": 3, "lost": 1, "hung": 0}


def test_a_device_never_read_has_no_age() -> None:
    """Nothing was read, so nothing is old."""
    view = Track(GPU).view(at(0.0))
    assert (view.measured, view.age_seconds) == (None, None)


def test_throttled_time_counts_for_the_active_reasons_and_not_over_gaps() -> None:
    """All reasons are there at 0 once the driver tells any; a driver that tells none has no series."""
    track = fed([(0.0, joules(5))])
    held = Status(throttle_reasons=frozenset({"sw_power_cap"}))
    for seconds in (0.0, 0.5, 30.0, 30.5):
        track.observe(held, at(seconds))
    track.observe(Status(throttle_reasons=frozenset()), at(31.0))
    track.advance(joules(5), at(31.0), Charges())
    expected = dict.fromkeys(THROTTLE_REASONS, 0.0) | {"sw_power_cap": pytest.approx(1.0)}
    assert dict(measured(track, 31.0).throttled_seconds) == expected
    assert dict(measured(fed([(0.0, joules(5))]), 0.0).throttled_seconds) == {}


def test_an_old_status_is_not_shown_with_a_fresh_reading() -> None:
    """Temperature and clocks age by their own time."""
    track = fed([(0.0, joules(5))])
    track.observe(Status(temperature_celsius=50.0), at(0.0))
    track.advance(joules(6), at(1.5), Charges())
    assert measured(track, 1.5).status == Status()


def test_read_durations_fall_into_their_buckets() -> None:
    """A bound belongs to its bucket, what is over all bounds to the rest."""
    track = Track(GPU)
    for seconds in (READ_BUCKETS[0], READ_BUCKETS[0] * 1.01, 99.0):
        track.took(seconds)
    view = track.view(at(0.0))
    assert view.read_bucket_counts == (1, 1, *[0] * (len(READ_BUCKETS) - 2), 1)
    assert view.read_seconds_sum == pytest.approx(99.0 + READ_BUCKETS[0] * 2.01)


def test_a_counter_that_wraps_loses_nothing() -> None:
    """100 J before the end of its range and 143 J after it are 243 J, and no reset."""
    range_joules = 262_143.328850
    track = Track(replace(GPU, counter_range_microjoules=round(range_joules * MICRO)))
    for seconds, raw in ((0.0, range_joules - 100), (1.0, 143.0)):
        track.advance(joules(raw), at(seconds), Charges())
    last = measured(track, 1.0)
    assert last.energy_joules == pytest.approx(243.0, abs=2e-6)
    assert last.resets == 0


def test_the_power_limit_tells_what_is_impossible() -> None:
    """Three times the board's limit is no energy; without a limit, only what no device draws is none."""
    for limit, total in ((400.0, 0.0), (None, 1300.0)):
        track = Track(GPU)
        track.advance(joules(0), at(0.0), Charges())
        track.observe(Status(limit_watts=limit), at(0.0))
        track.advance(joules(1300), at(0.1), Charges())
        assert measured(track, 0.1).energy_joules == total


def test_manufacture_counts_by_time() -> None:
    """Grams a second since the device was first seen, while it is lost too; without a rate there are none."""
    track = Track(GPU)
    for seconds in (0.0, 1.0, 100.0):
        track.advance(joules(0), at(seconds), Charges(embodied_grams_per_second=0.5))
        track.lost()
    track.advance(joules(0), at(200.0), Charges(embodied_grams_per_second=1.0))
    assert measured(track, 200.0).embodied_grams == pytest.approx(150.0)
    assert measured(fed([(0.0, joules(0)), (9.0, joules(0))]), 9.0).embodied_grams is None


def test_another_way_of_counting_makes_no_difference() -> None:
    """A board whose counter is gone and that is integrated from now on goes on from the same total."""
    track = fed([(0.0, joules(5000)), (0.1, joules(5010))])
    track.identified(replace(GPU, method="integrated"))
    for seconds, raw in ((0.2, 0.0), (0.3, 7.0)):
        track.advance(joules(raw), at(seconds), Charges())
    last = measured(track, 0.3)
    assert (last.energy_joules, last.resets) == (17.0, 0)


@pytest.mark.parametrize(
    ("lasting", "raw", "total", "resets"),
    [(True, 5090.0, 80 + 10.0, 0), (True, 40.0, 10 + 40.0, 1), (False, 5090.0, 10.0, 0), (False, 40.0, 10.0, 0)],
)
def test_sums_go_on_after_a_restart(lasting: bool, raw: float, total: float, resets: int) -> None:  # noqa: FBT001 (a row)
    """What a lasting counter shows was used meanwhile is added, a reset is counted; others go on from there."""
    device = replace(GPU, lasting=lasting)
    before = Track(device)
    for seconds, value in ((0.0, 5000.0), (0.1, 5010.0)):
        before.advance(joules(value, watts=100), at(seconds), Charges(2.0, 1.0))
    after = Track(device)
    after.restore(json.loads(json.dumps(before.saved())))
    after.advance(joules(raw, watts=100), at(60.0), Charges(2.0, 1.0))
    last = measured(after, 60.0)
    assert (last.energy_joules, last.resets) == (total, resets)
    assert last.emissions_grams == pytest.approx(2 * total)
    assert last.embodied_grams == pytest.approx(60.0)
    assert last.integrated_joules == pytest.approx(10.0)
    assert after.view(at(60.0)).samples["ok"] == 3


def test_power_below_0_takes_nothing_back() -> None:
    """Neither from the integral, nor from the counter over a reset that is bridged by it."""
    track = fed([(0.0, joules(5, watts=10)), (0.1, joules(6, watts=10))])
    before = measured(track, 0.1)
    for seconds, value in ((0.2, 7), (0.3, 0), (0.4, 0.5)):
        track.advance(joules(value, watts=-300), at(seconds), Charges())
    after = measured(track, 0.4)
    assert after.resets == 1
    assert (after.energy_joules or 0) >= (before.energy_joules or 0)
    assert (after.integrated_joules or 0) >= (before.integrated_joules or 0)


@pytest.mark.parametrize("value", [-1, math.nan, math.inf, -math.inf, 10**400, "1"])
@pytest.mark.parametrize(
    "key", ["total", "resets", "grams", "raw", "read_at", "integrated", "embodied", "read_seconds"]
)
def test_saved_sums_that_no_counter_can_have_are_refused(key: str, value: object) -> None:
    """They would be published, and never be right again."""
    saved = fed([(0.0, joules(1, watts=1)), (0.1, joules(2, watts=1))]).saved()
    broken = saved | {key: value} if key in saved else saved | {"energy": saved["energy"] | {key: value}}
    with pytest.raises((TypeError, ValueError)):
        Track(replace(GPU, lasting=True)).restore(broken)


@pytest.mark.parametrize("key", sorted(Track(GPU).saved()))
def test_saved_sums_that_are_garbage_are_refused(key: str) -> None:
    """Each of them, if it is missing or of another kind: never half of them."""
    saved = fed([(0.0, joules(1, watts=1)), (0.1, joules(2, watts=1))]).saved()
    for broken in ({k: v for k, v in saved.items() if k != key}, saved | {key: "garbage"}):
        if key == "method" and key in broken:
            continue
        with pytest.raises((KeyError, TypeError, ValueError)):
            Track(GPU).restore(broken)


COUNTS = st.lists(
    st.tuples(
        st.floats(0.001, 3.0),  # seconds since the reading before
        st.one_of(st.none(), st.integers(0, 10**12)),  # the counter, in microjoules
        st.one_of(st.none(), st.floats(0.0, 1000.0)),  # watts
    ),
    min_size=1,
    max_size=60,
)


@given(COUNTS)
def test_totals_never_go_back_nor_rise_by_the_impossible(
    counts: list[tuple[float, int | None, float | None]],
) -> None:
    """Whatever a counter does: monotone, and no step above what a device can draw in the time."""
    track, now, read_at, shown = Track(GPU), 0.0, 0.0, 0.0
    for seconds, raw, watts in counts:
        now += seconds
        track.advance(Reading(energy_microjoules=raw, power_watts=watts), at(now), Charges(1e-4))
        energy = measured(track, now).energy_joules
        assert (energy is None) == (raw is None)
        if energy is not None:
            assert 0 <= energy - shown <= 5000.0 * (now - read_at + LATE_SECONDS) + 1e-6
            shown, read_at = energy, now


@given(st.lists(st.integers(0, 10**8), min_size=1, max_size=50))
def test_emissions_are_the_energy_times_a_constant_factor(moves: list[int]) -> None:
    """With one factor throughout, grams are joules times it, resets or not."""
    track, raw = Track(GPU), 0
    for n, move in enumerate(moves):
        raw += move
        track.advance(Reading(energy_microjoules=raw), at(n * 0.1), Charges(3e-5))
    last = measured(track, len(moves) * 0.1)
    assert last.energy_joules is not None
    assert last.energy_joules == pytest.approx(sum(moves[1:]) / MICRO)
    assert last.emissions_grams == pytest.approx(last.energy_joules * 3e-5)


class Split:
    """A splitter that keeps what it is given."""

    def __init__(self) -> None:
        self.all: list[Used] = []

    def used(self, used: Used, now: float) -> None:
        assert used.start <= used.end <= now
        self.all.append(used)

    def shown(self) -> dict[Owner, int]:
        return {UNKNOWN: sum(used.microjoules for used in self.all)}

    def saved(self) -> str:
        return "kept"


@given(COUNTS)
def test_a_splitter_is_told_of_all_energy(counts: list[tuple[float, int | None, float | None]]) -> None:
    """In intervals that touch, to the microjoule."""
    track, split, time = Track(GPU), Split(), 0.0
    track.splitter = split
    for wait, raw, watts in counts:
        time += wait
        track.advance(Reading(energy_microjoules=raw, power_watts=watts), at(time), Charges())
        assert sum(split.shown().values()) == (track.energy.total or 0)
    assert all(before.end == after.start for before, after in pairwise(split.all))
    assert sum(not used.counted for used in split.all) == track.energy.resets


def test_the_time_of_use_is_the_counters() -> None:
    """From the stamp before to this one, on the monotonic clock; over a restart from the last reading before it."""
    device = replace(GPU, lasting=True)
    track = Track(device)
    track.splitter = split = Split()
    for seconds, value, moved_at in ((0.0, 5.0, -0.01), (0.1, 5.0, -0.01), (0.2, 9.0, 0.15), (0.3, 1.0, 0.29)):
        track.advance(joules(value, WALL + moved_at), at(seconds), Charges())
    assert [(used.microjoules, used.counted) for used in split.all] == [(4 * MICRO, True), (1 * MICRO, False)]
    assert [pytest.approx((u.start, u.end), abs=1e-6) for u in split.all] == [(999.99, 1000.15), (1000.15, 1000.29)]
    after = Track(device)
    after.restore(json.loads(json.dumps(track.saved())))
    assert after.kept_split == "kept"
    assert after.saved()["split"] == "kept"
    after.splitter = again = Split()
    after.advance(joules(7.0), at(60.0), Charges())
    assert [(u.microjoules, u.start, u.end) for u in again.all] == [(6 * MICRO, 1000.3, 1060.0)]
