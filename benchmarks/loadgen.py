"""What loadgen's sending costs beside locust's FastHttpUser and wrk, and how late it sends beside a bare sleep loop.

    .venv/bin/python benchmarks/loadgen.py --quick --check          (--help tells the flags)

All ask the same stub, one after the other, in rounds; figures are medians over the rounds. locust is installed by pip
on the first call, into an environment of its own below ``build/``; wrk, the limit of what a client can do, is taken
where it is installed. aiperf is not among them: it wants a tokenizer from the hub. With ``--check`` the exit code is 1
when a target is missed.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

if __package__ in {None, ""}:  # called by its file name: its neighbours are found from the repository's root
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.driver import ROOT
from benchmarks.machine import described
from benchmarks.peers import INSTALL_SECONDS, say
from benchmarks.programs import ProgramError
from benchmarks.report import Section, Table, add_output, told
from benchmarks.summary import Check, digits, median, scaled, times

CONCURRENCY, RATE = 64, 1000.0
CLOSED_CPU, OPEN_CPU, LAG_RATIO = 200e-6, 400e-6, 1.5
"""Targets: CPU of a request in the closed loop and in the open one, and dispatch lag p99 beside a bare sleep loop's."""
OURS, LOCUST, WRK = "loadgen", "locust FastHttpUser", "wrk"
CACHE = ROOT / "build" / "benchmarks" / "loadgen-peers"

Figures = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Bench:
    """What all parts work with."""

    url: str
    seconds: float
    rounds: int
    locust: Path | None


@contextmanager
def stub() -> Iterator[str]:
    """Start the server that does nothing but answer, and end it."""
    command = [sys.executable, str(ROOT / "benchmarks" / "loadgen_stub.py")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:  # noqa: S603 (our own script)
        assert server.stdout is not None  # noqa: S101 (a pipe)
        try:
            yield f"http://127.0.0.1:{int(server.stdout.readline())}"
        finally:
            server.terminate()


def ours(kind: str, bench: Bench, amount: float) -> Figures:
    """Run our sending, or the sleep loop, in a process of its own."""
    paths = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'loadgen'}"}
    command = [
        sys.executable,
        str(ROOT / "benchmarks" / "loadgen_ours.py"),
        kind,
        bench.url,
        str(bench.seconds),
        str(amount),
    ]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=paths)  # noqa: S603 (our own script)
    found: Figures = json.loads(done.stdout)
    return answered(OURS, found) if kind != "sleep" else found


def answered(name: str, found: Figures) -> Figures:
    """Return the figures of a program that was answered.

    Raises:
        ProgramError: it was not, not once.
    """
    if not found["requests"]:
        raise ProgramError(f"{name}: {found['errors']} errors and not one answer")
    return found


def locust(bench: Bench, each_per_second: float) -> Figures | None:
    """Run locust with as many users; None where it is not there."""
    if bench.locust is None:
        return None
    file = ROOT / "benchmarks" / "loadgen_peers" / "locustfile.py"
    command = [str(bench.locust), "-f", str(file), "--headless", "-u", str(CONCURRENCY), "-r", str(CONCURRENCY), "-t",
               f"{bench.seconds:g}s", "-H", bench.url, "--reset-stats", "--only-summary"]  # fmt: skip
    environment = {**os.environ, "EACH_PER_SECOND": str(each_per_second)}
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(  # noqa: S603 (the peer that was installed)
            command, check=False, capture_output=True, text=True, env=environment, cwd=folder
        )
    told = re.search(r"^RESULT (.*)$", done.stdout, re.MULTILINE)
    if told is None:
        raise ProgramError(f"locust tells nothing:\n{done.stderr[-1000:]}")
    return answered(LOCUST, json.loads(told[1]))


def wrk(bench: Bench) -> Figures | None:
    """Run wrk with as many connections; None where it is not there."""
    path = shutil.which("wrk")
    if path is None:
        return None
    before = os.times()
    command = [path, "-t1", f"-c{CONCURRENCY}", f"-d{max(int(bench.seconds), 1)}s", bench.url]
    done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603 (found by PATH)
    after = os.times()
    told = re.search(r"(\d+) requests in ([\d.]+)s", done.stdout)
    if told is None:
        raise ProgramError(f"wrk tells nothing:\n{done.stdout}")
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return {"requests": int(told[1]), "errors": 0, "cpu_seconds": used, "seconds": float(told[2])}


def closed(bench: Bench) -> Section:
    """Measure the closed loop."""
    found: dict[str, list[Figures]] = {OURS: [], LOCUST: [], WRK: []}
    for _ in range(bench.rounds):
        for name, figures in (
            (OURS, ours("closed", bench, CONCURRENCY)),
            (LOCUST, locust(bench, 0)),
            (WRK, wrk(bench)),
        ):
            found[name] += [] if figures is None else [figures]
    cpu = {name: _cpu(rounds) for name, rounds in found.items() if rounds}
    rows = [
        (name, scaled(cpu[name], "s"), times(cpu[name], cpu[OURS]), digits(_middle(rounds, "requests", "seconds")),
         str(sum(one["errors"] for one in rounds)))
        for name, rounds in found.items() if rounds
    ]  # fmt: skip
    title = f"Closed loop, {CONCURRENCY} in flight, as quickly as it goes"
    table = Table(title, ("program", "CPU a request", "of ours", "requests/s", "errors"), rows)
    check = Check(
        "CPU of a request, closed loop", scaled(cpu[OURS], "s"), f"< {scaled(CLOSED_CPU, 's')}", cpu[OURS] < CLOSED_CPU
    )
    return Section("closed", [table], [check], {name: {"cpu_seconds": value} for name, value in cpu.items()})


def opened(bench: Bench) -> Section:
    """Measure the open loop, each round beside a bare sleep loop."""
    mine, bare, theirs = [], [], []
    for _ in range(bench.rounds):
        bare.append(ours("sleep", bench, RATE))
        mine.append(ours("open", bench, RATE))
        if (figures := locust(bench, RATE / CONCURRENCY)) is not None:
            theirs.append(figures)
    lag, sleep = median([one["lag_p99"] for one in mine]), median([one["lag_p99"] for one in bare])
    rows = [_open_row(OURS, mine, lag), *([_open_row(LOCUST, theirs, None)] if theirs else []),
            ("bare sleep loop", "", "", scaled(sleep, "s"), "")]  # fmt: skip
    note = "locust's users each keep a pace of their own and wait for their answers: it has no schedule to be late for."
    headings = ("program", "CPU a request", "requests/s", "dispatch lag p99", "errors")
    table = Table(f"Open loop, {RATE:,.0f} requests/s", headings, rows, [note])
    cpu = _cpu(mine)
    checks = [
        Check("CPU of a request, open loop", scaled(cpu, "s"), f"< {scaled(OPEN_CPU, 's')}", cpu < OPEN_CPU),
        Check(
            "dispatch lag p99 beside the sleep loop", times(lag, sleep), f"<= {LAG_RATIO}×", lag <= LAG_RATIO * sleep
        ),
    ]
    return Section("open", [table], checks, {"cpu_seconds": cpu, "lag_p99": lag, "sleep_lag_p99": sleep})


def _open_row(name: str, rounds: Sequence[Figures], lag: float | None) -> tuple[str, ...]:
    shown = "" if lag is None else scaled(lag, "s")
    rate = digits(_middle(rounds, "requests", "seconds"))
    return name, scaled(_cpu(rounds), "s"), rate, shown, str(sum(one["errors"] for one in rounds))


def _cpu(rounds: Sequence[Figures]) -> float:
    return _middle(rounds, "cpu_seconds", "requests")


def _middle(rounds: Sequence[Figures], above: str, below: str) -> float:
    return median([one[above] / one[below] for one in rounds])


def installed(folder: Path) -> tuple[Path | None, dict[str, str]]:
    """Return locust's program and its version by name; None and nothing where pip cannot have it."""
    python = folder / "locust" / "bin" / "python"
    if not (folder / "locust" / "installed").exists():
        say("installing locust into an environment of its own ...")
        venv.create(python.parent.parent, with_pip=True, clear=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "locust"]
        done = subprocess.run(pip, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False)  # noqa: S603 (pip)
        if done.returncode:
            say(f"locust is left out: {done.stderr.strip().splitlines()[-1]}")
            return None, {}
        (folder / "locust" / "installed").touch()
    probe = "import importlib.metadata; print(importlib.metadata.version('locust'))"
    version = subprocess.run([str(python), "-c", probe], capture_output=True, text=True, check=True)  # noqa: S603 (its own)
    return python.with_name("locust"), {"locust": version.stdout.strip()}


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and return the exit code."""
    asked = _parser().parse_args(argv)
    program, versions = installed(asked.cache) if asked.peers else (None, {})
    try:
        with stub() as url:
            bench = Bench(url, 2.0 if asked.quick else 5.0, 3 if asked.quick else 5, program)
            sections = [closed(bench), opened(bench)]
    except (ProgramError, subprocess.CalledProcessError) as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return 1
    command = f"benchmarks/loadgen.py{' --quick' if asked.quick else ''} --markdown FILE"
    return told(asked, described(versions), sections, _HEAD, command)


_HEAD = """# What the load generator costs

Written by `{command}`. All programs asked the same stub, which does nothing but
answer, in the same run; figures are medians over the rounds. A machine that does other work meanwhile is late for
everybody: read dispatch lag beside the sleep loop.

{machine}
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="benchmarks/loadgen.py", description="Measures loadgen's sending beside its peers.", allow_abbrev=False
    )
    add = parser.add_argument
    add("--quick", action="store_true", help="three short rounds, with wider noise")
    add("--no-peers", dest="peers", action="store_false", help="ours alone; nothing is installed")
    add_output(parser)
    add("--cache", metavar="FOLDER", type=Path, default=CACHE, help="where peers are kept")
    return parser


if __name__ == "__main__":
    sys.exit(main())
