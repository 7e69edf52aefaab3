"""The NVML meter in a process of its own, because a driver can only be put in its place before a program starts.

Each question is answered in a thread of its own there, so that one may hang while others are asked. The clock there can
be moved on by hand: what the meter does seldom need not be waited for.
"""

import itertools
import os
import pickle
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

from perjoule.errors import PerjouleError
from perjoule_exporter.clock import Clock
from perjoule_exporter.meters import Device, ProcessUse, Reading, Status
from perjoule_exporter.meters.nvml.meter import NvmlMeter
from tests.exporter.driver import FakeDriver

SECONDS = 20.0


class RemoteMeter:
    """Asks the meter in the other process. ``kernel`` is the folder in which its kernel lists GPUs."""

    def __init__(self, driver: FakeDriver, kernel: Path) -> None:
        paths = os.pathsep.join(path for path in sys.path if path)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.exporter.nvml_remote", str(kernel)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **driver.environment, "PYTHONPATH": paths},
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._questions, self._replies = self._process.stdin, self._process.stdout
        self._numbers = itertools.count()
        self._answers: dict[int, Any] = {}
        self._arrived = threading.Condition()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def begin(self, question: str, *arguments: object) -> int:
        """Ask without waiting, and return the number of the question."""
        number = next(self._numbers)
        pickle.dump((number, question, arguments), self._questions)
        self._questions.flush()
        return number

    def answer(self, number: int, seconds: float = SECONDS) -> Any:
        """Wait for the answer to a question and return or raise it."""
        with self._arrived:
            assert self._arrived.wait_for(lambda: number in self._answers, seconds), "no answer"
            answer = self._answers.pop(number)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def ask(self, question: str, *arguments: object) -> Any:
        """Ask and wait for the answer."""
        return self.answer(self.begin(question, *arguments))

    def open(self) -> tuple[Device, ...]:
        """Open the meter and return its devices."""
        self.ask("open")
        return self.devices()

    def devices(self) -> tuple[Device, ...]:
        return tuple(self.ask("devices"))

    def read(self, device: Device) -> Reading:
        reading: Reading = self.ask("read", device)
        return reading

    def status(self, device: Device) -> Status:
        status: Status = self.ask("status", device)
        return status

    def glanced(self, device: Device, *meanwhile: str) -> tuple[Reading, Reading | None] | None:
        """Return a reading in full and one at a glance; see ``_Answering``."""
        both: tuple[Reading, Reading | None] | None = self.ask("glanced", device, *meanwhile)
        return both

    def processes(self, device: Device) -> tuple[ProcessUse, ...] | None:
        uses: tuple[ProcessUse, ...] | None = self.ask("processes", device)
        return uses

    def end(self) -> None:
        """End the process, whatever hangs in it."""
        self._process.kill()
        self._process.wait(SECONDS)
        self._listener.join(SECONDS)
        self._questions.close()
        self._replies.close()

    def _listen(self) -> None:
        while True:
            try:
                number, answer = pickle.load(self._replies)  # noqa: S301 (from our own process)
            except (EOFError, ValueError, pickle.UnpicklingError):
                number, answer = None, None
            with self._arrived:
                if number is None:
                    self._answers |= {known: AssertionError("it has ended") for known in range(next(self._numbers))}
                else:
                    self._answers[number] = answer
                self._arrived.notify_all()
            if number is None:
                return


class _Answering:
    """The other side: the meter, and what can be asked of it."""

    def __init__(self, kernel: Path) -> None:
        self._kernel = kernel
        self._ahead = 0.0
        self.meter: NvmlMeter | None = None

    def open(self) -> None:
        if self.meter is not None:
            self.meter.close()
        self.meter = NvmlMeter(Clock(lambda: time.monotonic() + self._ahead), folders=(self._kernel,))

    def skip(self, seconds: float) -> None:
        """Move the monotonic clock on."""
        self._ahead += seconds

    def status(self, device: Device) -> Status:
        assert self.meter is not None
        status = self.meter.status(device)
        return replace(status, clocks_hertz=dict(status.clocks_hertz))  # what can be sent

    def glanced(self, device: Device, *meanwhile: str) -> tuple[Reading, Reading | None] | None:
        """Read in full, then at a glance, after what happens ``meanwhile``; None where that cannot be."""
        assert self.meter is not None
        reading, glance = self.meter.read(device), self.meter.glance(device)
        if glance is None:
            return None
        if "renew" in meanwhile:
            assert self.meter._session.renew()  # what a lost GPU brings about, at this very moment
        seen = glance.look()
        return reading, None if seen is None else glance.made(seen, time.time())

    def readings(self, device: Device, seconds: float, every: float) -> list[Reading]:
        """Read for some time."""
        assert self.meter is not None
        end, readings = time.monotonic() + seconds, []
        while time.monotonic() < end:
            readings.append(self.meter.read(device))
            time.sleep(every)
        return readings

    def answer(self, question: str, arguments: tuple[Any, ...]) -> Any:
        return getattr(self if hasattr(self, question) else self.meter, question)(*arguments)


def _serve(questions: BinaryIO, replies: BinaryIO, answering: _Answering) -> None:
    lock = threading.Lock()

    def reply(number: int, question: str, arguments: tuple[Any, ...]) -> None:
        try:
            answer = answering.answer(question, arguments)
        except PerjouleError as error:
            answer = error
        with lock:
            pickle.dump((number, answer), replies)
            replies.flush()

    while True:
        try:
            asked = pickle.load(questions)  # noqa: S301 (from the test)
        except EOFError:
            return
        threading.Thread(target=reply, args=asked, daemon=True).start()


if __name__ == "__main__":
    _serve(sys.stdin.buffer, sys.stdout.buffer, _Answering(Path(sys.argv[1])))
