"""What the OpenAPI document says about the inference route: bodies, replies, headers and errors, with examples.

Descriptions only: requests are checked in ``schemas`` and in the tasks, not against these.
"""

from collections.abc import Iterable
from typing import Any

from perjoule.errors import (
    BusyError,
    ExpiredError,
    InvalidInputError,
    NotFoundError,
    RequestError,
    TooLargeError,
    UnavailableError,
)
from perjoule.workloads import WORKLOADS
from perjoule_server import samples

_ERRORS = (NotFoundError, InvalidInputError, TooLargeError, BusyError, RequestError, UnavailableError, ExpiredError)
_BINARY = {"schema": {"type": "string", "format": "binary"}}

ERROR_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message", "request_id"],
            "properties": {
                "code": {"type": "string"},
                "message": {"type": "string"},
                "request_id": {"type": "string"},
            },
        }
    },
}

_HEADERS = {
    "x-request-id": "the client's own id, or a new one",
    "x-queue-time": "seconds in the queue",
    "x-inference-time": "seconds that the request's batch held the device",
    "x-batch-size": "requests in that batch",
    "x-input-tokens": "tokens read",
    "x-output-tokens": "tokens written",
    "x-energy-quality": "estimated, settled or unknown",
}


def error_responses(*errors: type[RequestError]) -> dict[int | str, dict[str, Any]]:
    """Describe the answers to ``errors``."""
    return {
        error.status: {
            "description": (error.__doc__ or "").splitlines()[0],
            "content": {"application/json": {"schema": ERROR_SCHEMA}},
        }
        for error in errors
    }


def inference_responses() -> dict[int | str, dict[str, Any]]:
    """Describe every answer of the inference route."""
    return {
        200: {
            "description": "The task's own reply, as Hugging Face's schemas have it; PNG bytes for text-to-image.",
            "headers": {name: {"description": text, "schema": {"type": "string"}} for name, text in _HEADERS.items()},
            "content": {"application/json": {"schema": {}}, "image/png": _BINARY},
        },
        **error_responses(*_ERRORS),
    }


def inference_request(tasks: Iterable[str]) -> dict[str, Any]:
    """Describe the body, with one example for each of ``tasks``, and the two request headers."""
    schema = {
        "type": "object",
        "required": ["inputs"],
        "properties": {
            "inputs": {"description": "Text, an object, or base64 of an image or audio, as the task's schema says."},
            "parameters": {"type": "object"},
            "model": {"type": "string", "description": "One of the task's models; its first by default."},
        },
    }
    examples = {task: {"summary": WORKLOADS[task].title, "value": samples.body(task)} for task in tasks}
    return {
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": schema, "examples": examples},
                "image/*": _BINARY,
                "audio/*": _BINARY,
                "application/octet-stream": _BINARY,
            },
        },
        "parameters": [
            {
                "name": "x-request-id",
                "in": "header",
                "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"},
            },
            {"name": "x-timeout-ms", "in": "header", "schema": {"type": "integer", "minimum": 1}},
        ],
    }
