"""What gpu-energy-exporter costs and how right it is, beside nvitop-exporter, zeus and codecarbon, in one run.

    make bench                                    or, for parts of it:
    .venv/bin/python benchmarks/exporter.py --quick --only scrape,energy --check          (--help tells them all)

Every program runs as its user would run it, against the same fake NVIDIA driver (C, compiled here). The peers are
installed by pip on the first call, each into an environment of its own below ``build/``. The standard library is enough
for this script. With ``--check`` the exit code is 1 when a target is missed.
"""

import argparse
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

if __package__ in {None, ""}:  # called by its file name: its neighbours are found from the repository's root
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.driver import ROOT, CompilerError, compiled
from benchmarks.energy_error import energy_error
from benchmarks.faults import faults
from benchmarks.fleet import Bench
from benchmarks.growth import growth
from benchmarks.machine import described
from benchmarks.memory_use import memory_use
from benchmarks.peers import PeerError, installed, say
from benchmarks.programs import ProgramError
from benchmarks.report import Section, add_output, told
from benchmarks.sampling_cost import sampling_cost
from benchmarks.scrape_cost import scrape_cost

SECTIONS: Mapping[str, Callable[[Bench], Section]] = {
    "scrape": scrape_cost,
    "sampling": sampling_cost,
    "memory": memory_use,
    "energy": energy_error,
    "growth": growth,
    "faults": faults,
}
CACHE = ROOT / "build" / "benchmarks"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the sections that were asked for and return the exit code."""
    asked = _parser().parse_args(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # by way of everything that was started and must end
    try:
        peers = installed(asked.cache / "peers") if asked.peers else {}
        folder = Path(tempfile.mkdtemp(prefix="perjoule-benchmark-"))
        try:
            sections = _run(Bench(folder, compiled(folder / "driver"), peers, asked.quick), asked.only)
        finally:
            shutil.rmtree(folder)
    except (CompilerError, PeerError, ProgramError) as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return 1
    machine = described({peer.name: peer.version for peer in peers.values()})
    return told(asked, machine, sections, _HEAD, _command(asked))


_HEAD = """# What the exporter costs

Written by `{command}`. Every program ran against the same fake NVIDIA driver, in the same run.
Latencies depend on the machine: read one program beside another. A real driver takes microseconds a call, which
come on top in every program.

{machine}
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="benchmarks/exporter.py",
        description="Measures gpu-energy-exporter beside nvitop-exporter, zeus and codecarbon.",
        allow_abbrev=False,
    )
    parser.add_argument("--quick", action="store_true", help="everything in a minute or two, with wider noise")
    parser.add_argument("--no-peers", dest="peers", action="store_false", help="ours alone; nothing is installed")
    parser.add_argument(
        "--only", metavar="A,B", type=_sections, default=tuple(SECTIONS), help=f"some of {', '.join(SECTIONS)}"
    )
    add_output(parser)
    parser.add_argument("--cache", metavar="FOLDER", type=Path, default=CACHE, help="where peers are kept")
    return parser


def _sections(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    unknown = [name for name in names if name not in SECTIONS]
    if unknown:
        raise argparse.ArgumentTypeError(f"no section {', '.join(unknown)}; there are {', '.join(SECTIONS)}")
    return names


def _run(bench: Bench, names: Sequence[str]) -> list[Section]:
    sections = []
    for name in names:
        start = time.monotonic()
        say(f"{name} ...")
        sections.append(SECTIONS[name](bench))
        say(f"{name}: {time.monotonic() - start:.0f} s")
    return sections


def _command(asked: argparse.Namespace) -> str:
    flags = [flag for flag, given in (("--quick", asked.quick), ("--no-peers", not asked.peers)) if given]
    flags += [f"--only {','.join(asked.only)}"] if asked.only != tuple(SECTIONS) else []
    return " ".join(["benchmarks/exporter.py", *flags, "--markdown FILE"])


if __name__ == "__main__":
    sys.exit(main())
