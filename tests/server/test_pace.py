import random
from collections.abc import Iterable, Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perjoule_server.batching import Batch, Job, Lane, Lanes, choose
from perjoule_server.pace import KEPT, Pace
from perjoule_server.tasks.base import Prepared

LENGTHS = st.lists(st.integers(1, 500), min_size=1, max_size=64)


def learned(fixed: float, per_token: float, batches: Sequence[int] = range(20, 420, 20), noise: float = 0.0) -> Pace:
    """Return what is learned of a device that takes ``fixed + per_token × tokens`` seconds, give or take ``noise``."""
    pace, rng = Pace(), random.Random(5)  # noqa: S311 (the same noise each time)
    for tokens in batches:
        pace.learn(tokens, (fixed + per_token * tokens) * rng.uniform(1 - noise, 1 + noise))
    return pace


def test_the_parts_are_found() -> None:
    """Batches of several sizes tell the fixed part and the part of a token."""
    assert learned(0.002, 2e-5).parts == pytest.approx((0.002, 2e-5))


def test_the_parts_are_found_in_noise() -> None:
    """A fifth of noise in each batch leaves them right to within a fifth."""
    sizes = [20 * (1 + place % 20) for place in range(400)]
    assert learned(0.004, 2e-5, sizes, 0.2).parts == pytest.approx((0.004, 2e-5), rel=0.2)


def test_newer_batches_count_more() -> None:
    """A device that becomes twice as fast is known to be so after some hundred batches."""
    pace = learned(0.004, 4e-5)
    for place in range(round(5 / (1 - KEPT))):
        tokens = 20 * (1 + place % 20)
        pace.learn(tokens, 0.002 + 2e-5 * tokens)
    assert pace.parts == pytest.approx((0.002, 2e-5), rel=0.05)


@pytest.mark.parametrize(
    "pace",
    [
        Pace(),
        learned(0.002, 2e-5, range(20, 140, 20)),
        learned(0.002, 2e-5, [100] * 50),
        learned(-0.002, 2e-4),
        learned(0.02, -2e-5),
    ],
    ids=["nothing ran", "few batches", "one size", "no fixed part", "longer is faster"],
)
def test_while_nothing_is_known_everybody_is_taken(pace: Pace) -> None:
    """Few batches, batches of one size and nonsense tell nothing, and a batch is as large as it can be."""
    assert pace.parts is None
    assert list(pace.worthwhile([3, 3, 200])) == [0, 1, 2]


@given(LENGTHS)
def test_a_device_that_is_not_full_takes_everybody(lengths: list[int]) -> None:
    """Where a token costs next to nothing, as on a large GPU, padding does not matter."""
    assert len(learned(0.02, 1e-9).worthwhile(lengths)) == len(lengths)


@given(st.integers(1, 500), st.integers(1, 64))
def test_equal_lengths_are_always_taken(length: int, count: int) -> None:
    """Without padding more company is never dearer."""
    assert len(learned(0.0005, 2e-5).worthwhile([length] * count)) == count


def test_long_texts_are_left_to_a_batch_of_their_own() -> None:
    """Where a token costs, short texts do not pay for the padding to a long one."""
    pace = learned(0.001, 2e-5)
    assert list(pace.worthwhile([5, 5, 6, 7, 8, 90, 95])) == [0, 1, 2, 3, 4]
    assert list(pace.worthwhile([95, 90, 88, 8, 7, 6])) == [0, 1, 2]
    assert list(pace.worthwhile([40, 44, 8, 7, 90, 38, 95])) == [0, 1, 5]


def seconds(batches: Iterable[Sequence[int]], fixed: float = 0.002, per_token: float = 3e-5) -> float:
    """Return how long batches of these lengths take together."""
    return sum(fixed + per_token * max(batch) * len(batch) for batch in batches)


def divisions(lengths: Sequence[int]) -> Iterator[list[Sequence[int]]]:
    """Return all ways to divide the lengths, in their order, into batches."""
    yield [lengths]
    for end in range(1, len(lengths)):
        for rest in divisions(lengths[end:]):
            yield [lengths[:end], *rest]


@given(st.lists(st.integers(1, 500), min_size=1, max_size=9))
def test_all_that_waits_is_divided_at_the_least_cost(lengths: list[int]) -> None:
    """Batch after batch, with nobody new, takes as long as the best of all divisions of the sorted lengths."""
    pace, left, batches = learned(0.002, 3e-5), lengths, []
    while left:
        places = pace.worthwhile(left)
        assert 0 in places
        batches.append([left[place] for place in places])
        left = [length for place, length in enumerate(left) if place not in places]
    assert seconds(batches) == pytest.approx(min(map(seconds, divisions(sorted(lengths)))))


def prepared(*lengths: int) -> list[Prepared]:
    return [Prepared(None, length) for length in lengths]


def test_a_batch_keeps_its_head_and_the_nearest() -> None:
    """Whatever is worth its padding, the head is in, and is asked about with the nearest in length first."""
    waiting = prepared(50, 5, 52, 90, 49)
    assert choose(waiting, 8, 10_000, lambda lengths: range(len(lengths) - 2)) == [0, 2, 4]
    assert choose(waiting, 8, 10_000, lambda lengths: [lengths.index(90)]) == [0, 3]
    assert choose(waiting, 8, 10_000, lambda _: []) == [0]


def test_a_lane_learns_from_its_own_batches() -> None:
    """Once a lane's batches have told what padding costs, short and long texts run apart, the oldest first."""
    lane = Lane("m", 64, 10_000, 100)
    lanes = Lanes(lambda: 0.0)
    lanes.add(lane)
    for length in range(10, 210, 10):
        lanes.learn(lane, [Job(Prepared(None, length), 0.0, 1.0)], 0.001 + 2e-5 * length)
    for place, length in enumerate((5, 95, 6, 90, 7)):
        lanes.reserve(lane)
        lanes.put(lane, Job(Prepared(None, length), float(place), 100.0))
    lanes.close()  # or a third batch would be waited for
    taken = [batch.jobs for batch in (lanes.take(), lanes.take()) if isinstance(batch, Batch)]
    assert [[job.prepared.length for job in jobs] for jobs in taken] == [[5, 6, 7], [95, 90]]
