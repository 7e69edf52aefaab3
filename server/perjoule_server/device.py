"""What runs on the device thread: batches, the batches of others between their steps, and the failures of both.

Knows nothing of the event loop but how to post to it, nor of how models come and go.
"""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from perjoule.errors import ExpiredError, TooLargeError
from perjoule_server.accounting import Accounting
from perjoule_server.batching import Batch, Job, Lane, Lanes, padded, run_apart
from perjoule_server.faults import Fault, LostDeviceError, fault_of
from perjoule_server.pieces import Readers
from perjoule_server.served import Model
from perjoule_server.tasks.base import Prepared, RawOutput, Task
from perjoule_server.tickets import Reply, Results, Ticket, Timing

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Posts:
    """Where the device thread leaves what it has done.

    Attributes:
        to_loop: calls a function with arguments on the event loop.
        results: tells there what has become of requests.
        ran: tells there that a batch has run, whose spans may wait for their ends.
        finishers: makes answers of outputs.
    """

    to_loop: Callable[..., None]
    results: Callable[[Results], None]
    ran: Callable[[], None]
    finishers: ThreadPoolExecutor


class DeviceWork:
    """Runs batches; for the device thread alone."""

    def __init__(
        self,
        models: Mapping[Lane, Model],
        lanes: Lanes,
        accounting: Accounting,
        clock: Callable[[], float],
        posts: Posts,
    ) -> None:
        self._models, self._lanes, self._accounting, self._clock = models, lanes, accounting, clock
        self._posts = posts
        self._running: list[Job] = []
        self._beside = False
        self._away = 0.0  # seconds that batches in between took, in all

    @property
    def running(self) -> Sequence[Job]:
        """What is on the device."""
        return self._running

    def execute(self, batch: Batch) -> None:
        """Run a batch and hand its outputs on.

        Raises:
            LostDeviceError: the device computes nothing any more.
        """
        late = ExpiredError("the deadline passed in the queue")
        self._posts.results([(job.ticket, late) for job in batch.expired])
        jobs = [job for job in batch.jobs if not job.ticket.future.done()]
        model = self._models[batch.lane]
        task = model.task
        if not jobs or task is None:
            return
        self._running += jobs
        started, away = self._clock(), self._away
        outputs = run_apart(partial(self._run, task, batch.lane), jobs, partial(self._failed, batch.lane))
        times = started, self._clock() - started - (self._away - away)
        self._posts.ran()
        self._count(model, jobs, outputs, times)
        self._posts.finishers.submit(self._finish, task, jobs, outputs, times)
        del self._running[-len(jobs) :]

    def _count(
        self, model: Model, jobs: Sequence[Job], outputs: Sequence[RawOutput | Exception], times: tuple[float, float]
    ) -> None:
        started, seconds = times
        done = [(job, raw) for job, raw in zip(jobs, outputs, strict=True) if isinstance(raw, RawOutput)]
        model.used, model.fresh = started, False
        self._lanes.learn(model.lane, jobs, seconds)
        model.metrics.batch(
            seconds,
            [started - job.queued for job in jobs],
            sum(job.prepared.input_tokens for job, _ in done),
            sum(raw.padding_tokens for _, raw in done),
        )

    def _run(self, task: Task, lane: Lane, jobs: Sequence[Job]) -> Sequence[RawOutput]:
        tickets: list[Ticket] = [job.ticket for job in jobs]
        readers = Readers(
            [each.pieces for each in tickets], lambda index: tickets[index].future.done(), self._posts.to_loop
        )
        work = self._accounting.work([each.cost for each in tickets], readers, partial(self._others, lane))
        outputs = task.run([job.prepared for job in jobs], work)
        lane.room.fitted(padded(jobs), lane.token_budget)
        return outputs

    def _failed(self, lane: Lane, error: Exception, jobs: Sequence[Job]) -> Exception:
        """Take over that a batch failed, and return what a request that stands alone is told."""
        fault = fault_of(error, self._accounting.synchronize)
        if fault is Fault.LOST:
            raise LostDeviceError(f"{type(error).__name__}: {error}") from error
        if fault is Fault.REQUEST:
            return error
        lane.room.overflowed(padded(jobs))
        told = "%s: a batch of %d did not fit into memory: %s"
        log.warning(told, lane.name, len(jobs), str(error).partition("\n")[0])
        return TooLargeError(f"{lane.name} needs more memory for this request than its device has left")

    # Between the steps of a batch

    def _others(self, busy: Lane) -> Callable[[], None] | None:
        """Return what runs one batch of another lane, if one waits; none within one that runs so already."""
        if self._beside:
            return None
        batch = self._lanes.take_beside(busy)
        return None if batch is None else partial(self._between, batch)

    def _between(self, batch: Batch) -> None:
        self._beside, started = True, self._clock()
        try:
            self.execute(batch)
        finally:
            self._beside = False
            self._away += self._clock() - started

    # On the finishing threads

    def _finish(
        self, task: Task, jobs: Sequence[Job], outputs: Sequence[RawOutput | Exception], times: tuple[float, float]
    ) -> None:
        started, seconds = times
        results: list[tuple[Ticket, Reply | Exception]] = []
        for job, output in zip(jobs, outputs, strict=True):
            try:
                timing = Timing(started - job.queued, seconds, len(jobs))
                results.append((job.ticket, _reply(task, job.prepared, output, timing)))
            except Exception as error:  # noqa: BLE001 (the edge to a task, one request at a time)
                results.append((job.ticket, error))
        self._posts.results(results)


def _reply(task: Task, prepared: Prepared, output: RawOutput | Exception, timing: Timing) -> Reply:
    if isinstance(output, Exception):
        raise output
    answer = task.finish(prepared, output)
    body = answer.output
    if not isinstance(body, bytes):
        body = json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    return Reply(body, answer.media_type, timing, prepared.input_tokens, answer.output_tokens, answer.work_units)
