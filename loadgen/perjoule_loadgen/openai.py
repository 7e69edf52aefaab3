"""OpenAI's routes, as vLLM, SGLang, TGI, llama.cpp and our own server have them.

Lengths are asked for with ``max_tokens``, and with vLLM's ``min_tokens`` and ``ignore_eos`` where a shortest length is
wanted; a server that refuses those gets them taken out by ``--extra-body '{"min_tokens": null}'``. Sampling is switched
off (``temperature`` 0) unless an input says otherwise.
"""

import base64
import binascii
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from perjoule.errors import UsageError
from perjoule_loadgen.dialect import Answer, Ask, Piece, Prepared, asked_of, told_count, whole
from perjoule_loadgen.inputs import Item
from perjoule_loadgen.media import image_size

_JSON = "application/json"
_PASSED = frozenset({"temperature", "top_p", "top_k", "seed", "stop"})
"""Parameters with the same name on both sides."""
_LENGTHS = frozenset({"min_new_tokens", "max_new_tokens"})
_PROMPTS: Mapping[str, str] = {
    "text-generation": "{text}",
    "summarization": "summarize the following text: {text}",
    "zero-shot-summarization": "summarize the following text: {text}",
    "zero-shot-text-classification": "which of {labels} describes the following text best? {text}",
    "zero-shot-question-answering":
        '{question}? Find the answer to the question in the following text: "{context}". Answer:',
}  # fmt: skip
"""The study's prompts for models that are not made for one task (its sentiment prompt holds for two labels only)."""
_DESCRIBE = "Describe this image."
DONE = b"[DONE]"


def prompt(task: str, item: Item) -> str:
    """Return an input as a prompt of one text."""
    inputs = json.loads(item.payload)
    words = inputs if isinstance(inputs, dict) else {"text": inputs}
    labels = item.parameters.get("candidate_labels")
    words = {**words, "labels": ", ".join(map(str, labels)) if isinstance(labels, list) else ""}
    text = _PROMPTS[task]
    for name, value in words.items():
        text = text.replace(f"{{{name}}}", value.rstrip("? ") if name == "question" else value, 1)
    return text


def _lengths(item: Item, ask: Ask) -> dict[str, Any]:
    asked = {**ask.parameters, **item.parameters}
    unknown = sorted(asked.keys() - _PASSED - _LENGTHS - {"candidate_labels"})
    if unknown:
        raise UsageError(f"{item.label}: OpenAI's routes have no parameter {unknown[0]}; give it with --extra-body")
    least, most = whole(asked, "min_new_tokens"), whole(asked, "max_new_tokens")
    fixed = {"ignore_eos": True} if least and least == most else {}
    return {
        "temperature": 0,
        **{name: value for name, value in asked.items() if name in _PASSED},
        **({"max_tokens": most} if most is not None else {}),
        **({"min_tokens": least} if least else {}),
        **fixed,
        **({"stream": True, "stream_options": {"include_usage": True}} if ask.stream else {}),
    }


def body_of(value: Mapping[str, Any], ask: Ask) -> bytes:
    """Return a body with the model and the extra members; a member that is None there is taken out."""
    named = {"model": ask.model, **value} if ask.model is not None else value
    merged = {**named, **(ask.extra or {})}
    taken_out = {name for name, one in (ask.extra or {}).items() if one is None}
    return json.dumps({n: v for n, v in merged.items() if n not in taken_out}, ensure_ascii=False).encode()


def _parsed(body: bytes, read: Callable[[Any], Answer | None]) -> Answer | None:
    """Return what ``read`` finds in a JSON body, None where that is not there."""
    try:
        return read(json.loads(body))
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None


def _usage(value: Mapping[str, Any]) -> Answer:
    usage = value.get("usage") or {}
    return Answer(told_count(usage.get("completion_tokens")), told_count(usage.get("prompt_tokens")))


class _Text(ABC):
    """What completions and chat have in common."""

    __slots__ = ()

    def read(self, task: str, headers: Mapping[str, str], body: bytes) -> Answer | None:
        """See ``Dialect.read``."""
        del task, headers
        return _parsed(body, lambda value: _usage(value) if self._said(value["choices"][0]) is not None else None)

    def event(self, data: bytes) -> Piece:
        """See ``Dialect.event``: chunks, then one with the usage, then [DONE]."""
        if data == DONE:
            return Piece(last=True)
        try:
            chunk = json.loads(data)
            if "error" in chunk:
                return Piece(error=str(chunk["error"]))
            choices, told = chunk["choices"], _usage(chunk) if chunk.get("usage") else None
            return Piece(bool(choices and self._written(choices[0])), answer=told)
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            return Piece(error="a chunk of another shape")

    @abstractmethod
    def _said(self, choice: Mapping[str, Any]) -> str | None:
        """Return the text of a choice, None where it has none."""

    @abstractmethod
    def _written(self, choice: Mapping[str, Any]) -> str | None:
        """Return the text of a chunk's choice."""


@dataclass(frozen=True, slots=True)
class Completions(_Text):
    """``/v1/completions``."""

    name: str = "openai-completions"
    tasks: frozenset[str] = frozenset(_PROMPTS)
    streams: frozenset[str] = frozenset(_PROMPTS)

    def path(self, task: str) -> str:
        """See ``Dialect.path``."""
        del task
        return "/v1/completions"

    def prepare(self, item: Item, ask: Ask) -> Prepared:
        """See ``Dialect.prepare``."""
        body = {"prompt": prompt(ask.task, item), **_lengths(item, ask)}
        return asked_of(item, ask, body_of(body, ask), _JSON)

    def _said(self, choice: Mapping[str, Any]) -> str | None:
        return choice["text"] if isinstance(choice["text"], str) else None

    def _written(self, choice: Mapping[str, Any]) -> str | None:
        return choice.get("text")


@dataclass(frozen=True, slots=True)
class Chat(_Text):
    """``/v1/chat/completions``; images go as data URLs."""

    name: str = "openai-chat"
    tasks: frozenset[str] = frozenset({*_PROMPTS, "image-to-text"})
    streams: frozenset[str] = frozenset({*_PROMPTS, "image-to-text"})

    def path(self, task: str) -> str:
        """See ``Dialect.path``."""
        del task
        return "/v1/chat/completions"

    def prepare(self, item: Item, ask: Ask) -> Prepared:
        """See ``Dialect.prepare``."""
        content = prompt(ask.task, item) if item.media_type is None else _described(item)
        body = {"messages": [{"role": "user", "content": content}], **_lengths(item, ask)}
        return asked_of(item, ask, body_of(body, ask), _JSON)

    def _said(self, choice: Mapping[str, Any]) -> str | None:
        message = choice["message"]
        texts = (message.get("content"), message.get("reasoning_content"), message.get("reasoning"))
        return next((text for text in texts if isinstance(text, str)), None)

    def _written(self, choice: Mapping[str, Any]) -> str | None:
        delta = choice["delta"]
        texts = (delta.get("content"), delta.get("reasoning_content"), delta.get("reasoning"))
        return next((text for text in texts if isinstance(text, str) and text), None)


def _described(item: Item) -> list[dict[str, Any]]:
    url = f"data:{item.media_type};base64,{base64.b64encode(item.payload).decode()}"
    return [{"type": "text", "text": _DESCRIBE}, {"type": "image_url", "image_url": {"url": url}}]


class _Whole:
    """Answers that come in one piece only."""

    __slots__ = ()

    def event(self, data: bytes) -> Piece:
        """See ``Dialect.event``: there are no streams."""
        return Piece(error=f"a stream that nobody asked for: {data[:40]!r}")


@dataclass(frozen=True, slots=True)
class Embeddings(_Whole):
    """``/v1/embeddings``."""

    name: str = "openai-embeddings"
    tasks: frozenset[str] = frozenset({"feature-extraction"})
    streams: frozenset[str] = frozenset()

    def path(self, task: str) -> str:
        """See ``Dialect.path``."""
        del task
        return "/v1/embeddings"

    def prepare(self, item: Item, ask: Ask) -> Prepared:
        """See ``Dialect.prepare``."""
        return asked_of(item, ask, body_of({"input": json.loads(item.payload)}, ask), _JSON)

    def read(self, task: str, headers: Mapping[str, str], body: bytes) -> Answer | None:
        """See ``Dialect.read``."""
        del task, headers
        return _parsed(body, lambda value: _usage(value) if _vector(value["data"][0]["embedding"]) else None)


def _vector(value: Any) -> bool:
    if isinstance(value, list):
        return bool(value) and isinstance(value[0], int | float)
    return isinstance(value, str) and bool(value)


@dataclass(frozen=True, slots=True)
class Images(_Whole):
    """``/v1/images/generations``, answered with base64: nothing is fetched from another place."""

    name: str = "openai-images"
    tasks: frozenset[str] = frozenset({"text-to-image"})
    streams: frozenset[str] = frozenset()

    def path(self, task: str) -> str:
        """See ``Dialect.path``."""
        del task
        return "/v1/images/generations"

    def prepare(self, item: Item, ask: Ask) -> Prepared:
        """See ``Dialect.prepare``."""
        asked = {**ask.parameters, **item.parameters}
        width, height = asked.pop("width", None), asked.pop("height", None)
        size = {"size": f"{width}x{height}"} if width and height else {}
        body = {"prompt": json.loads(item.payload), "n": 1, "response_format": "b64_json", **size, **asked}
        return asked_of(item, ask, body_of(body, ask), _JSON)

    def read(self, task: str, headers: Mapping[str, str], body: bytes) -> Answer | None:
        """See ``Dialect.read``: the size is the image's own."""
        del task, headers
        return _parsed(body, _image)


def _image(value: Any) -> Answer | None:
    try:
        data = base64.b64decode(value["data"][0]["b64_json"], validate=True)
    except binascii.Error:
        return None
    size = image_size(data)
    return None if size is None else Answer(size=size)
