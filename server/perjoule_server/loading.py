"""Loads, warms up and unloads models on the device thread, within a memory budget.

A warm-up is one small valid request through all three stages: it pays for lazy initialisation, and shows that a model
can serve before anybody asks it. The device thread does it between batches: the libraries change settings of the whole
process while they load a model (the default precision, how weights begin), which would change what runs meanwhile.
Knows neither how a model is loaded nor what it computes, nor who asked.
"""

import gc
import logging
import time
import weakref
from collections.abc import Callable, Sequence
from typing import Any

from perjoule.errors import PerjouleError
from perjoule_server import samples, schemas
from perjoule_server.accounting import Accounting
from perjoule_server.batching import Lanes
from perjoule_server.faults import Fault, LostDeviceError, fault_of
from perjoule_server.memory import expected, together, watched
from perjoule_server.served import Model
from perjoule_server.tasks.base import ModelSpec, SilentWork, Task

log = logging.getLogger(__name__)

MEGABYTE = 1e6

_COLLECTIONS, _PAUSE_SECONDS = 5, 0.02


class ModelError(PerjouleError):
    """A model could not be loaded or does not answer its warm-up."""


def warm_up(task: Task, workload: str) -> None:
    """Send one small request through all stages of ``task``."""
    envelope = schemas.Envelope(**{"parameters": {}, **samples.body(workload)})
    prepared = task.prepare(schemas.task_request(workload, envelope))
    (raw,) = task.run([prepared], SilentWork())
    task.finish(prepared, raw)


class Loader:
    """For the device thread alone.

    Args:
        models: all that there are.
        load: makes a task of a specification.
        lanes: those of the models; open while they are loaded.
        accounting: is told what the device does for no request.
        budget: bytes that weights may take together; None for no limit.
        tidy: has the device give back memory that nobody uses.
    """

    def __init__(
        self,
        models: Sequence[Model],
        load: Callable[[ModelSpec], Task],
        lanes: Lanes,
        accounting: Accounting,
        budget: int | None = None,
        tidy: Callable[[], None] = lambda: None,
    ) -> None:
        self._models, self._load, self._lanes, self._accounting = models, load, lanes, accounting
        self._budget, self._tidy = budget, tidy
        self._sizes: dict[Model, int] = {}
        self.evicted: Callable[[Model], None] = lambda _: None
        """Is called when a model had to make room."""

    def fits(self, model: Model) -> bool:
        """Tell whether a model is likely to fit beside those that are loaded."""
        return self._budget is None or self._used() + self._size(model) <= self._budget

    def load(self, model: Model, *, last: bool = False) -> None:
        """Load, warm up and serve a model, unless that is so; those that were used longest ago make room for it.

        ``last`` says that no further one is loaded for the time being.

        Raises:
            ModelError: names the model and the reason; the cause is chained.
            LostDeviceError: the device computes nothing any more.
        """
        if model.task is not None:
            return
        spec, started = model.spec, time.monotonic()
        while not self.fits(model) and self._evict(model):
            pass
        task = self._warm(model, last=last)
        self._keep(model, task)
        model.metrics.loaded(spec.options.get("dtype", "float32"), spec.revision, spec.weights)
        model.task, model.fresh = task, True
        self._lanes.open(model.lane, task.max_batch)
        log.info("%s: %s ready in %.1f s", spec.task, spec.id, time.monotonic() - started)

    def unload(self, model: Model) -> None:
        """Give back the memory of a model. What waits in its lane stays."""
        if model.task is None:
            return
        self._lanes.shut(model.lane)
        modules = watched(model.task)
        model.task, model.fresh = None, False
        model.metrics.unloaded()
        _forget(modules)
        self._tidy()
        log.info("%s: %s unloaded", model.spec.task, model.spec.id)

    def _warm(self, model: Model, *, last: bool) -> Task:
        """Load and warm up, and again with less in memory as long as it does not fit beside the others."""
        while True:
            try:
                return self._once(model.spec, last=last)
            except Exception as error:  # noqa: BLE001 (the edge to a model: whatever it raises, it cannot serve)
                failure = self._judged(model, error)
            if not (isinstance(failure.__cause__, MemoryError) and self._evict(model)):
                raise failure

    def _once(self, spec: ModelSpec, *, last: bool) -> Task:
        with self._accounting.overhead(spec.task, spec.id, "load"):
            task = self._load(spec)
        with self._accounting.overhead(spec.task, spec.id, "warm-up"):
            warm_up(task, spec.task)
            if last:
                _settle()
        return task

    def _judged(self, model: Model, error: Exception) -> ModelError:
        """Return what is told of a model that does not load."""
        fault = fault_of(error.__cause__ or error, self._accounting.synchronize)
        if fault is Fault.LOST:
            raise LostDeviceError(str(error)) from error
        told = ModelError(f"{model.spec.id} cannot serve {model.spec.task}: {type(error).__name__}: {error}")
        # Without the traceback, which holds what was loaded so far.
        told.__cause__ = MemoryError() if fault is Fault.MEMORY else error
        return told

    def _keep(self, model: Model, task: Task) -> None:
        """Check the budget with what a model really takes."""
        self._sizes[model] = size = together([task])
        if self._budget is None:
            return
        if size > self._budget:
            del task
            raise ModelError(
                f"{model.spec.id} takes {size / MEGABYTE:.0f} MB of memory, which --memory-budget does not allow:"
                f" {self._budget / MEGABYTE:.0f} MB"
            )
        while self._used(task) > self._budget and self._evict(model):
            pass

    def _evict(self, newcomer: Model) -> bool:
        """Unload the model that was used longest ago, first of those that nobody waits for; False if there is none."""
        loaded = [each for each in self._models if each.task is not None and each is not newcomer]
        if not loaded:
            return False
        oldest = min(loaded, key=lambda each: (each.lane.depth > 0, each.used))
        self.unload(oldest)
        self.evicted(oldest)
        return True

    def _used(self, *more: Task) -> int:
        return together([*more, *(each.task for each in self._models if each.task is not None)])

    def _size(self, model: Model) -> int:
        return self._sizes.get(model) or expected(model.spec)


def _forget(modules: Sequence[weakref.ref[Any]]) -> None:
    """Have modules collected that nobody but themselves refers to any more.

    Whoever shapes the last answers may still hold them for a moment, hence several times. Nothing is spared before they
    are gone: else they never would be.
    """
    for _ in range(_COLLECTIONS):
        if all(module() is None for module in modules):
            return
        gc.unfreeze()  # what was spared at the start is looked at, too
        gc.collect()
        if all(module() is None for module in modules):
            gc.freeze()
            return
        time.sleep(_PAUSE_SECONDS)


def _settle() -> None:
    """Spare later collections the modules and weights that live long.

    It holds up all threads for a moment, the one that tells the exporter too: so it is part of a span, not after one.
    """
    gc.collect()
    gc.freeze()
