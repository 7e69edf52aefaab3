"""The three zero-shot workloads: one multi-purpose model, asked in the study's words.

Prompts and token limits are those of the study's code (github.com/sashavor/co2_inference, zeroshot): classification
generates one token, question answering at most 65, summarization at most 15.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from transformers import LogitsProcessor

from perjoule.errors import InvalidInputError
from perjoule.workloads import WORKLOADS
from perjoule_server.tasks.base import Answer, Prepared, RawOutput, TaskRequest, Work
from perjoule_server.tasks.decoding import MAX_BATCH, LanguageModel
from perjoule_server.tasks.encoder import to_numpy
from perjoule_server.tasks.generate import Summarization, paddings_of
from perjoule_server.tasks.inputs import Parameters, question_and_context, text_of
from perjoule_server.tasks.scores import labelled, softmax
from perjoule_server.tasks.settings import LENGTHS, Decoding, read_decoding
from perjoule_server.tasks.tokens import Row, paddings

SENTIMENT = "what is the binary sentiment of the following sentence? {text}"
"""The study's prompt; its three data sets are of sentiment."""

TOPIC = "which of {labels} describes the following text best? {text}"
"""Ours, for labels that are not those of sentiment."""

QUESTION = '{question}? Find the answer to the question in the following text: "{context}". Answer:'
SUMMARY = "summarize the following text: {text}"

_MOST_LABELS = 100


def limits(workload: str) -> Decoding:
    """Return the study's token limit of a zero-shot workload."""
    return Decoding(WORKLOADS[workload].parameters["max_new_tokens"])


@dataclass(frozen=True, slots=True)
class _Labelled:
    row: Row
    labels: tuple[str, ...]
    first: tuple[int, ...]


class ZeroShotTextClassification:
    """``inputs``: a text, ``parameters.candidate_labels``: the labels. Reply: ``[[{label, score}, …]]``.

    A label's score is the probability of its first token as the one that is generated, over all labels. Labels that
    begin with the same token share its probability: one token cannot tell them apart.
    """

    max_batch = MAX_BATCH

    def __init__(self, language: LanguageModel) -> None:
        self._language = language
        self._decoding = limits("zero-shot-text-classification")

    def prepare(self, request: TaskRequest) -> Prepared:
        """See ``Task.prepare``."""
        parameters = Parameters(request.parameters, {"candidate_labels", "multi_label"})
        parameters.only("multi_label", False)
        labels = tuple(label.strip() for label in parameters.texts("candidate_labels", _MOST_LABELS))
        if not labels or len(set(labels)) < len(labels):
            raise InvalidInputError("parameters.candidate_labels must be a list of different labels, at least one")
        sentiment = {label.casefold() for label in labels} == {"positive", "negative"}
        prompt = SENTIMENT if sentiment else TOPIC.replace("{labels}", ", ".join(labels))
        text = text_of(request.inputs)
        row = self._language.encode(prompt.removesuffix("{text}") + text, self._decoding)
        tokens = len(row["input_ids"])
        payload = _Labelled(row, labels, tuple(self._first_token(label) for label in labels))
        return Prepared(payload, self._language.length(tokens, self._decoding), self._decoding, tokens)

    def _first_token(self, label: str) -> int:
        text = f" {label}" if self._language.causal else label
        ids = self._language.tokens.tokenizer.encode(text, add_special_tokens=False)
        if not ids:
            raise InvalidInputError(f"parameters.candidate_labels: no token for {label[:48]!r}")
        return int(ids[0])

    def run(self, batch: Sequence[Prepared], work: Work) -> list[RawOutput]:
        """See ``Task.run``."""
        rows = [item.payload.row for item in batch]
        logits = self._language.first_logits(rows, work)
        scores = [to_numpy(logits[place, list(item.payload.first)]) for place, item in enumerate(batch)]
        return [RawOutput(*one) for one in zip(scores, paddings([len(r["input_ids"]) for r in rows]), strict=True)]

    def finish(self, prepared: Prepared, raw: RawOutput) -> Answer:
        """See ``Task.finish``."""
        asked: _Labelled = prepared.payload
        sharing = np.array([asked.first.count(id_) for id_ in asked.first])
        scores = softmax(raw.payload - np.log(sharing))
        names = dict(enumerate(asked.labels))
        return Answer([labelled(scores, names, len(names))], output_tokens=1, work_units=1)


@dataclass(frozen=True, slots=True)
class _Question:
    row: Row
    context: str
    top_k: int


class _Confidence(LogitsProcessor):
    """Keeps the log-probability of the likeliest token of each step, which is the one that greedy decoding writes."""

    def __init__(self) -> None:
        self.steps: list[torch.Tensor] = []

    def __call__(self, _ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Read the scores."""
        self.steps.append(torch.log_softmax(scores.float(), dim=-1).amax(dim=-1))
        return scores

    def rows(self) -> list[list[float]]:
        """Return the log-probabilities of each row."""
        return torch.stack(self.steps, dim=1).tolist()


class ZeroShotQuestionAnswering:
    """``inputs``: ``{question, context}``. Reply: ``{answer, score, start, end}``, a list of one where ``top_k`` > 1.

    The score is the geometric mean of the written tokens' probabilities. ``start`` and ``end`` are where the answer
    first stands in the context (letter case aside); where it does not, both are 0, which is Hugging Face's empty span.
    """

    max_batch = MAX_BATCH

    def __init__(self, language: LanguageModel) -> None:
        self._language = language
        self._default = limits("zero-shot-question-answering")

    def prepare(self, request: TaskRequest) -> Prepared:
        """See ``Task.prepare``."""
        top_k = Parameters(request.parameters, LENGTHS | {"top_k"}).integer("top_k", 1, 1, 100)
        # The number of answers is not the top_k of sampling: an answer is always the likeliest.
        lengths = {name: value for name, value in request.parameters.items() if name != "top_k"}
        decoding = read_decoding(Parameters(lengths, LENGTHS), self._default, self._language.tokens.limit)
        question, context = question_and_context(request.inputs)
        # The study appends a question mark to every question; a second one is not asked for.
        prompt = QUESTION.replace("{question}", question.rstrip("? "), 1)
        before, after = prompt.rsplit("{context}", 1)
        row = self._language.encode(before + context + after, decoding)
        tokens = len(row["input_ids"])
        return Prepared(_Question(row, context, top_k), self._language.length(tokens, decoding), decoding, tokens)

    def run(self, batch: Sequence[Prepared], work: Work) -> list[RawOutput]:
        """See ``Task.run``."""
        rows = [item.payload.row for item in batch]
        decoding = batch[0].key
        if not isinstance(decoding, Decoding):
            raise TypeError("the key of this task is its decoding")
        confidence = _Confidence()
        written = self._language.write(rows, decoding, work, processors=[confidence])
        padding = paddings_of(rows, written)
        return [
            RawOutput((ids, logs[: len(ids)]), pad)
            for ids, logs, pad in zip(written, confidence.rows(), padding, strict=True)
        ]

    def finish(self, prepared: Prepared, raw: RawOutput) -> Answer:
        """See ``Task.finish``."""
        asked: _Question = prepared.payload
        ids, logs = raw.payload
        text = self._language.tokens.text(ids).strip()
        start = asked.context.lower().find(text.lower()) if text else -1
        end = start + len(text)
        if start < 0 or asked.context[start:end].lower() != text.lower():  # lower() may change a text's length
            start = end = 0
        score = float(np.exp(np.mean(logs))) if logs else 0.0
        answer = {"answer": text, "score": score, "start": start, "end": end}
        return Answer([answer] if asked.top_k > 1 else answer, output_tokens=len(ids), work_units=len(ids))


def zero_shot_summarization(language: LanguageModel) -> Summarization:
    """Return summarization in the study's words and with its limit. Reply: ``[{summary_text}]``."""
    return Summarization(language, SUMMARY, limits("zero-shot-summarization"))
