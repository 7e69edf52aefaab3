"""A recorded trace as a meter: what devices said when it was recorded, as if they said it now.

Times are shifted to now, the driver's stamps too, and stretched by the speed; watts stay as they were recorded. At the
end of the trace its devices are lost, or the trace begins again and counters go on from where they were. Where the
recording has a gap of over a second there is nothing to read. It says ``method="replayed"``: of what was measured, but
not of this machine nor of now.
"""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from perjoule.errors import DeviceLostError, UsageError
from perjoule_exporter.clock import Clock
from perjoule_exporter.meters import Device, Reading, Status
from perjoule_exporter.trace import ClockRow, EndRow, FoundRow, LostRow, Row, Sample, StatusRow
from perjoule_exporter.trace.read import Rows, open_trace
from perjoule_exporter.wallshift import WallShift

SLOWEST, FASTEST = 0.1, 1000.0
MAX_GAP_US = 1_000_000
_SHORTEST_LOOP_US = 100_000


@dataclass(frozen=True, slots=True)
class ReplaySettings:
    """Which trace, how much faster than recorded, and whether it begins again at its end."""

    file: Path
    speed: float = 1.0
    loop: bool = False

    def __post_init__(self) -> None:
        if not SLOWEST <= self.speed <= FASTEST:
            raise UsageError(f"--replay.speed {self.speed:g} must be from {SLOWEST:g} to {FASTEST:g}")


@dataclass(slots=True)
class _Count:
    """A counter that goes on over the loops: it rises by what the recorded one rose, and resets when that did."""

    value: int | None = None
    raw: int | None = None  # the recorded one; None at the beginning of a loop

    def advance(self, raw: int, span: int | None) -> None:
        """Follow the recorded counter, which wraps at ``span`` or never."""
        if self.value is None or (self.raw is not None and raw < self.raw and span is None):
            self.value = raw
        elif self.raw is not None:
            self.value += raw - self.raw
        if span is not None:
            self.value %= span
        self.raw = raw


@dataclass(slots=True)
class _Seat:
    """One device of the trace, and what it says at the time that the replay has come to."""

    device: Device
    listed: bool
    sample: Sample | None = None  # None before the first and while it is lost
    at_us: int = 0  # of the sample, on the replay's own time
    stamp: float | None = None
    status: Status | None = None
    count: _Count = field(default_factory=_Count)


@dataclass(frozen=True, slots=True)
class _Summary:
    """What the whole trace holds: its length, its devices, when all of the first ones have been read, joules a loop."""

    devices: tuple[Device, ...]
    begin_us: int
    end_us: int
    gained: tuple[int | None, ...]  # microjoules of each device from the first to the last sample; None with a reset


class ReplayMeter:
    """Every device of one trace."""

    def __init__(self, settings: ReplaySettings, clock: Clock) -> None:
        """Read the trace once from end to end, so that what is wrong with it is known before anything is shown.

        Raises:
            UsageError: it cannot be read or is no whole trace.
        """
        self._name, self._clock = str(settings.file), clock
        self._speed, self._loop = settings.speed, settings.loop
        self._file = open_trace(settings.file)
        try:
            self._summary = _summary(Rows(self._file, self._name))
            self._refuse_nothing()
            self._seats = [_Seat(device, listed=False) for device in self._summary.devices]
            self._by_uuid = {seat.device.uuid: seat for seat in self._seats}
            self._base_us = -self._summary.begin_us  # what the trace's time is ahead of the replay's
            self._rows = self._begun()
        except BaseException:
            self._file.close()
            raise
        self._lock = threading.Lock()
        self._pending: Row | None = None
        self._ahead_us = 0
        self._over: str | None = None  # why there is nothing more
        self._shift = WallShift(clock)
        self._start = clock.monotonic()

    def devices(self) -> list[Device]:
        """Return the devices that the recording lists at this time; at its end they stay, lost."""
        with self._lock:
            self._advance()
            return [seat.device for seat in self._seats if seat.listed]

    def read(self, device: Device) -> Reading:
        """Return the newest reading that is due."""
        with self._lock:
            seat, sample = self._answering(device)
            return sample.reading._replace(
                energy_microjoules=None if sample.reading.energy_microjoules is None else seat.count.value,
                energy_time=seat.stamp,
            )

    def status(self, device: Device) -> Status:
        """Return the slow values as they last changed."""
        with self._lock:
            seat, _ = self._answering(device)
            return seat.status or Status()

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._over = self._over or "the replay ended"
            self._file.close()

    def _refuse_nothing(self) -> None:
        length = self._summary.end_us - self._summary.begin_us
        if not self._summary.devices:
            raise UsageError(f"{self._name} has no device")
        if self._loop and length < _SHORTEST_LOOP_US:
            raise UsageError(
                f"{self._name} lasts {length / 1e6:g} s: --replay.loop needs {_SHORTEST_LOOP_US / 1e6:g} s"
            )

    def _begun(self) -> Iterator[Row]:
        """Stand at the beginning of the trace, and list the devices that are there then."""
        self._file.seek(0)
        rows = Rows(self._file, self._name)
        for number, seat in enumerate(self._seats):
            seat.listed = number < len(rows.header.devices)
            seat.count.raw = None
        return iter(rows)

    def _answering(self, device: Device) -> tuple[_Seat, Sample]:
        self._advance()
        seat = self._by_uuid.get(device.uuid)
        if self._over is not None:
            raise DeviceLostError(f"{device.uuid}: {self._over}")
        if seat is None or seat.sample is None or self._now_us() - seat.at_us > MAX_GAP_US:
            raise DeviceLostError(f"{device.uuid}: the recording has no reading of this time")
        return seat, seat.sample

    def _now_us(self) -> float:
        return (self._clock.monotonic() - self._start) * self._speed * 1e6

    def _advance(self) -> None:
        """Take in every row that is due."""
        now_us = self._now_us()
        while self._over is None:
            try:
                row = self._pending if self._pending is not None else next(self._rows)
                self._pending = row if self._base_us + row.t_us > now_us else None
                if self._pending is not None:
                    return
                self._take(row, now_us)
            except UsageError as error:  # it was whole when it was opened
                self._over = f"the trace has changed: {error}"

    def _take(self, row: Row, now_us: float) -> None:
        match row:
            case Sample():
                self._sample(self._seats[row.device], row)
            case StatusRow():
                self._seats[row.device].status = row.status
            case LostRow():
                self._seats[row.device].sample = self._seats[row.device].status = None
            case FoundRow():
                self._seats[row.device].listed = row.listed
            case ClockRow():
                self._ahead_us = row.ahead_us
            case EndRow():
                self._end(now_us)

    def _sample(self, seat: _Seat, sample: Sample) -> None:
        before, seat.sample, seat.at_us = seat.sample, sample, self._base_us + sample.t_us
        if sample.stamp_us is None:
            seat.stamp = None
        elif before is None or before.stamp_us != sample.stamp_us or seat.count.raw is None:
            seconds = (self._base_us + sample.stamp_us - self._ahead_us) / 1e6 / self._speed
            seat.stamp = self._start + seconds + self._shift.seconds()
        if sample.reading.energy_microjoules is not None:
            seat.count.advance(sample.reading.energy_microjoules, seat.device.counter_range_microjoules)

    def _end(self, now_us: float) -> None:
        if not self._loop:
            self._over = "the trace has ended"
            return
        length = self._summary.end_us - self._summary.begin_us
        skipped = max(0, int((now_us - self._base_us - self._summary.end_us) // length))  # a suspended process
        self._base_us += length * (1 + skipped)
        for seat, gained in zip(self._seats, self._summary.gained, strict=True):
            if seat.count.value is not None and gained is not None:
                seat.count.value += skipped * gained
        self._ahead_us = 0
        self._rows = self._begun()


def _summary(rows: Rows) -> _Summary:
    devices = list(rows.header.devices)
    begins: dict[int, int] = {}
    counts: dict[int, _Count] = {}
    gained: list[int | None] = [0] * len(devices)
    for row in rows:
        match row:
            case Sample():
                if row.device < len(rows.header.devices):
                    begins.setdefault(row.device, row.t_us)
                if row.reading.energy_microjoules is not None:
                    gained[row.device] = _gain(
                        counts.setdefault(row.device, _Count()),
                        row.reading.energy_microjoules,
                        devices[row.device].counter_range_microjoules,
                        gained[row.device],
                    )
            case FoundRow(identity=Device() as identity):
                devices.append(identity)
                gained.append(0)
    # The last row is the end: there is no iteration without one.
    begin = max((t_us for t_us in begins.values() if t_us <= MAX_GAP_US), default=0)
    return _Summary(tuple(devices), begin, row.t_us, tuple(gained))


def _gain(count: _Count, raw: int, span: int | None, before: int | None) -> int | None:
    """Return the microjoules of a loop after one more reading; None once the counter was reset."""
    previous, count.raw = count.raw, raw
    if previous is None or before is None:
        return before
    rise = raw - previous if raw >= previous or span is None else raw - previous + span
    return before + rise if rise >= 0 else None
