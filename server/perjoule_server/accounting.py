"""Tells the exporter what ran on the device and for whom, and keeps what recent requests cost.

Each phase of a batch is a span, begun and ended on the device thread. Its end is told a moment later, since only then
it is known how its requests ended: with the beginning of their next phase (as ``more``), with their answers, or after
``PENDING_SECONDS`` (as ``more``), whichever comes first. How a request ended that is known later still is told by a
span of no length. So every request that was on the device gets its one final entry, and none another's outcome.

Knows nothing of lanes, models or HTTP. Device thread and event loop call it; it never waits for the exporter.
"""

import asyncio
import itertools
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

from perjoule.spans import MORE, Device, Quality, Request, Span, Spans
from perjoule_server.cost import Cost, Part, Pending
from perjoule_server.recent import Recent
from perjoule_server.tasks.base import Audience

PENDING_SECONDS = 0.01
"""How long a span's end may wait for the answers. With the client's 10 ms it is well within the exporter's grace."""

FAREWELL_SECONDS = 0.5
"""How long the last spans may take to settle when the server ends."""

SETTLED_SECONDS = 0.35
"""How long an answer waits for its settled energy: two of the slowest counters' ticks and the exporter's grace."""

Others = Callable[[], Callable[[], None] | None]

_ASK_SECONDS = 0.01  # the exporter's answers are read no more often
_ID_LENGTH = 64


def _nobody() -> None:
    """Say that nobody else waits for the device."""


class Accounting:
    """The server's spans, and what they cost whom.

    Args:
        connect: makes the client of the exporter's socket.
        synchronize: waits until the device has done what it was asked for.
        history: requests whose energy can be asked for afterwards.
        usual: the device's name until an exporter says another.
    """

    def __init__(self, connect: Callable[[], Spans], synchronize: Callable[[], None], history: int, usual: str) -> None:
        self.recent = Recent(history)
        self._connect = connect
        self.synchronize = synchronize
        self._usual = usual
        self._spans: Spans | None = None
        self._process = secrets.token_hex(3)
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._pending: dict[Pending, None] = {}
        self._last: Span | None = None

    def start(self) -> None:
        """Look for the exporter; until then nothing is told."""
        self._spans = self._connect()

    @property
    def spans(self) -> Spans:
        """The client, once it was started."""
        if self._spans is None:
            raise RuntimeError("the accounting has not been started")
        return self._spans

    @property
    def device(self) -> str:
        """What the exporter calls the device that computes, or would."""
        return (self._spans.device if self._spans else None) or self._usual

    @property
    def devices(self) -> tuple[Device, ...]:
        """The devices whose energy the exporter shares out."""
        return self._spans.devices if self._spans else ()

    @property
    def dropped(self) -> int:
        """Spans of which the exporter was not told the beginning or the end."""
        return self._spans.stats.dropped if self._spans else 0

    def cost(self, name: str, task: str, model: str) -> Cost:
        """Return a new request's account. ``name`` is its client's; several requests may have the same."""
        own = f".{self._process}-{next(self._numbers):x}"
        return Cost(name, name[: _ID_LENGTH - len(own)] + own, task, model)

    @contextmanager
    def overhead(self, task: str, model: str, phase: str) -> Iterator[None]:
        """Surround the device's work that is done for no request: loading, warming up."""
        with self.spans.span(task, model, phase):
            yield
            self.synchronize()

    def work(self, costs: Sequence[Cost], audience: Audience, others: Others = _nobody) -> "BatchWork":
        """Return the account of one run of a batch of one model; ``audience`` are those who wait for it.

        ``others`` returns what runs one batch of somebody else, if one waits.
        """
        return BatchWork(self, costs, audience, others)

    # Of BatchWork, on the device thread

    def began(self, costs: Sequence[Cost], phase: str) -> Span:
        """Begin a span; what its requests were in before was not their last.

        The ends of others that are overdue are told too: a busy event loop may come to them too late.
        """
        with self._lock:
            for pending in _pending_of(costs):
                self._tell(pending, {})
            self._tell_overdue()
        return self.spans.span(costs[0].task, costs[0].model, phase)

    def ended(self, span: Span, phase: str, costs: Sequence[Cost], weights: Sequence[float], start_ns: int) -> None:
        """End a span, as soon as it is known how its requests ended."""
        pending = Pending(span, costs, weights, time.monotonic_ns())
        whole, seconds = sum(weights), (pending.end_ns - start_ns) / 1e9
        with self._lock:
            self._tell_overdue()
            self._pending[pending] = None
            for cost, weight in zip(costs, weights, strict=True):
                share = weight / whole if whole > 0 else 1 / len(costs)
                cost.parts.append(Part(phase, seconds, weight, share, len(costs), cost.request, span))
                cost.pending = pending

    # On the event loop

    @property
    def waiting(self) -> bool:
        """Whether the end of a span waits to be told."""
        return bool(self._pending)

    def concluded(self, outcomes: Iterable[tuple[Cost, str]]) -> None:
        """Take over how requests ended, those that never were on the device included."""
        known = dict(outcomes)
        device = self.device
        with self._lock:
            for pending in _pending_of(known):
                self._tell(pending, known)
            for cost, outcome in known.items():
                cost.outcome, cost.device = outcome, device
                if cost.parts:
                    self.recent.add(cost)
            self._tell_late([cost for cost in known if cost.owing], known)

    async def settled(self, cost: Cost, seconds: float) -> None:
        """Wait until it is settled what a request was charged, for at most two ticks of a counter, or ``seconds``.

        The spans are asked again and again: to wait on them would end the wait of all their requests at once.
        """
        end = time.monotonic() + min(SETTLED_SECONDS, seconds)
        while time.monotonic() < end and self._may_settle(cost):  # noqa: ASYNC110 (it comes to another thread)
            await asyncio.sleep(_ASK_SECONDS)

    def overdue(self) -> None:
        """Tell the ends that have waited long enough."""
        with self._lock:
            self._tell_overdue()

    def _may_settle(self, cost: Cost) -> bool:
        return self.spans.stats.connected and cost.energy.quality is not Quality.SETTLED

    # At the end of the program

    def close(self) -> None:
        """Tell what is left, wait a moment until that has settled, and hang up."""
        with self._lock:
            for pending in list(self._pending):
                self._tell(pending, {})
        if self._last is not None:
            self._last.wait(FAREWELL_SECONDS)
        if self._spans is not None:
            self._spans.close()

    # Under the lock

    def _tell_overdue(self) -> None:
        before = time.monotonic_ns() - round(PENDING_SECONDS * 1e9)
        for pending in [each for each in self._pending if each.end_ns <= before]:
            self._tell(pending, {})

    def _tell(self, pending: Pending, outcomes: dict[Cost, str]) -> None:
        """End a span with how its requests ended, as far as that is known."""
        del self._pending[pending]
        entries = []
        for cost, weight in zip(pending.costs, pending.weights, strict=True):
            outcome = outcomes.get(cost, MORE)
            cost.owing, cost.pending = outcome == MORE, None
            entries.append(Request(cost.request, weight, outcome))
        pending.span.close(entries, reply=True, end_ns=pending.end_ns)
        self._last = pending.span

    def _tell_late(self, costs: Sequence[Cost], outcomes: dict[Cost, str]) -> None:
        """End requests by a span of no length."""
        by_phase: dict[str, list[Cost]] = {}
        for cost in costs:
            by_phase.setdefault(cost.parts[-1].phase, []).append(cost)
            cost.owing = False
        for phase, its in by_phase.items():
            entries = [Request(cost.request, 0.0, outcomes[cost]) for cost in its]
            self.spans.span(its[0].task, its[0].model, phase).close(entries, end_ns=0)


def _pending_of(costs: Iterable[Cost]) -> list[Pending]:
    return list(dict.fromkeys(cost.pending for cost in costs if cost.pending is not None))


class _Phase:
    """A phase under way: a span, or several one after the other. See ``tasks.base.Phase``."""

    def __init__(self, accounting: Accounting, costs: Sequence[Cost], name: str, weights: Sequence[float]) -> None:
        self._accounting, self._costs, self._name = accounting, costs, name
        self._told: Sequence[float] = [0.0] * len(costs)
        self.weigh(weights)
        self.begin()

    def weigh(self, weights: Sequence[float]) -> None:
        """See ``Phase.weigh``."""
        if len(weights) != len(self._costs):
            raise ValueError(f"{len(weights)} weights for {len(self._costs)} requests")
        self._weights = weights

    def begin(self) -> None:
        """Begin a span."""
        self._span = self._accounting.began(self._costs, self._name)
        self._start_ns = time.monotonic_ns()

    def end(self, done: Sequence[float] | None = None) -> None:
        """End the span with what it adds to those before it: up to ``done``, or all that is left."""
        whole = self._weights if done is None else done
        weights = [max(0.0, now - before) for now, before in zip(whole, self._told, strict=True)]
        self._told = whole
        self._accounting.ended(self._span, self._name, self._costs, weights, self._start_ns)


class BatchWork:
    """One run of a batch: its phases are spans. See ``tasks.base.Work``."""

    def __init__(self, accounting: Accounting, costs: Sequence[Cost], audience: Audience, others: Others) -> None:
        self._accounting, self._costs, self._others = accounting, costs, others
        self._phase: _Phase | None = None
        self.left, self.listens, self.tell = audience.left, audience.listens, audience.tell

    @contextmanager
    def phase(self, name: str, weights: Sequence[float]) -> Iterator[_Phase]:
        """See ``Work.phase``."""
        self._phase = phase = _Phase(self._accounting, self._costs, name, weights)
        try:
            yield phase
            self._accounting.synchronize()  # a device that is lost raises here, and its span ends all the same
        finally:
            self._phase = None
            phase.end()

    def pause(self, done: Sequence[float]) -> None:
        """See ``Work.pause``."""
        if self._phase is None:
            raise ValueError("a pause stands within a phase")
        other = self._others()
        if other is None:
            return
        self._accounting.synchronize()
        self._phase.end(done)
        try:
            other()
        finally:
            self._phase.begin()
