"""Routes of one model: what it is, and for administrators its loading and unloading.

Who may is ``guard``'s business, and how it is done the engine's.
"""

import asyncio
import re
from collections.abc import Callable
from typing import Any

from fastapi import FastAPI, Request
from starlette.responses import JSONResponse, Response

from perjoule.errors import (
    ConflictError,
    ForbiddenError,
    InvalidInputError,
    NotFoundError,
    RequestError,
    UnauthorizedError,
    UnavailableError,
)
from perjoule_server import openapi
from perjoule_server.engine import Engine
from perjoule_server.problems import problem, request_id
from perjoule_server.served import Model, ModelState

ANSWER_SECONDS = 2.0
"""How long a change may take to be answered 200; one that takes longer is answered 202 and goes on."""

_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*")
_LONGEST = 256


def checked_id(text: str) -> str:
    """Return the id of a model: words of ``A-Z a-z 0-9 . _ -`` between slashes, as hub repositories have them.

    Raises:
        InvalidInputError: a URL, an absolute path, one that climbs (``..``), or characters that no id has.
    """
    if len(text) > _LONGEST or not _ID.fullmatch(text) or ".." in text:
        raise InvalidInputError("a model's id is words of A-Z a-z 0-9 . _ - between slashes, no path and no URL", "id")
    return text


class Admin:
    """Loads and unloads, and tells how far that is."""

    def __init__(self, engine: Engine, entry: Callable[[Model], dict[str, Any]]) -> None:
        self._engine, self._entry = engine, entry
        self._running: set[asyncio.Task[None]] = set()

    def find(self, model_id: str) -> list[Model]:
        """Return what is served under an id.

        Raises:
            InvalidInputError: it is none.
            NotFoundError: nothing is.
        """
        checked_id(model_id)
        found = [model for model in self._engine.models if model.spec.id == model_id]
        if not found:
            raise NotFoundError(f"unknown model {model_id!r}; /v1/models lists those that can be loaded")
        return found

    def shown(self, models: list[Model]) -> dict[str, Any]:
        """Return the entry of an id; where it serves several workloads, of the first."""
        return self._entry(models[0])

    async def load(self, model_id: str) -> tuple[int, dict[str, Any]]:
        """Return status and entry: 200 once it serves, 202 while it is being loaded."""
        models = self.find(model_id)
        if any(model.unloading is not None for model in models):
            raise ConflictError(f"{model_id} is being unloaded; ask again when its state is unloaded")
        return await self._done(models, self._engine.load(model_id))

    async def unload(self, model_id: str) -> tuple[int, dict[str, Any]]:
        """Return status and entry: 200 once it is gone, 202 while it answers what it has accepted."""
        models = self.find(model_id)
        if any(model.loading is not None for model in models):
            raise ConflictError(f"{model_id} is being loaded; ask again when its state is ready")
        if all(model.withdrawn and model.state is ModelState.UNLOADED for model in models):
            return 200, self.shown(models)
        return await self._done(models, self._engine.unload(model_id))

    async def _done(self, models: list[Model], change: Any) -> tuple[int, dict[str, Any]]:
        task = asyncio.ensure_future(change)
        self._running.add(task)
        task.add_done_callback(self._ended)
        done, _ = await asyncio.wait([task], timeout=ANSWER_SECONDS)
        if done:
            task.result()
        return (200 if done else 202), self.shown(models)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # it was told, by the answer or by the model's state


def add_admin(app: FastAPI, admin: Admin) -> None:
    """Add the routes to ``app``."""

    async def retrieve(request: Request, id: str) -> Response:  # noqa: A002 (as the route names it)
        async def look(model_id: str) -> tuple[int, dict[str, Any]]:
            return 200, admin.shown(admin.find(model_id))

        return await _answered(request, id, look)

    async def load(request: Request, id: str) -> Response:  # noqa: A002 (as above)
        return await _answered(request, id, admin.load)

    async def unload(request: Request, id: str) -> Response:  # noqa: A002 (as above)
        return await _answered(request, id, admin.unload)

    looked = openapi.error_responses(NotFoundError, InvalidInputError)
    changed = {
        202: {"description": "Under way: GET tells its state."},
        **openapi.error_responses(UnauthorizedError, ForbiddenError, NotFoundError, ConflictError, InvalidInputError),
        **openapi.error_responses(UnavailableError),
    }
    for method, call, summary, responses in (
        ("GET", retrieve, "One model and its state", looked),
        ("POST", load, "Load a model (admin's token)", changed),
        ("DELETE", unload, "Unload a model (admin's token)", changed),
    ):
        app.add_api_route(
            "/v1/models/{id:path}", call, methods=[method], tags=["models"], summary=summary, responses=responses
        )


async def _answered(request: Request, model_id: str, call: Callable[[str], Any]) -> Response:
    name = request_id(request.headers)
    try:
        status, entry = await call(model_id)
    except RequestError as error:
        return problem(error.status, error.code, str(error), name)
    return JSONResponse(entry, status, {"x-request-id": name})
