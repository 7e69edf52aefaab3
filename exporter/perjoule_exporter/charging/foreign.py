"""Which part of a GPU's use was by others than the span socket's clients, as far as its driver tells.

A client's are its own process, its descendants, and whatever runs in the same container. Where a client's pid cannot be
seen, where no process on the board is a client's (drivers may count pids in another namespace), or where the driver
tells no shares, nothing is taken for foreign: a wrong guess would take all energy from those who used it. It does not
know power: a foreign process is taken to draw as much as a client's that is as busy.
"""

import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from perjoule.errors import DeviceLostError
from perjoule_exporter.charging.account import Account
from perjoule_exporter.clock import Clock
from perjoule_exporter.meters import DeviceKind, ProcessUse, SeesProcesses
from perjoule_exporter.processes.procfs import Names, parent
from perjoule_exporter.seat import Seat, Seats

_LOG = logging.getLogger(__name__)

INTERVAL_SECONDS = 1.0
_FRESH_SECONDS = 3.0
"""A share is of the last look. One that is older says nothing of now."""

_OTHERS_LOOK_SECONDS = 12.0
"""Drivers tell each sample once: a board that process accounts ask about is not asked again."""

_MOST_GENERATIONS = 16


class Foreign:
    """A thread that asks who uses the boards while there are clients. A driver that hangs costs these shares alone."""

    def __init__(self, seats: Seats, clients: Callable[[], Iterable[int]], clock: Clock, procfs: Path) -> None:
        """``clients``: the pids of those that are connected, 0 of one that cannot be seen."""
        self._seats = seats
        self._clients = clients
        self._clock = clock
        self._procfs = procfs
        self._asked: dict[str, float] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="foreign", daemon=True)

    def start(self) -> None:
        """Ask from now on."""
        self._thread.start()

    def close(self) -> None:
        """Ask no more. A thread that hangs in a driver is left to the process's end."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=0.1)

    def look(self) -> None:
        """Ask about each board once, and tell its account."""
        clients = tuple(self._clients())
        if not clients:
            return
        for seat in self._seats.all:
            account = seat.track.charger
            if seat.device.kind is DeviceKind.GPU and isinstance(account, Account):
                uses = self._uses(seat)
                share = foreign_share(uses, self._own(clients, uses)) if uses else 0.0
                with self._seats.lock:
                    account.shared_with_others(share, self._clock.monotonic() + _FRESH_SECONDS)

    def _uses(self, seat: Seat) -> Sequence[ProcessUse] | None:
        """Return who uses a board, from whoever asked last."""
        now, heard = self._clock.monotonic(), seat.track.heard
        if heard is not None and now - heard[0] < _OTHERS_LOOK_SECONDS:
            return heard[1] if now - heard[0] < _FRESH_SECONDS else None
        if seat.lost or seat.stuck or not isinstance(seat.meter, SeesProcesses):
            return None
        before, self._asked[seat.device.uuid] = self._asked.get(seat.device.uuid), now
        try:
            uses = seat.meter.processes(seat.device)
        except DeviceLostError as error:
            _LOG.debug("%s does not tell its processes now: %s", seat.device.uuid, error)
            return None
        # The first answer, and one after a pause, is of a time before the clients' work.
        return uses if before is not None and now - before < _FRESH_SECONDS else None

    def _own(self, clients: Sequence[int], uses: Sequence[ProcessUse]) -> frozenset[int]:
        """Return which of the pids that use a board are clients'; none where that cannot be said of all."""
        if not all(clients):
            return frozenset()
        pids = [use.pid for use in uses]
        owners = Names(self._procfs).owners({*pids, *clients})
        containers = {owners[pid].container for pid in clients} - {""}
        return frozenset(
            pid for pid in pids if owners[pid].container in containers or self._descends(pid, frozenset(clients))
        )

    def _descends(self, pid: int, clients: frozenset[int]) -> bool:
        found: int | None = pid
        for _ in range(_MOST_GENERATIONS):
            if found in clients:
                return True
            found = parent(self._procfs, found) if found else None
        return False

    def _run(self) -> None:
        try:
            while not self._stop.wait(INTERVAL_SECONDS):
                self.look()
        except Exception:  # noqa: BLE001 (the thread's edge: energy is shared out all the same)
            _LOG.exception("foreign processes are no longer told apart")


def foreign_share(uses: Sequence[ProcessUse], own: frozenset[int]) -> float:
    """Return the share of a board's use, 0 to 1, by processes that are not ``own``; 0 where none of them is."""
    if not any(use.pid in own for use in uses):
        return 0.0
    ratios: Mapping[int, float] = {use.pid: use.utilization_ratio or 0.0 for use in uses}
    total = sum(ratios.values())
    return sum(ratio for pid, ratio in ratios.items() if pid not in own) / total if total > 0 else 0.0
