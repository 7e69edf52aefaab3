"""Who is inside the driver: lets calls in, and lets one thread be alone with it while nobody else is.

NVML may only be shut down, to be initialised anew, while no other thread is in a call; a thread that hangs in one never
comes out. So being alone is tried for, never waited for at the cost of the callers, and given up when it does not come
about. What the gate does not know is what a call does.
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
            self._open.set()

    def _closed(self) -> bool:
        with self._lock:
            if self._inside == 0:
                self._open.clear()
            return self._inside == 0

    def _enter_late(self) -> None:
        if self._open.wait(WAIT_SECONDS):
            with self._lock:
                if self._open.is_set():
                    self._inside += 1
                    return
        raise DeviceLostError("the driver is being initialised anew")
