"""A GPU that is being looked up, in a thread of its own: one whose driver hangs must not keep the others from arriving.

A call that hangs never comes back, so nobody waits for it to the end; what has arrived late is there to be taken.
"""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from concurrent.futures import TimeoutError as NotYet

from perjoule.errors import DeviceLostError
from perjoule_exporter.meters.nvml.board import Board

TOGETHER_SECONDS = 2.0
"""How long all are waited for. A GPU that takes longer is taken in when it has arrived."""

FIRST_SECONDS = 10.0
"""How long the first one is waited for, where none has arrived."""


class Arrival:
    """One GPU, by its number. ``find`` looks it up."""

    def __init__(self, index: int, find: Callable[[], Board]) -> None:
        self.index = index
        self.found: Future[Board] = Future()
        threading.Thread(target=self._run, args=(find,), name="arrival", daemon=True).start()

    @property
    def over(self) -> bool:
        """Whether it has arrived, or never will."""
        return self.found.done()

    def board(self) -> Board:
        """Return it.

        Raises:
            DeviceLostError: it does not answer, or has not yet.
        """
        try:
            return self.found.result(timeout=0)
        except NotYet as error:
            raise DeviceLostError(f"GPU {self.index}: a call of its driver does not return") from error

    def _run(self, find: Callable[[], Board]) -> None:
        try:
            self.found.set_result(find())
        except BaseException as error:  # noqa: BLE001 (the thread's edge: whoever takes the GPU in raises it)
            self.found.set_exception(error)


def await_all(arrivals: Sequence[Arrival]) -> None:
    """Wait until all are over, though not for long."""
    end = time.monotonic() + FIRST_SECONDS
    wait([each.found for each in arrivals], TOGETHER_SECONDS)
    waiting = [each.found for each in arrivals if not each.over]
    while waiting and not any(each.over and each.found.exception() is None for each in arrivals):
        left = end - time.monotonic()
        if left <= 0:
            return
        wait(waiting, min(left, 0.05))
        waiting = [each for each in waiting if not each.done()]
