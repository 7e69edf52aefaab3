"""When requests are meant to be sent: a pure schedule of offsets from the start of the load, as vegeta's pacers are.

A schedule is made of a rate and a seed and never waits for a reply; latency counts from its times. It is computed as it
is used, so a day of it takes no more memory than a second. Knows neither clocks nor requests.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count as counted
from itertools import islice
from random import Random

from perjoule_loadgen.config import Arrival, Config, Shard
from perjoule_loadgen.stages import Stage, bent, total_seconds


def constant() -> Iterator[float]:
    """Yield 0, 1, 2, … for ever."""
    return (float(index) for index in counted())


def poisson(random: Random) -> Iterator[float]:
    """Yield the times of a Poisson process of rate 1 for ever: exponential gaps of mean 1."""
    at = 0.0
    while True:
        at += random.expovariate(1.0)
        yield at


def gamma(burstiness: float, random: Random) -> Iterator[float]:
    """Yield the times of a renewal process of rate 1 for ever: gamma gaps of shape ``burstiness`` and mean 1.

    Their coefficient of variation is 1/√burstiness: 1 is Poisson, less is burstier (vLLM's benchmark has the same
    parameter).
    """
    at = 0.0
    while True:
        at += random.gammavariate(burstiness, 1 / burstiness)
        yield at


@dataclass(frozen=True, slots=True)
class Schedule:
    """The times of an open loop.

    Attributes:
        arrival: constant, Poisson, gamma or trace.
        rate: requests per second of the whole load; unused with ``stages`` or ``trace``.
        seconds: how long it lasts at least.
        requests: how many it holds at least, where the process goes on for ever.
        seed: of the process; the same seed gives the same times.
        burstiness: of gamma arrivals.
        stages: rates that change, empty for one rate.
        trace: the times themselves, for a trace.
        shard: which part of the load: every so-many-th request of the very same process.
    """

    arrival: Arrival
    rate: float = 1.0
    seconds: float = math.inf
    requests: int = 0
    seed: str = ""
    burstiness: float = 1.0
    stages: tuple[Stage, ...] = ()
    trace: tuple[float, ...] = ()
    shard: Shard = field(default_factory=Shard)

    @property
    def nominal_seconds(self) -> float:
        """How long it lasts by its mean rate, whatever its last arrival is."""
        if self.stages or self.trace:
            return self.seconds
        return max(self.seconds, self.requests / self.rate)

    def offsets(self) -> Iterator[float]:
        """Yield this part's offsets in seconds from the start, ascending."""
        return islice(self._until(), self.shard.index, None, self.shard.count)

    def _until(self) -> Iterator[float]:
        least = 0 if self.stages or self.trace else self.requests
        for number, at in enumerate(self._times()):
            if at >= self.seconds and number >= least:
                return
            yield at

    def _times(self) -> Iterator[float]:
        if self.trace:
            return iter(self.trace)
        if self.stages:
            return bent(self._units(), self.stages)
        # Each is computed by itself, so that no error of a rate adds up.
        return (at / self.rate for at in self._units())

    def _units(self) -> Iterator[float]:
        random = Random(self.seed)  # noqa: S311 (arrivals, not secrets)
        if self.arrival is Arrival.POISSON:
            return poisson(random)
        return gamma(self.burstiness, random) if self.arrival is Arrival.GAMMA else constant()


def window_schedule(config: Config, seed: str, seconds: float, shard: Shard) -> Schedule:
    """Return a part of the schedule of a steady window of ``seconds``; the configuration is of an open loop."""
    return Schedule(
        config.arrival, config.rate or 1.0, seconds, config.requests or 0, seed, config.burstiness, config.stages,
        config.trace, shard,
    )  # fmt: skip


def warm_up_schedule(config: Config, seed: str, seconds: float, shard: Shard) -> Schedule:
    """Return the schedule of a warm-up: the window's own process at its rate; of stages and traces, at their mean."""
    rate, arrival = config.rate or mean_rate(config.stages, config.trace), config.arrival
    if arrival is Arrival.TRACE:
        arrival = Arrival.CONSTANT
    return Schedule(arrival, rate, seconds, 0, seed, config.burstiness, shard=shard)


def mean_rate(stages: Sequence[Stage], trace: Sequence[float]) -> float:
    """Return requests per second over all of the stages, or of the trace."""
    if stages:
        return sum(stage.requests for stage in stages) / total_seconds(stages)
    return len(trace) / trace[-1] if trace and trace[-1] else 1.0


def order(count: int, seed: str, shard: Shard) -> Iterator[int]:
    """Yield for ever which input this part sends next: all parts together send what one would have."""
    return islice(shuffled(count, Random(seed)), shard.index, None, shard.count)  # noqa: S311 (an order)


def shuffled(count: int, random: Random) -> Iterator[int]:
    """Yield indices of ``count`` inputs for ever: every round holds each once, in an order of its own."""
    order = list(range(count))
    while True:
        random.shuffle(order)
        yield from order
