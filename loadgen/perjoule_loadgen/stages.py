"""Rates that change: stages that hold a rate or ramp from one to another, and the inverse of their sum over time.

Arrivals of any process are made for a rate of 1 and then bent: the arrival that falls on n is due when the stages have
brought n requests (the time-rescaling theorem: Brown et al., Neural Computation 14, 2002). Pure; knows no clock.
"""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from perjoule.errors import UsageError
from perjoule_loadgen.durations import parse_duration

_STAGE = re.compile(r"(?P<start>\d+(?:\.\d+)?)(?:-(?P<end>\d+(?:\.\d+)?))?:(?P<time>.+)")
_EXAMPLE = "10:60s holds 10 a second for 60 s, 1-10:30s ramps from 1 to 10 in 30 s: --stages 1-10:30s,10:60s"


@dataclass(frozen=True, slots=True)
class Stage:
    """Requests per second from ``start`` to ``end``, in a straight line over ``seconds``."""

    start: float
    end: float
    seconds: float

    @property
    def requests(self) -> float:
        """How many requests it brings."""
        return (self.start + self.end) / 2 * self.seconds

    def when(self, requests: float) -> float:
        """Return after how many seconds of it so many requests have come: the root of start·t + slope·t²/2."""
        slope = (self.end - self.start) / self.seconds
        root = math.sqrt(max(self.start**2 + 2 * slope * requests, 0.0))
        # This form of the root loses no digits where the slope is small, and needs no case for a slope of 0.
        return min(2 * requests / (self.start + root), self.seconds) if requests else 0.0


def parse_stages(text: str) -> tuple[Stage, ...]:
    """Return the stages of ``1-10:30s,10:60s``.

    Raises:
        UsageError: anything else, or stages without a single request.
    """
    stages = tuple(_stage(part.strip()) for part in text.split(","))
    if sum(stage.requests for stage in stages) < 1:
        raise UsageError(f"{text!r} brings not one request")
    return stages


def _stage(text: str) -> Stage:
    match = _STAGE.fullmatch(text)
    if match is None:
        raise UsageError(f"{text!r} is no stage: {_EXAMPLE}")
    start = float(match["start"])
    seconds = parse_duration(match["time"])
    if not seconds:
        raise UsageError(f"{text!r} lasts no time: {_EXAMPLE}")
    return Stage(start, start if match["end"] is None else float(match["end"]), seconds)


def bent(units: Iterator[float], stages: Sequence[Stage]) -> Iterator[float]:
    """Yield when the arrivals of a process of rate 1 come under ``stages``, in seconds; ends with the last stage."""
    began = brought = 0.0
    at = next(units)
    for stage in stages:
        while at - brought < stage.requests:
            yield began + stage.when(at - brought)
            at = next(units)
        began, brought = began + stage.seconds, brought + stage.requests


def total_seconds(stages: Sequence[Stage]) -> float:
    """Return how long all of them last."""
    return math.fsum(stage.seconds for stage in stages)
