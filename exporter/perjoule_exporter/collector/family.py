"""Families of the catalogue, filled with samples.

Samples are appended as they are, with labels that were made before: client_python's own ``add_metric`` builds them anew
for each sample, which is most of what a scrape would cost.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate
from typing import NamedTuple

from prometheus_client.metrics_core import Metric as Family
from prometheus_client.samples import Exemplar, Sample
from prometheus_client.utils import floatToGoString

from perjoule.metrics import CATALOGUE
from perjoule_exporter.collector.snapshot import Labels, Shown
from perjoule_exporter.view import Measured

Value = Callable[[Measured], float | None]
Values = Callable[[Measured], Mapping[str, float]]


def family(name: str, samples: Iterable[tuple[Labels, float | None]]) -> Family:
    """Return a counter or gauge of the catalogue; a value of None is no sample."""
    made = _empty(name)
    made.samples = [Sample(name, labels, float(value)) for labels, value in samples if value is not None]
    return made


def of_measured(name: str, devices: Iterable[Shown], value: Value) -> Family:
    """Return a family with one sample for each device that answers and tells this value."""
    return family(name, ((device.labels, value(device.measured)) for device in devices if device.measured is not None))


def of_each(name: str, devices: Iterable[Shown], values: Values) -> Family:
    """Return a family with one sample for each key, which is the value of its last label."""
    last = CATALOGUE[name].labels[-1]
    return family(
        name,
        (
            ({**device.labels, last: key}, value)
            for device in devices
            if device.measured is not None
            for key, value in values(device.measured).items()
        ),
    )


class Distribution(NamedTuple):
    """One series of a histogram. Counts are not cumulative; the last one is the rest to infinity.

    ``exemplars``: one of each count, or none at all.
    """

    labels: Labels
    counts: Sequence[int]
    total: float
    exemplars: Sequence[Exemplar | None] = ()


def histogram(name: str, distributions: Iterable[Distribution]) -> Family:
    """Return a histogram of the catalogue."""
    bounds = [*map(floatToGoString, CATALOGUE[name].buckets), "+Inf"]
    bucket, made = f"{name}_bucket", _empty(name)
    for labels, numbers, total, exemplars in distributions:
        cumulated = [float(number) for number in accumulate(numbers)]
        made.samples += [
            Sample(bucket, {**labels, "le": bound}, number, exemplar=exemplar)
            for bound, number, exemplar in zip(bounds, cumulated, exemplars or [None] * len(bounds), strict=True)
        ]
        made.samples += Sample(f"{name}_count", labels, cumulated[-1]), Sample(f"{name}_sum", labels, total)
    return made


def _empty(name: str) -> Family:
    row = CATALOGUE[name]
    return Family(name.removesuffix("_total"), row.help, row.kind.value)
