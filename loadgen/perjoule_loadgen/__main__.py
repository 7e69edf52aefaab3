"""``loadgen``: joules and gCO2e per inference of one task or all, with a verdict. The program's edge.

Exit codes: 0 valid, 1 failed, 2 usage or nothing reachable, 3 INVALID, 4 --fail-if, 130 interrupted.
"""

import argparse
import sys
from collections.abc import Sequence

from perjoule.errors import MissingExtraError, PerjouleError
from perjoule_loadgen import arguments, commands
from perjoule_loadgen.config import Format, Rules

_EXTRA = frozenset({"aiohttp", "rich", "uvloop"})
"""What the extra ``loadgen`` brings."""


def main(argv: Sequence[str] | None = None, rules: Rules | None = None) -> int:
    """Run ``loadgen`` with these arguments and return its exit code. ``rules`` are for tests with short windows."""
    try:
        given = sys.argv[1:] if argv is None else list(argv)
        if given and given[0] in commands.COMMANDS:
            return _command(given, rules or Rules())
        return _run(arguments.parse(given), rules or Rules())
    except PerjouleError as error:
        print(f"loadgen: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("loadgen: interrupted", file=sys.stderr)
        return 130


def _command(argv: Sequence[str], rules: Rules) -> int:
    try:
        return commands.run(argv, rules, sys.stdout, sys.stderr)
    except ModuleNotFoundError as error:
        if error.name not in _EXTRA:
            raise
        raise MissingExtraError(f"loadgen {argv[0]}", "loadgen", error.name) from error


def _run(given: argparse.Namespace, rules: Rules) -> int:
    try:
        from perjoule_loadgen import program
    except ModuleNotFoundError as error:
        if error.name not in _EXTRA:
            raise
        raise MissingExtraError("loadgen", "loadgen", error.name) from error
    if given.command == "tasks":
        return program.list_tasks(sys.stdout, Format(given.format))
    return program.run(arguments.config(given, rules), sys.stdout, sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
