"""The load generator's one frozen configuration, and the rules that a run is judged by.

Built once in ``__main__`` and passed down. Knows nothing of servers or exporters: what only they can tell (the model,
the device) is not here.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from perjoule_loadgen.dialect import Dialect
from perjoule_loadgen.ours import Ours
from perjoule_loadgen.projection import PER_DAY
from perjoule_loadgen.stages import Stage, total_seconds

DEFAULT_TARGET = "http://127.0.0.1:8080"
DEFAULT_ENERGY = "http://127.0.0.1:10101/metrics"
DEFAULT_SECONDS = 60.0


class Arrival(StrEnum):
    """How requests come: at times of their own (open loop), or each after the answer before it (closed)."""

    CLOSED = "closed"
    CONSTANT = "constant"
    POISSON = "poisson"
    GAMMA = "gamma"
    TRACE = "trace"


class Format(StrEnum):
    """What goes to stdout."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    HTML = "html"


@dataclass(frozen=True, slots=True)
class Shard:
    """One part of a load that several machines, or several processes of one, send together.

    The load's flags say what all of them send. Of an open loop part ``index`` sends every ``count``-th request, of a
    closed loop its share of the requests in flight: together they are what one would have sent.
    """

    index: int = 0
    count: int = 1

    def share(self, total: int) -> int:
        """Return how many of ``total`` are this part's."""
        return (total + self.count - 1 - self.index) // self.count

    def split(self, number: int, of: int) -> "Shard":
        """Return part ``number`` of ``of`` of this one."""
        return Shard(self.index + number * self.count, self.count * of)


@dataclass(frozen=True, slots=True)
class Rules:
    """What makes a run valid, and the bounds on every wait. Tests shrink them; nobody else does.

    Attributes:
        min_window_seconds: shortest steady window.
        min_window_ticks: fewest updates of the energy counter in it.
        max_unsent_ratio: share of scheduled requests that may stay unsent.
        max_lag_seconds: dispatch lag p99 that voids a run.
        warn_lag_seconds: dispatch lag p99 worth a warning.
        max_error_ratio: share of requests that may fail.
        max_lead_seconds: how far an exporter's clock may be ahead of this machine's.
        max_late_seconds: age that even the freshest reading of a window may have.
        max_device_watts: more than any device uses.
        warn_idle_drift_ratio: drift between the two idle baselines worth a warning.
        warn_idle_share: idle power as a share of the window's mean power that is worth a warning.
        crosscheck_ratio: constant part of the bound between the bracket and PromQL.
        warn_others_ratio: share of the charged energy that was other work's, worth a warning.
        settlement_seconds: the longest wait for the exporter to charge what was sent.
        poll_seconds: interval between readings of the exporter.
        edge_poll_seconds: the same while an edge is awaited.
        edge_seconds: the longest wait for the counter to move.
        quiet_ticks: counter updates of quiet before the window.
        dead_server_seconds: time of nothing but refused connections after which the window is given up.
        ready_seconds: the longest wait for a server that is still loading.
        settle_seconds: the spans whose throughput is compared to end a warm-up.
    """

    min_window_seconds: float = 10.0
    min_window_ticks: int = 100
    max_unsent_ratio: float = 0.01
    max_lag_seconds: float = 0.1
    warn_lag_seconds: float = 0.01
    max_error_ratio: float = 0.01
    max_lead_seconds: float = 0.25
    max_late_seconds: float = 0.5
    max_device_watts: float = 20_000.0
    warn_idle_drift_ratio: float = 0.1
    warn_idle_share: float = 0.8
    crosscheck_ratio: float = 0.01
    warn_others_ratio: float = 0.01
    settlement_seconds: float = 3.0
    poll_seconds: float = 0.15
    edge_poll_seconds: float = 0.02
    edge_seconds: float = 5.0
    quiet_ticks: int = 2
    dead_server_seconds: float = 3.0
    ready_seconds: float = 60.0
    settle_seconds: float = 2.0


@dataclass(frozen=True, slots=True)
class Config:
    """One invocation of ``loadgen``.

    Attributes:
        tasks: workload ids in the order of the run; empty for every task that the server serves.
        target: base URL of the server.
        energy: URLs of the exporters' metrics.
        prometheus: base URL of a Prometheus to cross-check with, or None.
        model: model id, None for each task's default.
        device: names of the devices to charge, empty for what the server says.
        requests: fewest requests of the steady window, None for no minimum.
        duration: seconds of sending in the steady window; None for the default (60 s, or as ``requests`` needs).
        arrival: open loop (constant, Poisson, gamma, trace) or closed.
        rate: requests per second, open loop only; None with ``stages`` or ``trace``, which have their own.
        burstiness: shape of the gaps of gamma arrivals: 1 is Poisson, below 1 is burstier.
        stages: rates that change, empty for one rate.
        trace: seconds from the start of each request, empty without a trace.
        shard: which part of the load this is.
        start_at: Unix time at which the window starts to send, None for as soon as it can.
        workers: processes that send.
        concurrency: requests in flight, closed loop only.
        warmup: the most seconds that warm-up may take.
        idle: seconds of each idle baseline; 0 for none.
        inputs: the user's own inputs, None for the built-in ones.
        zone: zone whose carbon intensity replaces the exporter's.
        output: folder for the files; None for a new one under ``runs``.
        format: what goes to stdout.
        per_day: requests a day that figures are projected to.
        grafana: base URL of a Grafana that is told of each run, None for none.
        grafana_token: of a service account of it, None for none.
        seed: of arrivals and of the order of inputs.
        timeout: seconds after which a request counts as failed.
        dialect: what the server speaks.
        stream: whether answers are wanted as they are written.
        token: sent to the server as a bearer token, None for none.
        extra: JSON members added to each body; None takes one out.
        parameters: asked for beside, or instead of, the task's own.
        input_tokens: length of made-up texts, None for real ones.
        dataset: name of a dataset of the study, or None.
        dataset_from: folder or id that it is read from instead of the hub's own place.
    """

    tasks: tuple[str, ...]
    target: str = DEFAULT_TARGET
    energy: tuple[str, ...] = (DEFAULT_ENERGY,)
    prometheus: str | None = None
    model: str | None = None
    device: tuple[str, ...] = ()
    requests: int | None = None
    duration: float | None = None
    arrival: Arrival = Arrival.CLOSED
    rate: float | None = None
    burstiness: float = 1.0
    stages: tuple[Stage, ...] = ()
    trace: tuple[float, ...] = field(default=(), repr=False)
    shard: Shard = field(default_factory=Shard)
    start_at: float | None = None
    workers: int = 1
    concurrency: int = 1
    warmup: float = 30.0
    idle: float = 10.0
    inputs: Path | None = None
    zone: str | None = None
    output: Path | None = None
    format: Format = Format.TABLE
    per_day: int = PER_DAY
    grafana: str | None = None
    grafana_token: str | None = field(default=None, repr=False)
    seed: int = 0
    timeout: float = 60.0
    dialect: Dialect = field(default_factory=Ours)
    stream: bool = False
    token: str | None = field(default=None, repr=False)
    extra: Mapping[str, Any] | None = None
    parameters: Mapping[str, int] = field(default_factory=dict)
    input_tokens: int | None = None
    dataset: str | None = None
    dataset_from: str | None = None
    rules: Rules = field(default_factory=Rules)

    def window_seconds(self, tick: float) -> float:
        """Return how long the steady window sends, for a counter that moves every ``tick`` seconds.

        A ``duration`` that was asked for is kept as it is: when it is too short the verdict says so.
        """
        if self.duration is not None:
            return self.duration
        if self.stages:
            return total_seconds(self.stages)
        if self.trace:
            return math.nextafter(self.trace[-1], math.inf)
        shortest = max(self.rules.min_window_seconds, self.rules.min_window_ticks * tick)
        return shortest if self.requests is not None else max(DEFAULT_SECONDS, shortest)
