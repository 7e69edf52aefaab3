"""One model that serves one workload: its lane, its state, and whether its weights are in memory.

The event loop changes all of it but ``task`` and ``fresh``, which are the device thread's.
"""

import asyncio
from dataclasses import dataclass, field
from enum import StrEnum

from perjoule_server.batching import Lane
from perjoule_server.metrics import ModelMetrics
from perjoule_server.schemas import Envelope
from perjoule_server.tasks.base import ModelSpec, Task
from perjoule_server.tickets import Ticket


class ModelState(StrEnum):
    """What ``/v1/models`` says of a model.

    ``UNLOADED`` ones are loaded by the first request that asks for them, unless they were unloaded by hand; ``FAILED``
    ones too, some time later.
    """

    UNLOADED = "unloaded"
    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a model could not be loaded, and from when on (on the engine's clock) that is tried again."""

    reason: str
    until: float


@dataclass(slots=True, eq=False)
class Model:
    """One model that serves one workload.

    Attributes:
        spec: what it is.
        metrics: its series.
        lane: its queue; open while ``task`` is there.
        state: what is told of it.
        task: it, while it is loaded.
        in_flight: requests that were accepted and not answered.
        used: when it was last asked for, on the engine's clock.
        fresh: whether it was loaded and has served no batch since.
        withdrawn: whether it was unloaded by hand and has to be loaded so.
        trouble: why it could not be loaded, if so.
        waiting: requests that wait for it to be loaded, with their bodies and deadlines.
        loading: ends when the load under way does.
        unloading: ends when the unloading under way does.
    """

    spec: ModelSpec
    metrics: ModelMetrics
    lane: Lane
    state: ModelState = ModelState.UNLOADED
    task: Task | None = None
    in_flight: int = 0
    used: float = 0.0
    fresh: bool = False
    withdrawn: bool = False
    trouble: Trouble | None = None
    waiting: dict[Ticket, tuple[Envelope, float]] = field(default_factory=dict)
    loading: asyncio.Future[None] | None = None
    unloading: asyncio.Future[None] | None = None

    def __post_init__(self) -> None:
        self.metrics.watch(lambda: float(len(self.lane.queue) + len(self.waiting)), lambda: float(self.in_flight))
