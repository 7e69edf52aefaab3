"""A scrape, put together from the groups that are wanted: one that fails costs itself and not the scrape."""

import logging
from collections.abc import Callable, Iterable, Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from perjoule import __version__
from perjoule.metrics import Program
from perjoule_exporter.collector.family import family
from perjoule_exporter.collector.groups import DEFAULT_GROUPS, GROUPS
from perjoule_exporter.collector.snapshot import Snapshot, snapshot
from perjoule_exporter.intensity import Factors
from perjoule_exporter.view import DeviceView

_LOG = logging.getLogger(__name__)

Views = Callable[[], Iterable[DeviceView]]


class EnergyCollector(Collector):
    """All families of the exporter. ``groups`` is asked at each scrape: the settings may have changed."""

    def __init__(self, views: Views, factors: Callable[[], Factors], groups: Callable[[], frozenset[str]]) -> None:
        self._views = views
        self._factors = factors
        self._groups = groups
        self._failing: set[str] = set()

    def describe(self) -> Iterator[Family]:
        """Return nothing: who registers this must not read devices, and it is the only one there."""
        return iter(())

    def collect(self) -> Iterator[Family]:
        """Return the families that have something to say now, from one snapshot of all devices."""
        now = snapshot(self._views(), self._factors)
        groups = self._groups()
        succeeded: dict[str, bool] = {}
        for name in GROUPS:
            if name in groups:
                families = self._families(name, now)
                succeeded[name] = families is not None
                yield from families or ()
        yield family("gpu_exporter_collector_success", (({"collector": name}, ok) for name, ok in succeeded.items()))
        yield family("perjoule_build_info", [({"version": __version__, "program": Program.EXPORTER.value}, 1)])

    def _families(self, name: str, now: Snapshot) -> list[Family] | None:
        """Return a group's families that have a sample; None, and a line once, when there is a fault in it."""
        try:
            found = [family for family in GROUPS[name].families(now) if family.samples]
        except Exception:  # noqa: BLE001 (a group's edge: a fault of ours must not cost the other figures)
            if name not in self._failing:
                _LOG.exception("collector %s fails, its series are withdrawn", name)
            self._failing.add(name)
            return None
        if name in self._failing:
            _LOG.warning("collector %s works again", name)
            self._failing.discard(name)
        return found


def registry(
    views: Views, factors: Callable[[], Factors], groups: Callable[[], frozenset[str]] = lambda: DEFAULT_GROUPS
) -> CollectorRegistry:
    """Return a registry with the exporter's families, and nothing else."""
    made = CollectorRegistry(auto_describe=False)
    made.register(EnergyCollector(views, factors, groups))
    return made
