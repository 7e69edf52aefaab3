"""OpenAI's text routes: ``/v1/completions`` and ``/v1/chat/completions``, in one piece or streamed.

Answered by text-generation. Choices of one request are requests of their own to the task: each is computed and counted.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from perjoule.errors import InvalidInputError
from perjoule_server.adapters import fields
from perjoule_server.adapters.base import Asked, named_model
from perjoule_server.adapters.chunks import ChatCompletion, Completion, Shape, TextEvents, answer
from perjoule_server.adapters.flow import Flow
from perjoule_server.schemas import Envelope
from perjoule_server.tasks.chat import Chat
from perjoule_server.tasks.inputs import Parameters, json_name, text_of

_COMMON = fields.SAMPLING | {"model", "n", "stream", "stream_options", "max_tokens"}
_ZERO = (0, 0.0)
_OFF: Mapping[str, Sequence[Any]] = {
    "presence_penalty": _ZERO, "frequency_penalty": _ZERO, "repetition_penalty": (1, 1.0), "logit_bias": ({},),
}  # fmt: skip
_COMPLETION_OFF = {**_OFF, "logprobs": (None,), "suffix": (None,), "best_of": (1,)}
_CHAT_OFF: Mapping[str, Sequence[Any]] = {
    **_OFF, "logprobs": (False,), "top_logprobs": (0,), "response_format": ({"type": "text"},), "tools": ([],),
    "tool_choice": ("none", "auto"), "functions": ([],), "function_call": ("none", "auto"), "modalities": (["text"],),
    "audio": (None,), "prediction": (None,), "reasoning_effort": ("none",), "verbosity": (None,), "store": (False,),
    "web_search_options": (None,), "parallel_tool_calls": (True, False),
}  # fmt: skip
_COMPLETION_TOKENS = 16
"""What OpenAI writes for a completion that names no length."""

_ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
_MOST_MESSAGES = 1000


def read_completion(value: Any) -> Asked:
    """Read the body of ``/v1/completions``.

    Raises:
        InvalidInputError: what is wrong, by the client's own name.
    """
    parameters = fields.body_of(value, _COMMON | {"prompt", "echo"}, _COMPLETION_OFF)
    longest = parameters.integer("max_tokens", _COMPLETION_TOKENS, 1, 10**9)
    prompts = _prompts(value.get("prompt"))
    more = {"return_full_text": parameters.flag("echo", default=False)}
    return _asked(parameters, value, prompts, fields.sampling(parameters, value, longest) | more, Completion())


def _prompts(value: Any) -> list[str]:
    given = value if isinstance(value, list) else [value]
    if any(isinstance(one, (int, list)) and not isinstance(one, bool) for one in given):
        raise InvalidInputError("prompt must be text: token ids are not taken", "prompt")
    if not 1 <= len(given) <= fields.MOST_CHOICES:
        raise InvalidInputError(f"prompt may hold 1 to {fields.MOST_CHOICES} texts, not {len(given)}", "prompt")
    return [text_of(one, "prompt") for one in given]


def read_chat(value: Any) -> Asked:
    """Read the body of ``/v1/chat/completions``.

    Raises:
        InvalidInputError: what is wrong, by the client's own name.
    """
    parameters = fields.body_of(value, _COMMON | {"messages", "max_completion_tokens"}, _CHAT_OFF)
    name = "max_completion_tokens" if "max_completion_tokens" in parameters else "max_tokens"
    longest = parameters.integer(name, 1, 1, 10**9) if name in parameters else None
    chat = Chat(tuple(_messages(value.get("messages"))))
    return _asked(parameters, value, [chat], fields.sampling(parameters, value, longest), ChatCompletion())


def _messages(value: Any) -> list[dict[str, str]]:
    if not isinstance(value, list) or not 1 <= len(value) <= _MOST_MESSAGES:
        raise InvalidInputError(f"messages must be a list of 1 to {_MOST_MESSAGES} messages", "messages")
    return [_message(f"messages[{place}]", one) for place, one in enumerate(value)]


def _message(where: str, value: Any) -> dict[str, str]:
    if not isinstance(value, dict):
        raise InvalidInputError(f"{where} must be an object, not {json_name(value)}", "messages")
    role = value.get("role")
    if not isinstance(role, str) or role not in _ROLES:
        raise InvalidInputError(f"{where}.role must be one of {', '.join(_ROLES)}", "messages")
    unknown = sorted(name for name, one in value.items() if name not in {"role", "content"} and one not in (None, []))
    if unknown:
        raise InvalidInputError(f"{where}.{unknown[0][:48]} is not supported", "messages")
    return {"role": _ROLES[role], "content": _content(f"{where}.content", value.get("content"))}


def _content(where: str, value: Any) -> str:
    """Return a message's text: a string, or a list of ``{"type": "text", "text": …}``."""
    texts = value if isinstance(value, list) else [{"type": "text", "text": value}]
    if not texts or any(not isinstance(one, dict) or set(one) != {"type", "text"} for one in texts):
        raise InvalidInputError(f'{where} must be text, or a list of {{"type": "text", "text": …}}', "messages")
    if any(one["type"] != "text" for one in texts):
        raise InvalidInputError(f"{where} may hold parts of type text only", "messages")
    return "".join(text_of(one["text"], where) for one in texts)


def _asked(
    parameters: Parameters, body: Mapping[str, Any], prompts: Sequence[Any], given: dict[str, Any], shape: Shape
) -> Asked:
    streams = parameters.flag("stream", default=False)
    choices = fields.choices_of(parameters, streams=streams)
    if streams and len(prompts) > 1:
        raise InvalidInputError("prompt must be one text in a stream", "prompt")
    if streams and given.get("return_full_text"):
        raise InvalidInputError("echo is not supported in a stream", "echo")
    if len(prompts) * choices > fields.MOST_CHOICES:
        raise InvalidInputError(f"n times the prompts may be at most {fields.MOST_CHOICES}", "n")
    wanted = fields.wants_usage(parameters, streams=streams)
    envelopes = [Envelope(one, {**given, **seed}) for one in prompts for seed in fields.seeds(body, choices)]
    stop = tuple(given.get("stop", ()))
    return Asked(
        tuple(envelopes), named_model(body.get("model")), partial(answer, shape, stop),
        (lambda writer, stamp: TextEvents(shape, stamp, Flow(writer.text, stop), stop, wanted)) if streams else None,
    )  # fmt: skip
