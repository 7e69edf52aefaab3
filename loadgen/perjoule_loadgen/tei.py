"""Hugging Face's text-embeddings-inference: ``/embed`` and ``/predict``. Its headers tell the tokens that it read."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from perjoule_loadgen.dialect import Answer, Ask, Piece, Prepared, asked_of, told_count
from perjoule_loadgen.inputs import Item
from perjoule_loadgen.openai import body_of
from perjoule_loadgen.shapes import right_shape

_PATHS = {"feature-extraction": "/embed", "text-classification": "/predict"}


@dataclass(frozen=True, slots=True)
class Tei:
    """One model, one task: which of the two routes answers depends on the model."""

    name: str = "tei"
    tasks: frozenset[str] = frozenset(_PATHS)
    streams: frozenset[str] = frozenset()

    def path(self, task: str) -> str:
        """See ``Dialect.path``."""
        return _PATHS[task]

    def prepare(self, item: Item, ask: Ask) -> Prepared:
        """See ``Dialect.prepare``: no model is named, since there is one only."""
        members = {"inputs": json.loads(item.payload), **ask.parameters, **item.parameters}
        unnamed = Ask(ask.task, ask.parameters, None, extra=ask.extra)
        return asked_of(item, ask, body_of(members, unnamed), "application/json")

    def read(self, task: str, headers: Mapping[str, str], body: bytes) -> Answer | None:
        """See ``Dialect.read``: labels come as one flat list."""
        fits = right_shape("image-classification" if task == "text-classification" else task, body)
        return Answer(input_tokens=told_count(headers.get("x-compute-tokens"))) if fits else None

    def event(self, data: bytes) -> Piece:
        """See ``Dialect.event``: there are no streams."""
        return Piece(error=f"a stream that nobody asked for: {data[:40]!r}")
