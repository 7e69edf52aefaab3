"""Waiting for company, and what else the device thread does between batches."""

import threading

from perjoule_server.batching import Batch, Job, Lane, Lanes, Order
from perjoule_server.tasks.base import Prepared


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def put(lanes: Lanes, lane: Lane, queued: float, length: int = 1) -> None:
    lanes.reserve(lane)
    lanes.put(lane, Job(Prepared(None, length), queued, 1e9))


def ages(work: Batch | Order | None) -> list[float]:
    assert isinstance(work, Batch)
    return [job.queued for job in work.jobs]


def lanes_of(lane: Lane, max_wait: float = 0.0) -> tuple[Lanes, Clock]:
    clock = Clock()
    lanes = Lanes(clock, max_wait)
    lanes.add(lane)
    return lanes, clock


def test_a_request_waits_for_company_at_most_as_long_as_allowed() -> None:
    """With a free device: until its time is up, its batch is full, or nobody else can come."""
    lane = Lane("m", 3, 100, 10)
    lanes, clock = lanes_of(lane, max_wait=5.0)
    put(lanes, lane, 100)
    assert lanes._next() == (None, 5.0)
    clock.now = 103
    put(lanes, lane, 103)
    assert lanes._next() == (None, 2.0)
    clock.now = 105
    assert ages(lanes.take()) == [100, 103]
    for queued in (105, 106, 107):
        put(lanes, lane, queued)
    assert ages(lanes.take()) == [105, 106, 107]
    put(lanes, lane, 105, length=60)
    put(lanes, lane, 105, length=60)
    assert ages(lanes.take()) == [105]
    lanes.close()
    assert ages(lanes.take()) == [105]


def test_a_waiting_device_wakes_up_by_itself() -> None:
    """Nobody else comes: the request is served all the same, after the real time that it may wait."""
    import time

    lane = Lane("m", 3, 100, 10)
    lanes = Lanes(time.monotonic, 0.02)
    lanes.add(lane)
    put(lanes, lane, time.monotonic())
    taken: list[Batch | Order | None] = []
    waiter = threading.Thread(target=lambda: taken.append(lanes.take()))
    waiter.start()
    waiter.join(10)
    assert len(ages(taken[0])) == 1


def test_orders_take_their_turn_by_age_once_they_are_ready() -> None:
    """Older requests go first; an order that is not ready holds up nobody, and is not lost when the lanes close."""
    lane = Lane("m", 1, 100, 10)
    lanes, _ = lanes_of(lane)
    done: list[str] = []
    may: list[str] = []
    lanes.order(Order(lambda: done.append("late"), 50, lambda: bool(may)))
    lanes.order(Order(lambda: done.append("due"), 102))
    put(lanes, lane, 101)
    put(lanes, lane, 103)
    assert ages(lanes.take()) == [101]
    order = lanes.take()
    assert isinstance(order, Order)
    order.run()
    assert ages(lanes.take()) == [103]
    lanes.close()
    may.append("now")
    order = lanes.take()
    assert isinstance(order, Order)
    order.run()
    assert (done, lanes.take()) == (["due", "late"], None)


def test_a_shut_lane_keeps_what_waits() -> None:
    """Its model is not loaded: nothing is taken, nobody is forgotten, and other lanes go on."""
    shut, other = Lane("shut", 4, 100, 10), Lane("other", 4, 100, 10)
    lanes, _ = lanes_of(shut)
    lanes.add(other)
    lanes.shut(shut)
    put(lanes, shut, 1)
    put(lanes, other, 2)
    assert ages(lanes.take()) == [2]
    lanes.open(shut, 2)
    assert (ages(lanes.take()), shut.max_batch) == ([1], 2)


def test_beside_a_busy_lane_others_are_served_and_nobody_waits() -> None:
    """The oldest of the other lanes; None at once where there is none."""
    busy, other = Lane("busy", 4, 100, 10), Lane("other", 4, 100, 10)
    lanes, _ = lanes_of(busy)
    lanes.add(other)
    put(lanes, busy, 1)
    assert lanes.take_beside(busy) is None
    put(lanes, other, 2)
    assert ages(lanes.take_beside(busy)) == [2]
