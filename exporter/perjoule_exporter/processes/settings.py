"""How processes are asked for: how often, where their names are, and how many series there may be."""

from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
MAX_SERIES = 50
"""Of processes, for each board."""

SHORTEST_SECONDS, LONGEST_SECONDS = 0.5, 10.0
"""Drivers sample processes six times a second, or once, and keep some seconds of it."""


@dataclass(frozen=True, slots=True)
class ProcessSettings:
    """Settings of ``--collector.enable process``. ``max_series``: of processes, for each board."""

    interval_seconds: float = 1.0
    procfs: Path = PROC
    max_series: int = MAX_SERIES

    @property
    def patience_seconds(self) -> float:
        """How long energy waits for word of who used it."""
        return 2 * self.interval_seconds + 1.0
