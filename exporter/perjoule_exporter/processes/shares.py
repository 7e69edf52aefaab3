"""How the energy of one interval is shared out over those who used the board in it. Pure.

The board's idle power goes to nobody; what is above it goes by the share of time in which each process kept the SMs
busy. What it does not know is power: of two processes that are busy for the same time, the one that draws more gets no
more. A process that only holds memory gets nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from perjoule_exporter.division import divided
from perjoule_exporter.processes.owner import IDLE, UNKNOWN, Owner

_PARTS = 1_000_000
"""Weights are integers, this many to a whole: no sum of them rounds."""


class Use(NamedTuple):
    """What one process had of a board: the share of time in which its kernels ran, None where that is not told."""

    owner: Owner
    ratio: float | None


@dataclass(frozen=True, slots=True)
class Look:
    """Who used a board between two monotonic times.

    Attributes:
        start: when it was looked at before.
        end: when it was looked at.
        uses: each process on the board; None where the driver does not tell.
        board_ratio: share of time in which any kernel ran; None where the driver does not tell.
    """

    start: float
    end: float
    uses: tuple[Use, ...] | None
    board_ratio: float | None = None

    def weights(self) -> Mapping[Owner, int]:
        """Return who gets what is above idle, and in which proportion; nobody when nothing ran.

        Where no process's share is told, the only one on the board has it all; of several, nobody can tell.
        """
        if self.uses is None:
            return {UNKNOWN: 1}
        told: dict[Owner, int] = {}
        for use in self.uses:
            if use.ratio is not None and use.ratio > 0:
                told[use.owner] = told.get(use.owner, 0) + max(1, round(use.ratio * _PARTS))
        if told or self._rested():
            return told
        only = self.uses[0] if len(self.uses) == 1 and self.uses[0].ratio is None else None
        return {UNKNOWN if only is None else only.owner: 1}

    def _rested(self) -> bool:
        """Whether nothing ran, of a board none of whose processes is told to have run."""
        if self.board_ratio is not None:
            return self.board_ratio == 0
        return not self.uses or any(use.ratio is not None for use in self.uses)


def shared(microjoules: int, idle_microjoules: int, look: Look) -> dict[Owner, int]:
    """Return the parts of ``microjoules``, of which ``idle_microjoules`` would have been used anyway. They add up."""
    weights = look.weights()
    if not weights:
        return {IDLE: microjoules}
    idle = min(microjoules, idle_microjoules) if look.uses is not None else 0
    parts = divided(microjoules - idle, list(weights.values()))
    return {IDLE: idle, **dict(zip(weights, parts, strict=True))}
