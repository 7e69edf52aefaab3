"""Who is inside the driver: lets calls in, and lets one thread be alone with it while nobody else is.

NVML may only be shut down, to be initialised anew, while no other thread is in a call; a thread that hangs in one never
comes out. So being alone is tried for, never waited for at the cost of the callers, and given up when it does not come
about. What the gate does not know is what a call does.

There are two ways in. The gate itself, with ``with``; and a turn of one's own, a plain lock, for the call that is made
forty times a second: to take that costs no Python.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from perjoule.errors import DeviceLostError

WAIT_SECONDS = 0.15
"""How long a call waits outside. Less than the watchdog gives a call, for waiting is no hang of the device."""

_TRY_SECONDS = 0.5
_PAUSE_SECONDS = 0.001


class Gate:
    """Entered with ``with`` around every call into the driver but those that end and begin its session."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._turns: list[threading.Lock] = []
        self._open = threading.Event()
        self._open.set()

    def __enter__(self) -> None:
        with self._lock:
            if self._open.is_set():
                self._inside += 1
                return
        self._enter_late()

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1

    def turn(self) -> threading.Lock:
        """Return a way in of one's own: held, for ``WAIT_SECONDS`` waited for, around one call at a time."""
        turn = threading.Lock()
        with self._lock:
            self._turns.append(turn)
            if not self._open.is_set():
                turn.acquire()  # it is let go with the others
        return turn

    @contextmanager
    def alone(self) -> Iterator[bool]:
        """Keep everybody out, and give True; or False when somebody stayed inside all the time that it was tried."""
        end = time.monotonic() + _TRY_SECONDS
        while not self._closed():
            if time.monotonic() > end:
                yield False
                return
            time.sleep(_PAUSE_SECONDS)
        try:
            yield True
        finally:
            self._reopen()

    def _closed(self) -> bool:
        with self._lock:
            if self._inside == 0 and self._all_turns():
                self._open.clear()
                return True
            return False

    def _all_turns(self) -> bool:
        """Take all turns, or none where one is held."""
        for number, turn in enumerate(self._turns):
            if not turn.acquire(blocking=False):
                for taken in self._turns[:number]:
                    taken.release()
                return False
        return True

    def _reopen(self) -> None:
        with self._lock:
            for turn in self._turns:
                turn.release()
            self._open.set()

    def _enter_late(self) -> None:
        if self._open.wait(WAIT_SECONDS):
            with self._lock:
                if self._open.is_set():
                    self._inside += 1
                    return
        raise DeviceLostError("the driver is being initialised anew")
