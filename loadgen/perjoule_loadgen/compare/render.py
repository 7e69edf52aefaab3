"""A comparison as a value, and as a table, JSON, CSV or a page."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from html import escape
from importlib.resources import files
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from perjoule.errors import UsageError
from perjoule.units import ABSENT, scaled
from perjoule_loadgen.compare.alike import differences, doubts, obstacles
from perjoule_loadgen.compare.figures import FIGURES, Change, changes
from perjoule_loadgen.compare.gate import Gate
from perjoule_loadgen.config import Format
from perjoule_loadgen.html.charts import Bar, intervals
from perjoule_loadgen.html.scales import Axis

Document = Mapping[str, Any]
_HEAD = ("figure", "A", "B", "difference", "95 % / bounds", "verdict")


@dataclass(frozen=True, slots=True)
class Comparison:
    """One task in A and in B.

    Attributes:
        task: workload id.
        repeats: how many runs each side has.
        changes: by name of the figure.
        notes: what else differs, and what speaks against the runs.
        failed: why ``--fail-if`` fails, sentences.
    """

    task: str
    repeats: tuple[int, int]
    changes: Mapping[str, Change]
    notes: Sequence[str]
    failed: Sequence[str]


def compare(
    before: Sequence[Document], after: Sequence[Document], gates: Sequence[Gate], *, anyway: bool
) -> list[Comparison]:
    """Compare every task that both sides have.

    Raises:
        UsageError: there is none, or the work is not the same and ``anyway`` is false.
    """
    tasks = [task for task in dict.fromkeys(run["task"] for run in before) if any(r["task"] == task for r in after)]
    if not tasks:
        names = [", ".join(dict.fromkeys(run["task"] for run in side)) for side in (before, after)]
        raise UsageError(f"nothing to compare: A has {names[0]}, B has {names[1]}")
    return [
        _task(
            task,
            [r for r in before if r["task"] == task],
            [r for r in after if r["task"] == task],
            gates,
            anyway=anyway,
        )
        for task in tasks
    ]


def _task(
    task: str, before: Sequence[Document], after: Sequence[Document], gates: Sequence[Gate], *, anyway: bool
) -> Comparison:
    in_the_way = obstacles(before, after)
    if in_the_way and not anyway:
        raise UsageError(
            f"{task}: A and B are not the same work ({'; '.join(in_the_way)}); --anyway compares them all the same"
        )
    found = changes(before, after)
    notes = [f"NOT LIKE WITH LIKE: {each}" for each in in_the_way] + doubts("A", before) + doubts("B", after)
    failed = [reason for gate in gates if (reason := gate.failed(found)) is not None]
    return Comparison(task, (len(before), len(after)), found, [*notes, *differences(before, after)], failed)


def rendered(out: Console, format_: Format, found: Sequence[Comparison], names: tuple[str, str]) -> str:
    """Return comparisons as ``format_``; ``names`` are what A and B are."""
    if format_ is Format.JSON:
        content = [asdict(each) for each in found]
        return json.dumps({"schema": "perjoule.compare/1", "a": names[0], "b": names[1], "tasks": content}, indent=2,
                          ensure_ascii=False, allow_nan=False) + "\n"  # fmt: skip
    if format_ is Format.CSV:
        return _csv(found)
    if format_ is Format.HTML:
        return _page(found, names)
    with out.capture() as captured:
        for each in found:
            _show(out, each, names)
    shown = captured.get()
    return shown if out.is_terminal else "\n".join(line.rstrip() for line in shown.splitlines()) + "\n"


def _cells(name: str, change: Change) -> tuple[str, ...]:
    figure = FIGURES[name]
    ratio = ABSENT if change.ratio is None else f"{change.ratio:+.1%}"
    bounds = ABSENT if change.low is None or change.high is None else f"{change.low:+.1%} to {change.high:+.1%}"
    return (
        figure.title,
        scaled(change.before, figure.unit),
        scaled(change.after, figure.unit),
        ratio,
        bounds,
        verdict(change),
    )


def verdict(change: Change) -> str:
    """Return in a word whether a figure differs."""
    if change.ratio is None:
        return ABSENT
    return {True: "differs", False: "no difference shown", None: "unknown"}[change.differs]


def _show(out: Console, found: Comparison, names: tuple[str, str]) -> None:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, title=_title(found), title_justify="left", title_style="bold",
                  header_style="bold" if out.is_terminal else "")  # fmt: skip
    for number, title in enumerate(_HEAD):
        table.add_column(title, justify="left" if number in {0, len(_HEAD) - 1} else "right", no_wrap=True)
    for name, change in found.changes.items():
        if change.before is not None or change.after is not None:
            table.add_row(*_cells(name, change))
    out.print(table)
    for line in _below(found, names):
        out.print(Text(line), soft_wrap=True)


def _title(found: Comparison) -> str:
    return f"{found.task}: {_runs(found.repeats[0])} of A, {_runs(found.repeats[1])} of B"


def _runs(count: int) -> str:
    return f"{count} run{'s' * (count != 1)}"


def _below(found: Comparison, names: tuple[str, str]) -> list[str]:
    bases = dict.fromkeys(change.basis for change in found.changes.values() if change.basis)
    return [
        f"  A {names[0]}",
        f"  B {names[1]}",
        *(f"  {basis}" for basis in bases),
        *(f"  {note}" for note in found.notes),
        *(f"  FAILED {reason}" for reason in found.failed),
        "",
    ]


def _csv(found: Sequence[Comparison]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("task", "figure", "a", "b", "ratio", "low", "high", "p", "verdict", "basis"))
    for each in found:
        for name, change in each.changes.items():
            shown = (change.before, change.after, change.ratio, change.low, change.high, change.p)
            cells = ("" if value is None else value for value in shown)
            writer.writerow((each.task, name, *cells, verdict(change), change.basis or change.absent))
    return out.getvalue()


def _page(found: Sequence[Comparison], names: tuple[str, str]) -> str:
    style = files("perjoule_loadgen").joinpath("html", "report.css").read_text(encoding="utf-8")
    body = "".join(_section(each) for each in found)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport"'
        ' content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">'
        f"<title>loadgen compare</title><style>{style}</style></head><body><main><h1>A against B</h1>"
        f"<p>A: {escape(names[0])}<br>B: {escape(names[1])}</p>{body}</main></body></html>\n"
    )


def _section(found: Comparison) -> str:
    ends = [end for each in found.changes.values() for end in (each.ratio, each.low, each.high, 0.0) if end is not None]
    pad = (max(ends) - min(ends)) * 0.1 or 0.1
    axis = Axis(min(ends) - pad, max(ends) + pad, "%")
    bars = [
        Bar(FIGURES[name].title, each.ratio, each.low, each.high, " · ".join(_cells(name, each)[3:]), each.basis,
            own=bool(each.differs))
        for name, each in found.changes.items() if each.ratio is not None
    ]  # fmt: skip
    rows = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in _cells(name, each)) + "</tr>"
        for name, each in found.changes.items()
    )
    head = "".join(f"<th>{title}</th>" for title in _HEAD)
    told = "".join(f"<p class='told warning'>{escape(note)}</p>" for note in found.notes)
    failed = "".join(f"<p class='told reason'><b>FAILED</b> {escape(reason)}</p>" for reason in found.failed)
    return (
        f"<section><h2>{escape(_title(found))}</h2>{failed}{told}<figure class='chart'>{intervals(bars, axis)}</figure>"
        f"<div class='scroll'><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div></section>"
    )
