"""Orders: which comes first, which stay, and how long one waits for them."""

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from perjoule_exporter.orders import ENDING, Order, Orders


@pytest.fixture
def orders() -> Iterator[Orders]:
    """Orders of a program that only ends; the test run's own handlers come back afterwards."""
    before = {number: signal.getsignal(number) for number in ENDING}
    yield Orders(ENDING)
    signal.set_wakeup_fd(-1)
    for number, handler in before.items():
        signal.signal(number, handler)


def test_the_end_comes_before_all_else_and_nothing_is_lost(orders: Orders) -> None:
    """Given last, followed first; what was not asked for stays."""
    for order in (Order.RELOAD, Order.STARTED, Order.END):
        orders.give(order)
    assert [orders.next(Order.END, Order.STARTED) for _ in range(2)] == [Order.END, Order.STARTED]
    assert orders.next(Order.RELOAD) is Order.RELOAD


def test_when_time_is_over_there_is_none(orders: Orders) -> None:
    """Whatever else was given meanwhile."""
    orders.give(Order.RELOAD)
    assert orders.next(Order.END, timeout_seconds=0.01) is None
    assert orders.next(Order.END, timeout_seconds=0.0) is None


def test_two_signals_are_one_order_and_wake_who_waits(orders: Orders) -> None:
    """Sent from another thread, one behind the other, while the main thread waits."""

    def send() -> None:
        for number in ENDING:
            os.kill(os.getpid(), number)

    both = threading.Thread(target=send)
    both.start()
    assert orders.next(Order.END, timeout_seconds=10.0) is Order.END
    both.join()
