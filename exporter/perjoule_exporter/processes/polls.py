"""The threads that ask the drivers who uses their boards, one for each board.

A driver's call that hangs thus costs the shares of its own board and nothing else: neither sampling, which has threads
of its own, nor other boards. What nobody tells in time is unknown's. Which process it was is read from /proc at once.
"""

import logging
import threading

from perjoule.errors import DeviceLostError
from perjoule_exporter.clock import Clock
from perjoule_exporter.meters import DeviceKind, SeesProcesses
from perjoule_exporter.processes.account import Account
from perjoule_exporter.processes.procfs import Names, sees_host
from perjoule_exporter.processes.settings import ProcessSettings
from perjoule_exporter.processes.shares import Look, Use
from perjoule_exporter.seat import Seat, Seats

_LOG = logging.getLogger(__name__)

SLOW_SECONDS = 0.5
"""An answer that took longer is of nobody knows which time."""

FIRST_LOOKS_SECONDS = 0.5
"""How long the start waits for the first answers."""

LAST_LOOKS_SECONDS = 0.1
"""How long the end waits for answers that are under way."""


class Watch:
    """One board: asks who uses it, and tells its account."""

    def __init__(self, seat: Seat, meter: SeesProcesses, seats: Seats, clock: Clock, settings: ProcessSettings) -> None:
        self._seat = seat
        self._meter = meter
        self._lock = seats.lock
        self._clock = clock
        self._settings = settings
        self._names = Names(settings.procfs)
        self._account = _account(seat, seats.lock, settings)
        self._since: float | None = None
        self.looked = threading.Event()
        self.silent = False  # whether the driver answered last that it cannot tell
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"processes {seat.device.uuid}", daemon=True)

    def start(self) -> None:
        """Look from now on, in a thread."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._stop.set()

    def join(self, timeout: float) -> None:
        """Wait for the end of the thread, which may hang in the driver."""
        if self._thread.is_alive():
            self._thread.join(timeout)

    def look(self) -> None:
        """Ask once. The first answer after a start or a failure only says from when on the next one counts."""
        since, self._since = self._since, None
        if self._seat.lost or self._seat.stuck:
            return
        began = self._clock.monotonic()
        try:
            told = self._meter.processes(self._seat.device)
        except DeviceLostError as error:
            _LOG.debug("%s does not tell its processes now: %s", self._seat.device.uuid, error)
            return
        now = self._clock.monotonic()
        if now - began > SLOW_SECONDS:
            return
        uses, self.silent = None, told is None
        if told is not None:
            owners = self._names.owners(use.pid for use in told)
            uses = tuple(Use(owners[use.pid], use.utilization_ratio) for use in told)
        known = since is not None and began - since <= self._settings.patience_seconds  # a driver forgets what is older
        self._since = began
        with self._lock:
            self._seat.track.heard = began, told
            start = since if known and since is not None else began
            self._account.look(Look(start, began, uses, self._seat.track.utilization_ratio(now)), now)

    def _run(self) -> None:
        try:
            while True:
                self.look()
                self.looked.set()
                if self._stop.wait(self._settings.interval_seconds):
                    return
        except Exception:  # noqa: BLE001 (the thread's edge: measuring goes on, and all is unknown's from now on)
            _LOG.exception("the processes of %s are no longer told", self._seat.device.uuid)
            self.looked.set()


class Polls:
    """All boards whose meter can tell, those too that are found later."""

    def __init__(self, seats: Seats, clock: Clock, settings: ProcessSettings) -> None:
        """Open the accounts of all boards that are there. To be done before they are read first."""
        self._seats = seats
        self._clock = clock
        self._settings = settings
        self._watches: dict[str, Watch] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="processes", daemon=True)
        self._adopt()
        if self._watches and not sees_host(settings.procfs):
            _LOG.warning(
                "%s does not show all processes of the machine: those that it does not show are unknown, and names may"
                " be wrong where the driver tells the machine's pids; see hostPID and --process.procfs",
                settings.procfs,
            )

    def start(self) -> None:
        """Look from now on, and wait for the first answers, though not for a driver that hangs."""
        for watch in self._watches.values():
            watch.start()
        end = self._clock.monotonic() + FIRST_LOOKS_SECONDS
        for watch in self._watches.values():
            watch.looked.wait(max(0.0, end - self._clock.monotonic()))
        if all(watch.silent for watch in self._watches.values()):  # none at all, too
            _LOG.warning("process energy was asked for, but no device here tells its processes")
        self._thread.start()

    def close(self) -> None:
        """End the threads. One that hangs in a driver is left to the process's end."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        for watch in self._watches.values():
            watch.stop()
        end = self._clock.monotonic() + LAST_LOOKS_SECONDS
        for watch in self._watches.values():
            watch.join(max(0.0, end - self._clock.monotonic()))

    def _run(self) -> None:
        while not self._stop.wait(self._settings.interval_seconds):
            for watch in self._adopt():
                watch.start()

    def _adopt(self) -> list[Watch]:
        new = [seat for seat in self._seats.all if seat.device.uuid not in self._watches]
        found = {
            seat.device.uuid: Watch(seat, seat.meter, self._seats, self._clock, self._settings)
            for seat in new
            if seat.device.kind is DeviceKind.GPU and isinstance(seat.meter, SeesProcesses)
        }
        self._watches.update(found)
        return list(found.values())


def _account(seat: Seat, lock: threading.Lock, settings: ProcessSettings) -> Account:
    """Return the board's account, told of all use from now on. It goes on where that of an earlier run ended."""
    account, track = Account(settings.max_series, settings.patience_seconds), seat.track
    with lock:
        if isinstance(track.splitter, Account):  # nobody has asked for a while: what was used meanwhile is unknown's
            return track.splitter
        total = track.energy.total or 0
        try:
            account.begin(total, track.kept_split)
        except (KeyError, TypeError, ValueError, IndexError) as error:
            _LOG.warning("the saved shares of %s are of no use: its energy until now is unknown's: %r",
                         seat.device.uuid, error)  # fmt: skip
            account.begin(total, None)
        track.splitter = account
    return account
