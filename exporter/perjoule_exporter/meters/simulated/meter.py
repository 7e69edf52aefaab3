"""The simulated boards as a meter: clocks, ticks that become readable late, calls that fail or hang.

The boards themselves are pure (``board``); here is what a driver adds: which tick can be read by now and when it is
stamped, whether the device answers at all, and the truth file.
"""

import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain

from perjoule.errors import DeviceLostError
from perjoule_exporter.clock import Clock, Moment
from perjoule_exporter.meters import MICRO, Device, ProcessUse, Reading, Status, Work
from perjoule_exporter.meters.integral import PowerIntegral
from perjoule_exporter.meters.simulated.board import Board, Gpu
from perjoule_exporter.meters.simulated.curve import Driven, Load, Utilization
from perjoule_exporter.meters.simulated.events import any_holds
from perjoule_exporter.meters.simulated.script import Script
from perjoule_exporter.meters.simulated.truth import Span, Tick, TruthFile
from perjoule_exporter.meters.simulated.work import LAG_SECONDS, Drawn, WorkLoad

_HANG_LOOK_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class _Stamped:
    """One tick as the driver keeps it: seconds since the start, its Unix time, the counter, when it is readable."""

    time: float
    stamp: float
    microjoules: int
    readable_at: float


@dataclass(slots=True)
class _Seat:
    """One board, and what can be read of it."""

    board: Board
    readable: _Stamped
    moved_at: float  # Unix time of the tick at which the counter last moved
    newest: Tick  # readable or not
    coming: deque[_Stamped] = field(default_factory=deque)
    processes_at: float | None = None
    integral: PowerIntegral | None = None  # where the board has no counter

    def next_end(self) -> float:
        return (self.newest.number + 1) * self.board.gpu.sensor.tick_seconds


class SimulatedMeter:
    """The boards of one script. Time begins when it is made."""

    def __init__(
        self,
        script: Script,
        clock: Clock,
        load: Load | None = None,
        truth: TruthFile | None = None,
        *,
        work: bool = False,
    ) -> None:
        """With ``work``, the one board that follows ``load`` follows the spans on it, from the first on."""
        now = clock.now()
        self._clock = clock
        self._truth = truth
        self._start = now.monotonic
        self._followed = ""
        self._lock = threading.Lock()  # never held while a read hangs
        self._closed = threading.Event()
        self._work, self._lag = None, 0.0
        followers = [gpu for gpu in script.gpus if gpu.power is None]
        if work and load is not None and len(followers) == 1:
            gpu = followers[0]
            self._followed = gpu.device.uuid
            self._lag = min(LAG_SECONDS, gpu.sensor.delay_seconds)
            load = self._work = WorkLoad(load, gpu.idle_watts, gpu.max_watts - gpu.idle_watts, self._drawn)
        self._load = _utilization(script, load, now.monotonic) if load is not None else None
        self._seats = {gpu.device.uuid: _seat(_board(gpu, self._load), now) for gpu in script.gpus}
        self._next_tick = 0.0

    def devices(self) -> list[Device]:
        """Return the boards that are there now."""
        time = self._time()
        gpus = (seat.board.gpu for seat in self._seats.values())
        return [gpu.device for gpu in gpus if not any_holds(gpu.events.absent, time)]

    def read(self, device: Device) -> Reading:
        """Return the newest tick that is readable."""
        seat = self._answering(device)
        with self._lock:
            return _reading(seat, self._caught_up(seat))

    def status(self, device: Device) -> Status:
        """Return the slow values that the script gives."""
        seat = self._answering(device)
        with self._lock:
            time = self._caught_up(seat)
            return seat.board.status(time, seat.readable.time)

    def processes(self, device: Device) -> tuple[ProcessUse, ...] | None:
        """Return the processes that used the board since the last call; None where the script has none."""
        seat = self._answering(device)
        with self._lock:
            now = self._time()
            before, seat.processes_at = seat.processes_at, now
            return seat.board.processes(now if before is None else before, now)

    def work_opened(self, device: str, span: tuple[int, int], work: Work, start: float) -> None:
        """Let the board draw what a span on it does."""
        if self._work is not None and device == self._followed:
            self._work.opened(span, work, start)

    def work_closed(self, device: str, span: tuple[int, int], end: float) -> None:
        """Let it do so no longer."""
        if self._work is not None and device == self._followed:
            self._work.closed(span, end)

    def work_left(self, client: int, now: float) -> None:
        """Let it draw nothing more for a client."""
        if self._work is not None:
            self._work.left(client, now)

    def close(self) -> None:
        """End every call that hangs, and close the truth file."""
        self._closed.set()
        with self._lock:
            if self._truth is not None:
                self._truth.close()

    def _drawn(self, drawn: Drawn) -> None:
        """Write down the truth of a span. The lock is held, for that is found out as time passes."""
        if self._truth is not None:
            now = self._clock.now()
            offset = now.wall - now.monotonic
            microjoules = round(drawn.joules * MICRO)
            self._truth.write(Span(self._followed, drawn.work, drawn.start + offset, drawn.end + offset, microjoules))

    def _time(self) -> float:
        return self._clock.monotonic() - self._start

    def _answering(self, device: Device) -> _Seat:
        """Return the board's seat, once it answers."""
        seat = self._seats.get(device.uuid)
        if seat is None:
            raise DeviceLostError(f"{device.uuid}: the script has no such board")
        events = seat.board.gpu.events
        while any_holds(events.hangs, self._time()):
            if self._closed.wait(_HANG_LOOK_SECONDS):
                raise DeviceLostError(f"{device.uuid}: the simulation ended while a call hung")
        if any_holds(events.lost, self._time()) or any_holds(events.absent, self._time()):
            raise DeviceLostError(f"{device.uuid}: the script says that it is lost")
        return seat

    def _caught_up(self, seat: _Seat) -> float:
        """Find out which tick of a board is readable now, and return the seconds since the start."""
        now = self._clock.now()
        time = now.monotonic - self._start
        self._advance(now)
        while seat.coming and seat.coming[0].readable_at <= time:
            before, seat.readable = seat.readable, seat.coming.popleft()
            if seat.readable.microjoules != before.microjoules:
                seat.moved_at = seat.readable.stamp
        return time

    def _advance(self, now: Moment) -> None:
        """Note every tick that has ended by now, of all boards: the truth file waits for nobody."""
        known = now.monotonic - self._start
        if self._load is not None:
            known = self._load.advance(now.monotonic - self._lag)
        if known < self._next_tick:
            return
        for seat in self._seats.values():
            while seat.next_end() <= known:
                self._tick(seat, now)
        self._next_tick = min(seat.next_end() for seat in self._seats.values())

    def _tick(self, seat: _Seat, now: Moment) -> None:
        board, end = seat.board, seat.next_end()
        stamp = now.wall - (now.monotonic - self._start - end)
        seat.newest = _truth(seat, end, stamp)
        seat.coming.append(_Stamped(end, stamp, _counted(seat, end), end + board.gpu.sensor.delay_seconds))
        if self._truth is not None:
            self._truth.write(seat.newest)


def _utilization(script: Script, load: Load, start: float) -> Utilization:
    def pins(after: float, until: float) -> Iterator[float]:
        return chain.from_iterable(gpu.events.pins(after, until) for gpu in script.gpus)

    return Utilization(load, start, max(gpu.sensor.lookback_seconds for gpu in script.gpus), pins)


def _board(gpu: Gpu, load: Utilization | None) -> Board:
    if gpu.power is not None:
        return Board(gpu, gpu.power)
    if load is None:
        raise ValueError(f"{gpu.device.uuid} follows a load, and there is none")
    return Board(gpu, Driven(gpu.idle_watts, gpu.max_watts - gpu.idle_watts, load))


def _seat(board: Board, now: Moment) -> _Seat:
    counted = "energy" not in board.gpu.unsupported
    return _Seat(
        board=board,
        readable=_Stamped(0.0, now.wall, board.counter_microjoules(0.0) if counted else 0, 0.0),
        moved_at=now.wall,
        newest=Tick(board.gpu.device.uuid, 0, now.wall, now.wall, 0, 0),
        integral=None if counted else PowerIntegral(),
    )


def _counted(seat: _Seat, end: float) -> int:
    """Return the microjoules that the tick which ended at ``end`` shows: the counter's, or else power's integral."""
    if seat.integral is None:
        return seat.board.counter_microjoules(end)
    watts = seat.board.told_watts(end)
    if watts is None or not seat.board.gpu.events.answers(end):
        seat.integral.break_off()  # nobody could read that power
    else:
        seat.integral.add(end, watts)
    return seat.integral.microjoules


def _truth(seat: _Seat, end: float, stamp: float) -> Tick:
    board, before = seat.board, seat.newest
    total = round(board.true_joules(end) * MICRO)
    return Tick(
        device=before.device,
        number=before.number + 1,
        start=before.end,
        end=stamp,
        microjoules=total - before.total_microjoules,
        total_microjoules=total,
        gpu_total_microjoules=None if board.gpu.cpu_power is None else round(board.power.joules(end) * MICRO),
    )


def _reading(seat: _Seat, time: float) -> Reading:
    board, tick = seat.board, seat.readable.time
    energy, moved_at = _energy(seat, time)
    return Reading(
        energy_microjoules=energy,
        energy_time=None if "energy_time" in board.gpu.unsupported else moved_at,
        power_watts=board.instant_watts(tick),
        average_power_watts=board.average_watts(tick),
    )


def _energy(seat: _Seat, time: float) -> tuple[int | None, float | None]:
    """Return the counter, and when it last moved. A reset shows at once, and then nothing has moved since."""
    if seat.integral is not None:
        known = seat.board.told_watts(seat.readable.time) is not None
        return (seat.readable.microjoules, seat.moved_at) if known else (None, None)
    reset = seat.board.gpu.events.last_reset(time)
    if reset is not None and reset >= seat.readable.time:
        return 0, None
    return seat.readable.microjoules, seat.moved_at
