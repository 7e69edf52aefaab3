"""Several processes that send one load together, for rates that one cannot reach.

Each gets a part of the load (``Shard``) and sends its results back as they come; monotonic time is the same in all
processes of a machine. What all of them send is what one would have sent. A process that dies ends the measurement.
"""

import asyncio
import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection
from typing import NamedTuple

import uvloop

from perjoule.errors import MeasurementError
from perjoule_loadgen.client import new_session
from perjoule_loadgen.driving import Job, drive
from perjoule_loadgen.load import Load
from perjoule_loadgen.records import Result

_FLUSH_SECONDS = 0.05
_HEADSTART_SECONDS = 0.1
"""Between handing a job out and its start: by then every process has it."""
_START_SECONDS = 60.0
_END_SECONDS = 2.0
_STOP, _LEAVE = "stop", "leave"


class News(NamedTuple):
    """What a process tells: results since the last time, its counts so far, and how its job ended."""

    results: list[Result]
    sent: int
    scheduled: int | None
    done: bool
    gave_up: str | None


# --- In the process that measures


@dataclass(slots=True)
class _Worker:
    process: multiprocessing.process.BaseProcess
    pipe: Connection
    news: News | None = None


@dataclass(slots=True)
class Crew:
    """Processes that wait for jobs."""

    workers: list[_Worker] = field(default_factory=list)

    @classmethod
    async def started(cls, count: int, request_seconds: float) -> "Crew":
        """Start ``count`` processes and wait until they are ready.

        Raises:
            MeasurementError: one of them is not.
        """
        crew, context = cls(), multiprocessing.get_context("spawn")
        for _ in range(count):
            ours, theirs = context.Pipe()
            process = context.Process(target=work, args=(theirs, request_seconds), daemon=True)
            process.start()
            theirs.close()
            crew.workers.append(_Worker(process, ours))
        until = time.monotonic() + _START_SECONDS
        for worker in crew.workers:
            while not worker.pipe.poll():
                if not worker.process.is_alive() or time.monotonic() > until:
                    crew.close()
                    raise MeasurementError("a worker process did not start")
                await asyncio.sleep(0.01)
            worker.pipe.recv()
        return crew

    async def drive(self, load: Load, job: Job, now: Callable[[], float], enough: Callable[[], bool] | None) -> None:
        """Have all processes send their part of ``job``; the results come into ``load`` as they come in.

        Raises:
            MeasurementError: a process died.
        """
        load.began = now() + _HEADSTART_SECONDS
        for number, worker in enumerate(self.workers):
            worker.news = None
            part = job.shard.split(number, len(self.workers))
            await asyncio.to_thread(worker.pipe.send, replace(job, shard=part, start=load.began))
        try:
            while not self._over():
                await asyncio.sleep(_FLUSH_SECONDS)
                self._listen(load)
                if load.gave_up is not None or (enough is not None and enough()):
                    self._tell(_STOP)
                    enough = None
        except asyncio.CancelledError:
            self._tell(_STOP)
            raise
        load.ended = max([load.began, *load.recent])

    def _over(self) -> bool:
        return all(worker.news is not None and worker.news.done for worker in self.workers)

    def _listen(self, load: Load) -> None:
        for worker in self.workers:
            try:
                while worker.pipe.poll():
                    worker.news = worker.pipe.recv()
                    for result in worker.news.results:
                        load.add(result)
                    load.gave_up = load.gave_up or worker.news.gave_up
            except (EOFError, OSError) as error:
                raise MeasurementError("a worker process died") from error
        news = [worker.news for worker in self.workers if worker.news is not None]
        load.sent = sum(one.sent for one in news)
        due = [one.scheduled for one in news if one.scheduled is not None]
        load.scheduled = sum(due) if due else None

    def _tell(self, word: str) -> None:
        for worker in self.workers:
            with contextlib.suppress(OSError):
                worker.pipe.send(word)

    def close(self) -> None:
        """End all processes; one that does not leave is killed."""
        self._tell(_LEAVE)
        for worker in self.workers:
            worker.pipe.close()
            worker.process.join(_END_SECONDS)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()


# --- In the processes that send


@dataclass(slots=True)
class _Passing(Load):
    """A load whose results are handed on instead of kept."""

    fresh: list[Result] = field(default_factory=list)

    def add(self, result: Result) -> None:
        """See ``Load.add``."""
        self.fresh.append(result)
        self.seen(result)

    def take(self) -> list[Result]:
        """Return the results since the last time."""
        taken, self.fresh = self.fresh, []
        return taken


def work(pipe: Connection, request_seconds: float) -> None:
    """Send the jobs that come through ``pipe`` until told to leave, or until nobody holds its other end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all processes: the one that measures decides
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_work(pipe, request_seconds))


async def _work(pipe: Connection, request_seconds: float) -> None:
    loop, words = asyncio.get_running_loop(), asyncio.Queue[object]()

    def read() -> None:
        """On a thread: an event loop would make the pipe one that does not wait for the rest of a long message."""
        word: object = None
        while word != _LEAVE:
            try:
                word = pipe.recv()
            except (EOFError, OSError):
                word = _LEAVE
            loop.call_soon_threadsafe(words.put_nowait, word)

    async with new_session(request_seconds) as session:
        threading.Thread(target=read, daemon=True).start()
        pipe.send(os.getpid())
        while (word := await words.get()) != _LEAVE:
            if not isinstance(word, Job):
                continue
            load, stopping = _Passing(), asyncio.Event()
            sending = asyncio.create_task(drive(session, time.monotonic, word, load, stopping.is_set))
            if await _report(pipe, words, load, sending, stopping) == _LEAVE:
                return


async def _report(
    pipe: Connection,
    words: "asyncio.Queue[object]",
    load: _Passing,
    sending: "asyncio.Task[None]",
    stopping: asyncio.Event,
) -> str | None:
    """Tell the news of a job until it is over; return the word that ended it, if one did."""
    while True:
        await asyncio.wait([sending], timeout=_FLUSH_SECONDS)
        while not words.empty():
            if words.get_nowait() == _LEAVE:
                sending.cancel()
                return _LEAVE
            stopping.set()
        done = sending.done()
        if done:
            sending.result()
        await asyncio.to_thread(pipe.send, News(load.take(), load.sent, load.scheduled, done, load.gave_up))
        if done:
            return None
