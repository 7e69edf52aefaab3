"""Documents as output: table, JSON, CSV and ``report.html``; what ``report``, ``compare`` and ``merge`` do.

The one place that turns documents into output, for a run that has just ended as for one of last year.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console

from perjoule.errors import UsageError
from perjoule_loadgen import files, merge
from perjoule_loadgen import report as table
from perjoule_loadgen.archive import Archive, find, find_one
from perjoule_loadgen.compare import gate, render
from perjoule_loadgen.config import Format, Rules
from perjoule_loadgen.html.page import page
from perjoule_loadgen.projection import PER_DAY
from perjoule_loadgen.rebuild import finished

PAGE = "report.html"
_INVALID = 3
_GATE = 4

Document = Mapping[str, Any]


def print_to(stdout: TextIO, text: str) -> None:
    """Write to stdout; a reader that has gone (``| head``) costs no file."""
    try:
        stdout.write(text)
        stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stdout.fileno())  # so that the flush at exit is quiet too


def rendered(
    out: Console, format_: Format, documents: Sequence[Document], faults: Sequence[str], *, single: bool,
    per_day: int = PER_DAY,
) -> str:  # fmt: skip
    """Return documents as table, JSON or CSV; ``single`` for one object instead of a list."""
    if format_ is Format.CSV:
        return table.csv_table(documents)
    if format_ is Format.JSON:
        return files.as_json(documents[0] if single else list(documents))
    with out.capture() as captured:
        table.show(out, documents, faults, per_day)
    shown = captured.get()
    return shown if out.is_terminal else "\n".join(line.rstrip() for line in shown.splitlines()) + "\n"


def draw(archive: Archive, document: Document, per_day: int = PER_DAY) -> Path:
    """Write ``report.html`` of a run beside its files, and return its path.

    Raises:
        OutputError: it cannot be written.
        UsageError: the tables cannot be read.
    """
    path = archive.folder / PAGE
    files.write_text(path, page(document, archive.requests(), archive.power(), per_day))
    return path


def report(paths: Sequence[Path], format_: Format, per_day: int, stdout: TextIO, stderr: TextIO) -> int:
    """Print runs again and draw their pages anew; 0 when all are valid, else 3."""
    archives = [archive for path in paths for archive in find(path)]
    documents = [finished(archive) for archive in archives]
    single = len(archives) == 1
    if format_ is Format.HTML:
        if not single:
            raise UsageError(f"--format html is a page of one run, and these are {len(archives)}: name one of them")
        print_to(stdout, page(documents[0], archives[0].requests(), archives[0].power(), per_day))
        return _code(documents)
    print_to(stdout, rendered(table.console(stdout), format_, documents, (), single=single, per_day=per_day))
    for archive, each in zip(archives, documents, strict=True):
        try:
            stderr.write(f"drawn to {draw(archive, each, per_day)}\n")
        except files.OutputError as error:  # somebody else's run, or a read-only disk: it is shown all the same
            stderr.write(f"loadgen: {error}\n")
    return _code(documents)


def _code(documents: Sequence[Document]) -> int:
    return 0 if all(each["verdict"] == "valid" for each in documents) else _INVALID


def merged(shards: Sequence[Path], output: Path, format_: Format, rules: Rules, stdout: TextIO, stderr: TextIO) -> int:
    """Put shards together into a new folder and print the whole; 0 when it is valid, else 3."""
    archives = [find_one(path) for path in shards]
    measurement, document = merge.merged(archives, rules)
    files.prepare(output, (), alone=True)
    merge.write(output, measurement, document, archives)
    whole = Archive(output, document, finished=True)
    text = page(document, whole.requests(), whole.power())
    files.write_text(output / PAGE, text)
    shown = text if format_ is Format.HTML else rendered(table.console(stdout), format_, [document], (), single=True)
    print_to(stdout, shown)
    stderr.write(f"written to {output}\n")
    return _code([document])


def compared(
    before: Path, after: Path, gates: Sequence[gate.Gate], format_: Format, stdout: TextIO, *, anyway: bool
) -> int:
    """Compare two runs, or two sets of repeats, of every task that both have; 0, 3 with an INVALID run, 4 by a gate.

    Raises:
        UsageError: they are not the same work, and nobody said to compare them anyway.
    """
    sides = [[finished(archive) for archive in find(path)] for path in (before, after)]
    found = render.compare(sides[0], sides[1], gates, anyway=anyway)
    print_to(stdout, render.rendered(table.console(stdout), format_, found, (str(before), str(after))))
    if any(each.failed for each in found):
        return _GATE
    return _code([run for side in sides for run in side])
