"""The targets of the ledger's accuracy and cost, held against runs on a simulated device."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from benchmarks.ledger_cost import TARGET_SECONDS
from benchmarks.ledger_simulator import Case, Device
from benchmarks.ledger_ways import Outcome
from benchmarks.summary import Check, scaled

MOST_TOTAL, MOST_TASK = 0.005, 0.05
SHORTEST = "8 ms"


@dataclass(frozen=True, slots=True)
class Run:
    """One run: errors as ratios of the truth, by task and of all together, and the marked tasks.

    ``conserved``: everything sums to what the counter showed, to the microjoule.
    """

    case: Case
    errors: dict[str, float]
    total: float
    marks: frozenset[str]
    conserved: bool

    @classmethod
    def of(cls, device: Device, outcome: Outcome) -> "Run":
        """Hold what the ledger said against the truth."""
        shown = outcome.snapshot
        charged = sum(charge.microjoules for row in shown.charged.values() for charge in row.outcomes.values())
        return cls(
            device.case,
            {task: outcome.joules.get(task, 0.0) / true - 1 for task, true in device.truth.items()},
            sum(outcome.joules.values()) / sum(device.truth.values()) - 1,
            outcome.marks,
            shown.counter == charged + shown.idle + sum(shown.unattributed.values()) + shown.open
            and shown.counter == outcome.counter,
        )


def unmarked(runs: Iterable[Run]) -> list[tuple[str, float]]:
    """Return tasks and errors of all figures that have no mark."""
    return [(task, run.errors[task]) for run in runs for task in run.case.tasks if task not in run.marks]


def worst(errors: Iterable[float]) -> float:
    """Return the error that is furthest from 0."""
    return max(errors, key=abs)


def checks(runs: Sequence[Run], batch_seconds: float) -> list[Check]:
    """Return the targets and what became of them."""
    full = [run for run in runs if run.case.full and not run.case.twins]
    single = [run for run in full if run.case.streams == 1]
    blind = [run for run in runs if not run.case.full]
    twins = [run for run in runs if run.case.twins]
    needless = [task for run in single if run.case.stamps for task in run.marks]
    blind_marks = sum(SHORTEST in run.marks for run in blind)
    twin_marks = sum(run.marks == set(run.case.tasks) for run in twins)
    total, task_error = worst(run.total for run in full), worst(e for run in single for e in run.errors.values())
    return [
        Check("parts sum to the counter", f"{sum(run.conserved for run in runs)} of {len(runs)}", "all",
              all(run.conserved for run in runs)),
        Check("totals, full-time sensor", f"{total:.2%}", f"≤ {MOST_TOTAL:.1%}", abs(total) <= MOST_TOTAL),
        Check("every task, full-time sensor, one stream", f"{task_error:.1%}", f"≤ {MOST_TASK:.0%}",
              abs(task_error) <= MOST_TASK),
        Check(f"{SHORTEST} under a part-time sensor is marked", f"{blind_marks} of {len(blind)}", "all",
              blind_marks == len(blind)),
        Check("tasks that always run together are marked", f"{twin_marks} of {len(twins)}", "all",
              twin_marks == len(twins)),
        Check("marks with stamps, full-time sensor, one stream", str(len(needless)), "none", not needless),
        Check("CPU of a batch of 16", scaled(batch_seconds, "s"), f"≤ {scaled(TARGET_SECONDS, 's')}",
              batch_seconds <= TARGET_SECONDS),
    ]  # fmt: skip
