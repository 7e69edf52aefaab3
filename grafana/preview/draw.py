"""``make dashboards-preview``: draws every dashboard, to look at it and for the documents.

By default on a made-up fleet, so no figure in those pictures is a measurement; with ``--demo`` on what ``make demo``
measures, or on a Prometheus of your own. Exit code 1 when a panel failed or was empty.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "grafana")]

from perjoule_grafana.dashboards import BOARDS  # noqa: E402 (the paths come first)
from preview.page import PreviewError, View, bundle, draw, shrink  # noqa: E402
from preview.sources import demonstrated, existing, made_up  # noqa: E402

PICTURES = ROOT / "docs" / "pictures"


def main(argv: Sequence[str] | None = None) -> int:
    """Draw the dashboards; 0 when every panel shows something, else 1."""
    arguments = _parser().parse_args(argv)
    arguments.output.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory() as folder:
            bundle(Path(folder))
            with _source(arguments) as view:
                names = arguments.only or BOARDS
                return max([_drawn(name, view, arguments.output, Path(folder)) for name in names])
    except PreviewError as error:
        print(f"preview: {error}", file=sys.stderr)
        return 1


def _source(arguments: argparse.Namespace) -> AbstractContextManager[View]:
    if arguments.prometheus:
        return existing(arguments.prometheus, arguments.hours, arguments.end)
    if arguments.demo:
        return demonstrated(arguments.demo)
    return made_up(int(arguments.hours))


def _drawn(name: str, view: View, output: Path, folder: Path) -> int:
    dashboard = json.loads((ROOT / "grafana" / "dashboards" / f"{name}.json").read_text(encoding="utf-8"))
    picture = output / f"{name}.png"
    errors = draw(dashboard, view, picture, folder)
    shrink(picture)
    print(f"{picture}  {picture.stat().st_size // 1024} KiB", *(f"\n  {error}" for error in errors), flush=True)
    return int(bool(errors))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make dashboards-preview", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--prometheus", metavar="URL", help="draw its data instead of the made-up fleet's")
    parser.add_argument(
        "--demo", nargs="?", const="auto", choices=["auto", "simulated"], help="run make demo, draw that"
    )
    parser.add_argument("--hours", type=float, default=3.0, help="range (default: %(default)s)")
    parser.add_argument("--end", type=float, metavar="UNIX", help="end of the range, with --prometheus (default: now)")
    parser.add_argument("--output", type=Path, default=PICTURES, metavar="DIR", help="where the pictures go")
    parser.add_argument("--only", action="append", choices=list(BOARDS), help="this dashboard; repeat for more")
    return parser


if __name__ == "__main__":
    sys.exit(main())
