"""The life of the process: listen, load, serve, drain, end.

Listening comes first, so that a port in use costs no loading and liveness is visible while models load. SIGTERM and
SIGINT drain: readiness goes red, accepted requests are answered, the process ends with 0; a second signal ends it at
once. A device thread that dies ends the process with 1. Knows nothing of what is served.
"""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import uvicorn
import uvloop
from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from perjoule import __version__
from perjoule.errors import PerjouleError
from perjoule.spans import Spans
from perjoule_server.accounting import Accounting
from perjoule_server.app import make_app
from perjoule_server.auth import Tokens, warn_if_open
from perjoule_server.batching import Lane, Lanes
from perjoule_server.config import ServerConfig
from perjoule_server.energy import CPU, Device, releaser, synchronizer
from perjoule_server.engine import Engine, Model, State
from perjoule_server.exchange import Exchange
from perjoule_server.loading import Loader
from perjoule_server.metrics import ModelMetrics, ServerMetrics
from perjoule_server.protocol import LimitedProtocol
from perjoule_server.tasks.base import ModelSpec, Task

log = logging.getLogger(__name__)


SECURITY_HEADERS = [
    ("x-content-type-options", "nosniff"),  # what a model writes is never taken for a page
    ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
]
"""Of every answer."""

JOIN_SECONDS = 10.0
"""How long the device thread may take to end what it is doing: a batch, or the loading of one model."""


class ServingError(PerjouleError):
    """The server cannot listen, or had to stop."""


class _Uvicorn(uvicorn.Server):
    """Leaves signals to ``Process``: uvicorn itself would close its sockets at the first one, and die of it."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket.

    Raises:
        ServingError: the address is in use or not ours.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except socket.gaierror as error:
        raise ServingError(f"cannot listen on {host}: {error.strerror}; choose another --host") from error
    except OSError as error:
        raise ServingError(
            f"cannot listen on {host}:{port}: {os.strerror(error.errno or 0)}; choose another --host or --port"
        ) from error


class Process:
    """One server on one socket, from start to end."""

    def __init__(
        self, config: ServerConfig, specs: Sequence[ModelSpec], device: Device, load: Callable[[ModelSpec], Task]
    ) -> None:
        self._config = config
        self._device = device
        metrics = ServerMetrics(CollectorRegistry())
        self.accounting = Accounting(
            partial(_spans, config, specs, device), synchronizer(device), config.energy_history, device.name or CPU
        )
        metrics.count_dropped(lambda: self.accounting.dropped)
        lanes = Lanes(time.monotonic, config.max_wait_seconds)
        models = [self._model(metrics, spec) for spec in specs]
        loader = Loader(models, load, lanes, self.accounting, config.memory_budget, releaser(device))
        self.engine = Engine(models, lanes, loader, self.accounting, time.monotonic, config.workers)
        self.exchange = Exchange(self.engine, metrics, config)
        self._tokens = Tokens(config.auth_tokens) if config.auth_tokens is not None else None
        self.app: FastAPI = make_app(
            self.engine, self.exchange, metrics, int(time.time()), self._tokens, guard_metrics=config.auth_metrics
        )
        self._server = _Uvicorn(_uvicorn_config(self.app))
        self._loop: asyncio.AbstractEventLoop | None = None
        self._draining: asyncio.Task[None] | None = None
        self._failure: BaseException | None = None

    def run(self, listener: socket.socket, *, signals: bool = True) -> None:
        """Serve until a signal, or until ``stop``; without ``signals`` it may run on any thread.

        Raises:
            PerjouleError: a model could not be loaded, the device thread died, or draining took too long.
        """
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._serve(listener, signals=signals))
        joined = not signals or self.engine.join(JOIN_SECONDS)
        self.accounting.close()
        if not joined:
            # Tearing the interpreter down under the thread would crash. With no failure nobody waits for it: it was
            # still loading, or computes what its client no longer wants.
            level = logging.INFO if self._failure is None else logging.ERROR
            log.log(level, "leaving the device thread behind, busy (%s)", self._failure or "drained")
            os._exit(0 if self._failure is None else 1)
        if self._failure is not None:
            raise self._failure

    def _model(self, metrics: ServerMetrics, spec: ModelSpec) -> Model:
        lane = Lane(spec.id, 1, self._config.token_budget, self._config.queue, open=False)
        return Model(spec, ModelMetrics(metrics, spec, lambda: self.accounting.device), lane)

    def _eager(self) -> list[Model]:
        """Return the models that are loaded at the start; a model's own option goes before the flag."""
        wanted = self._config.load
        return [model for model in self.engine.models if model.spec.options.get("load", wanted) == "eager"]

    async def _serve(self, listener: socket.socket, *, signals: bool) -> None:
        self._loop = asyncio.get_running_loop()
        if signals:  # only a running loop notices them
            for number in (signal.SIGTERM, signal.SIGINT):
                self._loop.add_signal_handler(number, self._stop, number.name)
            if self._tokens is not None:
                self._loop.add_signal_handler(signal.SIGHUP, self._tokens.reload)
        host, port = listener.getsockname()[:2]
        name = self._device.name or f"{CPU} unless an exporter says otherwise"
        models = f"{len(self.engine.models)} models on {self._device.torch} ({name})"
        log.info("inference-server %s on http://%s:%d, %s", __version__, host, port, models)
        warn_if_open(host, self._tokens)
        self.accounting.start()
        self.engine.start(self._eager(), self._device_ended)
        await self._server.serve(sockets=[listener])
        self.engine.close()

    def stop(self) -> None:
        """Drain and end, as a signal would; from any thread."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: it has ended already
                self._loop.call_soon_threadsafe(self._stop, "stop")

    def _stop(self, reason: str) -> None:
        if self._draining is not None or self._failure is not None:
            log.warning("%s again: ending now", reason)
            self._server.force_exit = self._server.should_exit = True
            return
        log.info("%s: draining %d requests", reason, self.exchange.open)
        self.engine.state = State.DRAINING
        self._draining = asyncio.get_running_loop().create_task(self._drain())

    async def _drain(self) -> None:
        try:
            await asyncio.wait_for(self.exchange.idle(), self._config.drain_seconds)
        except TimeoutError:
            self._failure = ServingError(f"{self.exchange.open} requests were not answered within --drain-timeout")
            self.engine.give_up()
        self._server.should_exit = True

    def _device_ended(self, error: BaseException | None) -> None:
        if error is None:
            return
        if not isinstance(error, PerjouleError):
            log.error("the device thread died", exc_info=error)
            error = ServingError(f"the device thread died: {type(error).__name__}: {error}")
        self._failure = error
        self._server.should_exit = True


def _spans(config: ServerConfig, specs: Sequence[ModelSpec], device: Device) -> Spans:
    """Return the client of the exporter's socket, which tells it of all work that may come."""
    owners = [(spec.task, spec.id) for spec in specs]
    return Spans(f"inference-server/{__version__}", device=device.name, owners=owners, socket=config.span_socket)


def _uvicorn_config(app: FastAPI) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=LimitedProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        headers=SECURITY_HEADERS,
        proxy_headers=False,
        timeout_keep_alive=75,  # longer than a load test's quiet gaps, so that no request meets a closing connection
        timeout_graceful_shutdown=5,
    )


def set_up_logging(level: str) -> None:
    """Log one-liners to stderr; libraries only their warnings."""
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)  # its warnings are of what anybody sends
    for ours in ("perjoule", "perjoule_server"):
        logging.getLogger(ours).setLevel(level.upper())
