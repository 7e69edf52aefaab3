"""The server's metrics: prometheus_client families made from the rows of ``perjoule.metrics.CATALOGUE``.

Every label set of a model exists at 0 from the moment the model is known, so that a first delta is never lost. Requests
for models that are not served count under ``model="unknown"`` and make no further series. Device-side figures are
written by the device thread when a batch ends, request-side ones by the event loop just before the answer goes out, so
that whoever has the answer finds it counted. Knows nothing of queues or HTTP.
"""

import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, disable_created_metrics

from perjoule import __version__
from perjoule.metrics import CATALOGUE, REQUEST_OUTCOMES, TOKEN_KINDS, Kind, Metric, Program
from perjoule.workloads import WORKLOADS
from perjoule_server.tasks.base import ModelSpec

UNKNOWN = "unknown"
"""Label value for what is not served."""

F = TypeVar("F", Counter, Gauge, Histogram)


def rows() -> list[Metric]:
    """Return the catalogue's rows that this program exposes."""
    return [metric for metric in CATALOGUE.values() if metric.program in {Program.SERVER, Program.BOTH}]


def _family(row: Metric, registry: CollectorRegistry) -> Counter | Gauge | Histogram:
    if row.kind is Kind.COUNTER:
        return Counter(row.name, row.help, row.labels, registry=registry)
    if row.kind is Kind.GAUGE:
        return Gauge(row.name, row.help, row.labels, registry=registry)
    return Histogram(row.name, row.help, row.labels, registry=registry, buckets=row.buckets)


class ServerMetrics:
    """All families on one registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # client_python leaves it untyped
        self.registry = registry
        self._families = {row.name: _family(row, registry) for row in rows()}
        ProcessCollector(registry=registry)
        self.family("perjoule_build_info", Gauge).labels(__version__, Program.SERVER).set(1)
        self.refused(UNKNOWN)
        self._sources: list[Callable[[], None]] = []

    def before_scrapes(self, source: Callable[[], None]) -> None:
        """Call ``source`` before each scrape, so that it can bring its figures up to date."""
        self._sources.append(source)

    def refresh(self) -> None:
        """Bring all figures up to date; for a scrape."""
        for source in self._sources:
            source()

    def count_dropped(self, dropped: Callable[[], int]) -> None:
        """Show how many spans the exporter was not told of, in all so far."""
        family, lock, seen = self.family("inference_spans_dropped_total", Counter), threading.Lock(), 0

        def count() -> None:
            nonlocal seen
            with lock:
                now = dropped()
                family.inc(max(0, now - seen))
                seen = now

        self.before_scrapes(count)

    def family(self, name: str, kind: type[F]) -> F:
        """Return the family called ``name``."""
        family = self._families[name]
        if not isinstance(family, kind):
            raise TypeError(f"{name} is a {type(family).__name__}")
        return family

    def refused(self, task: str) -> Counter:
        """Return the counter of requests of ``task`` for a model that is not served."""
        return self.family("inference_requests_total", Counter).labels(task, UNKNOWN, "invalid")


class _OnDevice:
    """A model's series that name the device, which may get another name; any thread may call."""

    def __init__(self, metrics: ServerMetrics, names: tuple[str, str], device: Callable[[], str]) -> None:
        self._names, self._device = names, device
        self._busy = metrics.family("inference_device_busy_seconds_total", Counter)
        self._info = metrics.family("inference_model_info", Gauge)
        self._served: tuple[str, str, str] | None = None
        self._lock = threading.Lock()
        self._name, self._used = device(), False
        self._busy.labels(*names, self._name)

    def loaded(self, dtype: str, revision: str, weights: str) -> None:
        with self._lock:
            self._served = (dtype, revision, weights)
            self._info.labels(*self._names, self._name, *self._served).set(1)

    def unloaded(self) -> None:
        with self._lock:
            if self._served is not None:
                self._info.remove(*self._names, self._name, *self._served)
            self._served = None

    def busy(self, seconds: float) -> None:
        self.follow()
        with self._lock:
            self._busy.labels(*self._names, self._name).inc(seconds)
            self._used = True

    def follow(self) -> None:
        """Be on the device that it is by now."""
        name = self._device()
        with self._lock:
            if name != self._name:
                self._move(name)

    def _move(self, name: str) -> None:
        self._busy.labels(*self._names, name)
        if not self._used:  # a series of nothing
            self._busy.remove(*self._names, self._name)
        if self._served is not None:
            self._info.remove(*self._names, self._name, *self._served)
            self._info.labels(*self._names, name, *self._served).set(1)
        self._name, self._used = name, True


class ModelMetrics:
    """The series of one model that serves one workload.

    ``device`` tells what the exporter calls the device. Where that changes, since an exporter has come, the model is on
    the new one from then on, and what was counted for the old one stays as it is.
    """

    def __init__(self, metrics: ServerMetrics, spec: ModelSpec, device: Callable[[], str]) -> None:
        names = (spec.task, spec.id)
        counter, histogram = metrics.family("inference_requests_total", Counter), metrics.family
        self._outcomes = {outcome: counter.labels(*names, outcome) for outcome in REQUEST_OUTCOMES}
        tokens = metrics.family("inference_tokens_total", Counter)
        self._tokens = {kind: tokens.labels(*names, kind) for kind in TOKEN_KINDS}
        unit = WORKLOADS[spec.task].unit
        self._work = metrics.family("inference_work_units_total", Counter).labels(*names, unit)
        self._request_seconds = histogram("inference_request_seconds", Histogram).labels(*names)
        self._queue_seconds = histogram("inference_queue_seconds", Histogram).labels(*names)
        self._batch_seconds = histogram("inference_batch_seconds", Histogram).labels(*names)
        self._batch_size = histogram("inference_batch_size", Histogram).labels(*names)
        self._first_token = histogram("inference_time_to_first_token_seconds", Histogram).labels(*names)
        self._depth = metrics.family("inference_queue_depth", Gauge).labels(*names)
        self._in_flight = metrics.family("inference_in_flight", Gauge).labels(*names)
        self._on_device = _OnDevice(metrics, names, device)
        metrics.before_scrapes(self._on_device.follow)
        metrics.refused(spec.task)

    def loaded(self, dtype: str, revision: str, weights: str) -> None:
        """Publish what is served."""
        self._on_device.loaded(dtype, revision, weights)

    def unloaded(self) -> None:
        """Publish that it is not in memory any more."""
        self._on_device.unloaded()

    def watch(self, depth: Callable[[], float], in_flight: Callable[[], float]) -> None:
        """Read the two gauges from their sources at each scrape."""
        self._depth.set_function(depth)
        self._in_flight.set_function(in_flight)

    def batch(self, seconds: float, waits: Sequence[float], input_tokens: int, padding_tokens: int) -> None:
        """Count a batch that held the device; ``waits`` are its requests' seconds in the queue."""
        self._on_device.busy(seconds)
        self._batch_seconds.observe(seconds)
        self._batch_size.observe(len(waits))
        for wait in waits:
            self._queue_seconds.observe(wait)
        self._tokens["input"].inc(input_tokens)
        self._tokens["padding"].inc(padding_tokens)

    def answered(self, seconds: float, output_tokens: int, work_units: float) -> None:
        """Count a request that was answered."""
        self._outcomes["ok"].inc()
        self._request_seconds.observe(seconds)
        self._tokens["output"].inc(output_tokens)
        self._work.inc(work_units)

    def first_token(self, seconds: float) -> None:
        """Count the first token of a streamed answer, ``seconds`` after its request came."""
        self._first_token.observe(seconds)

    def failed(self, outcome: str) -> None:
        """Count a request that ended otherwise."""
        self._outcomes[outcome].inc()
