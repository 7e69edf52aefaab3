"""The final table, with the reasons and notes below it, and the same as CSV.

Prints to the consoles it is given; measures and judges nothing. Where stdout is no terminal no column is cut.
"""

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from perjoule.reference import study_figure
from perjoule.units import ABSENT, scaled, significant
from perjoule_loadgen.notes import WEAK, Document, notes
from perjoule_loadgen.projection import PER_DAY
from perjoule_loadgen.result import SIMULATED_BANNER

_WIDE = 500
"""Columns of a console that is no terminal: more than any line needs."""

_NAMED_TASKS = 4

_TITLE = "Energy and CO2e per inference"

_STYLES = {"VALID": "green", "INVALID": "bold red"}


def console(stream: Any) -> Console:
    """Return a console for ``stream``; as wide as needed, and without colours, where it is no terminal."""
    found = Console(file=stream, highlight=False)
    return found if found.is_terminal else Console(file=stream, highlight=False, width=_WIDE, color_system=None)


def percent(interval: Mapping[str, Any] | None) -> str:
    """Return the larger half of the interval relative to its value: ``±1.2 %``."""
    if interval is None or not interval["value"]:
        return ABSENT
    value = interval["value"]
    half = max(interval["high"] - value, value - interval["low"]) / value * 100
    return f"±{significant(half, 2)} %"


def figure(document: Document, name: str, unit: str = "J") -> str:
    """Return one of a run's three joules as shown: ``1.20 J``, an em dash where it is absent."""
    found = document["joules_per_inference"][name]
    return scaled(found["value"] if found else None, unit)


def _attributed(run: Document) -> str:
    """The ledger's figure; with a mark where the exporter does not know this work's watts well."""
    weak = run["joules_per_inference"]["attributed"] and run["attribution"]["low_confidence"]
    return figure(run, "attributed") + WEAK * bool(weak)


def _grams(run: Document) -> str:
    if run["carbon"] is None:
        return f"{ABSENT} (no zone)"
    return scaled(run["grams_per_inference"]["value"] if run["grams_per_inference"] else None, "g")


def _rate(run: Document) -> str:
    rate = run["throughput_per_second"]
    return ABSENT if rate is None else significant(rate)


def _promql(run: Document) -> str:
    return scaled(None if run["crosscheck"] is None else run["crosscheck"]["joules_per_inference"], "J")


def _study(run: Document) -> str:
    found = study_figure(run["task"])
    return scaled(found.joules_per_inference if found else None, "J")


def _latency(percent: str) -> Callable[[Document], str]:
    return lambda run: scaled(run["latency_seconds"][percent], "s")


_COLUMNS: Mapping[str, Callable[[Document], str]] = MappingProxyType(
    {
        "J/inference\ngross": lambda run: figure(run, "gross"),
        "\n±": lambda run: percent(run["joules_per_inference"]["gross"]),
        "\nactive": lambda run: figure(run, "active"),
        "\nattributed": _attributed,
        "\ngCO2e": _grams,
        "\ninf/s": _rate,
        "latency\np50": _latency("p50"),
        "latency\np95": _latency("p95"),
        "\nPromQL": _promql,
        "\nstudy [1]": _study,
    }
)
_DISPENSABLE = (
    "latency\np50",
    "\nPromQL",
    "\ninf/s",
    "latency\np95",
    "\n±",
    "\nactive",
    "\nattributed",
    "\nstudy [1]",
    "\ngCO2e",
)
"""Columns that a narrow terminal goes without, the first to go first. All are in ``run.json``."""


def _columns(runs: Sequence[Document]) -> list[str]:
    checked = any(run["crosscheck"] is not None for run in runs)
    return [title for title in _COLUMNS if checked or _COLUMNS[title] is not _promql]


def show(out: Console, runs: Sequence[Document], faults: Iterable[str], per_day: int = PER_DAY) -> None:
    """Print the table of documents of ``run.json`` and its notes; ``per_day`` requests are projected."""
    simulated = any(run["simulated"] for run in runs)
    if simulated:
        out.print(Text(f"=== {SIMULATED_BANNER} ===", style="bold yellow"))
    reasons = _grouped(runs, "reasons")
    make = partial(_table, out, runs, list(reasons))
    table, columns = fitting(out, make, _columns(runs), _DISPENSABLE)
    out.print(table)
    for number, (text, tasks) in enumerate(reasons.items(), 1):
        _note(out, f"reason {number}", f"{_named(tasks, runs)}: {text}", "red")
    for text, tasks in _grouped(runs, "warnings").items():
        _note(out, "warning", f"{_named(tasks, runs)}: {text}", "yellow")
    for fault in faults:
        _note(out, "warning", fault, "yellow")
    for title, text in notes(runs, {column.split("\n")[-1] for column in columns}, per_day):
        _note(out, title, text)
    if simulated:
        out.print(Text(f"=== {SIMULATED_BANNER} ===", style="bold yellow"))


def _grouped(runs: Sequence[Document], key: str) -> Mapping[str, list[str]]:
    """Return the tasks of every sentence, so that one cause is told once."""
    found: dict[str, list[str]] = {}
    for run in runs:
        for text in run[key]:
            found.setdefault(text, []).append(run["task"])
    return found


def _named(tasks: Sequence[str], runs: Sequence[Document]) -> str:
    if len(tasks) == len(runs) > 1:
        return "all tasks"
    return ", ".join(tasks) if len(tasks) <= _NAMED_TASKS else f"{len(tasks)} tasks"


def fitting(
    out: Console, make: Callable[[Sequence[str]], Table], columns: Sequence[str], dispensable: Iterable[str]
) -> tuple[Table, Sequence[str]]:
    """Return the table without the columns for which a terminal is too narrow, and the columns that are left."""
    for spare in (None, *dispensable):
        columns = [title for title in columns if title != spare]
        table = make(columns)
        if not out.is_terminal or Measurement.get(out, out.options.update(max_width=_WIDE), table).minimum <= out.width:
            break
    return table, columns


def caption(left_out: Sequence[str]) -> str | None:
    """Return the line that names the columns which are left out."""
    return f"a wider terminal also shows {', '.join(left_out)}" if left_out else None


def _table(out: Console, runs: Sequence[Document], reasons: Sequence[str], columns: Sequence[str]) -> Table:
    left_out = [" ".join(title.split()) for title in _columns(runs) if title not in columns]
    table = Table(
        box=SIMPLE_HEAD, pad_edge=False, title=_TITLE, title_justify="left", title_style="bold",
        caption=caption(left_out), caption_justify="left", header_style="bold" if out.is_terminal else "",
    )  # fmt: skip
    table.add_column("task\n", no_wrap=True, min_width=max((len(run["task"]) for run in runs), default=0))
    for title in columns:
        cells = [*title.split("\n"), *(_COLUMNS[title](run) for run in runs)]
        table.add_column(title, justify="right", no_wrap=True, min_width=max(map(cell_len, cells)))
    verdicts = [_verdict(run, reasons) for run in runs]
    table.add_column("verdict\n", no_wrap=True, min_width=max((verdict.cell_len for verdict in verdicts), default=0))
    for run, verdict in zip(runs, verdicts, strict=True):
        table.add_row(run["task"], *(_COLUMNS[title](run) for title in columns), verdict)
    return table


def _verdict(run: Document, reasons: Sequence[str]) -> Text:
    numbers = ",".join(str(reasons.index(text) + 1) for text in run["reasons"])
    word = "VALID" if run["verdict"] == "valid" else "INVALID"
    return Text(f"{word} {numbers}".strip(), style=_STYLES[word])


def _note(out: Console, title: str, text: str, style: str = "") -> None:
    grid = Table.grid(padding=(0, 1))
    grid.add_column(width=10, no_wrap=True, justify="right", style=style or "dim")
    grid.add_column(overflow="fold")
    grid.add_row(Text(title), Text(text))
    out.print(grid)


def csv_table(documents: Sequence[Mapping[str, Any]]) -> str:
    """Return the documents as CSV: one row for a task, nested keys joined by dots, lists by semicolons."""
    rows = [_flat(document) for document in documents]
    names = list(dict.fromkeys(name for row in rows for name in row))
    out = io.StringIO()
    writer = csv.DictWriter(out, names, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def _flat(document: Mapping[str, Any]) -> dict[str, object]:
    row: dict[str, object] = {}
    for name, value in document.items():
        if name in {"reference", "host", "excluded_devices", "schema", "reason_codes", "warning_codes"}:
            continue
        if name == "devices":
            for key in ("device", "method", "joules", "idle_watts"):
                row[f"devices.{key}"] = ";".join(str(device[key]) for device in value)
        elif isinstance(value, Mapping):
            row.update({f"{name}.{key}": inner for key, inner in _flat(value).items()})
        else:
            row[name] = "; ".join(map(str, value)) if isinstance(value, list) else "" if value is None else value
    return row
