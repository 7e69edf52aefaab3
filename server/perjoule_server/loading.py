"""Loads and warms up the models, one after the other, on the device thread, and says so line by line.

A warm-up is one small valid request through all three stages: it pays for lazy initialisation, and a model that cannot
serve stops the program before anybody asks it. Knows neither how a model is loaded nor what it computes.
"""

import gc
import logging
import time
from collections.abc import Callable

from perjoule.errors import PerjouleError
from perjoule_server import samples, schemas
from perjoule_server.config import ServerConfig
from perjoule_server.engine import Engine, State
from perjoule_server.tasks.base import ModelSpec, SilentWork, Task

log = logging.getLogger(__name__)


class ModelError(PerjouleError):
    """A model could not be loaded or does not answer its warm-up."""


def warm_up(task: Task, workload: str) -> None:
    """Send one small request through all stages of ``task``."""
    envelope = schemas.Envelope(**{"parameters": {}, **samples.body(workload)})
    prepared = task.prepare(schemas.task_request(workload, envelope))
    (raw,) = task.run([prepared], SilentWork())
    task.finish(prepared, raw)


def load_all(engine: Engine, config: ServerConfig, load: Callable[[ModelSpec], Task]) -> None:
    """Load, warm up and add every model of ``engine``.

    Raises:
        ModelError: names the model and the reason; the cause is chained.
    """
    began = time.monotonic()
    for number, model in enumerate(engine.models, 1):
        if engine.state is not State.LOADING:  # a signal came meanwhile
            return
        spec, started = model.spec, time.monotonic()
        try:
            with engine.accounting.overhead(spec.task, spec.id, "load"):
                task = load(spec)
            with engine.accounting.overhead(spec.task, spec.id, "warm-up"):
                warm_up(task, spec.task)
                if number == len(engine.models):
                    _freeze()
        except Exception as error:
            raise ModelError(f"{spec.id} cannot serve {spec.task}: {type(error).__name__}: {error}") from error
        model.metrics.loaded(spec.options.get("dtype", "float32"), spec.revision, spec.weights)
        engine.add(model, task, config.token_budget, config.queue)
        log.info("%d/%d %s: %s ready in %.1f s", number, len(engine.models), spec.task, spec.id,
                 time.monotonic() - started)  # fmt: skip
    log.info("%d models ready in %.1f s", len(engine.models), time.monotonic() - began)


def _freeze() -> None:
    """Spare later collections the modules and weights, which live as long as the process.

    It holds up all threads for a moment, the one that tells the exporter too: so it is part of a span, not after one.
    """
    gc.collect()
    gc.freeze()
