"""The one shape of every error answer: ``{"error": {"code", "message", "request_id"}}``, and the ids of requests."""

import itertools
import json
import re
import secrets
from collections.abc import Mapping

from starlette.responses import Response

_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
# One random number per process and a counter: a system call per request would give up the interpreter's lock each time.
_PROCESS = secrets.token_hex(6)
_numbers = itertools.count(1)


def request_id(headers: Mapping[str, str]) -> str:
    """Return the client's ``x-request-id`` if it is well-formed, else a new one."""
    given = headers.get("x-request-id", "")
    return given if _ID.fullmatch(given) else f"{_PROCESS}-{next(_numbers):x}"


def problem(status: int, code: str, message: str, name: str, headers: Mapping[str, str] | None = None) -> Response:
    """Return the error answer to request ``name``."""
    body = {"error": {"code": code, "message": message, "request_id": name}}
    return Response(
        json.dumps(body).encode(),
        status,
        {**(headers or {}), "content-type": "application/json", "x-request-id": name},
    )
