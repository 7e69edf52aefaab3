"""OpenAI's ``/v1/embeddings``, answered by feature-extraction: one vector a text, of length 1 as OpenAI's are.

Each text is a request of its own to the task: each is computed and counted.
"""

import base64
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from perjoule.errors import InvalidInputError
from perjoule_server.adapters import fields
from perjoule_server.adapters.base import Asked, Part, Stamp, as_json, named_model, usage
from perjoule_server.schemas import Envelope
from perjoule_server.tasks.inputs import text_of

MOST_TEXTS = 2048
"""Most texts of one request, as at OpenAI."""

_OFF: Mapping[str, Sequence[Any]] = {"dimensions": (None,)}


def read_embedding(value: Any) -> Asked:
    """Read the body of ``/v1/embeddings``.

    Raises:
        InvalidInputError: what is wrong, by the client's own name.
    """
    parameters = fields.body_of(value, {"model", "input", "encoding_format"}, _OFF)
    encoding = parameters.choice("encoding_format", "float", ("float", "base64"))
    texts = _texts(value.get("input"))
    envelopes = tuple(Envelope(text, {"normalize": True}) for text in texts)
    return Asked(envelopes, named_model(value.get("model")), partial(_answer, encoding))


def _texts(value: Any) -> list[str]:
    given = value if isinstance(value, list) else [value]
    if any(isinstance(one, (int, list)) and not isinstance(one, bool) for one in given):
        raise InvalidInputError("input must be text: token ids are not taken", "input")
    if not 1 <= len(given) <= MOST_TEXTS:
        raise InvalidInputError(f"input may hold 1 to {MOST_TEXTS} texts, not {len(given)}", "input")
    return [text_of(one, "input") for one in given]


def _answer(encoding: str, parts: Sequence[Part], stamp: Stamp) -> tuple[bytes, str]:
    data = [
        {"object": "embedding", "index": place, "embedding": _vector(part, encoding)}
        for place, part in enumerate(parts)
    ]
    return as_json({"object": "list", "data": data, "model": stamp.model, "usage": usage(parts, written=False)})


def _vector(part: Part, encoding: str) -> list[float] | str:
    """Return a reply's vector as numbers, or as base64 of little-endian 32-bit floats."""
    (vector,) = part.json
    if encoding == "float":
        return list(vector)
    return base64.b64encode(np.asarray(vector, dtype="<f4").tobytes()).decode()
