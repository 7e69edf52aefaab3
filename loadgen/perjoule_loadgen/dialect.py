"""What differs between servers: where a task is asked, how an input becomes a body, and what an answer tells.

One interface; each kind of server is a module of its own. Nothing here sends anything.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from perjoule_loadgen.inputs import Item

MOST_TOLD = 2**31 - 1
"""No answer has more tokens: a larger number is no count."""


class Prepared(NamedTuple):
    """One input as it goes over the wire, and what its answer is held to.

    Attributes:
        label: short name for logs.
        body: what is sent.
        content_type: of the body.
        min_tokens: fewest output tokens that were asked for, None where nothing was said.
        max_tokens: most of them.
        audio_seconds: length of a clip.
        size: width and height of the image that was asked for.
        steps: denoising steps that were asked for; no answer tells them.
        input_tokens: tokens that a made-up text is to have.
    """

    label: str
    body: bytes
    content_type: str
    min_tokens: int | None = None
    max_tokens: int | None = None
    audio_seconds: float | None = None
    size: tuple[int, int] | None = None
    steps: int | None = None
    input_tokens: int | None = None


class Answer(NamedTuple):
    """What an answer of the right shape tells of the work; None for what it does not tell."""

    output_tokens: int | None = None
    input_tokens: int | None = None
    size: tuple[int, int] | None = None


class Piece(NamedTuple):
    """What one event of a stream tells.

    Attributes:
        text: whether it holds text.
        last: whether the answer is whole with it.
        answer: what it tells of the work, None for nothing.
        error: what went wrong, None where nothing did.
    """

    text: bool = False
    last: bool = False
    answer: Answer | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Ask:
    """What is wanted of a task beside its inputs.

    Attributes:
        task: workload id.
        parameters: of every request, by the names of our own API; an input's own win over them.
        model: to name in the body, None for the server's own.
        stream: whether the answer is wanted as it is written.
        extra: JSON members that are added to each body; None takes one out.
    """

    task: str
    parameters: Mapping[str, object]
    model: str | None = None
    stream: bool = False
    extra: Mapping[str, Any] | None = None


class Dialect(Protocol):
    """One kind of server."""

    @property
    def name(self) -> str:
        """As ``--api`` calls it."""

    @property
    def tasks(self) -> frozenset[str]:
        """Workloads that can be asked this way."""

    @property
    def streams(self) -> frozenset[str]:
        """Those that can be had as they are written."""

    def path(self, task: str) -> str:
        """Return the route of a task."""

    def prepare(self, item: Item, ask: Ask) -> Prepared:
        """Return an input as it goes over the wire.

        Raises:
            UsageError: it cannot be said in this dialect.
        """

    def read(self, task: str, headers: Mapping[str, str], body: bytes) -> Answer | None:
        """Return what an answer in one piece tells, None where it is no answer to the task."""

    def event(self, data: bytes) -> Piece:
        """Return what one event of a stream tells."""


def told_count(value: object) -> int | None:
    """Return a number of tokens, None for what is none."""
    if isinstance(value, str):
        value = int(value) if value.isascii() and value.isdigit() and len(value) < 20 else None  # noqa: PLR2004 (no count)
    return value if type(value) is int and 0 <= value <= MOST_TOLD else None


def whole(parameters: Mapping[str, object], name: str) -> int | None:
    """Return a whole number among parameters, None where it is not there."""
    value = parameters.get(name)
    return value if type(value) is int else None


def asked_of(item: Item, ask: Ask, body: bytes, content_type: str) -> Prepared:
    """Return ``body`` with what the parameters ask of its answer."""
    asked = {**ask.parameters, **item.parameters}
    width, height = whole(asked, "width"), whole(asked, "height")
    return Prepared(
        item.label, body, content_type, whole(asked, "min_new_tokens"), whole(asked, "max_new_tokens"),
        item.audio_seconds, (width, height) if width and height else None, whole(asked, "num_inference_steps"),
        item.tokens,
    )  # fmt: skip
