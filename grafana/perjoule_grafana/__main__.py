"""The command ``perjoule-grafana``: generates dashboards and rules. It talks to no Grafana server."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from perjoule import __version__
from perjoule.errors import MissingExtraError, PerjouleError

EXAMPLES = """\
examples:
  perjoule-grafana generate            write grafana/dashboards/*.json and prometheus/rules/*.yml
  perjoule-grafana generate --check    write nothing; exit 1 and name the files that are out of date
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: 0 done, 1 files out of date, 2 usage."""
    arguments = _parser().parse_args(argv)
    try:
        return _generate(arguments.root, check=arguments.check)
    except PerjouleError as error:
        print(f"perjoule-grafana: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        print(f"perjoule-grafana: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="perjoule-grafana",
        description="Dashboards and recording rules for energy and CO2e per inference.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    generate = commands.add_parser("generate", help="write the generated files of a checkout")
    generate.add_argument("--check", action="store_true", help="write nothing, exit 1 when a file is out of date")
    generate.add_argument("--root", type=Path, metavar="DIR", help="the checkout (default: the one this program is in)")
    return parser


def _generate(root: Path | None, *, check: bool) -> int:
    try:
        from perjoule_grafana import generate
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "grafana_foundation_sdk":
            raise
        raise MissingExtraError("perjoule-grafana generate", "grafana", "grafana_foundation_sdk") from error
    folder, files = generate.checkout(root), generate.generated_files()
    if check:
        stale = generate.stale(files, folder)
        if stale:
            print(f"perjoule-grafana: out of date: {', '.join(stale)} (perjoule-grafana generate)", file=sys.stderr)
        return int(bool(stale))
    for path in generate.write(files, folder):
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
