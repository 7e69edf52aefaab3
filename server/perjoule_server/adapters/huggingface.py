"""The tasks' own routes, as Hugging Face's clients send and read them, and text-generation-inference's stream.

Hugging Face calls zero-shot text classification ``zero-shot-classification``, and its clients read a flat list there;
under that name it is one, under ours it is the contract's ``[[…]]``.
"""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from perjoule.errors import InvalidInputError, RequestError
from perjoule_server import schemas
from perjoule_server.adapters.base import Asked, Part, Stamp, as_json, told_energy
from perjoule_server.adapters.flow import Flow
from perjoule_server.tasks.base import Token, Writer

ZERO_SHOT = "zero-shot-classification"
"""Hugging Face's name of zero-shot-text-classification."""


@dataclass(frozen=True, slots=True)
class HuggingFace:
    """The route of one task; see ``Dialect``."""

    task: str
    flat: bool = False

    def read(self, content_type: str, body: bytes) -> Asked:
        """See ``Dialect.read``."""
        envelope = schemas.read(self.task, content_type, body)
        if envelope.stream:
            return _streamed(envelope)
        return Asked((envelope,), envelope.model, _flat if self.flat else _as_it_is)

    def explain(self, error: RequestError) -> tuple[str, Mapping[str, Any]]:
        """See ``Dialect.explain``."""
        return str(error), {}


def dialect_of(name: str) -> HuggingFace:
    """Return what the route of a task speaks, by our name of the task or by Hugging Face's."""
    if name == ZERO_SHOT:
        return HuggingFace("zero-shot-text-classification", flat=True)
    return HuggingFace(name)


def _as_it_is(parts: Sequence[Part], _: Stamp) -> tuple[bytes, str]:
    return parts[0].reply.body, parts[0].reply.media_type


def _flat(parts: Sequence[Part], _: Stamp) -> tuple[bytes, str]:
    return as_json(parts[0].json[0])


def _streamed(envelope: schemas.Envelope) -> Asked:
    parameters = {**envelope.parameters, "details": True}  # the last event has them always
    if parameters.get("return_full_text"):
        raise InvalidInputError("parameters.return_full_text is not supported in a stream", "return_full_text")
    return Asked((replace(envelope, parameters=parameters),), envelope.model, _as_it_is, _events)


def _events(writer: Writer, _: Stamp) -> "TokenEvents":
    return TokenEvents(writer.special, Flow(writer.text))


@dataclass(slots=True)
class TokenEvents:
    """An event for each token; see ``Events``. The last one has the whole text, why it ended, and what it cost.

    That token waits until this is known. Its text is what the answer in one piece has: cut after a stop string.
    """

    special: Container[int]
    flow: Flow
    count: int = 0
    last: int | None = None

    def piece(self, tokens: Sequence[Token]) -> list[Any]:
        """See ``Events.piece``."""
        self.last = next((token.id for token in tokens if token.last), None)
        return [self._event(token.id, self.flow.feed([token.id])) for token in tokens if not token.last]

    def end(self, part: Part) -> list[Any]:
        """See ``Events.end``."""
        (reply,) = part.json
        text, details = reply["generated_text"], reply["details"]
        told = {
            "finish_reason": details["finish_reason"],
            "generated_tokens": details["generated_tokens"],
            "input_length": part.reply.input_tokens,
            "seed": details["seed"],
            **told_energy([part]),
        }
        return [{**self._event(self.last, self.flow.rest(text)), "generated_text": text, "details": told}]

    def _event(self, id_: int | None, text: str) -> dict[str, Any]:
        self.count += 1
        # Nothing tells a token's probability here.
        token = {"id": id_, "text": text, "logprob": None, "special": id_ in self.special}
        return {"index": self.count, "token": token, "generated_text": None, "details": None}
