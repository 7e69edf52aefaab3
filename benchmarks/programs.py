"""Programs under measurement, as processes: how they are started and ended, and what they use.

Figures come from ``/proc`` and from the process's own CPU clock; a program's children count as the program. What a
program does is not known here.
"""

import os
import re
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

STOP_SECONDS = 5.0
_PROCESS_CLOCK = 2  # CPUCLOCK_SCHED of the kernel's posix-timers.h, for the clock of another process


class ProgramError(Exception):
    """A program did not start, or ended by itself; the message has the end of its log."""


class Program:
    """A started program in a process group of its own. Its standard output is a pipe where ``talks``, else the log."""

    def __init__(
        self, name: str, command: Sequence[str], environment: Mapping[str, str], log: Path, *, talks: bool = False
    ) -> None:
        """Start it. The log is the last words of a program that fails."""
        self.name = name
        self.log = log
        with log.open("wb") as out:
            self.process = subprocess.Popen(  # noqa: S603 (an argument list, no shell)
                list(command),
                stdin=subprocess.PIPE if talks else subprocess.DEVNULL,
                stdout=subprocess.PIPE if talks else out,
                stderr=out,
                env={**os.environ, **environment},
                start_new_session=True,
                text=True,
            )

    @property
    def pid(self) -> int:
        """The process that was started."""
        return self.process.pid

    def failed(self, what: str) -> ProgramError:
        """Return an error with the end of the log."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return ProgramError("\n".join([f"{self.name}: {what}", *(f"    {line}" for line in lines[-8:])]))

    def alive(self) -> bool:
        """Tell whether it runs."""
        return self.process.poll() is None

    def cpu_seconds(self) -> float:
        """Return the CPU time of the program and its children so far, of threads that ended too."""
        return sum(map(_cpu_seconds, self.pids()))

    def rss_bytes(self) -> int:
        """Return the resident memory; what children share with it counts again."""
        return sum(_kilobytes(pid, "status", "VmRSS") for pid in self.pids()) * 1024

    def pss_bytes(self) -> int:
        """Return the resident memory where shared pages count by their share."""
        return sum(_kilobytes(pid, "smaps_rollup", "Pss") for pid in self.pids()) * 1024

    def threads(self) -> int:
        """Return how many threads run."""
        return sum(1 for pid in self.pids() for _ in _listed(pid, "task"))

    def descriptors(self) -> int:
        """Return how many files and sockets are open."""
        return sum(1 for pid in self.pids() for _ in _listed(pid, "fd"))

    def stop(self) -> float:
        """End it, by force when it does not go by itself, and return the seconds that it took."""
        start = time.monotonic()
        for number in (signal.SIGTERM, signal.SIGKILL):
            if self.process.poll() is None:
                os.killpg(self.process.pid, number)
            try:
                self.process.wait(STOP_SECONDS)
                break
            except subprocess.TimeoutExpired:
                continue
        for pipe in (self.process.stdin, self.process.stdout):
            _close(pipe)
        return time.monotonic() - start

    def pids(self) -> list[int]:
        """Return the process and all its children."""
        return [self.pid, *_children(self.pid)]


def cpu_share(program: Program, seconds: float, windows: int) -> list[float]:
    """Return the program's CPU use, in cores, over each of some windows in a row."""
    return cpu_shares([program], seconds, windows)[program.name]


def cpu_shares(programs: Sequence[Program], seconds: float, windows: int) -> dict[str, list[float]]:
    """Return the CPU use of several programs, in cores, over the same windows."""
    shares: dict[str, list[float]] = {program.name: [] for program in programs}
    for _ in range(windows):
        before = [(time.monotonic(), program.cpu_seconds()) for program in programs]
        time.sleep(seconds)
        for program, (start, used) in zip(programs, before, strict=True):
            shares[program.name].append((program.cpu_seconds() - used) / (time.monotonic() - start))
    return shares


def _close(pipe: IO[str] | None) -> None:
    if pipe is not None:
        try:
            pipe.close()
        except BrokenPipeError:  # what was still to be written to a program that has ended
            return


def _cpu_seconds(pid: int) -> float:
    try:
        return time.clock_gettime((~pid << 3) | _PROCESS_CLOCK)
    except OSError:  # it ended meanwhile
        return 0.0


def _kilobytes(pid: int, file: str, name: str) -> int:
    try:
        text = Path(f"/proc/{pid}/{file}").read_text(encoding="ascii")
    except OSError:  # it ended meanwhile
        return 0
    found = re.search(rf"^{name}:\s+(\d+) kB", text, re.MULTILINE)
    return int(found.group(1)) if found else 0


def _children(pid: int) -> list[int]:
    found: list[int] = []
    for task in _listed(pid, "task"):
        try:
            direct = Path(f"/proc/{pid}/task/{task}/children").read_text(encoding="ascii").split()
        except OSError:
            continue
        for child in map(int, direct):
            found += [child, *_children(child)]
    return found


def _listed(pid: int, folder: str) -> list[str]:
    try:
        return [entry.name for entry in Path(f"/proc/{pid}/{folder}").iterdir()]
    except OSError:
        return []
