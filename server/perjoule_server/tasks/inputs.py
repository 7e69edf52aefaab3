"""What clients write, checked by hand: texts, questions with contexts, and the ``parameters`` object.

Strict on purpose: true is no integer, "5" is no number, an unknown parameter is an error and not a silent default.
A null is the same as leaving the parameter out, as Hugging Face's clients send it.
"""

import math
import re
from collections.abc import Collection, Mapping
from typing import Any

from perjoule.errors import InvalidInputError
from perjoule_server.tasks.base import TaskRequest

ONE_INPUT = "send one input per request; the server batches requests itself"

_LONGEST_ITEM = 1000  # characters of one label, target or stop string: far more than any has
_SHOWN = 48  # characters of a client's own words that an error repeats

_JSON_NAMES = {
    dict: "an object", list: "a list", str: "a string", bool: "a boolean", int: "a number", float: "a number",
    type(None): "null",
}  # fmt: skip


def json_name(value: Any) -> str:
    """Return what JSON calls the type of ``value``, with its article."""
    return _JSON_NAMES.get(type(value), type(value).__name__)


def text_of(value: Any, name: str = "inputs") -> str:
    """Return ``value`` if it is text that a tokenizer can take.

    Raises:
        InvalidInputError: no string, blank, or holding NUL or half of a surrogate pair.
    """
    if isinstance(value, list):
        raise InvalidInputError(f"{name} is a list: {ONE_INPUT}", _member(name))
    if not isinstance(value, str):
        raise InvalidInputError(f"{name} must be a string, not {json_name(value)}", _member(name))
    if not value.strip():
        raise InvalidInputError(f"{name} is empty", _member(name))
    return _clean(value, name)


def _member(name: str) -> str:
    """Return the member of the body, or of its parameters, that ``name`` is or is in."""
    return re.split(r"[.\[]", name.removeprefix("parameters."))[0]


def _clean(value: str, name: str) -> str:
    if "\0" in value:
        raise InvalidInputError(f"{name} holds a NUL character", _member(name))
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidInputError(f"{name} holds half of a surrogate pair", _member(name)) from None
    return value


def question_and_context(value: Any) -> tuple[str, str]:
    """Return the two texts of ``{"question": …, "context": …}``.

    Raises:
        InvalidInputError: anything else.
    """
    if isinstance(value, list):
        raise InvalidInputError(f"inputs is a list: {ONE_INPUT}")
    if not isinstance(value, dict) or set(value) != {"question", "context"}:
        raise InvalidInputError('inputs must be an object: {"question": "…", "context": "…"}')
    return text_of(value["question"], "inputs.question"), text_of(value["context"], "inputs.context")


def media_of(request: TaskRequest) -> bytes:
    """Return the bytes of an image or a recording.

    Raises:
        InvalidInputError: there are none.
    """
    if not request.media:
        raise InvalidInputError("inputs is empty: send the bytes of the file, raw or as base64")
    return request.media


class Parameters:
    """The ``parameters`` of one request; each method reads one, and returns ``default`` where it is unset.

    ``prefix`` is where they stand in the body, for messages; empty at its top.
    """

    def __init__(self, given: Mapping[str, Any], known: Collection[str], prefix: str = "parameters") -> None:
        self._given = {name: value for name, value in given.items() if value is not None}
        self._prefix = prefix
        unknown = sorted(name for name in self._given if name not in known)
        if unknown:
            names = ", ".join(repr(name[:_SHOWN]) for name in unknown[:5])
            takes = ", ".join(sorted(known)) or "none"
            raise InvalidInputError(f"unknown {prefix or 'parameters'} {names}; known are: {takes}", unknown[0])

    def __contains__(self, name: str) -> bool:
        """Tell whether ``name`` is set."""
        return name in self._given

    def _wrong_value(self, name: str, complaint: str) -> InvalidInputError:
        return InvalidInputError(f"{self._where(name)} {complaint}", name)

    def _where(self, name: str) -> str:
        return f"{self._prefix}.{name}" if self._prefix else name

    def integer(self, name: str, default: int, low: int, high: int) -> int:
        """Read a whole number in [low, high]."""
        value = self._given.get(name, default)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self._wrong(name, "a whole number", value)
        if name in self._given and not low <= value <= high:
            raise self._wrong_value(name, f"must be {low} to {high}, not {_short(value)}")
        return value

    def number(self, name: str, default: float, low: float, high: float) -> float:
        """Read a finite number in [low, high]."""
        value = self._given.get(name, default)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise self._wrong(name, "a number", value)
        if not (low <= value <= high):  # NaN is never in between
            raise self._wrong_value(name, f"must be {low:g} to {high:g}, not {_short(value)}")
        return float(value)

    def flag(self, name: str, *, default: bool) -> bool:
        """Read a boolean."""
        value = self._given.get(name, default)
        if not isinstance(value, bool):
            raise self._wrong(name, "true or false", value)
        return value

    def choice(self, name: str, default: str, allowed: Collection[str]) -> str:
        """Read one of a few words."""
        value = self._given.get(name, default)
        if not isinstance(value, str) or value not in allowed:
            raise self._wrong(name, "one of " + ", ".join(allowed), value)
        return value

    def text(self, name: str, default: str = "") -> str:
        """Read a string, which may be empty."""
        value = self._given.get(name, default)
        if not isinstance(value, str):
            raise self._wrong(name, "a string", value)
        return _clean(value, self._where(name))

    def texts(self, name: str, most: int, *, blank: bool = False) -> tuple[str, ...]:
        """Read a list of at most ``most`` short strings, none of them empty, or ``blank``; an unset one is empty."""
        value = self._given.get(name, [])
        if not isinstance(value, list):
            raise self._wrong(name, "a list of strings", value)
        if len(value) > most:
            raise self._wrong_value(name, f"may hold {most} strings, not {len(value)}")
        if any(isinstance(item, str) and len(item) > _LONGEST_ITEM for item in value):
            raise self._wrong_value(name, f"may hold strings of at most {_LONGEST_ITEM} characters")
        names = [f"{self._where(name)}[{place}]" for place in range(len(value))]
        return tuple(
            _clean(item, one) if blank and isinstance(item, str) and item else text_of(item, one)
            for one, item in zip(names, value, strict=True)
        )

    def with_nested(self, name: str, known: Collection[str]) -> "Parameters":
        """Read the object ``name`` as if its members stood beside it.

        Raises:
            InvalidInputError: no object, an unknown member, or one that stands in both places.
        """
        value = self._given.get(name, {})
        if not isinstance(value, dict):
            raise self._wrong(name, "an object", value)
        inner = Parameters(value, known, self._where(name))
        twice = sorted(inner._given.keys() & self._given.keys())
        if twice:
            raise InvalidInputError(f"{twice[0]!r} stands both in {self._prefix} and in {self._where(name)}", twice[0])
        beside = {key: item for key, item in self._given.items() if key != name}
        return Parameters(beside | inner._given, beside.keys() | known, self._prefix)

    def only(self, name: str, *accepted: Any) -> None:
        """Refuse every value of ``name`` but ``accepted``: the ways in which clients say "off"."""
        value = self._given.get(name, accepted[0])
        if not any(type(value) is type(one) and value == one for one in accepted):
            raise self._wrong_value(name, "is not supported")

    def _wrong(self, name: str, wanted: str, value: Any) -> InvalidInputError:
        shown = repr(value[:_SHOWN]) if isinstance(value, str) else json_name(value)
        if isinstance(value, float) and not (math.isfinite(value) and value.is_integer()):
            shown = _short(value)
        return self._wrong_value(name, f"must be {wanted}, not {shown}")


def _short(value: float) -> str:
    """Print a number; an integer of thousands of digits only by its size (Python refuses to print it)."""
    if isinstance(value, int) and value.bit_length() > 256:  # noqa: PLR2004 (far beyond any parameter)
        return "a number of hundreds of digits"
    return f"{value}"
