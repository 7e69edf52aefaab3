"""All devices of all meters: found, read by threads of their own, and shown in one consistent picture.

A scrape takes a frozen snapshot and never touches a driver. Devices that come later are found by a thread that asks the
meters again every few seconds. What it does not know is why a device fails, nor what becomes of the figures.
"""

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from perjoule.errors import DeviceLostError, UsageError
from perjoule_exporter.clock import Clock
from perjoule_exporter.meters import Device, Meter
from perjoule_exporter.seat import Rules, Seat, Seats
from perjoule_exporter.track import Track
from perjoule_exporter.view import DeviceView
from perjoule_exporter.watchdog import Reader, Watchdog

_LOG = logging.getLogger(__name__)

DISCOVERY_SECONDS = 5.0
FIRST_READINGS_SECONDS = 1.0
_LISTING_SECONDS = 0.1  # at the end, for a driver that is just listing its devices

Saved = Mapping[str, Any]
"""What a device's sums are kept as over a restart."""


class Sampler:
    """Reads the devices of some meters, in threads of its own once started.

    ``saved`` holds the sums of an earlier run by device; those of devices that are not there are kept for later.
    ``failed`` is called when sampling itself breaks.
    """

    def __init__(
        self,
        meters: Iterable[Meter],
        rules: Rules,
        clock: Clock | None = None,
        saved: Mapping[str, Saved] | None = None,
        failed: Callable[[], None] = lambda: None,
        seats: Seats | None = None,
    ) -> None:
        """Find the devices.

        Raises:
            UsageError: two meters claim the same device.
        """
        self.meters = tuple(meters)
        self.rules = rules
        self._clock = clock or Clock()
        self._saved = dict(saved or {})
        self._failed = failed
        self._seats = seats or Seats()
        self._stop = threading.Event()
        for meter in self.meters:
            self._find(meter, first=True)
        self._watchdog = Watchdog(self._seats, self._clock, lambda: self.rules, self._reader)
        # One thread for each meter: a driver that hangs while it lists its devices keeps no other's from being found.
        self._discoveries = [
            threading.Thread(target=self._discover, args=(meter,), name="discovery", daemon=True)
            for meter in self.meters
        ]

    def start(self) -> None:
        """Start the threads and wait for the first readings, though not for a device that hangs."""
        self._watchdog.start()
        for thread in self._discoveries:
            thread.start()
        end = self._clock.monotonic() + FIRST_READINGS_SECONDS
        while self._clock.monotonic() < end and any(v.age_seconds is None and not v.failed for v in self.views()):
            self._stop.wait(0.002)

    def sample(self) -> None:
        """Read every device that is due, once, in this thread."""
        self._reader().sample()

    def discover(self) -> None:
        """Ask every meter for its devices, once, in this thread."""
        for meter in self.meters:
            self._find(meter, first=False)

    def views(self) -> tuple[DeviceView, ...]:
        """Return one consistent picture of all devices."""
        with self._seats.lock:
            return self._shown()

    def views_and_sums(self) -> tuple[tuple[DeviceView, ...], dict[str, Saved]]:
        """Return one consistent picture, and the sums behind it, to be kept over a restart."""
        with self._seats.lock:
            views = self._shown()
            return views, {**self._saved, **{seat.device.uuid: seat.track.saved() for seat in self._seats.all}}

    @property
    def seats(self) -> Seats:
        """The devices that are read, and the lock around their sums, for who folds more into them."""
        return self._seats

    @property
    def alive(self) -> bool:
        """Whether devices are being read."""
        return self._watchdog.alive

    def close(self) -> None:
        """Stop the threads and give the meters back. A thread that hangs in a driver is left to the process's end."""
        self._stop.set()
        end = self._clock.monotonic() + _LISTING_SECONDS
        for thread in self._discoveries:
            if thread.is_alive():
                thread.join(timeout=max(0.0, end - self._clock.monotonic()))
        if self._watchdog.stop() and not any(thread.is_alive() for thread in self._discoveries):
            for meter in self.meters:
                meter.close()

    def _shown(self) -> tuple[DeviceView, ...]:
        now = self._clock.now()
        for seat in self._seats.all:
            seat.fold(self.rules)
        return tuple(seat.track.view(now) for seat in self._seats.all)

    def _reader(self) -> Reader:
        return Reader(self._seats, self._clock, lambda: self.rules, self._failed)

    def _discover(self, meter: Meter) -> None:
        try:
            while not self._stop.wait(DISCOVERY_SECONDS):
                self._find(meter, first=False)
        except Exception:  # noqa: BLE001 (the thread's edge, as the reader's)
            _LOG.exception("looking for devices failed")
            self._failed()

    def _find(self, meter: Meter, *, first: bool) -> None:
        try:
            devices = meter.devices()
        except DeviceLostError as error:
            _LOG.debug("devices cannot be listed now: %s", error)
            return
        for device in devices:
            seat = self._seats.find(device.uuid)
            if seat is None:
                self._add(meter, device, first=first)
            elif seat.meter is not meter:
                if first:
                    raise UsageError(f"two meters claim {device.uuid}: name only one of them as --meter")
            elif seat.device != device:
                with self._seats.lock:
                    seat.fold(self.rules)
                    seat.device = device
                    seat.track.identified(device)

    def _add(self, meter: Meter, device: Device, *, first: bool) -> None:
        with self._seats.lock:
            if self._seats.find(device.uuid) is not None:  # another meter has just claimed it
                return
            track = _track(device, self._saved.pop(device.uuid, None))
            self._seats.add(Seat(meter, device, track))
        if not first:
            _LOG.info("found %s (%s), method=%s", device.uuid, device.name or device.kind, device.method)


def _track(device: Device, saved: Saved | None) -> Track:
    if saved is not None:
        track = Track(device)
        try:
            track.restore(dict(saved))
        except (KeyError, TypeError, ValueError) as error:
            _LOG.warning("the saved sums of %s are of no use, it starts at 0: %r", device.uuid, error)
        else:
            return track
    return Track(device)
