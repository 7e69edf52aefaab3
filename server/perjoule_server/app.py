"""The routes: inference, what is served, health, metrics.

Handlers say which answer belongs to which state and leave the work to ``exchange`` and ``engine``.
"""

import asyncio
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse
from prometheus_client.exposition import choose_encoder
from starlette.exceptions import HTTPException
from starlette.responses import Response

from perjoule import __version__
from perjoule.errors import UnavailableError
from perjoule_server import openapi
from perjoule_server.accounting import Accounting
from perjoule_server.adapters.huggingface import dialect_of
from perjoule_server.adapters.routes import ROUTES, add_openai
from perjoule_server.admin import Admin, add_admin
from perjoule_server.auth import Tokens
from perjoule_server.engine import Engine, Model, State
from perjoule_server.exchange import Exchange
from perjoule_server.guard import HEALTH, METRICS, Guard
from perjoule_server.metrics import UNKNOWN, ServerMetrics
from perjoule_server.problems import problem, request_id

_DESCRIPTION = "Inference for the tasks of the study, batched on one device, with metrics for energy per inference."


def make_app(
    engine: Engine,
    exchange: Exchange,
    metrics: ServerMetrics,
    created: int,
    tokens: Tokens | None = None,
    *,
    guard_metrics: bool = False,
) -> FastAPI:
    """Return the application. Whoever serves further routes adds them here.

    Args:
        engine: its models are served.
        exchange: answers inference requests.
        metrics: what ``/metrics`` shows.
        created: Unix time that ``/v1/models`` shows.
        tokens: who may ask; None for everyone.
        guard_metrics: whether ``/metrics`` wants a token too.
    """
    app = FastAPI(
        title="inference-server", version=__version__, description=_DESCRIPTION, docs_url=None, redoc_url=None,
        redirect_slashes=False,
    )  # fmt: skip
    app.add_exception_handler(HTTPException, _http_problem)
    app.add_exception_handler(Exception, _failure)
    app.add_middleware(
        Guard, tokens=tokens, open_paths=HEALTH if guard_metrics else HEALTH | {METRICS},
        dialects={route.path: route for route in ROUTES}, refused=metrics.refused(UNKNOWN).inc, clock=engine.clock,
    )  # fmt: skip
    _add_inference(app, engine, exchange)
    add_openai(app, exchange)
    _add_energy(app, engine.accounting)
    _add_listings(app, engine, created)
    _add_health(app, engine)
    _add_metrics(app, metrics)
    return app


async def _http_problem(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    headers = dict(error.headers or {}) if isinstance(error, HTTPException) else {}
    phrase = HTTPStatus(status).phrase
    message = f"{phrase}: {request.method} {request.url.path[:256]}"
    return problem(status, phrase.lower().replace(" ", "_"), message, request_id(request.headers), headers)


async def _failure(request: Request, _: Exception) -> Response:
    return problem(500, "error", "the server failed on this request", request_id(request.headers))


def _add_inference(app: FastAPI, engine: Engine, exchange: Exchange) -> None:
    tasks = dict.fromkeys(model.spec.task for model in engine.models)

    @app.post(
        "/v1/tasks/{task}",
        tags=["inference"],
        summary="Run one inference",
        response_class=Response,
        responses=openapi.inference_responses(),
        openapi_extra=openapi.inference_request(tasks),
    )
    async def infer(request: Request, task: str) -> Response:
        return await exchange.answer(request, dialect_of(task))


def _add_energy(app: FastAPI, accounting: Accounting) -> None:
    @app.get(
        "/v1/requests/{id}/energy",
        tags=["inference"],
        summary="What a recent request cost",
        responses=openapi.energy_responses(),
    )
    async def energy(request: Request, id: str) -> Response:  # noqa: A002 (as the route names it)
        cost = accounting.recent.find(id)
        if cost is None:
            known = f"it is none of the last {len(accounting.recent)} that reached the device"
            return problem(404, "not_found", f"no request {id[:64]!r}: {known}", request_id(request.headers))
        methods = {device.device: device.method for device in accounting.devices}
        return JSONResponse(cost.shown(methods), headers={"x-request-id": request_id(request.headers)})


def _add_listings(app: FastAPI, engine: Engine, created: int) -> None:
    def entry(model: Model) -> dict[str, Any]:
        spec = model.spec
        return {
            "id": spec.id,
            "object": "model",
            "created": created,
            "owned_by": "perjoule",
            "task": spec.task,
            "device": engine.accounting.device,
            "state": model.state.value,
            "weights": spec.weights,
            "revision": spec.revision,
            "dtype": spec.options.get("dtype", "float32"),
        }

    @app.get("/v1/tasks", tags=["listings"], summary="The tasks that are served, and by which models")
    async def tasks() -> JSONResponse:
        models: dict[str, list[str]] = {}
        for model in engine.models:
            models.setdefault(model.spec.task, []).append(model.spec.id)
        return JSONResponse(
            {"data": [{"task": task, "models": ids, "default": ids[0]} for task, ids in models.items()]}
        )

    @app.get("/v1/models", tags=["listings"], summary="The models, as OpenAI lists them")
    async def models() -> JSONResponse:
        return JSONResponse({"object": "list", "data": [entry(model) for model in engine.models]})

    add_admin(app, Admin(engine, entry))


def _add_health(app: FastAPI, engine: Engine) -> None:
    async def live() -> Response:
        return PlainTextResponse("ok\n")

    async def ready(request: Request) -> Response:
        if engine.state is State.READY:
            return PlainTextResponse("ready\n")
        return problem(UnavailableError.status, engine.state.value, engine.explain(), request_id(request.headers))

    unavailable = openapi.error_responses(UnavailableError)
    for path in ("/healthz", "/v2/health/live"):
        app.add_api_route(path, live, tags=["health"], summary="The process answers", response_class=PlainTextResponse)
    for path in ("/readyz", "/v2/health/ready"):
        app.add_api_route(
            path,
            ready,
            tags=["health"],
            summary="Inference is accepted",
            response_class=PlainTextResponse,
            responses=unavailable,
        )


def _add_metrics(app: FastAPI, metrics: ServerMetrics) -> None:
    def render(accept: str) -> tuple[bytes, str]:
        try:
            encode, content_type = choose_encoder(accept)
        except TypeError:  # what the library makes of a version that is no number
            encode, content_type = choose_encoder("")
        metrics.refresh()
        return encode(metrics.registry), content_type

    @app.get("/metrics", tags=["health"], summary="Prometheus metrics", response_class=PlainTextResponse)
    async def exposition(request: Request) -> Response:
        loop = asyncio.get_running_loop()
        body, content_type = await loop.run_in_executor(None, render, request.headers.get("accept", ""))
        return Response(body, headers={"content-type": content_type})
