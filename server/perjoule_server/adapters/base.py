"""What a dialect is: bodies read into requests of one task, and their replies in the shape that its clients expect.

Knows nothing of queues or devices.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Protocol

from perjoule.errors import InvalidInputError, RequestError
from perjoule.spans import Energy, added
from perjoule_server.cost import rounded
from perjoule_server.schemas import Envelope, parse_json
from perjoule_server.tasks.base import Token, Writer
from perjoule_server.tickets import Reply

JSON = "application/json"

PLACEHOLDERS = frozenset({"dummy", "tgi"})
"""What Hugging Face's client names as the model where it knows only an address: the task's default is meant."""


@dataclass(frozen=True, slots=True)
class Part:
    """One finished request of a task, and what it cost."""

    reply: Reply
    energy: Energy

    @property
    def json(self) -> Any:
        """The reply's JSON value."""
        return json.loads(self.reply.body)


@dataclass(frozen=True, slots=True)
class Stamp:
    """What identifies an answer: the model that gave it, the id of its request, and when it came in Unix seconds."""

    model: str
    request_id: str
    created: int


class Events(Protocol):
    """Shapes one streamed answer into server-sent events: JSON values, or text that stands for itself."""

    def piece(self, tokens: Sequence[Token]) -> list[Any]:
        """Return the events for newly written tokens; perhaps none, while their text is not certain."""

    def end(self, part: Part) -> list[Any]:
        """Return the closing events."""


Shape = Callable[[Sequence[Part], Stamp], tuple[bytes, str]]
"""Makes the body of an answer and its media type out of the replies."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a body asks for.

    Attributes:
        envelopes: the requests to the task, at least one; each is an inference of its own.
        model: the one that is to answer; None for the task's default.
        shape: makes the answer.
        stream: makes the answer as it is written; None where it is wanted in one piece.
    """

    envelopes: tuple[Envelope, ...]
    model: str | None
    shape: Shape
    stream: Callable[[Writer, Stamp], Events] | None = None


class Dialect(Protocol):
    """One way to ask a task and to be answered."""

    @property
    def task(self) -> str:
        """The workload that answers."""

    def read(self, content_type: str, body: bytes) -> Asked:
        """Read a body.

        Raises:
            InvalidInputError: it is not of this dialect.
        """

    def explain(self, error: RequestError) -> tuple[str, Mapping[str, Any]]:
        """Return an error's message, and what its clients expect beside it."""


def as_json(value: Any) -> tuple[bytes, str]:
    """Return an answer's JSON value as its body and media type."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode(), JSON


@dataclass(frozen=True, slots=True)
class OpenAI:
    """A route of OpenAI's.

    Attributes:
        path: the route.
        task: see ``Dialect``.
        reader: reads the body's JSON value; raises ``InvalidInputError``.
        summary: of the route, for the API's description.
        schema: JSON schema of the body, for the same.
        examples: valid bodies, for the same.
        names: the task's parameters that have other names here, as ``{the task's: the client's}``.
    """

    path: str
    task: str
    reader: Callable[[Any], Asked]
    summary: str
    schema: Mapping[str, Any]
    examples: Mapping[str, Any]
    names: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    def read(self, content_type: str, body: bytes) -> Asked:
        """See ``Dialect.read``; whatever its type is said to be, the body is JSON."""
        del content_type
        if not body:
            raise InvalidInputError("the body is empty")
        return self.reader(parse_json(body))

    def explain(self, error: RequestError) -> tuple[str, Mapping[str, Any]]:
        """See ``Dialect.explain``: the client's own name of the parameter, and OpenAI's kinds of errors."""
        name = error.parameter if isinstance(error, InvalidInputError) else None
        mine = self.names.get(name, name) if name else None
        message = str(error).replace(f"parameters.{name}", str(mine)) if name else str(error)
        kind = "server_error" if error.status >= 500 else "invalid_request_error"  # noqa: PLR2004 (HTTP's classes)
        return message, {"type": kind, "param": mine}


def named_model(value: Any) -> str | None:
    """Return the model that the body names, None where it leaves that open.

    Raises:
        InvalidInputError: no string.
    """
    if not (value is None or isinstance(value, str)):
        raise InvalidInputError("model must be a string", "model")
    return None if value in PLACEHOLDERS else value


def told_energy(parts: Sequence[Part]) -> dict[str, Any]:
    """Return what ``parts`` cost together, as a part of ``usage``: without joules where they are unknown."""
    energy = added(part.energy for part in parts)
    joules = rounded(energy)
    return {**({} if joules is None else {"energy_joules": joules}), "energy_quality": str(energy.quality)}


def usage(parts: Sequence[Part], *, written: bool = True) -> dict[str, Any]:
    """Return OpenAI's ``usage`` of ``parts``, with what they cost."""
    read = sum(part.reply.input_tokens for part in parts)
    wrote = sum(part.reply.output_tokens for part in parts) if written else 0
    counts = {"prompt_tokens": read, **({"completion_tokens": wrote} if written else {}), "total_tokens": read + wrote}
    return {**counts, **told_energy(parts)}
