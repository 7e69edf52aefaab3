"""What is sent to every server, in which order and when, and what its answers tell.

Pure functions of seeds and replies. The sequence is the same for all. It knows nothing of programs or clocks.
"""

import json
import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from benchmarks.server_client import ClientError, Reply, Window
from benchmarks.summary import median, quantile

WORDS = "the council met and said that every heat pump is quiet but rivers rose again in spring while trains ran late"

LENGTHS: Mapping[str, tuple[int, int]] = MappingProxyType(
    {
        "text-classification": (3, 60),
        "text-generation": (3, 40),
        "text-to-image": (3, 12),
    }
)
"""Fewest and most words of a task's texts."""

SCORE_TOLERANCE = 1e-4
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def texts(task: str, count: int, seed: int) -> list[str]:
    """Return texts of many lengths, short ones more often than long ones (even on a logarithmic scale)."""
    rng = random.Random(seed)  # noqa: S311 (the same texts each time)
    low, high = LENGTHS[task]
    lengths = [round(low * (high / low) ** rng.random()) for _ in range(count)]
    return [" ".join(rng.choices(WORDS.split(), k=length)) for length in lengths]


def arrivals(rate: float, count: int, seed: int) -> list[float]:
    """Return the times of ``count`` Poisson arrivals at ``rate`` a second, from 0 on."""
    rng = random.Random(seed)  # noqa: S311 (the same schedule for all)
    times, now = [], 0.0
    for _ in range(count):
        now += rng.expovariate(rate)
        times.append(now)
    return times


@dataclass(frozen=True, slots=True)
class Load:
    """What one window of one server showed; CPU is per request, and None where it was not asked for."""

    rate: float
    p50: float
    p99: float
    errors: int
    cpu_seconds: float | None = None

    @classmethod
    def of(cls, window: Window, *, with_cpu: bool) -> "Load":
        """Return the figures of a window.

        Raises:
            ClientError: there was nothing but errors.
        """
        latencies = window.latencies
        if not latencies:
            raise ClientError(f"{window.errors} errors and not one answer")
        cpu = (window.edges[1] - window.edges[0]) / len(window.replies) if with_cpu else None
        return cls(len(latencies) / window.seconds, median(latencies), quantile(latencies, 0.99), window.errors, cpu)


def middle(rounds: Sequence[Load]) -> Load:
    """Return the medians of several rounds; errors are added up."""
    used = [each.cpu_seconds for each in rounds if each.cpu_seconds is not None]
    return Load(
        median([each.rate for each in rounds]),
        median([each.p50 for each in rounds]),
        median([each.p99 for each in rounds]),
        sum(each.errors for each in rounds),
        median(used) if used else None,
    )


def batches(replies: Sequence[Reply]) -> list[list[int]]:
    """Return the batches that our server made, each as places in the sequence of requests.

    The members of a batch tell the same size and the same time on the device, to the microsecond. What is left of
    batches that a window's edge cut off stays out.
    """
    alike: dict[tuple[bytes, bytes], list[int]] = defaultdict(list)
    found = []
    for reply in replies:
        if b"x-batch-size" not in reply.headers:
            continue
        size = int(reply.headers[b"x-batch-size"])
        group = alike[reply.headers[b"x-batch-size"], reply.headers[b"x-inference-time"]]
        group.append(reply.place)
        if len(group) == size:
            found.append(group.copy())
            group.clear()
    return found


def answer(reply: Reply) -> Any:
    """Return what an answer says in the words of all servers: labels by score, a text, or that it is an image."""
    if reply.body.startswith(PNG_SIGNATURE):
        return "an image"
    value = json.loads(reply.body)
    if isinstance(value, dict):  # transformers serve speaks OpenAI's schema
        return value["choices"][0]["text"]
    found = value[0]
    return found["generated_text"] if isinstance(found, dict) else {each["label"]: each["score"] for each in found}


def agree(one: Any, other: Any) -> bool:
    """Tell whether two answers are the same, scores within what the order of floating-point sums may change."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(abs(one[key] - other[key]) < SCORE_TOLERANCE for key in one)
    return bool(one == other)
