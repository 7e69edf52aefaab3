"""Parameters that OpenAI's routes share: how to write, how many choices, and what is accepted switched off only.

What changes nothing about the work (``user``, ``metadata``, …) is accepted; what would change it and is not supported
is refused by name; so is what is unknown.
"""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from perjoule.errors import InvalidInputError
from perjoule_server.tasks.inputs import Parameters, json_name

MOST_CHOICES = 16
"""Most choices, images or prompts times choices of one request."""

HARMLESS = frozenset({
    "user", "metadata", "safety_identifier", "prompt_cache_key", "prompt_cache_retention", "service_tier",
})  # fmt: skip
"""Parameters about accounts and caches of OpenAI's own service: whatever they hold, the answer is the same."""

SAMPLING = frozenset({"temperature", "top_p", "top_k", "seed", "stop", "min_tokens", "ignore_eos"})
"""``top_k``, ``min_tokens`` and ``ignore_eos`` are not OpenAI's but vLLM's."""

NAMES = MappingProxyType({"max_new_tokens": "max_tokens", "min_new_tokens": "min_tokens"})
"""The task's parameters that have other names here."""


def body_of(value: Any, known: Iterable[str], off: Mapping[str, Sequence[Any]]) -> Parameters:
    """Return a body's parameters; those of ``off`` may hold nothing but the values there.

    Raises:
        InvalidInputError: no object, an unknown member, or one that is switched on and cannot be honoured.
    """
    if not isinstance(value, dict):
        raise InvalidInputError(f"the body must be an object, not {json_name(value)}")
    parameters = Parameters(value, {*known, *HARMLESS, *off}, "")
    for name, accepted in off.items():
        parameters.only(name, *accepted)
    return parameters


def stops(parameters: Parameters, value: Any) -> list[str]:
    """Return ``stop``, a string or a list of strings, as a list."""
    if isinstance(value, str):
        return [value] if value else []
    return list(parameters.texts("stop", MOST_CHOICES, blank=True))


def sampling(parameters: Parameters, body: Mapping[str, Any], longest: int | None) -> dict[str, Any]:
    """Return the task's parameters for how to write: at most ``longest`` tokens, None for the task's own default.

    OpenAI samples at temperature 1 unless it is told otherwise, and so does this.
    """
    given: dict[str, Any] = {
        "temperature": parameters.number("temperature", 1.0, 0.0, 2.0),
        "top_p": parameters.number("top_p", 1.0, 0.0, 1.0),
        "details": True,
        **{name: body[name] for name in ("top_k", "seed") if body.get(name) is not None},
    }
    if longest is not None:
        given["max_new_tokens"] = longest
    if stop := stops(parameters, body.get("stop")):
        given["stop"] = stop
    if shortest := _shortest(parameters, longest):
        given["min_new_tokens"] = shortest
    return given


def _shortest(parameters: Parameters, longest: int | None) -> int:
    if parameters.flag("ignore_eos", default=False):
        if longest is None:
            raise InvalidInputError("ignore_eos needs max_tokens, or the text would have no end", "ignore_eos")
        return longest
    return parameters.integer("min_tokens", 0, 0, 10**9)


def seeds(body: Mapping[str, Any], choices: int) -> list[dict[str, Any]]:
    """Return what sets the seed of each of ``choices``: the one that was given, counted up; nothing where none was."""
    seed = body.get("seed")
    if choices > 1 and isinstance(seed, int) and not isinstance(seed, bool):
        return [{"seed": seed + place} for place in range(choices)]
    return [{}] * choices


def choices_of(parameters: Parameters, *, streams: bool) -> int:
    """Return ``n``; a stream has one choice."""
    count = parameters.integer("n", 1, 1, MOST_CHOICES)
    if streams and count > 1:
        raise InvalidInputError("n must be 1 in a stream", "n")
    return count


def wants_usage(parameters: Parameters, *, streams: bool) -> bool | None:
    """Return ``stream_options.include_usage``, None where it is not said."""
    if "stream_options" not in parameters:
        return None
    if not streams:
        raise InvalidInputError("stream_options is for stream: true", "stream_options")
    options = parameters.with_nested("stream_options", {"include_usage", "include_obfuscation"})
    options.only("include_obfuscation", False)
    return options.flag("include_usage", default=False) if "include_usage" in options else None
