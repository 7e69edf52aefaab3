"""How durations are written on the command line, and moments in time. Knows nothing of what lasts so long."""

import re
from datetime import UTC, datetime

from perjoule.errors import UsageError

_DURATION = re.compile(r"(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>ms|s|m|h|)")
_UNIT_SECONDS = {"": 1.0, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def parse_duration(text: str) -> float:
    """Return seconds from ``60``, ``60s``, ``2m``, ``1.5h`` or ``500ms``.

    Raises:
        UsageError: anything else.
    """
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"{text!r} is no duration: write 60, 60s, 2m or 500ms")
    return float(match["number"]) * _UNIT_SECONDS[match["unit"]]


def parse_moment(text: str) -> float:
    """Return the Unix time of ``1767225600`` or ``2026-01-01T00:00:00Z``; without a zone it is UTC.

    Raises:
        UsageError: anything else.
    """
    try:
        return float(text) if re.fullmatch(r"\d+(\.\d+)?", text) else _iso(text)
    except ValueError:
        raise UsageError(f"{text!r} is no time: write Unix seconds or 2026-01-01T00:00:00Z") from None


def _iso(text: str) -> float:
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()
