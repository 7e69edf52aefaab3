"""Tasks whose answer is a stretch of the text: named entities and extractive question answering.

Both are one pass of an encoder; the stretches are found afterwards from the tokens' offsets, on a worker thread.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from perjoule.errors import InvalidInputError
from perjoule_server.tasks.base import Answer, Prepared, RawOutput, TaskRequest, Work
from perjoule_server.tasks.encoder import MAX_BATCH, forward, read_in, to_numpy
from perjoule_server.tasks.inputs import Parameters, question_and_context, text_of
from perjoule_server.tasks.scores import Floats, best, softmax
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


@dataclass(frozen=True, slots=True)
class _Asked:
    context: str
    encoded: Encoded
    top_k: int
    longest: int
    impossible: bool
    whole_words: bool


class QuestionAnswering:
    """``inputs``: ``{question, context}``. Reply: ``{answer, score, start, end}``, a list where ``top_k`` > 1."""

    max_batch = MAX_BATCH

    def __init__(self, model: Any, tokens: Tokens) -> None:
        self._model, self._tokens = model, tokens

    def prepare(self, request: TaskRequest) -> Prepared:
        """See ``Task.prepare``."""
        known = {"top_k", "max_answer_len", "handle_impossible_answer", "align_to_words"}
        parameters = Parameters(request.parameters, known)
        question, context = question_and_context(request.inputs)
        encoded = self._tokens.fitting(question, context)
        if 1 not in encoded.detail.sequence_ids:
            raise InvalidInputError("inputs.context holds nothing that the model can read")
        asked = _Asked(
            context, encoded,
            parameters.integer("top_k", 1, 1, 100),
            parameters.integer("max_answer_len", 15, 1, 1000),
            parameters.flag("handle_impossible_answer", default=False),
            parameters.flag("align_to_words", default=True),
        )  # fmt: skip
        return Prepared(asked, len(encoded), input_tokens=len(encoded))

    def run(self, batch: Sequence[Prepared], work: Work) -> list[RawOutput]:
        """See ``Task.run``."""
        with read_in(batch, work):
            output, padding, _ = forward(self._model, self._tokens, [item.payload.encoded.row for item in batch])
            starts, ends = to_numpy(output.start_logits), to_numpy(output.end_logits)
        rows = zip(batch, starts, ends, padding, strict=True)
        return [RawOutput((start[: item.length], end[: item.length]), pad) for item, start, end, pad in rows]

    def finish(self, prepared: Prepared, raw: RawOutput) -> Answer:
        """See ``Task.finish``."""
        asked: _Asked = prepared.payload
        answers = _answers(asked, *raw.payload)
        return Answer(answers if asked.top_k > 1 else answers[0])


def _answers(asked: _Asked, start_logits: Floats, end_logits: Floats) -> list[dict[str, Any]]:
    """Return the best spans: P(start) × P(end) over spans inside the context of at most ``longest`` tokens."""
    inside = np.array([sequence == 1 for sequence in asked.encoded.detail.sequence_ids])
    allowed = inside.copy()
    allowed[0] = True  # the first token stands for "no answer", as in SQuAD 2
    starts = softmax(np.where(allowed, start_logits, -np.inf))
    ends = softmax(np.where(allowed, end_logits, -np.inf))
    none = float(starts[0] * ends[0])
    spans = np.outer(inside, inside) & _possible(len(starts), asked.longest)
    pairs = np.where(spans, np.outer(starts, ends), -1.0)
    answers: dict[tuple[int, int], dict[str, Any]] = {}
    for flat in best(pairs.ravel(), asked.top_k * 4):  # several token spans may widen to the same words
        first, last = divmod(flat, len(starts))
        if not spans[first, last]:
            break
        found = _span(asked, first, last, float(pairs[first, last]))
        answers.setdefault((found["start"], found["end"]), found)
    if asked.impossible:
        answers.setdefault((0, 0), {"answer": "", "score": none, "start": 0, "end": 0})
    return sorted(answers.values(), key=lambda answer: -answer["score"])[: asked.top_k]


def _possible(length: int, longest: int) -> Any:
    ones = np.ones((length, length), dtype=bool)
    return np.triu(ones) & np.tril(ones, longest - 1)


def _span(asked: _Asked, first: int, last: int, score: float) -> dict[str, Any]:
    detail = asked.encoded.detail
    start, end = detail.offsets[first][0], detail.offsets[last][1]
    if asked.whole_words:
        start = _word_edges(detail, first)[0]
        end = _word_edges(detail, last)[1]
    start += len(asked.context[start:end]) - len(asked.context[start:end].lstrip())  # some tokens begin with the space
    return {"answer": asked.context[start:end], "score": score, "start": start, "end": end}


def _word_edges(detail: Any, place: int) -> tuple[int, int]:
    word, sequence = detail.word_ids[place], detail.sequence_ids[place]
    own = [
        offsets
        for offsets, number, side in zip(detail.offsets, detail.word_ids, detail.sequence_ids, strict=True)
        if number == word and side == sequence
    ]
    return own[0][0], own[-1][1]
