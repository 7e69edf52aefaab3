"""What servers of other kinds say of themselves before they are loaded: which models, and whether they are ready.

OpenAI-compatible servers list models at ``/v1/models``, text-embeddings-inference tells its one at ``/info``, a route
of somebody's says nothing. What their metrics tell in our own words (device, weights) is taken; all else stays unknown.
"""

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from perjoule.errors import UnreachableError, UsageError
from perjoule_loadgen.dialect import Dialect
from perjoule_loadgen.ours import Ours
from perjoule_loadgen.pages import Page
from perjoule_loadgen.target import Model, Target, ask, served, wait_for
from perjoule_loadgen.tei import Tei
from perjoule_loadgen.template import Template

_UNNAMED = "unnamed"


async def discover(page: Page, url: str, dialect: Dialect, model: str | None, ready_seconds: float) -> Target:
    """Wait until the server is ready and return what it says of itself.

    Raises:
        UnreachableError: nobody answers, or something of another kind.
        UsageError: it does not tell its models, and none was named.
        MeasurementError: it is still not ready after ``ready_seconds``.
    """
    if isinstance(dialect, Ours):
        return await ask(page, url, ready_seconds)
    if isinstance(dialect, Template):
        return _one(url, dialect, model or dialect.model or _UNNAMED)
    if isinstance(dialect, Tei):
        return _one(url, dialect, model or await _info(page, url, ready_seconds))
    return await _listed(page, url, dialect, model, ready_seconds)


def _one(url: str, dialect: Dialect, model: str) -> Target:
    return Target(url, dict.fromkeys(sorted(dialect.tasks), model))


async def _info(page: Page, url: str, ready_seconds: float) -> str:
    status, text = await wait_for(page, f"{url}/info", ready_seconds)
    value = _object(text)
    if status != HTTPStatus.OK or not isinstance(value.get("model_id"), str):
        raise UnreachableError(f"no text-embeddings-inference at {url}: /info answers {status}")
    return str(value["model_id"])


async def _listed(page: Page, url: str, dialect: Dialect, model: str | None, ready_seconds: float) -> Target:
    status, text = await wait_for(page, f"{url}/v1/models", ready_seconds)
    if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        raise UsageError(f"{url}/v1/models answers {status}: give a token with --token-file")
    data = _object(text).get("data")
    entries = [one for one in data if isinstance(one, dict) and isinstance(one.get("id"), str)] if (
        status == HTTPStatus.OK and isinstance(data, list)
    ) else []  # fmt: skip
    if not entries:
        if model is None:
            raise UsageError(f"{url}/v1/models lists no models (status {status}): name one with --model")
        return _one(url, dialect, model)
    known = await served(page, url)
    models = {
        (task, id_): known.get((task, id_), Model(id_)) for task in sorted(dialect.tasks) for id_ in _of(entries, task)
    }
    defaults: dict[str, str] = {}
    for task, id_ in models:
        defaults.setdefault(task, id_)
    return Target(url, defaults, models)


def _of(entries: list[dict[str, Any]], task: str) -> list[str]:
    """Return the ids of the models that may do a task: an entry that names a task does that one only."""
    return [entry["id"] for entry in entries if entry.get("task") in {None, task}]


def _object(text: str) -> Mapping[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
