"""The compared programs, each started against the fake driver as its user would start it.

It knows flags and environments. What is measured of a program is for those who ask.
"""

import json
import os
import select
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from benchmarks import driver as fake
from benchmarks.peers import CODECARBON, NVITOP, ZEUS, Peer
from benchmarks.programs import Program, ProgramError
from benchmarks.scraping import answers, free_port
from tests.exporter.driver import FakeDriver

OURS = "gpu-energy-exporter"
START_SECONDS = 60.0
ANSWER_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Bench:
    """Where a benchmark works: a folder of its own, the compiled driver, the peers, and whether it is in a hurry."""

    folder: Path
    library: Path
    peers: dict[str, Peer]
    quick: bool

    def driver(self, name: str, **switches: int) -> FakeDriver:
        """Return a fake driver with a script of this name."""
        return fake.scripted(self.library, self.folder / f"{name}.control", **switches)

    def seconds(self, full: float, quick: float) -> float:
        """Return how long something lasts."""
        return quick if self.quick else full

    def count(self, full: int, quick: int) -> int:
        """Return how often something is done."""
        return quick if self.quick else full


@dataclass(frozen=True, slots=True)
class Exporter:
    """A program that is scraped."""

    program: Program
    port: int

    @property
    def name(self) -> str:
        """What it is called in tables."""
        return self.program.name


class Child:
    """A peer that is no exporter, driven by lines."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self._read = b""

    def ready(self) -> Self:
        """Wait until it has started."""
        if self.answer(START_SECONDS) is None:
            raise self.program.failed("it does not start")
        return self

    def ask(self, word: str, seconds: float = ANSWER_SECONDS) -> dict[str, Any] | None:
        """Tell it a word and return what it answers; None where it does not within ``seconds``."""
        pipe = self.program.process.stdin
        if pipe is None:
            raise ProgramError(f"{self.program.name} cannot be talked to")
        try:
            pipe.write(word + "\n")
            pipe.flush()
        except OSError as error:
            raise self.program.failed(f"it has ended ({error})") from error
        return self.answer(seconds)

    def answer(self, seconds: float) -> dict[str, Any] | None:
        """Return its next line; None where there is none within ``seconds``."""
        out = self.program.process.stdout
        if out is None:
            raise ProgramError(f"{self.program.name} cannot be listened to")
        end = time.monotonic() + seconds
        while b"\n" not in self._read:
            if not select.select([out], [], [], max(0.0, end - time.monotonic()))[0]:
                return None
            chunk = os.read(out.fileno(), 65536)
            if not chunk:
                raise self.program.failed("it has ended")
            self._read += chunk
        line, _, self._read = self._read.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        return answer


class Fleet:
    """Starts programs and ends them all on leaving."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._started: list[Program] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for program in self._started:
            program.stop()

    def ours(self, driver: FakeDriver, *flags: str, name: str = OURS) -> Exporter:
        """Start ours, as a user would, and wait for its first answer."""
        command = [str(Path(sys.executable).with_name(OURS)), "--meter", "nvml", *flags]
        return self._listening(name, command, "--web.listen-address", "127.0.0.1:{port}", driver)

    def nvitop(self, driver: FakeDriver, *flags: str) -> Exporter:
        """Start nvitop-exporter and wait for its first answer."""
        peer = self._bench.peers[NVITOP]
        command = [str(peer.python), "-m", "nvitop_exporter", "--hostname", "node", *flags]
        return self._listening(NVITOP, command, "--port", "{port}", driver)

    def zeus(self, driver: FakeDriver, *kind: str, name: str = ZEUS) -> Child:
        """Start a zeus monitor of a kind of ``peer_child.py``."""
        return self._child(name, self._bench.peers[ZEUS], driver, *kind)

    def codecarbon(self, driver: FakeDriver) -> Child:
        """Start a codecarbon tracker. It counts GPUs only where a program called nvidia-smi answers."""
        return self._child(CODECARBON, self._bench.peers[CODECARBON], driver, "codecarbon")

    def bare(self, name: str, code: str) -> Program:
        """Start a few lines of Python, as something to compare with."""
        return self._start(name, [sys.executable, "-c", code], {})

    def end(self, program: Program) -> float:
        """End one of them early and return the seconds that it took."""
        self._started.remove(program)
        return program.stop()

    def _start(self, name: str, command: list[str], environment: Mapping[str, str], *, talks: bool = False) -> Program:
        log = self._bench.folder / f"{len(list(self._bench.folder.iterdir()))}.log"
        path = f"{_nvidia_smi(self._bench.folder)}:{os.environ.get('PATH', '')}"
        program = Program(name, command, {**environment, "PATH": path}, log, talks=talks)
        self._started.append(program)
        return program

    def _listening(self, name: str, command: list[str], flag: str, value: str, driver: FakeDriver) -> Exporter:
        port = free_port()
        program = self._start(name, [*command, flag, value.format(port=port)], driver.environment)
        end = time.monotonic() + START_SECONDS
        while not answers(port):
            if not program.alive() or time.monotonic() > end:
                raise program.failed("it does not answer")
            time.sleep(0.02)
        return Exporter(program, port)

    def _child(self, name: str, peer: Peer, driver: FakeDriver, *kind: str) -> Child:
        script = Path(__file__).with_name("peer_child.py")
        return Child(self._start(name, [str(peer.python), str(script), *kind], driver.environment, talks=True))


def _nvidia_smi(folder: Path) -> Path:
    script = folder / "bin" / "nvidia-smi"
    if not script.exists():
        script.parent.mkdir(exist_ok=True)
        script.write_text("#!/bin/sh\nexit 0\n", encoding="ascii")
        script.chmod(0o755)
    return script.parent
