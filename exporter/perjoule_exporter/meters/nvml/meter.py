"""Every GPU that NVML lists, and those that come later.

NVML shows a process the GPUs that were there at its init. New ones are not seen, and one that was lost stays lost,
until it is shut down and initialised again. That makes all handles void, keeps every reader out meanwhile, and must not
happen while a thread hangs in a call. So it is done only for a reason, which ``devices`` looks for: the kernel's driver
has other GPUs than at the init, a GPU is lost, or the kernel does not tell. It takes a thousandth of the time at most;
as long as the reason stays, each time doubles the wait for the next; and it never happens while a call is under way.
Readers find their GPU again by its uuid.

GPUs are looked up each in a thread of its own, so that one that hangs at the start keeps none of the others from being
read; it has no series until it answers.

What that cannot do: while one GPU's driver hangs, no other GPU is found; and where persistence mode is off and nobody
else uses a GPU, its driver unloads for that moment, so that its counter starts again at 0 (a reset as any other).
"""

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from perjoule.errors import DeviceLostError, NoMeterError
from perjoule_exporter.clock import Clock
from perjoule_exporter.meters import Device, Glance, ProcessUse, Reading, Status
from perjoule_exporter.meters.nvml.arrival import Arrival, await_all
from perjoule_exporter.meters.nvml.board import INTEGRATED, LOST, Board, Identity
from perjoule_exporter.meters.nvml.driver import Handle, Session
from perjoule_exporter.meters.nvml.kernel import FOLDERS, bound_gpus

_LOG = logging.getLogger(__name__)

T = TypeVar("T")

_RENEW_SECONDS, _RENEW_AT_LEAST_SECONDS = 2.0, 600.0
_RENEW_SHARE = 0.001  # of the time

_SETTLE_SECONDS = 0.5
"""How long a counter at 0 may take to move. Right after the driver was loaded it is at 0, for a tick."""

_SETTLE_PAUSE = 0.02


class NvmlMeter:
    """The GPUs of the NVIDIA driver. Reads of different GPUs may run in different threads, and beside ``devices``."""

    def __init__(
        self, clock: Clock, folders: tuple[Path, ...] = FOLDERS, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        """Load the driver's library and enumerate. ``folders`` are where the kernel lists its GPUs.

        Raises:
            NoMeterError: no driver, a driver that does not match its library, or no GPU that answers.
        """
        self._clock = clock
        self._folders = folders
        self._sleep = sleep
        self._boards: dict[str, Board] = {}
        self._listed: list[Board] = []
        self._left_out: set[int] = set()
        self._arriving: list[Arrival] = []
        self._late = False
        self._driver = ""
        self._bound = bound_gpus(folders)
        self._wanted = False  # a new session, though nothing new is seen
        self._patience = _RENEW_SECONDS
        self._session = Session()
        self._began = clock.monotonic()
        try:
            self._enumerate()
        except DeviceLostError as error:
            self.close()
            raise NoMeterError(str(error)) from error
        if not self._listed:
            self.close()
            raise NoMeterError("the NVIDIA driver is loaded but lists no GPU that answers")

    def devices(self) -> list[Device]:
        """Return the GPUs that are there and answer, in NVML's order.

        Raises:
            DeviceLostError: the driver does not answer.
        """
        if self._late:  # somebody is inside a call, so there is no new session either
            self._take_in()
        elif self._due() and self._renewed():
            listed = set(self._boards)
            self._enumerate()
            self._patience = min(self._patience * 2, _RENEW_AT_LEAST_SECONDS)
            if listed != set(self._boards):
                self._patience = _RENEW_SECONDS
        return [board.device() for board in self._listed if not board.lost]

    def read(self, device: Device) -> Reading:
        """Read energy and power of one GPU.

        Raises:
            DeviceLostError: it does not answer.
        """
        return self._asked(device, Board.read)

    def glance(self, device: Device) -> Glance | None:
        """Return how energy and power of one GPU are read in one call, where they can be."""
        board = self._boards.get(device.uuid)
        if board is None or board.session != self._session.number or not board.at_a_glance:
            return None
        return Glance(board.fields.looker(self._session, board.turn), board.glimpsed)

    def status(self, device: Device) -> Status:
        """Read limit, clocks, memory, temperature and throttling of one GPU.

        Raises:
            DeviceLostError: it does not answer.
        """
        return self._asked(device, Board.status)

    def processes(self, device: Device) -> tuple[ProcessUse, ...] | None:
        """Read who has used one GPU since the last call; None where the driver does not tell.

        Raises:
            DeviceLostError: it does not answer.
        """
        return self._asked(device, Board.processes)

    def close(self) -> None:
        """Give the driver back, unless a thread hangs in it: then the end of the process does."""
        with self._session.gate.alone() as alone:
            if alone:
                self._session.close()

    def _asked(self, device: Device, question: Callable[[Board], T]) -> T:
        board = self._boards.get(device.uuid)
        if board is None:
            raise DeviceLostError(f"{device.uuid}: never seen")
        with self._session.gate:
            try:
                if board.session != self._session.number:
                    board.attach(self._session.by_uuid(device.uuid), self._session.number)
                return question(board)
            except DeviceLostError:
                # The handle is of no use any more: if the GPU comes back it is looked up by its uuid.
                board.session = LOST
                raise

    def _due(self) -> bool:
        """Whether there is a reason for a new session, and the last one is old enough."""
        bound = bound_gpus(self._folders)
        changed = bound is not None and bound != self._bound
        ailing = bound is None or self._wanted or bool(self._left_out) or any(board.lost for board in self._listed)
        if not ailing:
            self._patience = _RENEW_SECONDS
        wait = max(_RENEW_SECONDS if changed else self._patience, self._session.took / _RENEW_SHARE)
        return (changed or ailing) and self._clock.monotonic() - self._began >= wait

    def _renewed(self) -> bool:
        bound = bound_gpus(self._folders)
        self._wanted = True
        self._began = self._clock.monotonic()
        if not self._session.renew():
            return False
        self._bound, self._wanted = bound, False
        return True

    def _enumerate(self) -> None:
        self._driver = self._session.driver_version()
        self._arriving = [Arrival(index, self._finder(index)) for index in range(self._session.count())]
        await_all(self._arriving)
        self._listed, self._wanted = [], False
        self._take_in()

    def _finder(self, index: int) -> Callable[[], Board]:
        def find() -> Board:
            with self._session.gate:
                board = self._board(self._session.by_index(index), index)
            if not board.method:
                self._settle(board)
            return board

        return find

    def _take_in(self) -> None:
        """List the boards that have arrived; those that do not answer have no name to publish them under."""
        self._late = not all(arrival.over for arrival in self._arriving)
        left_out: dict[int, DeviceLostError] = {}
        for arrival in self._arriving:
            try:
                self._list(arrival.board(), arrival.index)
            except DeviceLostError as error:
                left_out[arrival.index] = error
        for index in left_out.keys() - self._left_out:
            _LOG.warning("a GPU does not answer and is left out: %s", left_out[index])
        self._left_out = set(left_out)
        self._boards |= {board.identity.uuid: board for board in self._listed}

    def _list(self, board: Board, index: int) -> None:
        if not board.method:  # lost before it was known what it is
            self._wanted = True
            return
        same = next((each for each in self._listed if each.identity.uuid == board.identity.uuid), None)
        if same is not None and same.identity.index != index:
            raise DeviceLostError(f"GPU {index}: another has its uuid, {board.identity.uuid}")
        if same is None:
            board.found(index, self._driver)
            self._listed = sorted([*self._listed, board], key=lambda each: each.identity.index)

    def _board(self, handle: Handle, index: int) -> Board:
        """Return the board of a handle. A known one finds its handle itself, in its own reader's thread."""
        uuid = handle.text("nvmlDeviceGetUUID")
        if not uuid:
            raise DeviceLostError(f"{handle.name}: it has no uuid")
        board = self._boards.get(uuid)
        if board is None:
            identity = Identity(uuid, index, self._driver, handle.text("nvmlDeviceGetName"), handle.pci_bus_id())
            handle.name = uuid
            board = Board(identity, self._clock, self._session.gate.turn())
            board.attach(handle, self._session.number)
        return board

    def _settle(self, board: Board) -> None:
        """Find out of a new board whether it counts energy, waiting a little for a counter that is at 0."""
        for _ in range(round(_SETTLE_SECONDS / _SETTLE_PAUSE)):
            with self._session.gate:
                if board.settled():
                    return
            self._sleep(_SETTLE_PAUSE)
        _LOG.warning("the energy counter of %s stays at 0: its power is integrated", board.identity.uuid)
        board.method = INTEGRATED
