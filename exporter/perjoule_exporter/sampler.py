"""The shell around the tracks: one thread that reads every device, off the scrape path.

A scrape takes a frozen snapshot and never touches a driver. The lock is held while a track is changed and while a
snapshot is made, never during a driver's call: a driver that hangs makes its readings too old, and old readings are not
shown. What it does not know is why a device fails; it says so once, and once more when the device is back.
"""

import logging
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from perjoule.errors import DeviceLostError
from perjoule_exporter.clock import Clock, Moment
from perjoule_exporter.meters import Device, Meter
from perjoule_exporter.track import Track
from perjoule_exporter.view import DeviceView

_LOG = logging.getLogger(__name__)

STATUS_SECONDS = 0.2
"""Clocks, memory and temperature are read this often: they cost more calls than energy, and change slower."""

RETRY_SECONDS = 1.0
"""A lost device is asked again this often."""


@dataclass(slots=True)
class _Seat:
    """One device, who reads it, and when that is next due."""

    meter: Meter
    device: Device
    track: Track
    lost: bool = False
    next_read: float = 0.0
    next_status: float = 0.0


@dataclass(slots=True)
class Sampler:
    """Reads the devices of some meters, in a thread of its own once started.

    ``grams_per_joule`` is asked at each reading, because emissions count at the time of use; None means no factor.
    """

    meters: Iterable[Meter]
    interval_seconds: float
    grams_per_joule: Callable[[], float | None]
    clock: Clock = field(default_factory=Clock)
    failed: Callable[[], None] = lambda: None
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None
    _seats: list[_Seat] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.meters = tuple(self.meters)
        self._seats = [_Seat(meter, device, Track(device)) for meter in self.meters for device in meter.devices()]

    def sample(self) -> None:
        """Read every device that is due, once."""
        for seat in self._seats:
            if self.clock.monotonic() >= seat.next_read:
                self._read(seat)

    def views(self) -> tuple[DeviceView, ...]:
        """Return one consistent picture of all devices."""
        with self._lock:
            now = self.clock.now()
            return tuple(seat.track.view(now) for seat in self._seats)

    def start(self) -> None:
        """Take the first readings and go on in a thread."""
        self.sample()
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop the thread and give the meters back. A thread that hangs in a driver is left to the process's end."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=0.5)
            if self._thread.is_alive():
                return
        for meter in self.meters:
            meter.close()

    def _run(self) -> None:
        due = self.clock.monotonic()
        try:
            while True:
                # The grid of due times is kept; what was missed (a suspended process) is skipped, not caught up.
                due = max(due + self.interval_seconds, self.clock.monotonic())
                if self._stop.wait(due - self.clock.monotonic()):
                    return
                self.sample()
        except Exception:  # noqa: BLE001 (the thread's edge: a fault of ours must end the program, not freeze its figures)
            _LOG.exception("sampling failed")
            self.failed()

    def _read(self, seat: _Seat) -> None:
        before = self.clock.now()
        try:
            reading = seat.meter.read(seat.device)
            took = self.clock.monotonic() - before.monotonic
            status = seat.meter.status(seat.device) if before.monotonic >= seat.next_status else None
        except DeviceLostError as error:
            self._failed(seat, error, before)
            return
        with self._lock:
            seat.track.took(took)
            seat.track.advance(reading, before, self.grams_per_joule())
            if status is not None:
                seat.track.observe(status, before)
        if status is not None:
            seat.next_status = before.monotonic + STATUS_SECONDS
        if seat.lost:
            _LOG.warning("%s is back", seat.device.uuid)
            seat.lost = False

    def _failed(self, seat: _Seat, error: DeviceLostError, now: Moment) -> None:
        with self._lock:
            seat.track.lost()
        seat.next_read = now.monotonic + RETRY_SECONDS
        seat.next_status = 0.0
        if not seat.lost:
            _LOG.warning("lost a device, its series are withdrawn: %s", error)
            seat.lost = True
