"""One device and everything that reading it needs to remember, and how one reading of it goes.

A seat is read by one thread at a time. The driver's calls are made by a ``caller`` that is handed in, so that a
watchdog can see which one does not return; the lock is held while sums change, never during a call. It says once that
a device is lost, and once that it is back.
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from perjoule.errors import DeviceLostError
from perjoule_exporter.clock import Clock, Moment
from perjoule_exporter.energy import MAX_AGE_SECONDS
from perjoule_exporter.meters import AsksFirst, Device, DeviceKind, Meter, Reading, Status
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
"""Readings are added up a few at a time: after each sleep the first work is ten times as slow as the next."""

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
    """How devices are read. ``charges`` is asked at each reading, because emissions count at the time of use."""

    pace: Pace
    charges: Callable[[], Charges]
    attended: Callable[[Device], bool] = lambda _: False


@dataclass(slots=True, eq=False)
class Seat:
    """One device. ``stuck``: a call of a thread that was given up has not returned yet; nobody else may read it."""

    meter: Meter
    device: Device
    track: Track
    lost: bool = False
    stuck: bool = False
    next_read: float = 0.0
    next_status: float = 0.0
    rest: Rest = field(default_factory=Rest)
    _pending: list["_Asked"] = field(default_factory=list)
    _ask: Call[Callable[[], Reading] | Reading] = field(init=False)
    _attended: bool = False
    _wait: float = 0.0  # seconds between two readings, as of the last time that readings were added up

    def __post_init__(self) -> None:
        self._ask = self.meter.ask if isinstance(self.meter, AsksFirst) else self.meter.read

    def read(self, clock: Clock, lock: threading.Lock, rules: Callable[[], Rules], caller: "Caller") -> None:
        """Read the device once and decide when it is read next.

        Forty times a second and device, after a sleep: whatever need not be done each time is done when readings are
        added up.
        """
        before = clock.monotonic()
        try:
            asked = caller(self, self._ask)
            now = clock.monotonic()
            with lock:
                self._pending.append((asked, now, clock.wall(), now - before))
                folds = self._attended or now - self._pending[0][1] >= FOLD_SECONDS
                if folds:
                    self.fold(rules())
            had_status = now >= self.next_status
            if had_status:
                self._observe(caller(self, self.meter.status), clock.now(), lock)
        except DeviceLostError as error:
            self.failed(str(error), clock.monotonic(), lock, rules())
            return
        if folds or had_status:
            self._pace(now, rules(), had_status=had_status)
        # The grid of due times is kept; what was missed (a suspended process) is skipped, not caught up.
        late = now - self.next_read
        self.next_read = self.next_read + self._wait if late < self._wait else now + self._wait
        if self.lost:
            _LOG.warning("%s is back", self.device.uuid)
            self.lost = False

    def fold(self, rules: Rules) -> None:
        """Add the readings up that have not been yet. The lock is held, here and by whoever looks at the sums."""
        for asked, monotonic, wall, took in self._pending:
            reading = asked if isinstance(asked, Reading) else asked()
            self.track.took(took)
            if took <= MAX_AGE_SECONDS:  # else nobody knows what time it is of
                self.track.advance(reading, Moment(monotonic, wall), rules.charges(), took)
                self.rest.drew(reading.power_watts, self.track.power.lowest())
        if self._pending:
            self.track.settle(self._pending[-1][1])
        self._pending.clear()

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
        next_move = self.track.energy.next_move() if self._attended else None
        self._wait = rules.pace.until_next(
            resting=resting,
            attended=self._attended,
            until_tick=None if next_move is None else next_move - now,
        )
        if had_status:
            self.next_status = now + (RESTING_STATUS_SECONDS if resting else STATUS_SECONDS)


_Asked = tuple[Callable[[], Reading] | Reading, float, float, float]
"""A reading, or what makes it; when it was made on the monotonic clock and the wall's; and how long it took."""


class Caller:
    """Makes a driver's call. This one just does; a watched one notes who waits for what."""

    def __call__(self, seat: Seat, call: Call[T]) -> T:
        """Return what the call returns."""
        return call(seat.device)
