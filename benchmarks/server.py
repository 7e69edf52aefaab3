"""What inference-server costs beside FastAPI alone, LitServe, mosec, Ray Serve and transformers serve, in one run.

    make bench-server                             or, for parts of it:
    .venv/bin/python benchmarks/server.py --quick --only text-classification --check          (--help tells them all)

Every server reads the same model files (built here, random weights), gets the same requests in the same order from the
same client, and runs alone while it is asked. The peers are installed by pip on the first call, each into an
environment of its own below ``build/`` (about 1.3 GB each: torch). With ``--check`` the exit code is 1 when a target is
missed. Where a server's cost is that of its model, look at ``what our layer adds``.
"""

import argparse
import importlib.metadata
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

if __package__ in {None, ""}:  # called by its file name: its neighbours are found from the repository's root
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.driver import ROOT
from benchmarks.machine import described
from benchmarks.peers import say
from benchmarks.programs import ProgramError
from benchmarks.report import Section, Table, add_output, told
from benchmarks.server_cost import Plan, measure
from benchmarks.server_environments import REQUIREMENTS, Installed, installed
from benchmarks.server_models import BUILDERS
from benchmarks.server_programs import SHARED
from benchmarks.server_tables import section

_COMPUTE = ("torch", "transformers", "diffusers")
"""Libraries whose versions a reader needs; the same everywhere."""

CACHE = ROOT / "build" / "benchmarks" / "server-peers"


def main(argv: Sequence[str] | None = None) -> int:
    """Measure the tasks that were asked for and return the exit code."""
    asked = _parser().parse_args(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # by way of everything that was started and must end
    there = installed(asked.cache, asked.peers)
    folder = Path(tempfile.mkdtemp(prefix="perjoule-benchmark-"))
    try:
        _build_models(folder)
        sections = _sections(asked, _plan(asked, folder, there))
    except (ProgramError, subprocess.CalledProcessError) as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(folder)
    return _report(asked, there, sections)


def _build_models(folder: Path) -> None:
    say("building the models ...")
    paths = {"PYTHONPATH": f"{ROOT}:{ROOT / 'server'}"}
    command = [sys.executable, "-m", "benchmarks.server_models", str(folder)]
    subprocess.run(command, check=True, env={**os.environ, **SHARED, **paths}, stderr=subprocess.DEVNULL)  # noqa: S603


def _plan(asked: argparse.Namespace, folder: Path, there: Installed) -> Plan:
    if asked.quick:
        return Plan(folder, there.peers, rounds=2, warm_seconds=0.4, seconds=1.0, open_seconds=2.0)
    return Plan(folder, there.peers, rounds=5, warm_seconds=1.0, seconds=3.0, open_seconds=5.0)


def _sections(asked: argparse.Namespace, plan: Plan) -> list[Section]:
    return [section(measure(plan, task), plan) for task in asked.only]


def _report(asked: argparse.Namespace, there: Installed, sections: Sequence[Section]) -> int:
    machine = described(there.versions | {name: importlib.metadata.version(name) for name in _COMPUTE})
    missing = [_missing(there)] if there.missing else []
    return told(asked, machine, sections, _HEAD, _command(asked), missing)


def _missing(there: Installed) -> Table:
    return Table("Peers that are not here", ("server", "why"), list(there.missing.items()))


_HEAD = """# What the server costs

Written by `{command}`. Every server ran on the same model files, with the same requests from the same client, in the
same run. The models are small and have random weights: figures are of what stands around a model, and rates and
latencies depend on the machine. Read one server beside another.

{machine}
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="benchmarks/server.py", description="Measures inference-server beside its peers.", allow_abbrev=False
    )
    add = parser.add_argument
    add("--quick", action="store_true", help="two short rounds, with wider noise")
    add("--no-peers", dest="peers", action="store_const", const=(), default=tuple(REQUIREMENTS),
        help="ours alone; nothing is installed")  # fmt: skip
    add("--peers", metavar="A,B", type=_named(REQUIREMENTS), help=f"some of {', '.join(REQUIREMENTS)}")
    add("--only", metavar="A,B", type=_named(BUILDERS), default=tuple(BUILDERS), help=f"some of {', '.join(BUILDERS)}")
    add_output(parser)
    add("--cache", metavar="FOLDER", type=Path, default=CACHE, help="where peers are kept")
    return parser


def _named(known: Iterable[str]) -> Callable[[str], tuple[str, ...]]:
    """Return a reader of names with commas between them."""
    names = tuple(known)

    def read(text: str) -> tuple[str, ...]:
        asked = tuple(text.split(","))
        unknown = [name for name in asked if name not in names]
        if unknown:
            raise argparse.ArgumentTypeError(f"no {', '.join(unknown)}; there are {', '.join(names)}")
        return asked

    return read


def _command(asked: argparse.Namespace) -> str:
    flags = ["--quick"] if asked.quick else []
    if asked.peers != tuple(REQUIREMENTS):
        flags += [f"--peers '{','.join(asked.peers)}'"] if asked.peers else ["--no-peers"]
    flags += [f"--only {','.join(asked.only)}"] if asked.only != tuple(BUILDERS) else []
    return " ".join(["benchmarks/server.py", *flags, "--markdown FILE"])


if __name__ == "__main__":
    sys.exit(main())
