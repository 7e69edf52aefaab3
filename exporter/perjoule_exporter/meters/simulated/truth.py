"""The truth file: the true joules of every tick of every simulated board, and of every span on one, as JSON lines.

It holds what the boards used, whatever their sensors told and whoever could read them.
"""

import json
import logging
import os
from dataclasses import dataclass
from pathlib import Path

from perjoule.errors import UsageError
from perjoule_exporter.meters import MICRO, Work

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Tick:
    """The truth of one tick: Unix times, and microjoules of the tick and since the start.

    ``gpu_total_microjoules`` is the GPU's part where the board is a module, else None.
    """

    device: str
    number: int
    start: float
    end: float
    microjoules: int
    total_microjoules: int
    gpu_total_microjoules: int | None = None

    def as_json(self) -> str:
        """Return the tick as one line of the truth file."""
        line: dict[str, object] = {
            "device": self.device,
            "tick": self.number,
            "start_seconds": self.start,
            "end_seconds": self.end,
            "joules": self.microjoules / MICRO,
            "total_joules": self.total_microjoules / MICRO,
        }
        if self.gpu_total_microjoules is not None:
            line["gpu_total_joules"] = self.gpu_total_microjoules / MICRO
        return json.dumps(line)


@dataclass(frozen=True, slots=True)
class Span:
    """The truth of one span on a board: Unix times, and microjoules that the board drew for it."""

    device: str
    work: Work
    start: float
    end: float
    microjoules: int

    def as_json(self) -> str:
        """Return the span as one line of the truth file."""
        line = {
            "device": self.device,
            **self.work._asdict(),
            "start_seconds": self.start,
            "end_seconds": self.end,
            "span_joules": self.microjoules / MICRO,
        }
        return json.dumps(line)


class TruthFile:
    """JSON lines of every tick and span, each written whole: a reader never sees half a line but at the very end."""

    def __init__(self, path: Path) -> None:
        """Create or empty the file.

        Raises:
            UsageError: it cannot be written.
        """
        self._path = path
        try:
            self._file: int | None = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o644)
        except OSError as error:
            raise UsageError(f"cannot write the truth file {path}: {error.strerror}") from error

    def write(self, tick: Tick | Span) -> None:
        """Append one tick, or a span. The first failure is said and ends the file, not the measurement."""
        if self._file is None:
            return
        try:
            line = tick.as_json().encode() + b"\n"
            if os.write(self._file, line) != len(line):
                raise OSError(None, "the disk took only part of a line")  # noqa: TRY301 (one place says what happened)
        except OSError as error:
            _LOG.warning("the truth file %s ends here: %s", self._path, error.strerror)
            self.close()

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
