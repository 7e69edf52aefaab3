"""Named entities: stretches of a text, each with its label.

One pass of an encoder; the stretches are found afterwards from the tokens' offsets, on a worker thread.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from perjoule_server.tasks.base import Answer, Prepared, RawOutput, TaskRequest, Work
from perjoule_server.tasks.encoder import MAX_BATCH, forward, read_in, to_numpy
from perjoule_server.tasks.inputs import Parameters, text_of
from perjoule_server.tasks.scores import Floats, softmax
from perjoule_server.tasks.tokens import Encoded, Tokens

STRATEGIES = ("none", "simple", "first", "average", "max")


@dataclass(frozen=True, slots=True)
class _Marked:
    text: str
    encoded: Encoded
    strategy: str
    ignored: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Piece:
    """A token, or a word, with its label."""

    label: str
    score: float
    start: int
    end: int
    index: int

    @property
    def entity(self) -> str:
        """Return the label without its B- or I-."""
        return self.label[2:] if self.label[:2] in {"B-", "I-"} else self.label


class TokenClassification:
    """``inputs``: a text. Reply: ``[{entity_group, score, word, start, end}, …]``, ``entity`` with strategy none.

    Without ``aggregation_strategy`` tokens are grouped (``simple``), as Hugging Face's own service does.
    """

    max_batch = MAX_BATCH

    def __init__(self, model: Any, tokens: Tokens) -> None:
        self._model, self._tokens = model, tokens

    def prepare(self, request: TaskRequest) -> Prepared:
        """See ``Task.prepare``."""
        parameters = Parameters(request.parameters, {"aggregation_strategy", "ignore_labels"})
        strategy = parameters.choice("aggregation_strategy", "simple", STRATEGIES)
        ignored = parameters.texts("ignore_labels", 1000) if "ignore_labels" in parameters else ("O",)
        text = text_of(request.inputs)
        encoded = self._tokens.fitting(text)
        return Prepared(_Marked(text, encoded, strategy, ignored), len(encoded), input_tokens=len(encoded))

    def run(self, batch: Sequence[Prepared], work: Work) -> list[RawOutput]:
        """See ``Task.run``."""
        with read_in(batch, work):
            output, padding, _ = forward(self._model, self._tokens, [item.payload.encoded.row for item in batch])
            logits = to_numpy(output.logits)
        return [RawOutput(row[: item.length], pad) for item, row, pad in zip(batch, logits, padding, strict=True)]

    def finish(self, prepared: Prepared, raw: RawOutput) -> Answer:
        """See ``Task.finish``."""
        asked: _Marked = prepared.payload
        names = self._model.config.id2label
        pieces = _pieces(asked.encoded.detail, softmax(raw.payload), names, asked.strategy)
        if asked.strategy == "none":
            return Answer([self._single(asked.text, piece) for piece in pieces if piece.label not in asked.ignored])
        kept = (group for group in _grouped(pieces) if not {group[0].entity, group[0].label} & set(asked.ignored))
        return Answer([_group(asked.text, group) for group in kept])

    def _single(self, text: str, piece: Piece) -> dict[str, Any]:
        return {"entity": piece.label, "score": piece.score, "index": piece.index,
                "word": text[piece.start : piece.end], "start": piece.start, "end": piece.end}  # fmt: skip


def _pieces(detail: Any, scores: Floats, names: dict[int, str], strategy: str) -> list[Piece]:
    """Return the tokens with their labels, or the words where the strategy is one of words."""
    places = [place for place, special in enumerate(detail.special_tokens_mask) if not special]
    by_token = strategy in {"none", "simple"}
    return [_piece(detail, scores, names, run, strategy) for run in ([[p] for p in places] if by_token
            else _words(detail, places))]  # fmt: skip


def _words(detail: Any, places: Sequence[int]) -> list[list[int]]:
    words: list[list[int]] = []
    for place in places:
        same = bool(words) and detail.word_ids[place] == detail.word_ids[words[-1][-1]]
        if same:
            words[-1].append(place)
        else:
            words.append([place])
    return words


def _piece(detail: Any, scores: Floats, names: dict[int, str], places: Sequence[int], strategy: str) -> Piece:
    rows = scores[list(places)]
    if strategy == "average":
        row = rows.mean(axis=0)
    elif strategy == "max":
        row = rows[int(rows.max(axis=1).argmax())]
    else:
        row = rows[0]
    label = int(row.argmax())
    start, end = detail.offsets[places[0]][0], detail.offsets[places[-1]][1]
    return Piece(names[label], float(row[label]), start, end, places[0])


def _grouped(pieces: Sequence[Piece]) -> Iterator[list[Piece]]:
    """Join neighbours of one entity; a label that begins with B- begins a new group."""
    group: list[Piece] = []
    for piece in pieces:
        if group and (piece.label.startswith("B-") or piece.entity != group[-1].entity):
            yield group
            group = []
        group.append(piece)
    if group:
        yield group


def _group(text: str, group: Sequence[Piece]) -> dict[str, Any]:
    start, end = group[0].start, group[-1].end
    score = sum(piece.score for piece in group) / len(group)
    return {"entity_group": group[0].entity, "score": score, "word": text[start:end], "start": start, "end": end}
