"""How OpenAI's text routes answer: in one piece, or in chunks as the text is written."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from perjoule_server.adapters.base import Part, Stamp, as_json, usage
from perjoule_server.adapters.flow import Flow
from perjoule_server.tasks.base import Token


class Shape(Protocol):
    """What the two routes' answers differ in."""

    prefix: str
    kind: str
    chunk: str

    def choice(self, place: int, text: str, finish: str) -> dict[str, Any]:
        """Return one choice of an answer in one piece."""

    def opening(self) -> Mapping[str, Any] | None:
        """Return the choice of the chunk that opens a stream, if there is one."""

    def delta(self, text: str, finish: str | None) -> Mapping[str, Any]:
        """Return the choice of one chunk."""


class Completion:
    """``/v1/completions``."""

    prefix = "cmpl"
    kind = chunk = "text_completion"

    def choice(self, place: int, text: str, finish: str | None) -> dict[str, Any]:
        """See ``Shape.choice``."""
        return {"index": place, "text": text, "logprobs": None, "finish_reason": finish}

    def opening(self) -> None:
        """See ``Shape.opening``."""

    def delta(self, text: str, finish: str | None) -> dict[str, Any]:
        """See ``Shape.delta``."""
        return self.choice(0, text, finish)


class ChatCompletion:
    """``/v1/chat/completions``."""

    prefix, kind, chunk = "chatcmpl", "chat.completion", "chat.completion.chunk"

    def choice(self, place: int, text: str, finish: str) -> dict[str, Any]:
        """See ``Shape.choice``."""
        message = {"role": "assistant", "content": text, "refusal": None}
        return {"index": place, "message": message, "logprobs": None, "finish_reason": finish}

    def opening(self) -> dict[str, Any]:
        """See ``Shape.opening``."""
        return {"index": 0, "delta": {"role": "assistant", "content": ""}, "logprobs": None, "finish_reason": None}

    def delta(self, text: str, finish: str | None) -> dict[str, Any]:
        """See ``Shape.delta``."""
        delta = {"content": text} if text else {}
        return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}


def _head(shape: Shape, kind: str, stamp: Stamp) -> dict[str, Any]:
    name = f"{shape.prefix}-{stamp.request_id}"
    return {"id": name, "object": kind, "created": stamp.created, "model": stamp.model}


def answer(shape: Shape, stop: Sequence[str], parts: Sequence[Part], stamp: Stamp) -> tuple[bytes, str]:
    """Return the answer in one piece."""
    choices = [shape.choice(place, _text(part, stop), _finish(part)) for place, part in enumerate(parts)]
    return as_json({**_head(shape, shape.kind, stamp), "choices": choices, "usage": usage(parts)})


def _text(part: Part, stop: Sequence[str]) -> str:
    """Return a reply's text without the stop string that ended it."""
    (reply,) = part.json
    text = str(reply["generated_text"])
    if reply["details"]["finish_reason"] == "stop_sequence":
        return text.removesuffix(max((one for one in stop if text.endswith(one)), key=len))
    return text


def _finish(part: Part) -> str:
    """Return why a reply ended, in OpenAI's words."""
    (reply,) = part.json
    return "length" if reply["details"]["finish_reason"] == "length" else "stop"


DONE = "[DONE]"
"""What ends OpenAI's streams."""


@dataclass(slots=True)
class TextEvents:
    """The chunks of one stream; see ``Events``. The last tells what the answer cost, unless it is told not to.

    Attributes:
        shape: the route's.
        stamp: of the answer.
        flow: the text so far.
        stop: texts that end it and are no part of it.
        wants_usage: whether a chunk of its own tells the usage; None puts it into the last chunk of text.
        begun: whether the opening has been sent.
    """

    shape: Shape
    stamp: Stamp
    flow: Flow
    stop: tuple[str, ...]
    wants_usage: bool | None
    begun: bool = False

    def piece(self, tokens: Sequence[Token]) -> list[Any]:
        """See ``Events.piece``."""
        return self._chunks(self.flow.feed([token.id for token in tokens]))

    def _chunks(self, text: str) -> list[Any]:
        opening = None if self.begun else self.shape.opening()
        self.begun = True
        delta = self.shape.delta(text, None) if text else None
        return [self._chunk(one) for one in (opening, delta) if one is not None]

    def end(self, part: Part) -> list[Any]:
        """See ``Events.end``."""
        chunks = self._chunks(self.flow.rest(_text(part, self.stop)))
        last = self._chunk(self.shape.delta("", _finish(part)))
        if self.wants_usage:
            return [*chunks, last, {**self._chunk(None), "usage": usage([part])}, DONE]
        return [*chunks, last if self.wants_usage is False else {**last, "usage": usage([part])}, DONE]

    def _chunk(self, choice: Mapping[str, Any] | None) -> dict[str, Any]:
        head = _head(self.shape, self.shape.chunk, self.stamp)
        rest = {"usage": None} if self.wants_usage else {}
        return {**head, "choices": [] if choice is None else [choice], **rest}
