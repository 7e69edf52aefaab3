"""What a server uses to say when each of its batches ran, and to learn what they cost.

Nothing here waits for the exporter, and nothing fails without it: spans are then dropped and counted, and energy is
unknown. It knows no device and measures nothing: the joules are the exporter's.
"""

import os
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from perjoule.errors import UsageError
from perjoule.spans.link import RETRY_SECONDS
from perjoule.spans.path import client_paths
from perjoule.spans.session import Session, Setup
from perjoule.spans.span import Span
from perjoule.spans.wire import AnyRequest, Device, Kind, checked_name

PHASE = "inference"
"""The phase of work that has only one."""

QUEUE = 20_000
"""Lines that may wait for the thread: seconds of a very busy server."""

_MOST_KINDS = 10_000  # remembered; a server that makes up names is not served faster by it


class Stats(NamedTuple):
    """What became of the spans so far, those before a fork apart.

    Attributes:
        sent: the exporter was told of their begin.
        dropped: it was not told of their begin or not of their end.
        refused: lines that it could not take, or could not have taken.
        connected: it is there now.
    """

    sent: int
    dropped: int
    refused: int
    connected: bool


class Spans:
    """A server's account of its work. Use one in a process; all threads may.

    After a fork the child has a connection of its own, from its first span on; what was open then is the parent's.

    Args:
        name: the server's name and version, for the exporter's log.
        device: the exporter's name of the device that computes: a GPU's uuid as NVML spells it, ``cpu-0``; several
            where all of them do (tensor parallel). None for the simulated GPU if the exporter has one, else its
            first CPU.
        owners: (task, model) of all work that may come, so that its metrics are there, at 0, before it does.
        socket: where the exporter listens; None for the environment's ``PERJOULE_SPAN_SOCKET`` or the usual places.
        queue: lines that may wait. Spans that begin while it is full are dropped.
        clock_ns: CLOCK_MONOTONIC in nanoseconds.
        retry_seconds: the first pause before another attempt to connect, and the longest.

    Raises:
        UsageError: a name cannot be a label's value.
    """

    def __init__(  # noqa: PLR0913 (settings, of which one is needed)
        self,
        name: str,
        *,
        device: str | Sequence[str] | None = None,
        owners: Iterable[tuple[str, str]] = (),
        socket: str | Path | None = None,
        queue: int = QUEUE,
        clock_ns: Callable[[], int] = time.monotonic_ns,
        retry_seconds: tuple[float, float] = RETRY_SECONDS,
    ) -> None:
        self._setup = Setup(checked_name(name, "server's name"), client_paths(socket, os.environ), queue, retry_seconds)
        self._devices = _device_names(device)
        self._owners = _checked_owners(owners)
        self._clock_ns = clock_ns
        self._kinds: dict[tuple[tuple[str, ...], str, str, str], tuple[Kind, ...]] = {}
        self._lock = threading.Lock()
        self._closed = False
        self._session: Session | None = Session(self._setup, self._owners)
        _ALL.add(self)

    def span(
        self,
        task: str,
        model: str,
        phase: str = PHASE,
        *,
        requests: Iterable[AnyRequest] = (),
        device: str | Sequence[str] | None = None,
    ) -> Span:
        """Begin a span now: a batch of one phase of a task's work. End it by ``with`` or by its ``close``.

        Requests are ``(id, weight, outcome)``, the weight 1 and the outcome ``ok`` if not said. Without any (load,
        warm-up) the span's energy is the owner's overhead. Where one is none (see ``wire.checked_requests``), all are
        replaced by one error, which is logged and counted: a mistake there costs figures, and no answer.

        Raises:
            UsageError: a name cannot be a label's value.
        """
        devices = self._devices if device is None else _device_names(device)
        kinds = self._kinds.get((devices, task, model, phase)) or self._new_kinds(devices, task, model, phase)
        return Span(self._current(), kinds, self._clock_ns, tuple(requests))

    def announce(self, owners: Iterable[tuple[str, str]]) -> None:
        """Tell of work that may come, so that its metrics are there before it does.

        Raises:
            UsageError: a name cannot be a label's value.
        """
        with self._lock:
            self._owners = {**self._owners, **_checked_owners(owners)}
        self._current().announce(self._owners)

    @property
    def devices(self) -> tuple[Device, ...]:
        """The devices whose energy the exporter shares out, as it said last."""
        return self._current().talk.devices

    @property
    def device(self) -> str | None:
        """The device that work is on where none is named, the first of several; None while it is not known."""
        return self._devices[0] or self._current().talk.usual_device()

    @property
    def stats(self) -> Stats:
        """What became of the spans so far."""
        session = self._current()
        return Stats(session.talk.sent, session.dropped, session.talk.refused, session.talk.ready)

    def close(self, timeout: float = 1.0) -> None:
        """Send what is waiting, if that goes at once, and hang up. Spans that begin later are dropped."""
        self._closed = True
        if self._session is not None:
            self._session.close(timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def forked(self) -> None:
        """Let go, in a forked child, of what is the parent's."""
        self._lock = threading.Lock()
        if self._session is not None:
            self._session.abandon()
            self._session = None

    def _current(self) -> Session:
        session = self._session
        if session is None:
            with self._lock:
                session = self._session = self._session or Session(self._setup, self._owners)
            if self._closed:
                session.close(0.0)
        return session

    def _new_kinds(self, devices: tuple[str, ...], task: str, model: str, phase: str) -> tuple[Kind, ...]:
        kinds = tuple(
            Kind(device, checked_name(task, "task"), checked_name(model, "model"), checked_name(phase, "phase"))
            for device in devices
        )
        if len(self._kinds) < _MOST_KINDS:
            self._kinds[devices, task, model, phase] = kinds
        return kinds


def _device_names(device: str | Sequence[str] | None) -> tuple[str, ...]:
    """Return the names of devices; an empty one stands for that which the exporter suggests."""
    if device is None:
        return ("",)
    names = (device,) if isinstance(device, str) else tuple(device)
    if not names:
        raise UsageError("a span is on one device at least")
    return tuple(checked_name(name, "device") for name in names)


def _checked_owners(owners: Iterable[tuple[str, str]]) -> dict[tuple[str, str], None]:
    return {(checked_name(task, "task"), checked_name(model, "model")): None for task, model in owners}


_ALL: "weakref.WeakSet[Spans]" = weakref.WeakSet()


def _after_fork() -> None:
    for each in list(_ALL):
        each.forked()


os.register_at_fork(after_in_child=_after_fork)
