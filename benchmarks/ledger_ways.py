"""Ways to say what each task cost, run on one simulated device: the ledger, and what other programs do.

Each returns joules by task over the whole run. It knows how the others work from their code, and runs none of them.
"""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from benchmarks.ledger_simulator import Device, Poll, Work
from perjoule_exporter.ledger import Interval, Kind, Ledger, Share, Snapshot
from perjoule_exporter.meters import MICRO

FLUSH_SECONDS = 0.01
"""A client's lines are sent so often."""

MODEL, PHASE = "model", "batch"


class Opened(NamedTuple):
    """The line of a start."""

    work: Work


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the ledger said in the end.

    Attributes:
        joules: by task.
        marks: the tasks whose watts carry the low-confidence mark.
        snapshot: all of it.
        counter: microjoules that it was told.
        cpu_seconds: of this process, of the ledger and the loop around it.
    """

    joules: dict[str, float]
    marks: frozenset[str]
    snapshot: Snapshot
    counter: int
    cpu_seconds: float


def by_ledger(device: Device) -> Outcome:
    """Split by the ledger, told as it would be: lines late by up to a flush, energy by polling."""
    ledger = Ledger()
    calls = _calls(device)
    counter = 0
    began = time.process_time()
    for at, _, number, what in calls:
        if isinstance(what, Opened):
            ledger.opened(1, number, Kind(what.work.task, MODEL, PHASE), what.work.start, at)
        elif isinstance(what, Work):
            ledger.closed(1, number, what.end, (Share(str(number), 1.0, "ok"),), at)
        else:
            if what.used is not None:
                counter += what.used.microjoules
                ledger.used(Interval.of(what.used)._replace(idle=what.idle))
            ledger.settle(at)
    ledger.settle(at + 10.0)
    cpu = time.process_time() - began
    snapshot = ledger.snapshot()
    joules = {
        owner.task: sum(charge.microjoules for charge in charged.outcomes.values()) / MICRO
        for owner, charged in snapshot.charged.items()
    }
    marks = frozenset(learned.kind.task for learned in snapshot.learned if learned.low_confidence)
    return Outcome(joules, marks, snapshot, counter, cpu)


def by_window(device: Device) -> dict[str, float]:
    """Take the counter at the end of each run less that at its start, as ZeusMonitor's windows do."""
    return _summed(device, lambda start, end: device.counted(end) - device.counted(start))


def by_window_or_power(device: Device) -> dict[str, float]:
    """Do the same, and take power × time where the counter did not move: Zeus's ``approx_instant_energy``."""

    def joules(start: float, end: float) -> float:
        return device.counted(end) - device.counted(start) or device.sensed(end) * (end - start)

    return _summed(device, joules)


def by_average_power(device: Device) -> dict[str, float]:
    """Take the driver's average power of the last second × time."""
    return _summed(device, lambda start, end: device.averaged(end) * (end - start))


def _summed(device: Device, joules: Callable[[float, float], float]) -> dict[str, float]:
    sums = dict.fromkeys(device.case.tasks, 0.0)
    for work in device.work:
        sums[work.task] += joules(work.start, work.end)
    return sums


def _calls(device: Device) -> list[tuple[float, int, int, Opened | Work | Poll]]:
    """Return everything that the ledger is told, in the order of the times at which it is."""
    rng = random.Random(device.case.seed)  # noqa: S311 (delays, no secrets)
    calls: list[tuple[float, int, int, Opened | Work | Poll]] = []
    for number, work in enumerate(device.work):
        opened = work.start + rng.random() * FLUSH_SECONDS
        calls.append((opened, 0, number, Opened(work)))
        calls.append((max(opened, work.end + rng.random() * FLUSH_SECONDS), 1, number, work))
    calls += [(poll.time, 2, number, poll) for number, poll in enumerate(device.polls())]
    return sorted(calls, key=lambda call: call[:3])
