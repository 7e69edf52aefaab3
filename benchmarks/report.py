"""What a benchmark found, as aligned tables for a terminal, as Markdown and as JSON.

It knows tables and checks and not what stands in them.
"""

import argparse
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
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


def add_output(parser: argparse.ArgumentParser) -> None:
    """Add the flags that ``told`` looks at."""
    parser.add_argument("--check", action="store_true", help="exit with 1 when a target is missed")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write all figures there, in base units")
    parser.add_argument("--markdown", metavar="FILE", type=Path, help="write the tables there")


def told(
    asked: argparse.Namespace,
    machine: dict[str, Any],
    sections: Sequence[Section],
    page: str,
    command: str,
    more: Sequence[Table] = (),
) -> int:
    """Print what was found, write what the flags of ``add_output`` ask for, and return the exit code.

    Args:
        asked: the flags.
        machine: where it was found.
        sections: what was found.
        page: the head of the Markdown page, with places for ``{command}`` and ``{machine}``.
        command: how to call the benchmark for the same page.
        more: tables that are of no section.
    """
    checks = [check for section in sections for check in section.checks]
    tables = [*(table for section in sections for table in section.tables), *more]
    tables += [checks_table(checks)] if checks else []
    print("\n".join([*(f"{key}: {value}" for key, value in machine.items()), ""]))
    print("\n".join(map(plain, tables)))
    if asked.json is not None:
        asked.json.write_text(as_json(machine, sections), encoding="utf-8")
    if asked.markdown is not None:
        head = page.format(command=command, machine="\n".join(f"- {key}: {value}" for key, value in machine.items()))
        asked.markdown.parent.mkdir(parents=True, exist_ok=True)
        asked.markdown.write_text("\n".join([head, *map(markdown, tables)]), encoding="utf-8")
    return int(asked.check and not all(check.passed for check in checks))


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
