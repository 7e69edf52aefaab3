"""The rows of ``requests.csv`` and ``power.csv``: how they are written, and what they are when read back.

Pure but for the files it is given. A file that a crash cut off loses its last, incomplete line and nothing else.
"""

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from perjoule.errors import UsageError

REQUESTS = (
    "phase", "intended", "sent", "done", "latency_seconds", "status", "error", "output_tokens", "input", "method",
    "input_tokens", "first_token_seconds",
)  # fmt: skip
POWER = ("time", "device", "phase", "joules_total", "mean_watts", "instant_watts", "charged", "method")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RequestRow:
    """One request. Times are Unix seconds; ``latency`` and ``first_token`` count from the intended send."""

    phase: str
    intended: float
    sent: float
    done: float
    latency: float | None
    status: int
    error: str
    output_tokens: int | None
    input: str
    input_tokens: int | None = None
    first_token: float | None = None


@dataclass(frozen=True, slots=True)
class PowerRow:
    """One update of a counter; ``mean_watts`` is since the update before it."""

    time: float
    device: str
    phase: str
    joules: float
    mean_watts: float
    instant_watts: float | None
    charged: bool


def lines(rows: Iterable[Sequence[object]]) -> Iterator[str]:
    """Return rows as lines of CSV."""
    for row in rows:
        line = io.StringIO()
        csv.writer(line, lineterminator="\n").writerow(row)
        yield line.getvalue()


def read_requests(path: Path) -> Iterator[RequestRow]:
    """Return the rows of a ``requests.csv``.

    Raises:
        UsageError: it cannot be read, or a line of it is none of ours; the message names it.
    """
    return _read(path, REQUESTS, _request)


def read_power(path: Path) -> Iterator[PowerRow]:
    """Return the rows of a ``power.csv``.

    Raises:
        UsageError: as ``read_requests``.
    """
    return _read(path, POWER, _power)


def _request(row: Mapping[str, str]) -> RequestRow:
    return RequestRow(
        row["phase"], float(row["intended"]), float(row["sent"]), float(row["done"]),
        float(row["latency_seconds"]) if row["latency_seconds"] else None, int(row["status"] or 0), row["error"],
        int(row["output_tokens"]) if row["output_tokens"] else None, row["input"],
        int(row["input_tokens"]) if row["input_tokens"] else None,
        float(row["first_token_seconds"]) if row["first_token_seconds"] else None,
    )  # fmt: skip


def _power(row: Mapping[str, str]) -> PowerRow:
    return PowerRow(
        float(row["time"]), row["device"], row["phase"], float(row["joules_total"]), float(row["mean_watts"]),
        float(row["instant_watts"]) if row["instant_watts"] else None, row["charged"] == "yes",
    )  # fmt: skip


def _read(path: Path, names: Sequence[str], made: Callable[[Mapping[str, str]], T]) -> Iterator[T]:
    try:
        with path.open(encoding="utf-8", errors="replace", newline="") as file:
            reader = csv.DictReader(_whole_lines(file))
            if missing := [name for name in names if name not in (reader.fieldnames or ())]:
                raise UsageError(f"{path} is no table of loadgen: it has no column {missing[0]}")
            for row in reader:
                yield made(row)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, TypeError, csv.Error) as error:
        raise UsageError(f"{path}, line {reader.line_num}: not a row of loadgen's ({error})") from error


def _whole_lines(file: Iterable[str]) -> Iterator[str]:
    """Leave out a last line without its end: a program that was killed was writing it."""
    return (line for line in file if line.endswith("\n"))
