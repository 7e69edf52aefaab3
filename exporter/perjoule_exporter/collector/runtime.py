"""The exporter's own process: ``process_*`` of client_python, under the names that every exporter has."""

from collections.abc import Iterable
from functools import cache

from prometheus_client import ProcessCollector
from prometheus_client.metrics_core import Metric as Family

from perjoule_exporter.collector.snapshot import Snapshot


def families(_: Snapshot) -> Iterable[Family]:
    """CPU time, memory, file descriptors and start of this process."""
    return _process().collect()


@cache
def _process() -> ProcessCollector:
    return ProcessCollector(registry=None)
