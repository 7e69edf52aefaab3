"""Which requests share a batch, and who waits how long."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perjoule.errors import BusyError, UnavailableError
from perjoule_server.batching import Batch, Job, Lane, Lanes, choose, retry_after, run_apart
from perjoule_server.tasks.base import Prepared

REQUESTS = st.lists(st.builds(Prepared, st.none(), st.integers(1, 600), st.sampled_from("ab")), max_size=40)


def queue(*lengths: int, keys: str = "") -> list[Prepared]:
    return [Prepared(None, length, key) for length, key in zip(lengths, keys or "a" * len(lengths), strict=True)]


@pytest.mark.parametrize(
    ("waiting", "max_batch", "budget", "expected"),
    [
        (queue(), 8, 100, []),
        (queue(10), 8, 100, [0]),
        (queue(500), 8, 100, [0]),  # over the budget by itself: alone, but served
        (queue(500, 1, 1), 8, 100, [0]),
        (queue(10, 10, 10), 8, 100, [0, 1, 2]),
        (queue(10, 10, 10), 2, 100, [0, 1]),
        (queue(10, 10, 10), 1, 100, [0]),
        (queue(10, 50, 11, 9), 3, 1000, [0, 2, 3]),  # the nearest lengths first
        (queue(10, 30, 12), 8, 40, [0, 2]),  # 30 × 3 > 40 and 30 × 2 > 40, 12 × 2 fits
        (queue(30, 1, 1, 1), 8, 90, [0, 1, 2]),  # padding counts: 30 × 3
        (queue(10, 10, 10, keys="aba"), 8, 100, [0, 2]),
        (queue(10, 12, 8), 2, 100, [0, 1]),  # equally near: the older
    ],
)
def test_a_batch_is_the_head_and_its_neighbours(
    waiting: list[Prepared], max_batch: int, budget: int, expected: list[int]
) -> None:
    """The head is in, then the nearest in length with an equal key while the padded batch fits the budget."""
    assert choose(waiting, max_batch, budget) == expected


@given(REQUESTS, st.integers(1, 16), st.integers(1, 2000))
def test_a_batch_keeps_every_rule(waiting: list[Prepared], max_batch: int, budget: int) -> None:
    """The head is served, keys are equal, order is kept, and no limit is exceeded but by a head alone."""
    chosen = choose(waiting, max_batch, budget)
    if not waiting:
        assert chosen == []
        return
    batch = [waiting[index] for index in chosen]
    assert chosen[0] == 0
    assert chosen == sorted(set(chosen))
    assert {prepared.key for prepared in batch} == {waiting[0].key}
    assert len(batch) <= max_batch
    assert len(batch) == 1 or max(prepared.length for prepared in batch) * len(batch) <= budget


@given(REQUESTS, st.integers(1, 16), st.integers(1, 2000))
def test_nobody_starves(waiting: list[Prepared], max_batch: int, budget: int) -> None:
    """Taking batches serves everyone exactly once, and nobody after more batches than stood before it."""
    left, served, batches = list(enumerate(waiting)), [], 0
    while left:
        batches += 1
        chosen = set(choose([prepared for _, prepared in left], max_batch, budget))
        taken_now = [number for position, (number, _) in enumerate(left) if position in chosen]
        assert all(batches <= number + 1 for number in taken_now)
        served += taken_now
        left = [each for position, each in enumerate(left) if position not in chosen]
    assert sorted(served) == list(range(len(waiting)))


@pytest.mark.parametrize(
    ("backlog", "expected"),
    [([], 1.0), ([(0, 5.0)], 1.0), ([(10, 0.01)], 1.0), ([(10, 0.25)], 3.0), ([(10, 0.2), (4, 1.0)], 6.0)],
)
def test_retry_after_is_the_time_that_the_backlog_takes(backlog: list[tuple[int, float]], expected: float) -> None:
    """Depth × recent seconds per request over all lanes, in whole seconds, at least one."""
    assert retry_after(backlog) == expected


@given(st.lists(st.booleans(), max_size=33))
def test_poison_fails_alone(poisoned: list[bool]) -> None:
    """However many members of a batch are poison, every other one gets its own output."""

    def run(batch: object) -> list[int]:
        assert isinstance(batch, list)
        if any(poisoned[number] for number in batch):
            raise RuntimeError("poison")
        return [number * 10 for number in batch]

    outputs = run_apart(run, list(range(len(poisoned))))
    assert [isinstance(output, RuntimeError) for output in outputs] == poisoned
    assert [output for output in outputs if isinstance(output, int)] == [
        number * 10 for number, is_poison in enumerate(poisoned) if not is_poison
    ]


def test_one_poison_request_costs_few_runs() -> None:
    """Bisection finds one poison request among 64 in 13 runs, not in 65."""
    runs: list[int] = []

    def run(batch: object) -> list[int]:
        assert isinstance(batch, list)
        runs.append(len(batch))
        if 41 in batch:
            raise RuntimeError("poison")
        return batch

    run_apart(run, list(range(64)))
    assert len(runs) == 13


def test_a_wrong_number_of_outputs_is_an_error() -> None:
    """A model that returns too few outputs answers nobody with another's output."""
    assert [str(output) for output in run_apart(lambda batch: [0][: len(batch) - 1], [1, 2])] == [
        "0 outputs for 1 requests"
    ] * 2


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def lanes_of(*lanes: Lane) -> tuple[Lanes, Clock]:
    clock = Clock()
    all_lanes = Lanes(clock)
    for lane in lanes:
        all_lanes.add(lane)
    return all_lanes, clock


def job(queued: float, deadline: float = 1e9, length: int = 1) -> Job:
    return Job(Prepared(None, length), queued, deadline)


def fill(lanes: Lanes, lane: Lane, *jobs: Job) -> None:
    for each in jobs:
        lanes.reserve(lane)
        lanes.put(lane, each)


def taken(lanes: Lanes) -> Batch:
    batch = lanes.take()
    assert isinstance(batch, Batch)
    return batch


def test_the_oldest_head_goes_first() -> None:
    """Between lanes age decides, not the number of requests that wait."""
    busy, quiet = Lane("busy", 2, 100, 10), Lane("quiet", 8, 100, 10)
    lanes, _ = lanes_of(busy, quiet)
    fill(lanes, busy, job(1), job(2), job(4))
    fill(lanes, quiet, job(3))
    batches = [taken(lanes) for _ in range(3)]
    assert [(batch.lane.name, [each.queued for each in batch.jobs]) for batch in batches] == [
        ("busy", [1, 2]),
        ("quiet", [3]),
        ("busy", [4]),
    ]


def test_a_full_lane_says_when_to_come_back() -> None:
    """Places are counted from the reservation on, and the error tells the time of the backlog."""
    lane = Lane("m", 8, 100, 2)
    lanes, _ = lanes_of(lane)
    lanes.learn(lane, [job(1), job(2)], 6.0)
    lanes.reserve(lane)
    fill(lanes, lane, job(1))
    with pytest.raises(BusyError) as refused:
        lanes.reserve(lane)
    assert refused.value.retry_after_seconds == 6.0
    lanes.release(lane)
    lanes.reserve(lane)


def test_expired_requests_are_not_computed() -> None:
    """A job whose deadline passed in the queue comes out apart from the batch, and frees its place."""
    lane = Lane("m", 8, 100, 3)
    lanes, clock = lanes_of(lane)
    late, good = job(1, deadline=150), job(2, deadline=250)
    fill(lanes, lane, late, good)
    clock.now = 200
    batch = taken(lanes)
    assert (batch.jobs, batch.expired, lane.depth) == ((good,), (late,), 0)


def test_a_discarded_request_frees_its_place_at_once() -> None:
    """Who left does not hold a place; who is on the device already is left alone."""
    lane = Lane("m", 1, 100, 2)
    lanes, _ = lanes_of(lane)
    first, second = job(1), job(2)
    fill(lanes, lane, first, second)
    taken(lanes)
    assert (lanes.discard(lane, first), lanes.discard(lane, second), lane.depth) == (False, True, 0)


def test_closing_hands_out_what_waits_and_then_ends() -> None:
    """After close nothing is accepted, what waits is still taken, and then take says None, also to a thread in wait."""
    lane = Lane("m", 8, 100, 2)
    lanes, _ = lanes_of(lane)
    fill(lanes, lane, job(1))
    lanes.close()
    with pytest.raises(UnavailableError):
        lanes.reserve(lane)
    assert len(taken(lanes).jobs) == 1
    ended = threading.Event()
    waiter = threading.Thread(target=lambda: ended.set() if lanes.take() is None else None)
    waiter.start()
    assert ended.wait(10)


def test_abandoned_lanes_return_what_waits_and_take_no_more() -> None:
    """When the device is lost, those in the queue and those still being prepared learn it."""
    lane = Lane("m", 8, 100, 3)
    lanes, _ = lanes_of(lane)
    waiting = job(1)
    fill(lanes, lane, waiting)
    lanes.reserve(lane)
    assert lanes.abandon() == [waiting]
    with pytest.raises(UnavailableError):
        lanes.put(lane, job(2))
    assert lane.depth == 0


def test_seconds_per_request_follow_recent_batches() -> None:
    """The first batch sets the figure, later ones move it by a fifth of the difference."""
    lane = Lane("m", 8, 100, 3)
    lanes, _ = lanes_of(lane)
    lanes.learn(lane, [job(1), job(1)], 2.0)
    lanes.learn(lane, [job(1)], 2.0)
    assert lane.seconds_per_request == pytest.approx(1.2)
