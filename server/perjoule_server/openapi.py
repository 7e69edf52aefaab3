"""What the OpenAPI document says about the inference route: bodies, replies, headers and errors, with examples.

Descriptions only: requests are checked in ``schemas`` and in the tasks, not against these.
"""

from collections.abc import Iterable
from typing import Any

from perjoule.errors import (
    BusyError,
    ExpiredError,
    ForbiddenError,
    InvalidInputError,
    NotFoundError,
    RequestError,
    TooLargeError,
    UnauthorizedError,
    UnavailableError,
)
from perjoule.workloads import WORKLOADS
from perjoule_server import samples

_ERRORS = (
    UnauthorizedError, ForbiddenError, NotFoundError, InvalidInputError, TooLargeError, BusyError, RequestError,
    UnavailableError, ExpiredError,
)  # fmt: skip
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
    "x-energy-joules": "joules of this request on the device; absent where they are unknown",
    "x-energy-quality": "estimated, settled or unknown",
    "x-content-type-options": "nosniff: the answer is of its content type and no other",
}

_QUALITY: dict[str, Any] = {"type": "string", "enum": ["estimated", "settled", "unknown"]}
_JOULES: dict[str, Any] = {"type": ["number", "null"], "minimum": 0, "description": "null where they are unknown"}
_PHASE: dict[str, Any] = {
    "type": "object",
    "required": ["phase", "seconds", "joules", "quality", "weight", "share", "batch_size"],
    "properties": {
        "phase": {"type": "string"},
        "seconds": {"type": "number", "description": "of the whole batch"},
        "joules": _JOULES,
        "quality": _QUALITY,
        "weight": {"type": "number", "description": "tokens, pixels, or seconds of audio"},
        "share": {"type": "number", "description": "the weight over that of the batch"},
        "batch_size": {"type": "integer"},
    },
}

ENERGY_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["request_id", "task", "model", "outcome", "joules", "quality", "device", "method", "phases"],
    "properties": {
        "request_id": {"type": "string"},
        "task": {"type": "string"},
        "model": {"type": "string"},
        "outcome": {"type": "string", "enum": ["ok", "cancelled", "expired", "error"]},
        "joules": _JOULES,
        "quality": _QUALITY,
        "device": {"type": "string", "description": "as the exporter calls it"},
        "method": {
            "type": ["string", "null"],
            "description": "how the device's joules come about (counter, integrated, estimated, simulated, replayed);"
            " null without an exporter",
        },
        "phases": {"type": "array", "items": _PHASE},
    },
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


def energy_responses() -> dict[int | str, dict[str, Any]]:
    """Describe the answers of the route that tells what a request cost."""
    description = "What the request cost: the device's energy, phase by phase."
    return {
        200: {"description": description, "content": {"application/json": {"schema": ENERGY_SCHEMA}}},
        **error_responses(NotFoundError),
    }


def inference_request(tasks: Iterable[str]) -> dict[str, Any]:
    """Describe the body, with one example for each of ``tasks``, and the request headers."""
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
            {
                "name": "x-energy",
                "in": "header",
                "description": "settled: wait up to two ticks of the device's counter for the settled energy",
                "schema": {"type": "string", "enum": ["estimated", "settled"]},
            },
            {"name": "x-timeout-ms", "in": "header", "schema": {"type": "integer", "minimum": 1}},
        ],
    }
