"""Rows of a trace to lines. Files, clocks and meters are the recorder's."""

import json
import math
from collections.abc import Mapping
from typing import Any

from perjoule_exporter.meters import Device
from perjoule_exporter.trace import (
    COLUMNS,
    LONGEST_TEXT,
    VERSION,
    ClockRow,
    EndRow,
    FoundRow,
    Header,
    LostRow,
    Sample,
    StatusRow,
)


class Encoder:
    """Values to lines. Remembers the last reading of each device: one that says the same is two numbers."""

    def __init__(self) -> None:
        self._last: dict[int, tuple[Any, ...]] = {}

    def header(self, header: Header) -> str:
        """Return the first line."""
        return _line(
            {
                "perjoule_trace": VERSION,
                "start_unix_us": header.start_unix_us,
                "interval_us": header.interval_us,
                "columns": COLUMNS,
                "devices": [_identity(device) for device in header.devices],
            }
        )

    def sample(self, sample: Sample) -> str:
        """Return the line of one reading, powers rounded to milliwatts."""
        reading = sample.reading
        values = (
            reading.energy_microjoules,
            sample.stamp_us,
            _milli(reading.power_watts),
            _milli(reading.average_power_watts),
        )
        if self._last.get(sample.device) == values:
            return f"[{sample.device},{sample.t_us}]"
        self._last[sample.device] = values
        return _line([sample.device, sample.t_us, *values])

    def status(self, row: StatusRow) -> str:
        """Return the line of slow values: those that are known."""
        status = row.status
        values = {
            "limit_watts": status.limit_watts,
            "utilization_ratio": status.utilization_ratio,
            "memory_used_bytes": status.memory_used_bytes,
            "memory_total_bytes": status.memory_total_bytes,
            "temperature_celsius": status.temperature_celsius,
            "clocks_hertz": dict(status.clocks_hertz) or None,
            "throttle_reasons": None if status.throttle_reasons is None else sorted(status.throttle_reasons),
        }
        known = {key: value for key, value in values.items() if value is not None}
        return _line({"status": row.device, "t_us": row.t_us, **known})

    def other(self, row: LostRow | FoundRow | ClockRow | EndRow) -> str:
        """Return the line of anything else."""
        match row:
            case LostRow():
                self._last.pop(row.device, None)
                return _line({"lost": row.device, "t_us": row.t_us})
            case FoundRow():
                identity = {} if row.identity is None else {"identity": _identity(row.identity)}
                return _line({"found" if row.listed else "gone": row.device, "t_us": row.t_us, **identity})
            case ClockRow():
                return _line({"clock": row.ahead_us, "t_us": row.t_us})
            case EndRow():
                return _line({"end": row.rows, "t_us": row.t_us, "missed": row.missed})


def _identity(device: Device) -> Mapping[str, Any]:
    texts = {
        key: _text(getattr(device, key))
        for key in ("uuid", "method", "scope", "name", "vendor", "driver", "pci_bus_id")
    }
    return {
        "kind": device.kind.value,
        "index": device.index,
        **texts,
        "slices": [[_text(s.uuid), _text(s.name), s.gpu_instance, s.compute_instance] for s in device.slices],
        "range_uj": device.counter_range_microjoules,
    }


def _milli(watts: float | None) -> float | None:
    return None if watts is None or not math.isfinite(watts) else round(watts, 3)


def _text(text: str) -> str:
    """Return a text of a driver as a trace may hold it."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)[:LONGEST_TEXT]


def _line(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))
