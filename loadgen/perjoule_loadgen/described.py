"""What ``run.json`` says of the load that was asked for, of the work, and of answers that came in pieces."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from perjoule_loadgen import work
from perjoule_loadgen.config import Config
from perjoule_loadgen.figures import Figures
from perjoule_loadgen.measurement import Measurement
from perjoule_loadgen.stats import Latency


def shape_of(config: Config) -> Mapping[str, Any]:
    """Return how the load was shaped, beside what every load has."""
    return {
        "burstiness": config.burstiness if config.arrival == "gamma" else None,
        "stages": [asdict(stage) for stage in config.stages] or None,
        "trace_requests": len(config.trace) or None,
        "shard": f"{config.shard.index + 1}/{config.shard.count}" if config.shard.count > 1 else None,
        "start_at": config.start_at,
        "workers": config.workers,
        "api": config.dialect.name,
        "stream": config.stream,
    }


def answers(measurement: Measurement, figures: Figures) -> Mapping[str, Any]:
    """Return what the answers told: the work, and the times of those that came in pieces."""
    streaming = figures.streaming
    return {
        "work": _work(measurement),
        "time_to_first_token_seconds": _times(streaming.first_token if streaming else None),
        "inter_token_seconds": _times(streaming.between_tokens if streaming else None),
        "output_tokens_per_second": figures.tokens_per_second,
    }


def _work(measurement: Measurement) -> Mapping[str, Any]:
    items = measurement.plan.items
    found = work.told(items, measurement.steady.results)
    return {
        "name": work.name(measurement.plan.task, items),
        "inputs": measurement.plan.source,
        "asked": work.asked_for(items),
        "unknown": list(work.unknown(items, found)),
        "wrong": found.wrong,
        "output_tokens_per_inference": _mean(found.output_tokens, found.with_output),
        "input_tokens_per_inference": _mean(found.input_tokens, found.with_input),
        "server_output_tokens": measurement.server_tokens,
    }


def _mean(total: float, count: int) -> float | None:
    return total / count if count else None


def _times(latency: Latency | None) -> Mapping[str, float | None] | None:
    return asdict(latency) if latency is not None and latency.mean is not None else None
