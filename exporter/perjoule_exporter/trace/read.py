"""Lines of a trace to rows.

A trace comes from anywhere: every line is checked before it is believed, nothing is held but the line at hand, and what
is too long is refused, with the number of the line.
"""

import gzip
import json
import math
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any

from perjoule.errors import UsageError
from perjoule_exporter.meters import THROTTLE_REASONS, Device, DeviceKind, Reading, Slice, Status
from perjoule_exporter.trace import (
    COLUMNS,
    LONGEST_INTERVAL_SECONDS,
    LONGEST_LINE,
    LONGEST_TEXT,
    MOST_BYTES,
    MOST_DEVICES,
    MOST_ROWS,
    VERSION,
    ClockRow,
    EndRow,
    FoundRow,
    Header,
    LostRow,
    Row,
    Sample,
    StatusRow,
)

_GZIP = b"\x1f\x8b"
_LONGEST_US = 10**14  # three years
_MOST_COUNT = 2**64
_SHORT, _WHOLE = 2, len(COLUMNS)
_WRONG = (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)
"""What reading a value raises that is of another type or size than expected."""


class Rows:
    """The rows of an open trace, one after the other. ``header`` is read at once."""

    def __init__(self, file: IO[bytes], name: str) -> None:
        """Read the header from a file that stands at its beginning.

        Raises:
            UsageError: it is no trace of this version.
        """
        self._name = name
        self._lines = _lines(file, name)
        self._number = 1
        self._t_us = 0
        self._rows = 0
        self._last: dict[int, Sample] = {}
        try:
            self.header = _header(json.loads(next(self._lines, b"")))
        except _WRONG as error:
            raise UsageError(f"{name}: line 1: no header of a Perjoule trace: {_why(error)}") from error
        self._devices = len(self.header.devices)
        self._found_so_far = list(self.header.devices)
        self._uuids = {device.uuid for device in self.header.devices}

    def __iter__(self) -> Iterator[Row]:
        """Yield every row, the end included.

        Raises:
            UsageError: a line is not what it must be, or there is no end.
        """
        for line in self._lines:
            self._number += 1
            try:
                row = self._row(json.loads(line))
            except _WRONG as error:
                raise UsageError(f"{self._name}: line {self._number}: {_why(error)}") from error
            yield row
            if isinstance(row, EndRow):
                break
        else:
            raise UsageError(f"{self._name}: line {self._number}: the trace ends here without its end: it was cut off")
        if next(self._lines, None) is not None:
            raise UsageError(f"{self._name}: line {self._number + 1}: there are lines after the end")

    def _row(self, value: Any) -> Row:
        row = self._sample(value) if isinstance(value, list) else self._object(value)
        if row.t_us < self._t_us:
            raise ValueError(f"t_us goes back from {self._t_us} to {row.t_us}")
        self._t_us = row.t_us
        if not isinstance(row, EndRow):
            self._rows += 1
            if self._rows > MOST_ROWS:
                raise ValueError(f"over {MOST_ROWS} rows")
        elif row.rows != self._rows:
            raise ValueError(f"the end counts {row.rows} rows, there are {self._rows}")
        return row

    def _sample(self, value: list[Any]) -> Sample:
        if len(value) not in (_SHORT, _WHOLE):
            raise ValueError(f"a reading has {_WHOLE} values, {', '.join(COLUMNS)}, or the first {_SHORT}")
        device, t_us = self._device(value[0]), _whole(value[1], 0, _LONGEST_US)
        if len(value) == _SHORT:
            last = self._last.get(device)
            if last is None:
                raise ValueError("the first reading of a device has all its values")
            return Sample(device, t_us, last.reading, last.stamp_us)
        energy, stamp = value[2], value[3]
        reading = Reading(
            energy_microjoules=None if energy is None else _whole(energy, 0, _MOST_COUNT),
            power_watts=_watts(value[4]),
            average_power_watts=_watts(value[5]),
        )
        stamp = None if stamp is None else _whole(stamp, -_LONGEST_US, _LONGEST_US)
        sample = self._last[device] = Sample(device, t_us, reading, stamp)
        return sample

    def _object(self, value: Any) -> Row:
        t_us = _whole(value.pop("t_us"), 0, _LONGEST_US)
        match value:
            case {"status": device}:
                return StatusRow(self._device(device), t_us, _status(value))
            case {"lost": device}:
                self._last.pop(self._device(device), None)
                return LostRow(self._device(device), t_us)
            case {"found": device} | {"gone": device}:
                return self._found(device, t_us, value)
            case {"clock": ahead}:
                return ClockRow(t_us, _whole(ahead, -_LONGEST_US, _LONGEST_US))
            case {"end": rows, "missed": missed}:
                return EndRow(t_us, _whole(rows, 0, MOST_ROWS), _whole(missed, 0, _LONGEST_US))
        raise ValueError("neither a reading nor status, lost, found, gone, clock or end")

    def _found(self, device: Any, t_us: int, value: Mapping[str, Any]) -> FoundRow:
        identity = value.get("identity")
        if identity is None:
            return FoundRow(self._device(device), t_us, None, listed="found" in value)
        found = _device(identity)
        if device != self._devices or device >= MOST_DEVICES or found.uuid in self._uuids:
            raise ValueError(f"a new device has the next number, {self._devices}, and a uuid of its own")
        _refuse_same_series([*self._found_so_far, found])
        self._found_so_far.append(found)
        self._devices += 1
        self._uuids.add(found.uuid)
        return FoundRow(_whole(device, 0, MOST_DEVICES), t_us, found, listed=True)

    def _device(self, value: Any) -> int:
        return _whole(value, 0, self._devices - 1)


def open_trace(path: Path) -> IO[bytes]:
    """Open a trace, to be read from its beginning by ``Rows`` as often as wanted after ``seek(0)``.

    Raises:
        UsageError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            packed = file.read(len(_GZIP)) == _GZIP
        return gzip.open(path) if packed else path.open("rb")  # type: ignore[return-value]  # it reads alike
    except OSError as error:
        raise UsageError(f"cannot read the trace {path}: {error.strerror}") from error


def _lines(file: IO[bytes], name: str) -> Iterator[bytes]:
    """Yield the lines, none over its limit, whatever the file unpacks to."""
    total = number = 0
    while True:
        number += 1
        try:
            line = file.readline(LONGEST_LINE + 1)
        except (OSError, EOFError, zlib.error) as error:
            raise UsageError(f"{name}: line {number}: the file is damaged or cut off: {error}") from error
        total += len(line)
        if len(line) > LONGEST_LINE or total > MOST_BYTES:
            raise UsageError(f"{name}: line {number}: over {LONGEST_LINE} bytes a line or {MOST_BYTES} in all")
        if not line:
            return
        yield line


def _header(value: Any) -> Header:
    if value["perjoule_trace"] != VERSION:
        raise ValueError(f"version {value['perjoule_trace']!r}, and this program reads {VERSION}")
    if value["columns"] != list(COLUMNS):
        raise ValueError(f"columns must be {', '.join(COLUMNS)}")
    devices = tuple(_device(device) for device in value["devices"])
    if len(devices) > MOST_DEVICES or len({device.uuid for device in devices}) < len(devices):
        raise ValueError(f"over {MOST_DEVICES} devices, or two of one uuid")
    _refuse_same_series(devices)
    longest = round(LONGEST_INTERVAL_SECONDS * 1e6)
    return Header(_whole(value["start_unix_us"], 0, 1 << 53), _whole(value["interval_us"], 1, longest), devices)


def _refuse_same_series(devices: Iterable[Device]) -> None:
    """Refuse CPUs that only a uuid tells apart: their series have none, so a scraper would refuse the whole scrape."""
    cpus = [(device.kind, device.index, device.scope) for device in devices if device.kind is not DeviceKind.GPU]
    if len(set(cpus)) < len(cpus):
        raise ValueError("two CPU zones of one index and one scope")


def _device(value: Any) -> Device:
    span = value.get("range_uj")
    if not value["uuid"]:
        raise ValueError("a device has no uuid")
    return Device(
        kind=DeviceKind(value["kind"]),
        uuid=_text(value["uuid"]),
        index=_whole(value["index"], 0, 1 << 16),
        method="replayed",
        scope=_text(value["scope"]),
        name=_text(value.get("name", "")),
        vendor=_text(value.get("vendor", "")),
        driver=_text(value.get("driver", "")),
        pci_bus_id=_text(value.get("pci_bus_id", "")),
        slices=tuple(
            Slice(_text(uuid), _text(name), _whole(gpu, 0, 1 << 16), _whole(compute, 0, 1 << 16))
            for uuid, name, gpu, compute in value.get("slices", ())
        ),
        counter_range_microjoules=None if span is None else _whole(span, 1, _MOST_COUNT),
    )


def _status(values: Mapping[str, Any]) -> Status:
    known: dict[str, Any] = {}
    for key, value in values.items():
        if key == "status":  # the device's number
            continue
        if key in ("memory_used_bytes", "memory_total_bytes"):
            known[key] = _whole(value, 0, _MOST_COUNT)
        elif key in ("limit_watts", "utilization_ratio", "temperature_celsius"):
            known[key] = _number(value)
        elif key == "clocks_hertz":
            known[key] = MappingProxyType({_text(domain): _number(hertz) for domain, hertz in value.items()})
        elif key == "throttle_reasons" and set(value) <= set(THROTTLE_REASONS):
            known[key] = frozenset(value)
        else:
            raise ValueError(f"unknown status {key} = {value!r}")
    return Status(**known)


def _whole(value: Any, low: int, high: int) -> int:
    if type(value) is not int or not low <= value <= high:
        raise ValueError(f"{str(value)[:40]} is no whole number from {low} to {high}")
    return value


def _number(value: Any) -> float:
    if type(value) not in (int, float) or not math.isfinite(value) or abs(value) > 1e15:  # noqa: PLR2004 (beyond any unit)
        raise ValueError(f"{str(value)[:40]} is no number")
    return float(value)


def _watts(value: Any) -> float | None:
    if value is None:
        return None
    if not abs(_number(value)) <= 1e6:  # noqa: PLR2004 (no device draws a megawatt; some say less than 0)
        raise ValueError(f"{value} W is impossible")
    return float(value)


def _text(value: Any) -> str:
    if not isinstance(value, str) or len(value) > LONGEST_TEXT or not value.isprintable():
        raise ValueError(f"{str(value)[:40]!r} is no text of at most {LONGEST_TEXT} printable characters")
    return value


def _why(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"no JSON: {error.msg}"
    if isinstance(error, ValueError):
        return str(error)
    return f"{error} is missing" if isinstance(error, KeyError) else f"a value of the wrong type: {error}"
