"""The command ``perjoule-grafana``: generates dashboards and rules, publishes dashboards, marks load tests on them."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from perjoule import __version__
from perjoule.errors import MissingExtraError, PerjouleError

EXAMPLES = """\
examples:
  perjoule-grafana generate            write grafana/dashboards/*.json and prometheus/rules/*.yml
  perjoule-grafana generate --check    write nothing; exit 1 and name the files that are out of date
  perjoule-grafana publish --url https://grafana.example --token-file token --dry-run
                                       show what publishing would change in that Grafana
  perjoule-grafana annotate runs/2026-01-31-120000 --url https://grafana.example --token-file token
                                       mark a load test on the dashboards

The token of a Grafana service account is read from --token-file, else from the variable GRAFANA_TOKEN.
exit codes: 0 done, 1 failed (files out of date, Grafana refuses), 2 usage, or no Grafana answers
"""
EXTRA = frozenset({"grafana_client", "grafana_foundation_sdk", "niquests"})
"""What the extra ``grafana`` brings."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: 0 done, 1 files out of date or refused, 2 usage or nothing answers."""
    arguments = _parser().parse_args(argv)
    try:
        return _run(arguments)
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
    server = _of_server()
    _publish(commands.add_parser("publish", help="bring the dashboards into a Grafana", parents=[server]))
    annotate = commands.add_parser("annotate", help="mark a load test on the dashboards", parents=[server])
    annotate.add_argument("run", type=Path, metavar="RUN", help="folder of a run or of several, or a run.json")
    return parser


def _of_server() -> argparse.ArgumentParser:
    server = argparse.ArgumentParser(add_help=False)
    add = server.add_argument
    add("--url", default="http://127.0.0.1:3000", help="the Grafana (default: %(default)s)")
    add("--token-file", type=Path, metavar="FILE", help="file of a service account's token; else $GRAFANA_TOKEN")
    add("--ca-file", type=Path, metavar="FILE", help="certificates to trust, for a CA of your own (PEM)")
    return server


def _publish(publish: argparse.ArgumentParser) -> None:
    add = publish.add_argument
    add("--dry-run", action="store_true", help="change nothing, show what would change")
    add("--folder", default="Perjoule", metavar="TITLE", help="title of the folder (default: %(default)s)")
    add("--prometheus", metavar="URL", help="as Grafana reaches it: makes a data source of it (default: none is made)")
    add("--scrape-interval", default="15s", metavar="DURATION", help="that Prometheus's (default: %(default)s)")


def _run(arguments: argparse.Namespace) -> int:
    try:
        if arguments.command == "generate":
            return _generate(arguments.root, check=arguments.check)
        from perjoule_grafana import commands

        return commands.run(arguments, os.environ, sys.stdout)
    except ModuleNotFoundError as error:
        module = (error.name or "").partition(".")[0]
        if module not in EXTRA:
            raise
        raise MissingExtraError(f"perjoule-grafana {arguments.command}", "grafana", module) from error


def _generate(root: Path | None, *, check: bool) -> int:
    from perjoule_grafana import generate

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
