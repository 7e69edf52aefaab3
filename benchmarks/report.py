"""What a benchmark found, as aligned tables for a terminal, as Markdown and as JSON.

It knows tables and checks and not what stands in them.
"""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.summary import Check


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of texts under headings, and what a reader must know to read them."""

    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Section:
    """What one part of a benchmark found. ``figures`` are the same in base units, for machines."""

    name: str
    tables: Sequence[Table]
    checks: Sequence[Check] = ()
    figures: dict[str, Any] = field(default_factory=dict)


def checks_table(checks: Iterable[Check]) -> Table:
    """Return the targets and what became of them."""
    rows = [(check.what, check.measured, check.target, check.verdict) for check in checks]
    return Table("Targets", ("what", "measured", "target", "verdict"), rows)


def plain(table: Table) -> str:
    """Return the table for a terminal."""
    lines = [table.title, "", *(f"  {'  '.join(cells)}".rstrip() for cells in _aligned(table))]
    lines += ["", *(f"  {note}" for note in table.notes)] if table.notes else []
    return "\n".join(lines) + "\n"


def markdown(table: Table) -> str:
    """Return the table as Markdown."""
    lines = [f"## {table.title}", "", *(f"| {' | '.join(cells)} |" for cells in _aligned(table))]
    lines += ["", *table.notes] if table.notes else []
    return "\n".join(lines) + "\n"


def as_json(machine: dict[str, Any], sections: Iterable[Section]) -> str:
    """Return everything in base units."""
    found = {
        section.name: {
            "figures": section.figures,
            "checks": [
                {"what": c.what, "measured": c.measured, "target": c.target, "passed": c.passed} for c in section.checks
            ],
        }
        for section in sections
    }
    return json.dumps({"schema": "perjoule.benchmark/1", "machine": machine, "sections": found}, indent=2) + "\n"


def _aligned(table: Table) -> list[list[str]]:
    """Return headings, a rule and the rows in columns of one width; figures to the right."""
    columns = list(zip(table.headings, *table.rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    right = [all(_FIGURE.match(cell) for cell in column[1:]) for column in columns]
    lines = [table.headings, ["-" * width for width in widths], *table.rows]
    return [
        [
            cell.rjust(width) if figure else cell.ljust(width)
            for cell, width, figure in zip(line, widths, right, strict=True)
        ]
        for line in lines
    ]


_FIGURE = re.compile(r"[+\-−<]?\d|—|$")
