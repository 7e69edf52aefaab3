"""A task of two phases, and what an exporter's book says of the server that told it."""

import threading
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from perjoule.spans import MORE
from perjoule_exporter.spans import Closed, Opened
from perjoule_server.config import ServerConfig
from perjoule_server.tasks.base import DECODE, PREFILL, Answer, Prepared, RawOutput, Work
from tests.exporter.span_books import WrittenBook
from tests.server.fakes import PATIENCE, EchoTask

TASK, OTHER = "text-classification", "fill-mask"
MODEL = f"fake/{TASK}"


@dataclass
class WritingTask(EchoTask):
    """Reads its texts, then writes as many tokens as each has words, one a step, while anybody waits.

    ``between`` lets the two phases follow each other; ``steps`` counts those of all batches. A text ``crash`` ends with
    an error between two steps, ``slow finish`` waits for ``finishing`` when all is computed.
    """

    seconds: float = 0.0
    steps: int = 0
    between: threading.Event = field(default_factory=threading.Event)
    finishing: threading.Event = field(default_factory=threading.Event)
    left: list[bool] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.between.set()
        self.finishing.set()

    def run(self, batch: Sequence[Prepared], work: Work) -> Sequence[RawOutput]:
        outputs = self._read(batch, work)
        assert self.between.wait(PATIENCE)
        with work.phase(DECODE, [1] * len(batch)) as decode:
            written = self._write(batch, work)
            decode.weigh(written)
        return outputs

    def _read(self, batch: Sequence[Prepared], work: Work) -> Sequence[RawOutput]:
        texts = [prepared.payload for prepared in batch]
        self.batches.append(texts)
        with work.phase(PREFILL, [prepared.length for prepared in batch]):
            assert self.gate.wait(PATIENCE)
            threading.Event().wait(self.seconds)
        return [RawOutput(text.upper()) for text in texts]

    def _write(self, batch: Sequence[Prepared], work: Work) -> list[int]:
        written = [0] * len(batch)
        for step in range(max(prepared.length for prepared in batch)):
            self.left = [work.left(place) for place in range(len(batch))]
            if all(self.left):
                break
            self.steps += 1
            threading.Event().wait(self.seconds)
            if any(prepared.payload.startswith("crash") for prepared in batch):
                raise ValueError("a step that cannot be computed")
            written = [min(prepared.length, step + 1) for prepared in batch]
        return written

    def finish(self, prepared: Prepared, raw: RawOutput) -> Answer:
        if prepared.payload == "slow finish":
            assert self.finishing.wait(PATIENCE)
        return super().finish(prepared, raw)


class ToldBook(WrittenBook):
    """What a server told, span by span and request by request."""

    def spans(self, *phases: str) -> list[tuple[Opened, Closed]]:
        """Return the spans that have ended, of these phases if any are named, in the order of their ends."""
        opened = {each.number: each for each in self.opened()}
        pairs = [(opened[each.number], each) for each in self.closed()]
        return [pair for pair in pairs if not phases or pair[0].kind.phase in phases]

    def requests(self) -> dict[str, list[tuple[str, float, str]]]:
        """Return (phase, weight, outcome) of each request's entries, by the id of its client."""
        found: dict[str, list[tuple[str, float, str]]] = defaultdict(list)
        for opened, closed in self.spans():
            for share in closed.shares:
                found[named(share.request)].append((opened.kind.phase, share.weight, share.outcome))
        return dict(found)

    def outcomes(self) -> dict[str, list[str]]:
        """Return the outcomes of each request's entries."""
        return {name: [outcome for *_, outcome in entries] for name, entries in self.requests().items()}

    def balanced(self) -> bool:
        """Return whether nothing is open: no span, and no request without its one final entry, its last."""
        ids: dict[str, list[str]] = defaultdict(list)
        for each in self.closed():
            for share in each.shares:
                ids[share.request].append(share.outcome)
        ended = all(MORE not in told[-1:] and set(told[:-1]) <= {MORE} for told in ids.values())
        return ended and len(self.opened()) == len(self.closed())


def named(request: str) -> str:
    """Return the client's id of a request in a span."""
    return request.rpartition(".")[0]


def telling(path: object, **settings: object) -> ServerConfig:
    """Return the settings of a server that tells its spans to ``path``."""
    return ServerConfig(span_socket=str(path), **settings)  # type: ignore[arg-type]
