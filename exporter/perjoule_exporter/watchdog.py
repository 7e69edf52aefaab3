"""The threads around the seats: one that reads all healthy devices, and one that watches it.

A driver's call that hangs can be neither cancelled nor killed inside the process. So a reader whose call takes too long
is given up with the one device that it waits for, and another one reads the rest: a hang costs its own GPU only. When
the call returns after all, the reader gives the device back and ends. Where one call was slow the next ones are given
less time: a driver rarely hangs on one GPU alone, and whoever answers must not wait for all who do not, one after the
other. A whole process that was suspended is no hang.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from perjoule_exporter.clock import Clock
from perjoule_exporter.seat import Call, Caller, Made, Pending, Rules, Seat, Seats

_LOG = logging.getLogger(__name__)

T = TypeVar("T")

ABANDON_SECONDS = 0.25
"""A reader whose call takes longer is given up."""

SUSPECT_SECONDS = 0.05
"""The same while a call hangs, or one was slow lately: seven GPUs of eight that hang cost the eighth half a second."""

HUNG_SECONDS = 0.75
"""A device whose call takes longer is withdrawn. Slower than that is a hang; between the two it is only slow."""

_LOOK_SECONDS, _LOOK_CLOSELY_SECONDS = 0.2, 0.05  # while all answers come at once, and while one is awaited
_LOOK_SUSPICIOUSLY_SECONDS = 0.02  # while a call hangs, or one was slow lately
_LEAST_SECONDS = 0.01  # a driver's call takes microseconds, on a busy machine some milliseconds
_FORGIVEN_SECONDS = 10.0  # a device that was in time for so long is slow no more
_ASLEEP_SECONDS = 5.0  # a watchdog that late is stuck itself
_ASLEEP_AT_MOST_SECONDS = 0.1  # a device that is added, and the end, wait no longer for a reader that sleeps
_TOGETHER_SECONDS = 0.001  # devices that are due within this are read in one go

_Look = tuple[Seat, Callable[[], Any], Made, list[Pending], float]
"""A device, how it is looked at, what makes a reading of that, its readings to be added up, and seconds in between."""


class Reader(Caller):
    """A thread that reads every device that is due and not stuck, until it is stopped or given up."""

    def __init__(self, seats: Seats, clock: Clock, rules: Callable[[], Rules], failed: Callable[[], None]) -> None:
        self._seats = seats
        self._clock = clock
        self._rules = rules
        self._failed = failed
        self._hand = threading.Lock()  # around the change of hands between reader and watchdog
        self._call: tuple[Seat, float] | None = None
        self._given_up = False
        self.ended = False
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="reader", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, timeout: float) -> bool:
        """Stop the thread and return whether it ended in time."""
        self._stopped = True
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def __call__(self, seat: Seat, call: Call[T]) -> T:
        """Make a call in sight of the watchdog."""
        self._call = (seat, self._clock.monotonic())
        try:
            return call(seat.device)
        finally:
            with self._hand:
                self._call = None

    def sample(self) -> float:
        """Read what is due, once, and return the monotonic time of the next reading."""
        soon = self._clock.monotonic() + _TOGETHER_SECONDS
        due = soon + _ASLEEP_AT_MOST_SECONDS
        for seat in self._seats.all:
            if seat.stuck:
                continue
            if seat.next_read <= soon:
                seat.read(self._clock, self._seats.lock, self._rules, self)
                if self._given_up:
                    seat.stuck = False
                    self.ended = True
                    break
            due = min(due, seat.next_read)
        return due

    def glance(self) -> None:
        """Read what can be at a glance, and sleep in between, until a device has to be read in full."""
        while not self._stopped:
            now = self._clock.monotonic()
            looks, until, first, end = [], float("inf"), float("inf"), float("inf")
            for seat in self._seats.all:
                glance = seat.glance()
                if glance is not None:
                    looks.append((seat, *glance, seat.pending, seat.wait))
                    until, first = min(until, now + seat.fold_seconds), min(first, seat.next_read)
                    end = min(end, seat.next_status)
                elif not seat.stuck:
                    end = min(end, seat.next_read)
            until = max(until, first + 2 * _TOGETHER_SECONDS)  # a reading at least, however seldom they are
            if not looks or not self._look(looks, min(until, end)) or end <= until:
                return
            for seat, *_ in looks:
                seat.add_up(self._clock.monotonic(), self._seats.lock, self._rules())

    def _look(self, looks: Sequence[_Look], until: float) -> bool:
        """Read these devices, each when it is due, until a monotonic time; False where that is not to go on.

        Forty times a second and device, after a sleep, when the first work is ten times as slow as the next: so here is
        only what must be done at each reading, and in no functions of its own.
        """
        monotonic, wall, lock, hand = self._clock.monotonic, self._clock.wall, self._seats.lock, self._hand
        now = monotonic()
        while not self._stopped and (soon := now + _TOGETHER_SECONDS) < until:
            due = until
            for seat, look, made, pending, wait in looks:
                if seat.next_read <= soon:
                    before = monotonic()
                    self._call = (seat, before)
                    seen = look()
                    with hand:
                        self._call = None
                    now = monotonic()
                    if self._given_up:
                        seat.stuck, self.ended = False, True
                        return False
                    if seen is None:
                        return False
                    with lock:
                        pending.append((seen, made, now, wall(), now - before))
                    seat.next_read = next_read if (next_read := seat.next_read + wait) > now else now + wait
                due = min(due, seat.next_read)
            if due >= until:
                break
            time.sleep(max(0.0, min(due - now, _ASLEEP_AT_MOST_SECONDS)))
            now = monotonic()
        return not self._stopped

    def waits_since(self) -> tuple[Seat, float] | None:
        """Return the device whose call has not returned, and since when."""
        return self._call

    def give_up(self, call: tuple[Seat, float]) -> bool:
        """Leave the device of this call to the thread that waits for it; False when the call has just returned."""
        with self._hand:
            if self._call is not call:
                return False
            self._given_up = True
            call[0].stuck = True
            return True

    def _run(self) -> None:
        try:
            while not self._stopped and not self._given_up:
                wait = self.sample() - self._clock.monotonic()
                time.sleep(max(0.0, min(wait, _ASLEEP_AT_MOST_SECONDS)))  # half the cost of waiting for an event
                self.glance()
        except Exception:  # noqa: BLE001 (the thread's edge: a fault of ours must end the program, not freeze its figures)
            _LOG.exception("sampling failed")
            self._failed()


class Watchdog:
    """Keeps one reader going, whatever the drivers do."""

    def __init__(
        self, seats: Seats, clock: Clock, rules: Callable[[], Rules], make_reader: Callable[[], Reader]
    ) -> None:
        self._seats = seats
        self._clock = clock
        self._rules = rules
        self._make_reader = make_reader
        self._reader = make_reader()
        self._hanging: list[Reader] = []
        self._slow: dict[Seat, float] = {}  # when each device was last given up
        self._next_look = clock.monotonic()
        self._running = threading.Lock()  # to wait for a lock costs half of what it costs to wait for an event
        self._running.acquire()
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)

    def start(self) -> None:
        """Start reading and watching."""
        self._reader.start()
        self._thread.start()

    def stop(self, timeout: float = 0.5) -> bool:
        """Stop both; return whether no thread is left in a driver."""
        if self._running.locked():  # else it was stopped before
            self._running.release()
        self._thread.join()
        return self._reader.stop(timeout) and not self._hanging

    @property
    def alive(self) -> bool:
        """Whether a thread watches, and did so lately."""
        return self._thread.is_alive() and self._clock.monotonic() - self._next_look < _ASLEEP_SECONDS

    def look(self) -> float:
        """Give up a reader that hangs, withdraw devices that have hung for long, and return seconds until next time."""
        now = self._clock.monotonic()
        suspended = now - self._next_look > ABANDON_SECONDS
        call = self._reader.waits_since()
        wait = _LOOK_SECONDS if call is None else _LOOK_CLOSELY_SECONDS
        wait = max(_LEAST_SECONDS, _LOOK_SUSPICIOUSLY_SECONDS / len(self._slow)) if self._slow else wait
        self._next_look = now + wait
        if suspended:  # all of us were: what a reader waits for began before, and may return at once
            return _LOOK_CLOSELY_SECONDS
        # The more hang together, the less each further one may cost those that do not.
        patience = max(_LEAST_SECONDS, SUSPECT_SECONDS / len(self._slow)) if self._slow else ABANDON_SECONDS
        if call is not None and now - call[1] > patience and self._reader.give_up(call):
            self._go_on_without(call[0], now)
        self._withdraw(now)
        self._forgive(now)
        return wait

    def _go_on_without(self, seat: Seat, now: float) -> None:
        if seat not in self._slow:
            _LOG.warning("%s is slow to answer: the others are read without it", seat.device.uuid)
        self._slow[seat] = now
        self._hanging.append(self._reader)
        self._reader = self._make_reader()
        self._reader.start()

    def _forgive(self, now: float) -> None:
        for seat, since in list(self._slow.items()):
            if not seat.stuck and now - since > _FORGIVEN_SECONDS:
                del self._slow[seat]
                _LOG.info("%s answers in time again", seat.device.uuid)

    def _withdraw(self, now: float) -> None:
        self._hanging = [reader for reader in self._hanging if not reader.ended]
        for reader in self._hanging:
            call = reader.waits_since()
            if call is not None and now - call[1] > HUNG_SECONDS and not call[0].lost:
                why = f"{call[0].device.uuid}: a call of its driver does not return"
                call[0].failed(why, now, self._seats.lock, self._rules(), outcome="hung")

    def _run(self) -> None:
        wait = _LOOK_SECONDS
        while not self._running.acquire(timeout=wait):
            wait = self.look()
