"""What a meter's devices say, noted as the rows of a trace. Threads, signals and due times are the caller's.

It sums nothing up and judges nothing. A driver's stamp is kept to the microsecond; what the wall clock did meanwhile
stands beside it.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass

from perjoule.errors import DeviceLostError, UsageError
from perjoule_exporter.clock import Clock
from perjoule_exporter.meters import Device, Meter, Status
from perjoule_exporter.trace import (
    MOST_DEVICES,
    MOST_ROWS,
    ClockRow,
    EndRow,
    FoundRow,
    Header,
    LostRow,
    Sample,
    StatusRow,
)
from perjoule_exporter.trace.file import TraceFile
from perjoule_exporter.trace.write import Encoder
from perjoule_exporter.wallshift import WallShift

SLOW_SECONDS = 1.0
"""Status and clocks are looked at this often, lines are written this often, and a lost device is asked again."""

DISCOVERY_SECONDS = 5.0


@dataclass(slots=True)
class _Seat:
    """One device of the recording."""

    meter: Meter
    device: Device
    number: int
    listed: bool = True
    lost: bool = False
    next_read: float = 0.0
    status: Status | None = None


class Recorder:
    """Readings of some meters, to lines. One thread calls ``sample``; ``end`` may come from another."""

    def __init__(self, meters: Sequence[Meter], clock: Clock, interval_seconds: float, file: TraceFile) -> None:
        """Find the devices, and begin.

        Raises:
            DeviceLostError: nobody can tell which devices there are.
            UsageError: two meters claim one device, or there are too many.
        """
        self.samples = 0
        self.missed = 0  # counted by who knows what was due
        self.full = False
        self._meters = meters
        self._clock = clock
        self._file = file
        self._encoder = Encoder()
        self._lock = threading.Lock()
        self._lines: list[str] = []
        self._rows = 0
        self._ahead_us = 0
        self._ended = False
        found = [(meter, device) for meter in meters for device in meter.devices()]
        self._seats = [_Seat(meter, device, number) for number, (meter, device) in enumerate(found)]
        if len({seat.device.uuid for seat in self._seats}) < len(self._seats) or len(self._seats) > MOST_DEVICES:
            raise UsageError(f"two meters claim one device, or there are over {MOST_DEVICES}")
        self._shift = WallShift(clock)
        self._wall_ahead = self._shift.seconds()
        self._start = self._clock.monotonic()
        self._start_unix_us = round((self._start + self._wall_ahead) * 1e6)
        self._next_slow, self._next_discovery = self._start, self._start + DISCOVERY_SECONDS
        header = Header(self._start_unix_us, round(interval_seconds * 1e6), tuple(seat.device for seat in self._seats))
        self._lines.append(self._encoder.header(header))

    @property
    def devices(self) -> int:
        """How many devices were found so far."""
        return len(self._seats)

    def seconds(self) -> float:
        """Return how long it has been recording."""
        return self._clock.monotonic() - self._start

    def sample(self) -> None:
        """Read every device once, and now and then what changes slowly.

        Raises:
            PerjouleError: the disk takes no more.
        """
        now = self._clock.monotonic()
        slow = now >= self._next_slow
        for seat in self._seats:
            if seat.listed and now >= seat.next_read:
                self._read(seat, slow=slow)
        if slow:
            self._next_slow = now + SLOW_SECONDS
            self._look_at_clock()
            self._flush()
        if now >= self._next_discovery:
            self._next_discovery = now + DISCOVERY_SECONDS
            self._discover()

    def end(self) -> int:
        """Write the end and finish the file; return its bytes.

        Raises:
            PerjouleError: the disk does not take it.
        """
        with self._lock:
            self._ended = True
            self._lines.append(self._encoder.other(EndRow(self._now_us(), self._rows, self.missed)))
            self._file.write(self._lines)
            return self._file.finish()

    def _now_us(self) -> int:
        return round((self._clock.monotonic() - self._start) * 1e6)

    def _read(self, seat: _Seat, *, slow: bool) -> None:
        t_us = self._now_us()
        try:
            reading = seat.meter.read(seat.device)
            status = seat.meter.status(seat.device) if slow or seat.status is None else seat.status
        except DeviceLostError:
            self._lost(seat)
            return
        stamp = reading.energy_time
        stamp_us = None if stamp is None else round(stamp * 1e6) - self._start_unix_us
        with self._lock:
            sample = Sample(seat.number, t_us, reading._replace(energy_time=None), stamp_us)
            self.samples += self._add(self._encoder.sample(sample))
            if status != seat.status:
                self._add(self._encoder.status(StatusRow(seat.number, t_us, status)))
        seat.status, seat.lost = status, False

    def _lost(self, seat: _Seat) -> None:
        if not seat.lost:
            with self._lock:
                self._add(self._encoder.other(LostRow(seat.number, self._now_us())))
        seat.lost, seat.status = True, None
        seat.next_read = self._clock.monotonic() + SLOW_SECONDS

    def _look_at_clock(self) -> None:
        ahead_us = round((self._shift.seconds() - self._wall_ahead) * 1e6)
        if ahead_us != self._ahead_us:
            self._ahead_us = ahead_us
            with self._lock:
                self._add(self._encoder.other(ClockRow(self._now_us(), ahead_us)))

    def _discover(self) -> None:
        """Note the devices that have come or are no longer listed."""
        for meter in self._meters:
            try:
                devices = {device.uuid: device for device in meter.devices()}
            except DeviceLostError:
                continue
            for seat in self._seats:
                if seat.meter is meter and seat.listed != (seat.device.uuid in devices):
                    seat.listed = not seat.listed
                    self._found(FoundRow(seat.number, self._now_us(), None, listed=seat.listed))
            known = {seat.device.uuid for seat in self._seats}
            for device in devices.values():
                if device.uuid not in known and len(self._seats) < MOST_DEVICES:
                    self._seats.append(_Seat(meter, device, len(self._seats)))
                    self._found(FoundRow(len(self._seats) - 1, self._now_us(), device, listed=True))

    def _found(self, row: FoundRow) -> None:
        with self._lock:
            self._add(self._encoder.other(row))

    def _add(self, line: str) -> bool:
        """Add a row while there is room, and tell whether there was; the caller holds the lock."""
        if self._ended or self.full:
            return False
        self._lines.append(line)
        self._rows += 1
        self.full = self._rows >= MOST_ROWS
        return True

    def _flush(self) -> None:
        with self._lock:
            if not self._ended:
                self._file.write(self._lines)
                self._lines.clear()
