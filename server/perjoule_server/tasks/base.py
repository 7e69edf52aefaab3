"""What a task is to the rest of the server: four small values and two protocols.

A request passes through three stages, each on a thread of its own kind: ``prepare`` (a worker thread: tokenise, decode
media, check limits), ``run`` (the one device thread: a whole batch), ``finish`` (a worker thread: decode, shape the
reply). The stages hand each other opaque values; batching looks only at ``Prepared.length`` and ``Prepared.key``.
Knows nothing of HTTP, queues or energy: through ``Work`` a task says what it does when, not what becomes of that.
"""

from collections.abc import Container, Hashable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, runtime_checkable

ENCODE = "encode"
"""The phase of a model that reads its input in one pass, and of whatever has only one."""

PREFILL, DECODE = "prefill", "decode"
"""The phases of a model that writes: reading until the first token is written, and writing the others."""

DENOISE, DECODE_IMAGE = "denoise", "decode-image"
"""The phases of a diffusion model."""


@dataclass(frozen=True, slots=True)
class TaskRequest:
    """One request as the client wrote it, its outer shape already checked.

    Attributes:
        inputs: the JSON value of ``inputs`` (a string or an object, as the task's schema says); None for media tasks.
        parameters: the JSON object ``parameters``, possibly empty; values unchecked.
        media: raw bytes of the image or audio for media tasks (base64 already decoded), else None.
    """

    inputs: Any
    parameters: Mapping[str, Any]
    media: bytes | None = None


@dataclass(frozen=True, slots=True)
class Prepared:
    """A request ready for the device.

    Attributes:
        payload: opaque to everything but the task (token ids, pixel values, …; on the CPU).
        length: length in tokens (or patches, frames) that padding and the token budget count.
        key: only requests with equal keys may share a batch (generation lengths, image size, steps).
        input_tokens: real tokens read, without padding; 0 where the input is no text.
    """

    payload: Any
    length: int
    key: Hashable = None
    input_tokens: int = 0


@dataclass(frozen=True, slots=True)
class RawOutput:
    """What the device gave for one request of a batch, moved to the CPU.

    Attributes:
        payload: opaque to everything but the task.
        padding_tokens: padding computed for this request's row.
    """

    payload: Any
    padding_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """The finished reply of one request.

    Attributes:
        output: a JSON-serialisable value, or bytes when ``media_type`` is not JSON.
        output_tokens: tokens written, 0 where the output is no text.
        work_units: amount of the workload's unit (1 inference, output tokens, images, seconds of audio).
        media_type: Content-Type of the reply.
    """

    output: Any
    output_tokens: int = 0
    work_units: float = 1.0
    media_type: str = "application/json"


class Token(NamedTuple):
    """One token of a request, told as soon as it is written.

    Attributes:
        row: the request's place in its batch.
        position: how many tokens it had before; a batch that is run again tells the same tokens again.
        id: the token.
        last: whether it is the request's last.
    """

    row: int
    position: int
    id: int
    last: bool


class Phase(Protocol):
    """Work of one kind that is under way on the device."""

    def weigh(self, weights: Sequence[float]) -> None:
        """Say the requests' weights, where they were not known when the phase began; until it ends."""


class Audience(Protocol):
    """Those who wait for the requests of a batch, by their places in it."""

    def left(self, index: int) -> bool:
        """Tell whether nobody waits for a request any more; its output may then be anything."""

    def listens(self, index: int) -> bool:
        """Tell whether somebody reads a request's output while it is written."""

    def tell(self, tokens: Sequence[Token]) -> None:
        """Pass on what was just written for those who read along."""


class Work(Audience, Protocol):
    """One run of a batch, as its task sees it. Its requests are those of the batch, in order."""

    def phase(self, name: str, weights: Sequence[float]) -> AbstractContextManager[Phase]:
        """Surround the device's work of one kind, from when it starts to when its results are asked for.

        ``weights`` are the requests' parts in it, relative to each other: one a request of the batch. Everything that
        computes for a batch stands in a phase, and phases do not overlap.
        """

    def pause(self, done: Sequence[float]) -> None:
        """Let the device serve one batch of others, if one waits: within a phase, between two of its steps.

        ``done`` is how much of the requests' weights in this phase has been worked off since it began.
        """


class _SilentPhase:
    def weigh(self, weights: Sequence[float]) -> None:
        """Pass over them."""


class SilentWork:
    """The work of a batch that nobody wants to know about; nobody leaves."""

    def phase(self, name: str, weights: Sequence[float]) -> AbstractContextManager[Phase]:
        """See ``Work.phase``."""
        del name, weights
        return nullcontext(_SilentPhase())

    def pause(self, done: Sequence[float]) -> None:
        """See ``Work.pause``."""

    def left(self, index: int) -> bool:
        """See ``Work.left``."""
        del index
        return False

    def listens(self, index: int) -> bool:
        """See ``Work.listens``."""
        del index
        return False

    def tell(self, tokens: Sequence[Token]) -> None:
        """See ``Work.tell``."""


class Task(Protocol):
    """A loaded model that serves one workload. ``run`` is only ever called from the device thread."""

    @property
    def max_batch(self) -> int:
        """The largest batch that ``run`` accepts."""

    def prepare(self, request: TaskRequest) -> Prepared:
        """Check, tokenise or decode one request.

        Raises:
            InvalidInputError: wrong type, empty, not an image, over a limit of the model (422).
            TooLargeError: decoded pixels or seconds over the server's limit (413).
        """

    def run(self, batch: Sequence[Prepared], work: Work) -> Sequence[RawOutput]:
        """Compute a batch; one output per request, in order. ``work`` is told of each phase."""

    def finish(self, prepared: Prepared, raw: RawOutput) -> Answer:
        """Turn one output into the reply that the task's schema prescribes."""


@runtime_checkable
class Writer(Protocol):
    """A task whose output can be read while it is written: it tells its tokens."""

    @property
    def special(self) -> Container[int]:
        """The tokens that are no text."""

    def text(self, ids: Sequence[int]) -> str:
        """Return the text of some tokens in a row; from any thread."""


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """What to load for one workload.

    Attributes:
        id: the model id that clients and labels use, e.g. ``tiny/summarization``.
        task: workload id.
        source: folder or hub repository that ``from_pretrained`` reads.
        revision: hub revision, ``local`` for a folder.
        weights: ``tiny``, ``packaged``, ``hub`` or ``architecture``.
        options: task-specific settings (label names, prompt template, …).
    """

    id: str
    task: str
    source: str
    revision: str
    weights: str
    options: Mapping[str, Any] = field(default_factory=dict)
