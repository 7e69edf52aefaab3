"""Arrivals as they once were: a file of timestamps becomes seconds from the first of them. Sends nothing."""

import json
import math
import re
from pathlib import Path

from perjoule.errors import UsageError

_MOST_BYTES = 500_000_000
_UNITS = {"s": 1.0, "ms": 1e-3}
_EXAMPLE = (
    'one time a line, such as 0.25, a CSV whose first column is the time, or {"timestamp": 250} with --trace-unit ms'
)


def read_trace(path: Path, unit: str) -> tuple[float, ...]:
    """Return seconds from the first request, ascending, of a file with a time in ``unit`` (s or ms) on each line.

    A line is a number, a row of a CSV that begins with one (its first line may be a heading), or an object with
    ``timestamp``, as in the published traces of Mooncake and BurstGPT.

    Raises:
        UsageError: the file cannot be used; the message names the line.
    """
    times = [at * _UNITS[unit] for number, line in enumerate(_lines(path), 1) for at in _time(path, number, line)]
    if not times:
        raise UsageError(f"--trace {path}: no times in it; write {_EXAMPLE}")
    first = min(times)
    return tuple(at - first for at in sorted(times))


def _lines(path: Path) -> list[str]:
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise UsageError(f"--trace {path}: it is over {_MOST_BYTES} bytes")
        return path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        raise UsageError(f"--trace {path} cannot be read: {getattr(error, 'strerror', None) or error}") from None


def _time(path: Path, number: int, line: str) -> list[float]:
    """Return the time of a line, nothing for a blank line or a heading."""
    if not (text := line.strip()) or text.startswith("#"):
        return []
    try:
        if text.startswith("{"):
            at = float(json.loads(text)["timestamp"])
        else:
            at = float(re.split(r"[,;\t ]", text, maxsplit=1)[0].strip('"'))
    except (ValueError, TypeError, LookupError, RecursionError):
        if number == 1 and not text.startswith("{"):
            return []
        raise UsageError(f"--trace {path}, line {number}: no time; write {_EXAMPLE}") from None
    if not math.isfinite(at):
        raise UsageError(f"--trace {path}, line {number}: {at} is no time")
    return [at]
