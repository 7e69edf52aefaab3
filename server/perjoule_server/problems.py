"""The one shape of every error answer: ``{"error": {"code", "message", "request_id"}}``, and the ids of requests."""

import itertools
import json
import re
import secrets
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from starlette.responses import Response

_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
# One random number per process and a counter: a system call per request would give up the interpreter's lock each time.
_PROCESS = secrets.token_hex(6)
_numbers = itertools.count(1)
_NOTHING: Mapping[str, Any] = MappingProxyType({})


def request_id(headers: Mapping[str, str]) -> str:
    """Return the client's ``x-request-id`` if it is well-formed, else a new one."""
    given = headers.get("x-request-id", "")
    return given if _ID.fullmatch(given) else f"{_PROCESS}-{next(_numbers):x}"


def error_object(code: str, message: str, name: str, more: Mapping[str, Any] = _NOTHING) -> dict[str, Any]:
    """Return the error of request ``name`` as JSON; ``more`` stands beside it, for the clients of other APIs."""
    return {"error": {"code": code, "message": message, "request_id": name, **more}}


def problem(
    status: int,
    code: str,
    message: str,
    name: str,
    headers: Mapping[str, str] | None = None,
    more: Mapping[str, Any] = _NOTHING,
) -> Response:
    """Return the error answer to request ``name``; see ``error_object``."""
    return Response(
        json.dumps(error_object(code, message, name, more)).encode(),
        status,
        {**(headers or {}), "content-type": "application/json", "x-request-id": name},
    )
