"""Extractive question answering: the stretch of a context that answers a question.

A context that is longer than the model reads is read in windows that overlap, each after the question, as Hugging
Face's pipeline does; the best stretches of all windows are the answer. What the windows have in common is computed
twice, and counted as the tokens that it is. The stretches are found from the tokens' offsets, on a worker thread.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from perjoule.errors import InvalidInputError
from perjoule_server.tasks.base import Answer, Prepared, RawOutput, TaskRequest, Work
from perjoule_server.tasks.encoder import MAX_BATCH, forward, read_in, to_numpy
from perjoule_server.tasks.inputs import Parameters, question_and_context
from perjoule_server.tasks.scores import Floats, best, softmax
from perjoule_server.tasks.tokens import Encoded, Row, Tokens

WINDOW, STRIDE = 384, 128
"""Tokens of a window, and those that two have in common, if a request says nothing: the pipeline's own."""

MOST_WINDOWS = 64
"""Most windows of one request: about 15,000 tokens of context."""

Window = tuple[int, ...]
"""Places of its tokens in the whole of question and context."""


@dataclass(frozen=True, slots=True)
class _Asked:
    context: str
    encoded: Encoded
    windows: tuple[Window, ...]
    top_k: int
    longest: int
    impossible: bool
    whole_words: bool

    @property
    def rows(self) -> Iterator[Row]:
        """The model's inputs, one window each."""
        for window in self.windows:
            yield {name: [values[place] for place in window] for name, values in self.encoded.row.items()}


class QuestionAnswering:
    """``inputs``: ``{question, context}``. Reply: ``{answer, score, start, end}``, a list where ``top_k`` > 1."""

    max_batch = MAX_BATCH

    def __init__(self, model: Any, tokens: Tokens) -> None:
        self._model, self._tokens = model, tokens

    def prepare(self, request: TaskRequest) -> Prepared:
        """See ``Task.prepare``."""
        known = {
            "top_k", "max_answer_len", "handle_impossible_answer", "align_to_words", "max_seq_len", "doc_stride",
            "max_question_len",
        }  # fmt: skip
        parameters = Parameters(request.parameters, known)
        question, context = question_and_context(request.inputs)
        encoded, windows = self._windows(parameters, question, context)
        asked = _Asked(
            context, encoded, windows,
            parameters.integer("top_k", 1, 1, 100),
            parameters.integer("max_answer_len", 15, 1, 1000),
            parameters.flag("handle_impossible_answer", default=False),
            parameters.flag("align_to_words", default=True),
        )  # fmt: skip
        tokens = sum(map(len, windows))
        return Prepared(asked, tokens, input_tokens=tokens)

    def run(self, batch: Sequence[Prepared], work: Work) -> list[RawOutput]:
        """See ``Task.run``."""
        rows = [row for item in batch for row in item.payload.rows]
        found: list[tuple[Floats, Floats, int]] = []
        with read_in(batch, work):
            for first in range(0, len(rows), MAX_BATCH):
                found += self._read(rows[first : first + MAX_BATCH])
        outputs, windows = [], iter(found)
        for item in batch:
            own = [next(windows) for _ in item.payload.windows]
            outputs.append(RawOutput([(start, end) for start, end, _ in own], sum(padding for *_, padding in own)))
        return outputs

    def finish(self, prepared: Prepared, raw: RawOutput) -> Answer:
        """See ``Task.finish``."""
        asked: _Asked = prepared.payload
        answers = _answers(asked, raw.payload)
        return Answer(answers if asked.top_k > 1 else answers[0])

    def _read(self, rows: Sequence[Row]) -> list[tuple[Floats, Floats, int]]:
        """Return what the model says of each row's tokens as start and as end, and the row's padding."""
        output, padding, _ = forward(self._model, self._tokens, rows)
        starts, ends = to_numpy(output.start_logits), to_numpy(output.end_logits)
        lengths = [len(row["input_ids"]) for row in rows]
        each = zip(starts, ends, lengths, padding, strict=True)
        return [(start[:length], end[:length], pad) for start, end, length, pad in each]

    def _windows(self, parameters: Parameters, question: str, context: str) -> tuple[Encoded, tuple[Window, ...]]:
        limit = self._tokens.limit
        most = parameters.integer("max_seq_len", min(limit, WINDOW), 1, limit)
        stride = parameters.integer("doc_stride", min(STRIDE, most // 2), 0, limit)
        self._tokens.refuse_endless(question, limit)
        self._tokens.refuse_endless(context, MOST_WINDOWS * limit)
        if "max_question_len" in parameters:
            question = self._cut(question, parameters.integer("max_question_len", limit, 1, limit))
        encoded = self._tokens.encode(question, context)
        return encoded, _split(encoded.detail.sequence_ids, most, stride)

    def _cut(self, question: str, tokens: int) -> str:
        offsets = self._tokens.encode(question, special=False).detail.offsets
        return question[: offsets[tokens - 1][1]] if len(offsets) > tokens else question


def _split(sequences: Sequence[int | None], most: int, stride: int) -> tuple[Window, ...]:
    """Return the windows of at most ``most`` tokens into which the context is split.

    Args:
        sequences: of each token 0 for the question, 1 for the context, None for a special one.
        most: tokens of a window, those of the question and the special ones included.
        stride: tokens that a window has in common with the one before.

    Raises:
        InvalidInputError: no context, no room for it beside the question, or more windows than are computed.
    """
    inside = [place for place, sequence in enumerate(sequences) if sequence == 1]
    if not inside:
        raise InvalidInputError("inputs.context holds nothing that the model can read")
    before, after = tuple(range(inside[0])), tuple(range(inside[-1] + 1, len(sequences)))
    room = most - len(before) - len(after)
    if len(inside) <= room:
        return ((*before, *inside, *after),)
    if room <= stride:
        raise InvalidInputError(
            f"inputs.question leaves {max(room, 0)} of a window's {most} tokens for the context, and two windows share"
            f" {stride}: shorten it, or set parameters.max_seq_len or parameters.doc_stride"
        )
    starts = range(0, len(inside) - stride, room - stride)
    if len(starts) > MOST_WINDOWS:
        fit = (room - stride) * MOST_WINDOWS + stride
        raise InvalidInputError(f"inputs.context has {len(inside)} tokens, the model takes at most {fit} of it")
    return tuple((*before, *inside[start : start + room], *after) for start in starts)


def _answers(asked: _Asked, windows: Sequence[tuple[Floats, Floats]]) -> list[dict[str, Any]]:
    """Return the best stretches of all windows: a stretch in two of them counts by the better one."""
    answers: dict[tuple[int, int], dict[str, Any]] = {}
    nones = []
    for window, (starts, ends) in zip(asked.windows, windows, strict=True):
        none, found = _stretches(asked, window, starts, ends)
        nones.append(none)
        for answer in found:
            same = answers.setdefault((answer["start"], answer["end"]), answer)
            same["score"] = max(same["score"], answer["score"])
    if asked.impossible:  # each window says so of itself: the one that doubts it most knows the answer
        answers.setdefault((0, 0), {"answer": "", "score": min(nones), "start": 0, "end": 0})
    return sorted(answers.values(), key=lambda answer: -answer["score"])[: asked.top_k]


def _stretches(
    asked: _Asked, window: Window, start_logits: Floats, end_logits: Floats
) -> tuple[float, list[dict[str, Any]]]:
    """Return P(no answer) of a window and its best stretches: P(start) × P(end) over those inside the context."""
    sequences = asked.encoded.detail.sequence_ids
    inside = np.array([sequences[place] == 1 for place in window])
    allowed = inside.copy()
    allowed[0] = True  # the first token stands for "no answer", as in SQuAD 2
    starts = softmax(np.where(allowed, start_logits, -np.inf))
    ends = softmax(np.where(allowed, end_logits, -np.inf))
    possible = np.outer(inside, inside) & _possible(len(starts), asked.longest)
    pairs = np.where(possible, np.outer(starts, ends), -1.0)
    answers: dict[tuple[int, int], dict[str, Any]] = {}
    for flat in best(pairs.ravel(), asked.top_k * 4):  # several stretches may widen to the same words
        first, last = divmod(flat, len(starts))
        if not possible[first, last]:
            break
        found = _stretch(asked, window[first], window[last], float(pairs[first, last]))
        answers.setdefault((found["start"], found["end"]), found)
    return float(starts[0] * ends[0]), list(answers.values())


def _possible(length: int, longest: int) -> Any:
    ones = np.ones((length, length), dtype=bool)
    return np.triu(ones) & np.tril(ones, longest - 1)


def _stretch(asked: _Asked, first: int, last: int, score: float) -> dict[str, Any]:
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
