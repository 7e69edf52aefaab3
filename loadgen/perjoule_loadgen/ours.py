"""Our own server's dialect: Hugging Face's task schemas at ``/v1/tasks/{task}``, and their stream of tokens."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from perjoule.workloads import WORKLOADS
from perjoule_loadgen.dialect import Answer, Ask, Piece, Prepared, asked_of, told_count
from perjoule_loadgen.inputs import Item
from perjoule_loadgen.media import image_size
from perjoule_loadgen.shapes import right_shape

_SCORED = frozenset({"zero-shot-text-classification"})
"""Tasks that score given labels instead of writing: their schema has no lengths to ask for."""
_IMAGES = frozenset({"text-to-image"})


@dataclass(frozen=True, slots=True)
class Ours:
    """``inference-server``."""

    name: str = "perjoule"
    tasks: frozenset[str] = frozenset(WORKLOADS)
    streams: frozenset[str] = frozenset({"text-generation"})

    def path(self, task: str) -> str:
        """See ``Dialect.path``."""
        return f"/v1/tasks/{task}"

    def prepare(self, item: Item, ask: Ask) -> Prepared:
        """See ``Dialect.prepare``."""
        parameters = {} if ask.task in _SCORED else ask.parameters
        extra = {**({"stream": True} if ask.stream else {}), **(ask.extra or {})}
        body, content_type = item.body(parameters, ask.model, extra)
        return asked_of(item, ask, body, content_type)

    def read(self, task: str, headers: Mapping[str, str], body: bytes) -> Answer | None:
        """See ``Dialect.read``: tokens are in the headers."""
        if not right_shape(task, body):
            return None
        size = image_size(body) if task in _IMAGES else None
        return Answer(told_count(headers.get("x-output-tokens")), told_count(headers.get("x-input-tokens")), size)

    def event(self, data: bytes) -> Piece:
        """See ``Dialect.event``: one event a token; the last has the whole text and the counts."""
        try:
            event = json.loads(data)
            if "error" in event:
                return Piece(error=str(event["error"]))
            text, details = bool(event["token"]["text"]), event["details"] or {}
            if event["generated_text"] is None:
                return Piece(text)
            counts = Answer(told_count(details.get("generated_tokens")), told_count(details.get("input_length")))
            return Piece(text, last=True, answer=counts)
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            return Piece(error="an event of another shape")
