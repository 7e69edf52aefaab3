"""The outer shape of a request: ``{"inputs": …, "parameters": {…}, "model": …}`` as JSON, or a raw media body.

Checks types, encoding and well-formedness and nothing else: what ``inputs`` and ``parameters`` may hold is each task's
own business. JSON is taken strictly: UTF-8, no duplicate keys, no NaN or Infinity, no lone surrogates. Pure functions
over bytes; every way in which a body can be wrong is an ``InvalidInputError``, and too many values a ``TooLargeError``.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from perjoule.errors import InvalidInputError, TooLargeError
from perjoule.workloads import WORKLOADS, Modality
from perjoule_server.media import from_base64, sniff
from perjoule_server.tasks.base import TaskRequest

_JSON_TYPES = {"application/json", "text/json"}
# What curl and others send when they were told nothing: the body itself decides.
_UNSPECIFIC = {"", "application/x-www-form-urlencoded", "text/plain"}
_RAW_FAMILIES = ("image/", "audio/", "video/")


@dataclass(frozen=True, slots=True)
class Envelope:
    """A request whose outer shape is right.

    Attributes:
        inputs: the JSON value, None with a raw body.
        parameters: the JSON object, possibly empty.
        model: the model id that was named, None for the task's default.
        raw: the raw media body, None with JSON.
        stream: whether the answer is wanted as it is written.
    """

    inputs: Any
    parameters: Mapping[str, Any]
    model: str | None = None
    raw: bytes | None = None
    stream: bool = False


MOST_COMMAS = 500_000
"""Commas of one body, in texts or between values: values take up to 25 times their text's memory, and parsing them
stops all other threads."""


def parse_json(body: bytes) -> Any:
    """Parse strict JSON.

    Raises:
        InvalidInputError: the message says what is wrong.
        TooLargeError: it may hold too many values.
    """
    if body.count(b",") > MOST_COMMAS:
        raise TooLargeError(f"the body has more than {MOST_COMMAS} commas; as JSON it may hold too many values")
    try:
        value = json.loads(body.decode(), object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_finite)
        if b"\\u" in body:  # an escape may be half of a surrogate pair, which no tokenizer takes
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeDecodeError:
        raise InvalidInputError("the body is not UTF-8") from None
    except UnicodeEncodeError:
        raise InvalidInputError("the body holds half of a surrogate pair") from None
    except RecursionError:
        raise InvalidInputError("the body is nested too deeply") from None
    except ValueError as error:  # JSONDecodeError, and integers of thousands of digits
        raise InvalidInputError(f"the body is not JSON: {error}") from None
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise InvalidInputError(f"the key {name[:64]!r} occurs twice in one object")
            seen.add(name)
    return value


def _no_constant(name: str) -> NoReturn:
    raise InvalidInputError(f"{name} is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise InvalidInputError(f"the number {text[:32]} is too large")
    return value


def read(task: str, content_type: str, body: bytes) -> Envelope:
    """Read a body for ``task``.

    Raises:
        InvalidInputError: empty, of a type that the task does not take, not JSON, or not of the outer shape.
    """
    if not body:
        raise InvalidInputError("the body is empty")
    media_task = WORKLOADS[task].input is not Modality.TEXT
    if not _is_raw(content_type.partition(";")[0].strip().lower(), body, media_task=media_task):
        return _envelope(task, parse_json(body))
    if not media_task:
        raise InvalidInputError(f'{task} takes JSON: {{"inputs": …, "parameters": {{…}}}}')
    return Envelope(None, {}, raw=body)


def _is_raw(media_type: str, body: bytes, *, media_task: bool) -> bool:
    if media_type in _JSON_TYPES or media_type.endswith("+json"):
        return False
    if media_type in _UNSPECIFIC or media_type == "application/octet-stream":
        looks_like_json = body.lstrip()[:1] == b"{"
        return sniff(body) is not None or (media_task and not looks_like_json)
    if media_type.startswith(_RAW_FAMILIES):
        return True
    raise InvalidInputError(f"content type {media_type[:64]!r} is neither JSON nor an image nor audio")


def _envelope(task: str, value: Any) -> Envelope:
    if not isinstance(value, dict):
        raise InvalidInputError('the body must be an object: {"inputs": …, "parameters": {…}}')
    rest = dict(value)
    if "inputs" not in rest:
        raise InvalidInputError("inputs is missing")
    inputs, model, parameters = rest.pop("inputs"), rest.pop("model", None), rest.pop("parameters", None)
    if not (model is None or isinstance(model, str)):
        raise InvalidInputError("model must be a string")
    if not (parameters is None or isinstance(parameters, dict)):
        raise InvalidInputError("parameters must be an object")
    stream = rest.pop("stream", None)
    if not (stream is None or isinstance(stream, bool)) or (stream and task != "text-generation"):
        raise InvalidInputError("stream must be false: this task answers in one piece", "stream")
    rest.pop("options", None)  # wishes to Hugging Face's own service (use_cache, wait_for_model)
    return Envelope(inputs, _merged(parameters or {}, rest), model, stream=stream is True)


def _merged(parameters: dict[str, Any], rest: dict[str, Any]) -> dict[str, Any]:
    """Add what stands beside ``inputs``: Hugging Face's feature-extraction schema has its parameters there."""
    for name in rest:
        if name in parameters:
            raise InvalidInputError(f"{name[:64]!r} stands both in parameters and beside them")
    return {**parameters, **rest}


def task_request(task: str, envelope: Envelope) -> TaskRequest:
    """Turn an envelope into what the task reads; decodes base64, so call it off the event loop.

    Raises:
        InvalidInputError: a media task without base64 bytes.
    """
    if envelope.raw is not None:
        return TaskRequest(None, envelope.parameters, envelope.raw)
    if WORKLOADS[task].input is Modality.TEXT:
        return TaskRequest(envelope.inputs, envelope.parameters)
    if not isinstance(envelope.inputs, str):
        raise InvalidInputError("inputs must be a string of base64 bytes")
    return TaskRequest(None, envelope.parameters, from_base64(envelope.inputs))
