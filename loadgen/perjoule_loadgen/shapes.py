"""Whether an answer has the shape that its task prescribes: the reply table of the server's API, as checks.

An answer of the wrong shape is no inference. Knows nothing of lengths (``verdict`` holds those) nor of what an answer
means.
"""

import json
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

_PNG = b"\x89PNG\r\n\x1a\n"

Check = Callable[[Any], bool]


def _records(*keys: str) -> Check:
    def check(value: Any) -> bool:
        return isinstance(value, list) and all(isinstance(v, dict) and all(k in v for k in keys) for v in value)

    return check


def _some(check: Check) -> Check:
    return lambda value: check(value) and len(value) > 0


def _nested_labels(value: Any) -> bool:
    return isinstance(value, list) and len(value) > 0 and all(_SCORES(inner) for inner in value)


def _answer(value: Any) -> bool:
    rows = value if isinstance(value, list) else [value]
    return len(rows) > 0 and all(isinstance(row, dict) and "answer" in row for row in rows)


def _text(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("text"), str)


def _numbers(value: Any) -> bool:
    while isinstance(value, list) and value:
        value = value[0]
    return isinstance(value, int | float)


_SCORES = _some(_records("label", "score"))

_CHECKS: Mapping[str, Check] = MappingProxyType(
    {
        "text-classification": _nested_labels,
        "zero-shot-text-classification": _nested_labels,
        "token-classification": _records("word", "score"),  # a text may hold no entity
        "fill-mask": _some(_records("score", "token_str")),
        "image-classification": _SCORES,
        "object-detection": _records("label", "score", "box"),  # an image may hold no object
        "question-answering": _answer,
        "zero-shot-question-answering": _answer,
        "summarization": _some(_records("summary_text")),
        "zero-shot-summarization": _some(_records("summary_text")),
        "text-generation": _some(_records("generated_text")),
        "image-to-text": _some(_records("generated_text")),
        "feature-extraction": _numbers,
        "automatic-speech-recognition": _text,
    }
)


def right_shape(task: str, body: bytes) -> bool:
    """Tell whether ``body`` is an answer to ``task``."""
    if task == "text-to-image":
        return body.startswith(_PNG)
    try:
        return _CHECKS[task](json.loads(body))
    except (ValueError, RecursionError):
        return False
