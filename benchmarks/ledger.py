"""How right the ledger is, and what it costs: against a device whose truth is known, beside what other programs do.

    .venv/bin/python benchmarks/ledger.py                            five minutes of virtual time a run, minutes in all
    .venv/bin/python benchmarks/ledger.py --quick --check            a part of it in seconds; 1 when a target is missed
    .venv/bin/python benchmarks/ledger.py --markdown docs/energy.md  put the tables between the marks of that file

Nothing is waited for: times are virtual, the ledger and the reading of counters are the exporter's own.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

if __package__ in {None, ""}:  # called by its file name: its neighbours are found from the repository's root
    sys.path[:0] = [str(Path(__file__).resolve().parent.parent / folder) for folder in (".", "exporter")]

from benchmarks.ledger_checks import MOST_TASK, Run, checks, unmarked, worst
from benchmarks.ledger_cost import BATCHES_AN_INTERVAL, REPEATS, REQUESTS, batch_seconds
from benchmarks.ledger_simulator import DRIFT_WATTS, IDLE_WATTS, SEEN, Case, Device
from benchmarks.ledger_ways import by_average_power, by_ledger, by_window, by_window_or_power
from benchmarks.report import Table, checks_table, markdown, plain
from benchmarks.summary import scaled

SEEDS = (1, 2, 3)
LOADS = (0.1, 0.5, 0.9, 1.0)
TICKS = (0.02, 0.1)

OTHERS: dict[str, Callable[[Device], dict[str, float]]] = {
    "counter over the window": by_window,
    "the same, or power × time": by_window_or_power,
    "average power × time": by_average_power,
}

BEGIN, END = "<!-- benchmarks/ledger.py: begin -->", "<!-- benchmarks/ledger.py: end -->"


@dataclass(frozen=True, slots=True)
class Row:
    """One combination, over all seeds."""

    case: Case
    runs: tuple[Run, ...]
    others: tuple[dict[str, float], ...]  # the worst errors of each of OTHERS, by task


def main(argv: Sequence[str] | None = None) -> int:
    """Run what was asked for and return the exit code."""
    asked = _parser().parse_args(argv)
    seeds = SEEDS[:1] if asked.quick else SEEDS
    cost = batch_seconds(100 if asked.quick else 300)  # first: a large heap costs more to walk through
    rows = []
    for case in _cases(quick=asked.quick):
        began = time.monotonic()
        rows.append(_row(case, seeds))
        if asked.verbose:
            print(f"{time.monotonic() - began:5.1f} s  {' | '.join(_cells(rows[-1]))}", file=sys.stderr)
    found = checks([run for row in rows for run in row.runs], cost)
    tables = [
        _table("Stamps mark the ticks", [row for row in rows if row.case.stamps and not row.case.twins]),
        _table("Ticks are found by reading", [row for row in rows if not row.case.stamps]),
        _table("Two tasks always at the same time", [row for row in rows if row.case.twins]),
        _unmarked_table(rows),
        checks_table(found),
    ]
    cost_line = (
        f"A batch of {REQUESTS} requests, {BATCHES_AN_INTERVAL} to an interval, costs {scaled(cost, 's')} of CPU"
        f" (median of {REPEATS} runs)."
    )
    print("\n".join([*map(plain, tables), cost_line]))
    if asked.markdown is not None:
        texts = [markdown(table).replace("## ", "#### ", 1) for table in tables if table.rows]
        _write(asked.markdown, "\n".join([*texts, cost_line]))
    return int(asked.check and not all(check.passed for check in found))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="benchmarks/ledger.py",
        description="Holds the ledger against a simulated device whose truth is known, beside other ways.",
        allow_abbrev=False,
    )
    parser.add_argument("--quick", action="store_true", help="one seed, a minute of virtual time, fewer combinations")
    parser.add_argument("--check", action="store_true", help="exit with 1 when a target is missed")
    parser.add_argument("--markdown", metavar="FILE", type=Path, help=f"put the tables between {BEGIN} and {END} there")
    parser.add_argument("--verbose", action="store_true", help="say each row as it is found")
    return parser


def _cases(*, quick: bool) -> list[Case]:
    seconds, loads = (60.0, (0.5, 1.0)) if quick else (300.0, LOADS)
    every = [
        Case(load, streams, tick, full=full, drift=drift)
        for tick, full, streams, drift, load in product(TICKS, (True, False), (1, 2), (False, True), loads)
    ]
    read = [
        Case(load, streams, tick, stamps=False)
        for tick, streams, load in product(
            TICKS, (1, 2), loads[:1] if quick else loads
        )  # a minute is too short for more
    ]
    twins = [Case(0.5, 2, tick, twins=True) for tick in TICKS]
    return [replace(case, seconds=seconds) for case in (*every, *read, *twins)]


def _row(case: Case, seeds: Sequence[int]) -> Row:
    runs, others = [], []
    for seed in seeds:
        device = Device(replace(case, seed=seed))
        runs.append(Run.of(device, by_ledger(device)))
        others.append([_errors(device, way(device)) for way in OTHERS.values()])
    columns = zip(*others, strict=True)
    return Row(
        case, tuple(runs), tuple({task: worst(e[task] for e in column) for task in case.tasks} for column in columns)
    )


def _errors(device: Device, joules: dict[str, float]) -> dict[str, float]:
    return {task: joules[task] / true - 1 for task, true in device.truth.items()}


def _table(title: str, rows: Sequence[Row]) -> Table:
    tasks = " / ".join(rows[0].case.tasks) if rows else ""
    headings = ("tick", "sensor", "streams", "idle", "load", "ledger, total", f"ledger: {tasks}", *OTHERS)
    return Table(title, headings, [_cells(row) for row in rows], _NOTES)


def _unmarked_table(rows: Sequence[Row]) -> Table:
    """Return every combination of which a figure is far off and has no mark, the worst first."""
    found: list[tuple[float, tuple[str, ...]]] = []
    for row in rows:
        for task in row.case.tasks:
            errors = [error for of_task, error in unmarked(row.runs) if of_task == task]
            wrong = [error for error in errors if abs(error) > MOST_TASK]
            if wrong:
                cells = (*_combination(row.case), task, _percent(worst(wrong)), f"{len(wrong)} of {len(errors)}")
                found.append((-abs(worst(wrong)), cells))
    figures = sum(len(unmarked(row.runs)) for row in rows)
    note = f"Of {figures} figures without a mark. No target: the mark is of the watts' standard error, and no bound."
    headings = ("tick", "sensor", "streams", "idle", "load", "ticks by", "task", "error, %", "runs")
    return Table(
        f"Off by over {MOST_TASK:.0%} without a mark", headings, [cells for _, cells in sorted(found)], (note,)
    )


_NOTES = (
    "Errors in per cent of the truth, the worst of the seeds, task by task; * is the ledger's low-confidence mark.",
    (
        f"A part-time sensor sees the last {SEEN:.0%} of each tick. Drifting idle power rises from {IDLE_WATTS:g} W by"
        f" {DRIFT_WATTS:g} W over five minutes."
    ),
)


def _cells(row: Row) -> tuple[str, ...]:
    case = row.case
    ours = [
        f"{_percent(worst(run.errors[task] for run in row.runs))}{'*' * any(task in run.marks for run in row.runs)}"
        for task in case.tasks
    ]
    return (
        *_combination(case)[:-1],
        _percent(worst(run.total for run in row.runs)),
        " / ".join(ours),
        *(" / ".join(_percent(errors[task]) for task in case.tasks) for errors in row.others),
    )


def _combination(case: Case) -> tuple[str, ...]:
    return (
        f"{case.tick_seconds * 1000:g} ms",
        "full-time" if case.full else "part-time",
        str(case.streams),
        "drifting" if case.drift else "steady",
        f"{case.load:.0%}",
        "stamps" if case.stamps else "reading",
    )


def _percent(ratio: float) -> str:
    value = 100 * ratio
    text = f"{value:+.0f}" if abs(value) >= 10 else f"{value:+.1f}"  # noqa: PLR2004 (two digits)
    return "0" if text in {"+0.0", "-0.0"} else text.replace("-", "−")


def _write(path: Path, text: str) -> None:
    before, begin, rest = path.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        sys.exit(f"{path} has no lines {BEGIN} and {END}")
    path.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
