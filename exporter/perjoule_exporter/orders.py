"""What the program is told to do: end, start over with new settings, or that something in it has ended.

An order is only noted, and wakes whoever waits for it: a storm of signals is one order, none is lost in it, and the end
comes before all else. What an order means is the command line's.
"""

import signal
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from enum import Enum
from types import FrameType, MappingProxyType

_AT_ONCE = 4096  # bytes: each only says that there is an order


class Order(Enum):
    """In the order in which they are followed."""

    END = "end"
    FAILED = "failed"
    STARTED = "started"
    RELOAD = "reload"


ENDING: Mapping[signal.Signals, Order] = MappingProxyType({signal.SIGTERM: Order.END, signal.SIGINT: Order.END})
"""The signals of a program that only ever ends."""

ALL: Mapping[signal.Signals, Order] = MappingProxyType({**ENDING, signal.SIGHUP: Order.RELOAD})


class Orders:
    """The orders given and not yet followed. Made in the main thread, which is where signals are handled."""

    def __init__(self, of_signal: Mapping[signal.Signals, Order] = ALL) -> None:
        """Take over the signals that mean an order."""
        self._of_signal = of_signal
        self._given: set[Order] = set()
        # The kernel may hand a signal to any thread, and a lock that the main thread waits for would not wake it then.
        # The interpreter writes to this socket from whichever thread it is; one that is full wakes as well.
        self._told, self._tell = socket.socketpair()
        self._tell.setblocking(False)
        signal.set_wakeup_fd(self._tell.fileno(), warn_on_full_buffer=False)
        for number in of_signal:
            signal.signal(number, self._signalled)

    def give(self, order: Order) -> None:
        """Note an order, from any thread."""
        self._given.add(order)
        with suppress(BlockingIOError):  # full: whoever waits is awake
            self._tell.send(b"\0")

    def next(self, *which: Order, timeout_seconds: float | None = None) -> Order | None:
        """Wait for one of these, and return the first that is to be followed; None when time is over. Others stay."""
        end = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        while (order := self._first(which)) is None:
            left = None if end is None else end - time.monotonic()
            if left is not None and left <= 0:
                return None
            self._told.settimeout(left)
            with suppress(TimeoutError):
                self._told.recv(_AT_ONCE)
        return order

    def _first(self, which: tuple[Order, ...]) -> Order | None:
        for order in Order:
            if order in which and order in self._given:
                self._given.discard(order)
                return order
        return None

    def _signalled(self, number: int, _: FrameType | None) -> None:
        self._given.add(self._of_signal[signal.Signals(number)])
