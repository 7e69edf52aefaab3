"""When to ask again, and the thread that does: every so often, less often after failures, never before Retry-After.

It knows no provider: what is asked is a function, and so is what becomes of the answer. Nobody waits for this thread:
one that hangs in a request is left to the process's end, and what it brings then is dropped.
"""

import logging
import threading
from collections.abc import Callable

from perjoule.errors import IntensityError
from perjoule_exporter.intensity.value import Intensity

_LOG = logging.getLogger(__name__)

FIRST_RETRY_SECONDS = 30.0
MOST_RETRY_SECONDS = 1800.0
"""Between two tries after failures, or the interval where that is longer."""

MOST_RETRY_AFTER_SECONDS = 86400.0
"""A provider may ask for a day at most; more is a mistake, and the file's token may be renewed meanwhile."""

JITTER = 0.1
_DOUBLINGS = 10  # enough to reach any cap


def delay_after_success(interval_seconds: float, random: float) -> float:
    """Return the seconds to the next question; ``random`` from 0 to 1 spreads a fleet's exporters by ±10 %."""
    return interval_seconds * (1 - JITTER + 2 * JITTER * random)


def delay_after_failure(
    failures: int, retry_after_seconds: float | None, interval_seconds: float, random: float
) -> float:
    """Return the seconds to the next try: doubling from 30 s, no less than Retry-After, spread upwards by 10 %."""
    doubled = FIRST_RETRY_SECONDS * (1 << min(failures - 1, _DOUBLINGS))
    backoff = min(doubled, max(interval_seconds, MOST_RETRY_SECONDS))
    asked = min(retry_after_seconds or 0.0, MOST_RETRY_AFTER_SECONDS)
    return max(backoff, asked) * (1 + JITTER * random)


class Poller:
    """Asks again and again, in a thread of its own once started."""

    def __init__(
        self,
        ask: Callable[[], Intensity],
        accept: Callable[[Intensity], None],
        interval_seconds: float,
        random: Callable[[], float],
        name: str,
        meanwhile: Callable[[], str],
    ) -> None:
        """``name`` is who is asked, and ``meanwhile`` what counts while it fails; both for the log."""
        self._ask = ask
        self._accept = accept
        self._interval = interval_seconds
        self._random = random
        self._name, self._meanwhile = name, meanwhile
        self._failures = 0
        self.outcome: tuple[bool | None, str | None] = None, None  # whether it answered, and what was wrong
        self._stop = threading.Event()

    def start(self, first_delay_seconds: float) -> None:
        """Ask after ``first_delay_seconds``, and go on."""
        threading.Thread(target=self._run, args=(first_delay_seconds,), name="carbon", daemon=True).start()

    def close(self) -> None:
        """Stop asking. Does not wait for a request that is under way."""
        self._stop.set()

    @property
    def closed(self) -> bool:
        """Whether an answer would come too late."""
        return self._stop.is_set()

    def poll(self) -> float:
        """Ask once, and return the seconds to the next time."""
        try:
            found = self._ask()
        except IntensityError as error:
            return self._failed(str(error), error.retry_after_seconds)
        except Exception as error:  # noqa: BLE001 (the thread's edge: a fault of ours must not end the asking)
            # Its text is not logged: a library's message may hold the header that it refused.
            return self._failed(f"could not be asked, a fault of perjoule ({type(error).__name__})", None)
        if self._failures and not self.closed:
            _LOG.info("carbon intensity: %s answers again", self._name)
        self._failures = 0
        self.outcome = True, None
        self._accept(found)
        return delay_after_success(self._interval, self._random())

    def _failed(self, why: str, retry_after_seconds: float | None) -> float:
        self._failures += 1
        self.outcome = False, why
        if self._failures == 1 and not self.closed:
            _LOG.warning("carbon intensity: %s %s; %s", self._name, why, self._meanwhile())
        else:
            _LOG.debug("carbon intensity: %s %s (%d times)", self._name, why, self._failures)
        return delay_after_failure(self._failures, retry_after_seconds, self._interval, self._random())

    def _run(self, delay_seconds: float) -> None:
        while not self._stop.wait(delay_seconds):
            delay_seconds = self.poll()
