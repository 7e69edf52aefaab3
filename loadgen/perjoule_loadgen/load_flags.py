"""The flags that say how a server is loaded, and what they come to in the configuration."""

import argparse
from pathlib import Path
from typing import Any

from perjoule.errors import UsageError
from perjoule_loadgen import flag_values as values
from perjoule_loadgen.config import DEFAULT_SECONDS, Arrival, Shard
from perjoule_loadgen.durations import parse_duration, parse_moment
from perjoule_loadgen.stages import parse_stages
from perjoule_loadgen.trace import read_trace


def add_load(made: argparse.ArgumentParser) -> None:
    """Add the group of the load's flags."""
    group = made.add_argument_group("load (of all shards together)")
    group.add_argument("--duration", type=values.checked(values.some_time, "a duration"), metavar="TIME",
                       help=f"the steady window: 60s, 2m; at least 10s (default {DEFAULT_SECONDS:g}s)")  # fmt: skip
    group.add_argument("--requests", "--max-requests", "--num-prompts", type=values.checked(values.count, "a number"),
                       metavar="N",
                       help="at least so many; the window also lasts 10 s and 100 updates of the counter")  # fmt: skip
    group.add_argument("--concurrency", type=values.checked(values.count, "a number"), metavar="N",
                       help="closed loop: requests in flight (default 1)")  # fmt: skip
    group.add_argument("--rate", "--request-rate", type=values.checked(values.positive, "a number"), metavar="N",
                       help="open loop: requests per second, whatever the answers do")  # fmt: skip
    _add_open(group)
    group.add_argument("--warmup", type=values.checked(parse_duration, "a duration"), default=30.0, metavar="TIME",
                       help="the most that warm-up takes; it ends once throughput settles (default 30s)")  # fmt: skip
    group.add_argument("--idle", type=values.checked(parse_duration, "a duration"), default=10.0, metavar="TIME",
                       help="length of each idle baseline, before and after; 0 for none (default 10s)")  # fmt: skip
    group.add_argument("--workers", type=values.checked(values.count, "a number"), default=1, metavar="N",
                       help="processes that send, for rates that one cannot reach (default 1)")  # fmt: skip
    group.add_argument("--shard", type=values.checked(values.shard, "a part"), default=Shard(), metavar="I/N",
                       help="send part I of N of the load, the other machines the others")  # fmt: skip
    group.add_argument("--start-at", type=values.checked(parse_moment, "a time"), metavar="TIME",
                       help="when the window starts to send, the same for all shards: Unix seconds or"
                       " 2026-01-01T00:00:00Z")  # fmt: skip


def _add_open(group: argparse._ArgumentGroup) -> None:
    """The flags of an open loop beside its rate."""
    group.add_argument("--arrival", choices=[arrival.value for arrival in Arrival if arrival is not Arrival.CLOSED],
                       help="how an open loop's requests are spaced (default constant)")  # fmt: skip
    group.add_argument("--burstiness", type=values.checked(values.positive, "a number"), metavar="K",
                       help="shape of gamma arrivals: 1 is Poisson, below 1 comes in bursts (default 1)")  # fmt: skip
    group.add_argument("--stages", type=values.checked(parse_stages, "a list of stages"), metavar="RATE:TIME[,…]",
                       help="rates that change instead of one: 1-10:30s,10:60s ramps up and holds")  # fmt: skip
    group.add_argument(
        "--trace", type=Path, metavar="FILE", help="an open loop with the times of this file, one a line"
    )
    group.add_argument("--trace-unit", choices=["s", "ms"], help="unit of the trace's times (default s)")


def load_of(given: argparse.Namespace) -> dict[str, Any]:
    """Return the fields of the configuration that the load's flags fill.

    Raises:
        UsageError: flags that contradict each other, or a trace that cannot be used.
    """
    _check(given)
    arrival = _arrival(given)
    trace = read_trace(given.trace, given.trace_unit or "s") if given.trace is not None else ()
    return {
        "requests": given.requests, "duration": given.duration, "arrival": arrival, "rate": given.rate,
        "burstiness": given.burstiness or 1.0, "stages": given.stages or (), "trace": trace, "shard": given.shard,
        "start_at": given.start_at, "concurrency": given.concurrency or 1, "warmup": given.warmup, "idle": given.idle,
        "workers": given.workers,
    }  # fmt: skip


def _arrival(given: argparse.Namespace) -> Arrival:
    if given.trace is not None:
        return Arrival.TRACE
    if given.rate is None and given.stages is None:
        return Arrival.CLOSED
    return Arrival(given.arrival or (Arrival.GAMMA if given.burstiness is not None else Arrival.CONSTANT))


def _check(given: argparse.Namespace) -> None:
    """Refuse flags that contradict each other."""
    loops = [flag for flag in ("rate", "concurrency", "stages", "trace") if getattr(given, flag) is not None]
    if loops == ["rate", "concurrency"]:
        raise UsageError("--rate is an open loop and --concurrency a closed one: give one of them")
    if len(loops) > 1:
        raise UsageError(f"{' and '.join('--' + flag for flag in loops)} each say how to send: give one of them")
    if given.arrival == Arrival.TRACE and given.trace is None:
        raise UsageError("--arrival trace needs --trace FILE")
    if given.trace is not None and given.arrival not in {None, Arrival.TRACE.value}:
        raise UsageError(f"--trace has arrivals of its own: without --arrival {given.arrival}")
    if given.arrival is not None and not {"rate", "stages", "trace"}.intersection(loops):
        raise UsageError(f"--arrival {given.arrival} needs --rate or --stages")
    if given.burstiness is not None and (given.arrival or "gamma") != Arrival.GAMMA:
        raise UsageError(f"--burstiness is of gamma arrivals, not of --arrival {given.arrival}")
    if given.burstiness is not None and not {"rate", "stages"}.intersection(loops):
        raise UsageError("--burstiness needs --rate or --stages")
    if given.trace_unit is not None and given.trace is None:
        raise UsageError("--trace-unit needs --trace")
    _check_lengths(given, loops)


def _check_lengths(given: argparse.Namespace, loops: list[str]) -> None:
    """Refuse to be given two lengths, and shards that have nothing to do."""
    if given.stages is not None and given.duration is not None:
        raise UsageError("--stages last as long as they say: without --duration")
    for flag in ("stages", "trace"):
        if flag in loops and given.requests is not None:
            raise UsageError(f"--{flag} holds as many requests as it says: without --requests")
    if not loops or loops == ["concurrency"]:
        parts, flying = given.shard.count * given.workers, given.concurrency or 1
        if parts > flying:
            what = "shards" if given.workers == 1 else "workers of all shards"
            raise UsageError(f"--concurrency {flying} is of all {parts} {what} together: give {parts} at least")
    if given.start_at is not None and (given.task is None or len(given.task) != 1):
        raise UsageError("--start-at is of one window: name one task with --task")
