"""Where a run stands, for whoever shows it. Written by the phases, read by the display; decides nothing."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from perjoule_loadgen.energy import Pair
from perjoule_loadgen.load import Load


@dataclass(slots=True)
class Status:
    """The present phase.

    Attributes:
        now: monotonic clock.
        phase: what goes on, in words.
        task: workload id, empty between tasks.
        number: its place among the tasks, from 1.
        count: how many tasks there are.
        began: monotonic time at which the phase began.
        seconds: how long it is meant to last, None when nobody knows.
        load: the load in progress, None when nothing is sent.
        edge: counters at the window's start by device, empty outside a window.
        entered: who is told of every change of phase.
    """

    now: Callable[[], float]
    phase: str = "starting"
    task: str = ""
    number: int = 0
    count: int = 0
    began: float = 0.0
    seconds: float | None = None
    load: Load | None = None
    edge: Mapping[str, Pair] = field(default_factory=dict)
    entered: list[Callable[[], None]] = field(default_factory=list)

    def enter(
        self, phase: str, seconds: float | None, load: Load | None = None, edge: Mapping[str, Pair] | None = None
    ) -> None:
        """Begin a phase."""
        self.phase, self.seconds, self.load, self.edge = phase, seconds, load, edge or {}
        self.began = self.now()
        for told in self.entered:
            told()
