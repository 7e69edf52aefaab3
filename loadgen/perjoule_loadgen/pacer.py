"""When requests are meant to be sent: a pure schedule of offsets from the start of the load, as vegeta's pacers are.

A schedule is made of a rate and a seed and never waits for a reply; latency counts from its times. Knows neither
clocks nor requests.
"""

from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from perjoule_loadgen.config import Arrival


@dataclass(frozen=True, slots=True)
class Schedule:
    """Offsets in seconds from the start, ascending, and the end of the time that they fill."""

    offsets: "array[float]"
    seconds: float


def constant(rate: float) -> Iterator[float]:
    """Yield 0, 1/rate, 2/rate, … for ever. Each is computed by itself, so that no error adds up."""
    index = 0
    while True:
        yield index / rate
        index += 1


def poisson(rate: float, random: Random) -> Iterator[float]:
    """Yield the times of a Poisson process of ``rate`` per second for ever: exponential gaps of mean 1/rate."""
    at = 0.0
    while True:
        at += random.expovariate(rate)
        yield at


def schedule(arrival: Arrival, rate: float, random: Random, min_seconds: float, min_requests: int = 0) -> Schedule:
    """Return the times of an open loop that lasts at least ``min_seconds`` and holds at least ``min_requests``."""
    times = constant(rate) if arrival is Arrival.CONSTANT else poisson(rate, random)
    offsets = array("d")
    for at in times:
        if at >= min_seconds and len(offsets) >= min_requests:
            break
        offsets.append(at)
    return Schedule(offsets, max(min_seconds, offsets[-1] if offsets else 0.0))


def shuffled(count: int, random: Random) -> Iterator[int]:
    """Yield indices of ``count`` inputs for ever: every round holds each once, in an order of its own."""
    order = list(range(count))
    while True:
        random.shuffle(order)
        yield from order
