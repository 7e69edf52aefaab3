"""The account of one board: its energy, interval by interval, meets those who used it in that time. Pure.

Both come with their times, and late: a counter tells of an interval when it is over, a driver of its processes once a
second. What nobody was seen to use in time is unknown's: while the driver did not answer, while the exporter was down.
The board's idle power is the lowest that it drew while nothing ran, and until that was seen nothing counts as idle
while something runs.
"""

import math
from collections import deque
from collections.abc import Mapping
from typing import Any, NamedTuple

from perjoule_exporter.energy import Used
from perjoule_exporter.meters import MICRO
from perjoule_exporter.processes.owner import UNKNOWN, Owner
from perjoule_exporter.processes.rows import Rows
from perjoule_exporter.processes.shares import Look, shared

_SHORTEST_SECONDS = 0.5
"""No idle power is learned from less: a counter's tick of 100 ms weighs too much in it."""

_WHOLE = 0.99
"""Nor from an interval of which less than this is known."""


class _Taken(NamedTuple):
    microjoules: int
    seconds: float  # of which the counter told the energy
    counted: bool  # all of it, with no reset in it


class Account:
    """The rows of one board. ``patience``: seconds after which energy that nobody was seen to use is unknown's."""

    def __init__(self, most_processes: int, patience: float) -> None:
        self._most = most_processes
        self._patience = patience
        self._rows = Rows(most_processes)
        self._told = False
        self._idle_watts: float | None = None
        self._pending: deque[Used] = deque()
        self._until = float("-inf")  # the energy of later times has not come yet
        self._looks: deque[Look] = deque()

    @property
    def idle_watts(self) -> float | None:
        """The lowest power while nothing ran; None while that is not known."""
        return self._idle_watts

    def begin(self, total: int, saved: Any) -> None:
        """Go on from what was saved, if it was, on a board that has used ``total`` microjoules; the rest is unknown's.

        Raises:
            KeyError, TypeError, ValueError, IndexError: ``saved`` is not what an account saves. Nothing is taken over.
        """
        rows, told, idle = Rows(self._most), False, None
        if saved is not None:
            rows.restore(saved["rows"])
            told, idle = bool(saved["told"]), None if saved["idle_watts"] is None else float(saved["idle_watts"])
            if idle is not None and not (math.isfinite(idle) and idle >= 0):
                raise ValueError(f"{idle} W is no power")
        missing = total - rows.total
        if missing < 0:
            raise ValueError(f"the rows hold {-missing} µJ more than the board has used")
        rows.add(UNKNOWN, missing)
        rows.share({UNKNOWN: rows.unshared})
        self._rows, self._told, self._idle_watts = rows, told, idle

    def used(self, used: Used, now: float) -> None:
        """Take over what the board used, in time. Nobody can tell any more of the part that is long ago."""
        self._until, forgotten = used.end, now - self._patience
        if used.start < forgotten:
            old, used = _cut(used, forgotten)
            self._rows.add(UNKNOWN, old.microjoules)
        self._rows.receive(used.microjoules)
        self._pending.append(used)
        self._settle(now)

    def look(self, look: Look, now: float) -> None:
        """Take over who used the board."""
        self._told = self._told or look.uses is not None
        self._looks.append(look)
        self._settle(now)

    def shown(self) -> Mapping[Owner, int] | None:
        """Return the microjoules of each owner, together all that the board used; None if the driver never told."""
        return self._rows.shown() if self._told else None

    def saved(self) -> dict[str, Any]:
        """Return what ``begin`` needs, as JSON values."""
        return {"rows": self._rows.saved(), "told": self._told, "idle_watts": self._idle_watts}

    def _settle(self, now: float) -> None:
        while self._looks and (self._until >= self._looks[0].end or now - self._looks[0].end > self._patience):
            look = self._looks.popleft()
            self._nobody_looked(look.start)
            self._share(look, self._take(look.end))
        if not self._looks:
            self._nobody_looked(now - self._patience)

    def _nobody_looked(self, until: float) -> None:
        if self._pending and self._pending[0].start < until:
            self._rows.share({UNKNOWN: self._take(until).microjoules})

    def _share(self, look: Look, taken: _Taken) -> None:
        length = look.end - look.start
        if (
            length >= _SHORTEST_SECONDS
            and taken.counted
            and taken.seconds >= _WHOLE * length
            and not look.weights()
        ):  # fmt: skip
            watts = taken.microjoules / MICRO / taken.seconds
            self._idle_watts = watts if self._idle_watts is None else min(watts, self._idle_watts)
        idle = round((self._idle_watts or 0.0) * taken.seconds * MICRO)
        self._rows.share(shared(taken.microjoules, idle, look))

    def _take(self, until: float) -> _Taken:
        """Take the pending energy of all time up to ``until``; of an interval around it the part by time."""
        microjoules, seconds, counted = 0, 0.0, True
        while self._pending and self._pending[0].start < until:
            piece = self._pending.popleft()
            if piece.end > until:
                piece, rest = _cut(piece, until)
                self._pending.appendleft(rest)
            microjoules += piece.microjoules
            seconds += piece.end - piece.start
            counted = counted and piece.counted
        return _Taken(microjoules, seconds, counted)


def _cut(piece: Used, time: float) -> tuple[Used, Used]:
    """Return the parts of an interval before and after a time that is after its start; the second may be empty."""
    time = min(time, piece.end)
    if time <= piece.start:
        return piece, Used(0, piece.end, piece.end, piece.counted)
    first = round(piece.microjoules * ((time - piece.start) / (piece.end - piece.start)))
    return (
        Used(first, piece.start, time, piece.counted),
        Used(piece.microjoules - first, time, piece.end, piece.counted),
    )
