"""``loadgen report``, ``compare`` and ``merge``: what works on runs that are on disk. Flags, and which code does what.

Nothing here measures or asks anybody.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn, TextIO

from perjoule.errors import PerjouleError, UsageError
from perjoule_loadgen.compare.gate import Gate
from perjoule_loadgen.config import Format, Rules
from perjoule_loadgen.projection import PER_DAY

COMMANDS = ("report", "compare", "merge")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see {self.prog} --help)")


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive whole number")
    return int(text)


def _gate(text: str) -> Gate:
    try:
        return Gate.parse(text)
    except PerjouleError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _parser() -> argparse.ArgumentParser:
    made = _Parser(prog="loadgen", description="What to do with runs that are on disk.", allow_abbrev=False)
    commands = made.add_subparsers(dest="command", required=True)
    formats = [format_.value for format_ in Format]
    report = commands.add_parser("report", help="print runs again, and draw report.html anew", allow_abbrev=False)
    report.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folder of a run, or of several")
    report.add_argument("--format", choices=formats, default=Format.TABLE.value, help="of stdout (default %(default)s)")
    report.add_argument("--per-day", type=_count, default=PER_DAY, metavar="N",
                        help="requests a day to project (default %(default)s)")  # fmt: skip
    _add_compare(commands, formats)
    merge = commands.add_parser("merge", help="put the shards of one load together", allow_abbrev=False)
    merge.add_argument("shards", nargs="+", type=Path, metavar="RUN", help="folders of the shards' runs, all of them")
    merge.add_argument("--output", type=Path, required=True, metavar="DIR", help="new folder for the whole run")
    merge.add_argument("--format", choices=formats, default=Format.TABLE.value, help="of stdout (default %(default)s)")
    return made


def _add_compare(commands: "argparse._SubParsersAction[_Parser]", formats: Sequence[str]) -> None:
    compare = commands.add_parser(
        "compare", help="tell two runs, or two sets of repeats, apart", allow_abbrev=False,
        epilog="exit codes: 0 as asked, 2 not comparable, 3 a run is INVALID, 4 --fail-if",
    )  # fmt: skip
    compare.add_argument("before", type=Path, metavar="A", help="a run, or a folder with its repeats")
    compare.add_argument("after", type=Path, metavar="B", help="the same, to be held against A")
    compare.add_argument("--fail-if", type=_gate, action="append", default=[], metavar="FIGURE>+N%",
                         help="exit with 4 where B differs so from A: active>+5%%, p95>+10%%; repeatable")  # fmt: skip
    compare.add_argument("--anyway", action="store_true", help="compare what is not the same work")
    compare.add_argument(
        "--format", choices=formats, default=Format.TABLE.value, help="of stdout (default %(default)s)"
    )


def run(argv: Sequence[str], rules: Rules, stdout: TextIO, stderr: TextIO) -> int:
    """Run one of ``COMMANDS`` and return its exit code.

    Raises:
        PerjouleError: flags or files that cannot be used.
    """
    made = _parser()
    given, unknown = made.parse_known_args(argv)
    if unknown:
        made.error(f"unrecognized arguments: {' '.join(unknown)}")
    from perjoule_loadgen import redraw

    format_ = Format(given.format)
    if given.command == "report":
        return redraw.report(given.runs, format_, given.per_day, stdout, stderr)
    if given.command == "merge":
        return redraw.merged(given.shards, given.output, format_, rules, stdout, stderr)
    return redraw.compared(given.before, given.after, given.fail_if, format_, stdout, anyway=given.anyway)
