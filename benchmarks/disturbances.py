"""What happens to an exporter in its life: GPUs that fail and come back, settings read again, clients that misbehave.

Each is a function that takes a second or two and leaves everything as it was. What the exporter should make of it is
judged elsewhere.
"""

import contextlib
import os
import signal
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path

from benchmarks.fleet import Exporter
from benchmarks.scraping import PATH, Answer
from tests.exporter.driver import FakeDriver

LOST, HUNG, RESET, UNDISTURBED = 0, 1, 2, 3
"""GPUs by what happens to them."""

GPUS = 4
HANG_SECONDS, LOST_SECONDS, SIGNAL_SECONDS, PATIENCE_SECONDS = 1.2, 0.3, 1.0, 10.0
ZONE, FIRST_PUE, SECOND_PUE = "FRA", 1.1, 1.2

_REQUEST = f"GET {PATH} HTTP/1.1\r\nHost: soak\r\n\r\n".encode()


class SoakError(Exception):
    """The exporter did not do what a disturbance waits for."""


@dataclass(slots=True)
class Life:
    """An exporter, what it runs on, and its latest scrape."""

    exporter: Exporter
    driver: FakeDriver
    settings: Path
    latest: Callable[[], Answer]
    signals_sent: int = 0
    signals_lost: int = 0
    held: list[socket.socket] = field(default_factory=list)
    numbers: "count[int]" = field(default_factory=lambda: count(1))

    def wait_for(self, condition: Callable[[Answer], bool], what: str) -> None:
        """Wait until a scrape shows something.

        Raises:
            SoakError: none does.
        """
        end = time.monotonic() + PATIENCE_SECONDS
        while not condition(self.latest()):
            if time.monotonic() > end or not self.exporter.program.alive():
                raise SoakError(str(self.exporter.program.failed(f"waited {PATIENCE_SECONDS:g} s in vain for: {what}")))
            time.sleep(0.02)

    def let_go(self) -> None:
        """Close what clients still hold."""
        for each in self.held:
            each.close()
        self.held.clear()


def write_settings(path: Path, pue: float) -> None:
    """Write a settings file, at once."""
    new = path.with_suffix(".new")
    new.write_text(f'carbon.zone = "{ZONE}"\ncarbon.pue = {pue}\n', encoding="utf-8")
    new.replace(path)


def lose(life: Life) -> None:
    """Lose a GPU, and have it back."""
    life.driver.set(**{f"lost_{LOST}": 1})
    life.wait_for(lambda answer: answer.of("gpu_up", gpu=str(LOST)) == 0, "a lost GPU is down")
    time.sleep(LOST_SECONDS)
    life.driver.set(**{f"lost_{LOST}": 0})
    life.wait_for(lambda answer: _shown(answer, LOST), "a GPU that was lost is back")


def hang(life: Life) -> None:
    """Hang the driver's energy call of a GPU for a while."""
    life.driver.set(**{f"hang_{HUNG}": 1})
    life.wait_for(lambda answer: answer.of("gpu_up", gpu=str(HUNG)) == 0, "a GPU that hangs is down")
    time.sleep(HANG_SECONDS)
    life.driver.set(**{f"hang_{HUNG}": 0})
    life.wait_for(lambda answer: _shown(answer, HUNG), "a GPU that hung is back")


def reset(life: Life) -> None:
    """Restart the counter of a GPU."""
    before = life.latest().of("gpu_energy_resets_total", gpu=str(RESET)) or 0
    life.driver.set(**{f"reset_{RESET}": next(life.numbers)})
    life.wait_for(
        lambda answer: (answer.of("gpu_energy_resets_total", gpu=str(RESET)) or 0) > before, "a reset is counted"
    )


def reload(life: Life) -> None:
    """Read changed settings again, then a broken file, then the first ones."""
    for pue in (SECOND_PUE, None, FIRST_PUE):
        if pue is None:
            life.settings.write_text("carbon.pue = [\n", encoding="utf-8")
        else:
            write_settings(life.settings, pue)
        _hang_up(life)
        expected = SECOND_PUE if pue is None else pue
        life.wait_for(partial(_has_pue, pue=expected), f"a PUE of {expected:g}")


def reload_while_clients_come(life: Life) -> None:
    """Read the settings again at the moment that connections come in."""
    for _ in range(4):
        with _connected(life) as client:
            client.sendall(_REQUEST)
            _hang_up(life)


def _hang_up(life: Life) -> None:
    """Send SIGHUP until the log says what became of it, and count those that were not noticed within a second."""
    log = life.exporter.program.log
    before = _times_said(log.read_text(encoding="utf-8"))
    for _ in range(5):
        os.kill(life.exporter.program.pid, signal.SIGHUP)
        life.signals_sent += 1
        end = time.monotonic() + SIGNAL_SECONDS
        while time.monotonic() < end:
            if _times_said(log.read_text(encoding="utf-8")) > before:
                return
            time.sleep(0.01)
        life.signals_lost += 1
    raise SoakError(str(life.exporter.program.failed("SIGHUP is not noticed")))


def _times_said(log: str) -> int:
    return log.count("settings read again") + log.count("the new settings are of no use")


def _has_pue(answer: Answer, *, pue: float) -> bool:
    return answer.of("datacenter_pue_ratio") == pue


def slow_clients(life: Life) -> None:
    """Ask byte by byte, and read the answer in small bites."""
    for _ in range(2):
        with _connected(life) as client:
            for start in range(0, len(_REQUEST), 4):
                client.sendall(_REQUEST[start : start + 4])
                time.sleep(0.01)
            for _ in range(10):
                client.recv(512)
                time.sleep(0.01)


def half_open(life: Life) -> None:
    """Leave connections behind: silent ones, halves of a request, a reset in place of a goodbye, an answer not read."""
    life.held.append(_connected(life))  # says nothing until it is cut off
    with _connected(life) as client:
        client.sendall(_REQUEST[:20])
    with _connected(life) as client:
        client.sendall(_REQUEST)
        # An end without a goodbye: a reset instead of what is still to be sent.
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    while len(life.held) > 4:  # noqa: PLR2004 (as many silent ones at a time are enough)
        life.held.pop(0).close()


DISTURBANCES = (reload, lose, reset, slow_clients, hang, half_open, reload_while_clients_come)


def _shown(answer: Answer, gpu: int) -> bool:
    return answer.of("gpu_up", gpu=str(gpu)) == 1 and answer.of("gpu_energy_joules_total", gpu=str(gpu)) is not None


def _connected(life: Life) -> socket.socket:
    with contextlib.ExitStack() as stack:
        client = stack.enter_context(socket.create_connection(("127.0.0.1", life.exporter.port), PATIENCE_SECONDS))
        stack.pop_all()
    return client
