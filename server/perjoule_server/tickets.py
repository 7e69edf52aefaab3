"""A request on its way through the engine, and what becomes of it. Plain values; they know nothing of threads."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from perjoule_server.batching import Job
from perjoule_server.cost import Cost
from perjoule_server.pieces import Pieces


@dataclass(frozen=True, slots=True)
class Timing:
    """What a request saw of the device: its wait, and how long and in how large a batch it ran."""

    queue_seconds: float
    batch_seconds: float
    batch_size: int


@dataclass(frozen=True, slots=True)
class Reply:
    """A finished reply with what its headers and metrics tell."""

    body: bytes
    media_type: str
    timing: Timing
    input_tokens: int
    output_tokens: int
    work_units: float


@dataclass(slots=True, eq=False)
class Ticket:
    """A request on its way.

    Attributes:
        future: what its client waits on.
        cost: its spans.
        pieces: what its client reads along, if it does; closed when it ends.
        job: its place in the lane, once it is prepared.
        ended: how it ended, if nobody waits for it any more: ``cancelled`` or ``expired``.
    """

    future: asyncio.Future[Reply]
    cost: Cost
    pieces: Pieces | None = None
    job: Job | None = None
    ended: str | None = None

    def forsake(self, error: Exception, outcome: str) -> None:
        """Wait no longer; ``error`` is what its client is told, if it is there. On the event loop."""
        if not self.future.done():
            self.ended = outcome
            self.future.set_exception(error)

    def outcome(self) -> str:
        """Return how a request ended that nobody waits for: a cancelled handler is a cancelled request."""
        return self.ended or ("cancelled" if self.future.cancelled() else "error")


Results = Sequence[tuple[Ticket, Reply | Exception]]
"""Requests with what becomes of them."""
