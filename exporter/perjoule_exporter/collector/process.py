"""Whose a GPU's energy was: processes and containers, and what is nobody's."""

from collections.abc import Iterator

from prometheus_client.metrics_core import Metric as Family

from perjoule_exporter.collector.family import family
from perjoule_exporter.collector.snapshot import Labels, Shown, Snapshot
from perjoule_exporter.meters import MICRO


def families(now: Snapshot) -> Iterator[Family]:
    """One row for each owner of a board's energy. Together they are its energy, which is of the same picture."""
    yield family("gpu_process_energy_joules_total", (row for gpu in now.gpus for row in _rows(gpu)))


def _rows(gpu: Shown) -> Iterator[tuple[Labels, float]]:
    split = gpu.measured.split if gpu.measured is not None else None
    for owner, microjoules in (split or {}).items():
        labels = {
            **gpu.labels,
            "kind": owner.kind.value,
            "command": owner.command,
            "container": owner.container,
            "pod_uid": owner.pod_uid,
            "unit": owner.unit,
        }
        yield labels, microjoules / MICRO
