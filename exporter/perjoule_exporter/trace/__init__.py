"""The format of a recorded trace: JSON lines, gzipped or not, of what a meter's devices said and when.

The first line is the header, the last one the end. Between them a list is one reading of one device, an object anything
rarer. Times are whole microseconds: ``t_us`` on the monotonic clock since the recording began, stamps of the driver on
the wall clock since ``start_unix_us``. docs/simulation.md describes it for who writes or reads one elsewhere.

Here are the rows as values, and the limits; ``write`` and ``read`` turn them into lines and back. None of them knows
replaying: speed, loops and the time of today are the meter's.
"""

from dataclasses import dataclass

from perjoule_exporter.meters import Device, Reading, Status

VERSION = 1
COLUMNS = ("device", "t_us", "energy_uj", "stamp_us", "power_w", "average_w")
LONGEST_INTERVAL_SECONDS = 0.5
MOST_DEVICES = 256
MOST_ROWS = 1_000_000
MOST_BYTES = 256 << 20
LONGEST_LINE = 128 << 10
LONGEST_TEXT = 200
"""Limits of a trace, in rows and in unpacked bytes: it is read whole before the replay begins."""


@dataclass(frozen=True, slots=True)
class Header:
    """Which devices were there at the start, when that was, and how often they were read."""

    start_unix_us: int
    interval_us: int
    devices: tuple[Device, ...]


@dataclass(frozen=True, slots=True)
class Sample:
    """One reading. ``stamp_us`` is the driver's, instead of the reading's ``energy_time``."""

    device: int
    t_us: int
    reading: Reading
    stamp_us: int | None


@dataclass(frozen=True, slots=True)
class StatusRow:
    """The slow values, whenever they changed."""

    device: int
    t_us: int
    status: Status


@dataclass(frozen=True, slots=True)
class LostRow:
    """A device no longer answers, until its next sample."""

    device: int
    t_us: int


@dataclass(frozen=True, slots=True)
class FoundRow:
    """A device has appeared (with its identity, when for the first time), or is no longer listed."""

    device: int
    t_us: int
    identity: Device | None
    listed: bool


@dataclass(frozen=True, slots=True)
class ClockRow:
    """From here on the wall clock is ahead of ``start_unix_us`` + ``t_us`` by this much: it was set, or slewed."""

    t_us: int
    ahead_us: int


@dataclass(frozen=True, slots=True)
class EndRow:
    """The recording ended in order. ``missed``: how many readings were due and not made, the machine being busy."""

    t_us: int
    rows: int
    missed: int


Row = Sample | StatusRow | LostRow | FoundRow | ClockRow | EndRow
