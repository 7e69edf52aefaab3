"""One device and everything that reading it needs to remember, and how one reading of it goes.

A seat is read by one thread at a time. The driver's calls are made by a ``caller`` that is handed in, so that a
watchdog can see which one does not return; the lock is held while sums change, never during a call. It says once that
a device is lost, and once that it is back.
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from perjoule.errors import DeviceLostError
from perjoule_exporter.clock import Clock, Moment
from perjoule_exporter.energy import MAX_AGE_SECONDS
from perjoule_exporter.meters import Device, DeviceKind, Glance, Glances, Meter, Reading, Status
from perjoule_exporter.pace import Pace, Rest
from perjoule_exporter.track import Charges, Track

_LOG = logging.getLogger(__name__)

T = TypeVar("T")
Call = Callable[[Device], T]

STATUS_SECONDS = 0.4
"""Clocks, memory and temperature are read this often: they cost more calls than energy, and change slower."""

RESTING_STATUS_SECONDS = 0.5
"""And this often while nothing runs. Both must be well below the second that a value stays fresh."""

FOLD_SECONDS = 0.12
"""Readings are added up a few at a time: after each sleep the first work is ten times as slow as the next. A scrape
adds up what there is, so nothing that is shown waits for it, but a change of pace does."""

UNHURRIED_FOLD_SECONDS = STATUS_SECONDS
"""The same for a device that works and of whose work nobody tells: its pace hardly changes."""

RETRY_SECONDS = 1.0
"""A lost device is asked again this often."""


class Seats:
    """The devices that are read, and the lock around their sums. The tuple is replaced, never changed.

    ``found`` is told of each device's sums before it is read first, with the lock held.
    """

    def __init__(self, found: Callable[[Track], None] = lambda _: None) -> None:
        self._found = found
        self.all: tuple[Seat, ...] = ()
        self.lock = threading.Lock()

    def add(self, seat: "Seat") -> None:
        """Add a device. The caller holds the lock."""
        self._found(seat.track)
        self.all = (*self.all, seat)

    def find(self, uuid: str) -> "Seat | None":
        """Return the seat of a device."""
        return next((seat for seat in self.all if seat.device.uuid == uuid), None)


@dataclass(frozen=True, slots=True)
class Rules:
    """How devices are read.

    Attributes:
        pace: how often.
        charges: asked for each reading when it is added up, so that emissions count at the time of use.
        attended: whether somebody needs to know exactly when a device's counter moves.
    """

    pace: Pace
    charges: Callable[[], Charges]
    attended: Callable[[Device], bool] = lambda _: False


@dataclass(slots=True, eq=False)
class Seat:
    """One device.

    Attributes:
        stuck: a call of a thread that was given up has not returned yet; nobody else may read it.
        pending: the readings that have not been added up; changed with the lock of the sums held.
        wait: seconds between two readings, as of the last time that readings were added up.
        fold_seconds: how long they may wait to be added up.
    """

    meter: Meter
    device: Device
    track: Track
    lost: bool = False
    stuck: bool = False
    next_read: float = 0.0
    next_status: float = 0.0
    rest: Rest = field(default_factory=Rest)
    pending: list["Pending"] = field(default_factory=list)
    wait: float = 0.0
    fold_seconds: float = FOLD_SECONDS
    _attended: bool = False

    def glance(self) -> Glance | None:
        """Return what reads the device at a glance for the next moments; None where it is to be read in full."""
        if self.stuck or self.lost or self._attended or not self.wait or not isinstance(self.meter, Glances):
            return None
        return self.meter.glance(self.device)

    def add_up(self, now: float, lock: threading.Lock, rules: Rules) -> None:
        """Add the readings up that have not been yet, and decide how long to wait between the next."""
        with lock:
            self.fold(rules)
        self._pace(now, rules, had_status=False)

    def read(self, clock: Clock, lock: threading.Lock, rules: Callable[[], Rules], caller: "Caller") -> None:
        """Read the device once in full and decide when it is read next."""
        if self.pending and self.pending[-1][1] is not None:  # glances before it are made readings of before it
            with lock:
                self.fold(rules())
        before = clock.monotonic()
        try:
            reading = caller(self, self.meter.read)
            now = clock.monotonic()
            with lock:
                self.pending.append((reading, None, now, clock.wall(), now - before))
                had_status = now >= self.next_status
                folds = self._attended or had_status or now - self.pending[0][2] >= self.fold_seconds
                if folds:
                    self.fold(rules())
            if had_status:
                self._observe(caller(self, self.meter.status), clock.now(), lock)
        except DeviceLostError as error:
            self.failed(str(error), clock.monotonic(), lock, rules())
            return
        if folds:
            self._pace(now, rules(), had_status=had_status)
        # The grid of due times is kept; what was missed (a suspended process) is skipped, not caught up.
        self.next_read = due if (due := self.next_read + self.wait) > now else now + self.wait
        if self.lost:
            _LOG.warning("%s is back", self.device.uuid)
            self.lost = False

    def fold(self, rules: Rules) -> None:
        """Add the readings up that have not been yet. The lock is held, here and by whoever looks at the sums."""
        for seen, made, monotonic, wall, took in self.pending:
            reading = made(seen, wall) if made is not None else seen
            if reading is None:  # not what it looked like: the device is read in full from now on
                continue
            self.track.took(took)
            if took <= MAX_AGE_SECONDS:  # else nobody knows what time it is of
                self.track.advance(reading, Moment(monotonic, wall), rules.charges(), took)
                self.rest.drew(reading.power_watts, self.track.power.lowest())
        if self.pending:
            self.track.settle(self.pending[-1][2])
        self.pending.clear()

    def failed(self, why: str, time: float, lock: threading.Lock, rules: Rules, outcome: str = "lost") -> None:
        """Withdraw the device's figures; ``why`` is logged when it was well before."""
        with lock:
            self.fold(rules)
            self.track.lost(outcome, why)
            self.track.settle(time)
        self.next_read = time + RETRY_SECONDS
        self.next_status = 0.0
        if not self.lost:
            _LOG.warning("lost a device, its series are withdrawn: %s", why)
            self.lost = True

    def _observe(self, status: Status, now: Moment, lock: threading.Lock) -> None:
        with lock:
            self.track.observe(status, now)
        self.rest.utilized(status.utilization_ratio if self.device.kind is DeviceKind.GPU else None, now.monotonic)

    def _pace(self, now: float, rules: Rules, *, had_status: bool) -> None:
        resting = self.rest.resting(now)
        self._attended = rules.attended(self.device)
        expectant = self.track.charger is not None and self.track.charger.attentive
        self.fold_seconds = FOLD_SECONDS if resting or expectant else UNHURRIED_FOLD_SECONDS
        next_move = self.track.energy.next_move() if self._attended else None
        self.wait = rules.pace.until_next(
            resting=resting,
            attended=self._attended,
            until_tick=None if next_move is None else next_move - now,
        )
        if had_status:
            # At the next but so many readings, wherever within its time each falls.
            self.next_status = now + (RESTING_STATUS_SECONDS if resting else STATUS_SECONDS) - self.wait / 2


Made = Callable[[Any, float], Reading | None]

Pending = tuple[Any, Made | None, float, float, float]
"""A reading, or what was seen and what makes one of it; its monotonic and its Unix time; how long it took."""


class Caller:
    """Makes a driver's call. This one just does; a watched one notes who waits for what."""

    def __call__(self, seat: Seat, call: Call[T]) -> T:
        """Return what the call returns."""
        return call(seat.device)
