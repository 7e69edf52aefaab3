"""``loadgen tasks``: the workloads with their inputs, units, parameters and the study's figures. Asks nobody."""

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from perjoule.reference import study_figure
from perjoule.units import scaled
from perjoule.workloads import WORKLOADS, Workload
from perjoule_loadgen.config import Format
from perjoule_loadgen.report import caption, fitting


def _parameters(spec: Workload) -> str:
    return " ".join(f"{name}={value}" for name, value in spec.parameters.items())


def _study(spec: Workload) -> float | None:
    figure = study_figure(spec.id)
    return figure.joules_per_inference if figure else None


_COLUMNS: Mapping[str, Callable[[Workload], str]] = MappingProxyType(
    {
        "input": lambda spec: spec.input.value,
        "unit": lambda spec: spec.unit.value,
        "parameters": _parameters,
        "kind": lambda spec: spec.paradigm.value,
        "study J/inference": lambda spec: scaled(_study(spec), "J"),
    }
)
_DISPENSABLE = ("kind", "parameters", "input", "unit", "study J/inference")
"""Columns that a narrow terminal goes without, the first to go first."""


def listing(out: Console, format_: Format) -> str:
    """Return the list of tasks as ``out`` shows it, or as JSON or CSV."""
    if format_ is Format.TABLE:
        with out.capture() as captured:
            out.print(fitting(out, _table, list(_COLUMNS), _DISPENSABLE)[0])
        return "\n".join(line.rstrip() for line in captured.get().splitlines()) + "\n"
    tasks = [_values(spec) for spec in WORKLOADS.values()]
    if format_ is Format.JSON:
        return json.dumps(tasks, indent=2, ensure_ascii=False) + "\n"
    text = io.StringIO()
    writer = csv.DictWriter(text, list(tasks[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(task | {"parameters": _parameters(WORKLOADS[task["task"]])} for task in tasks)
    return text.getvalue()


def _table(columns: Sequence[str]) -> Table:
    missing = caption([title for title in _COLUMNS if title not in columns])
    table = Table(box=SIMPLE_HEAD, pad_edge=False, caption=missing, caption_justify="left")
    table.add_column("task", no_wrap=True, min_width=max(map(len, WORKLOADS)))
    for title in columns:
        cells = [title, *(_COLUMNS[title](spec) for spec in WORKLOADS.values())]
        table.add_column(
            title, no_wrap=True, min_width=max(map(len, cells)), justify="right" if "J" in title else "left"
        )
    for spec in WORKLOADS.values():
        table.add_row(spec.id, *(_COLUMNS[title](spec) for title in columns))
    return table


def _values(spec: Workload) -> dict[str, Any]:
    return {
        "task": spec.id,
        "input": spec.input.value,
        "unit": spec.unit.value,
        "parameters": dict(spec.parameters),
        "kind": spec.paradigm.value,
        "study_joules_per_inference": _study(spec),
    }
