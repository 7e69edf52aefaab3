"""Tasks that read a text in one pass: classification, fill-mask and sentence embeddings."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from perjoule.errors import InvalidInputError
from perjoule_server.tasks.base import ENCODE, Answer, Phase, Prepared, RawOutput, TaskRequest, Work
from perjoule_server.tasks.inputs import Parameters, text_of
from perjoule_server.tasks.scores import ACTIVATIONS, Floats, activate, best, labelled, softmax
from perjoule_server.tasks.tokens import Encoded, Row, Tokens

MAX_BATCH = 64
"""Largest batch of an encoder; the server's token budget is usually reached before."""

_MOST_RESULTS = 1000


def to_numpy(values: torch.Tensor) -> Floats:
    """Move a result to the CPU as float32."""
    return values.float().cpu().numpy()


def forward(model: Any, tokens: Tokens, rows: Sequence[Row]) -> tuple[Any, list[int], torch.Tensor]:
    """Run one padded batch; return the model's output, the padding of each row, and the attention mask."""
    inputs = tokens.batch(rows, model.device)
    with torch.inference_mode():
        output = model(**inputs)
    mask = inputs["attention_mask"]
    return output, [mask.shape[1] - len(row["input_ids"]) for row in rows], mask


def read_in(batch: Sequence[Prepared], work: Work) -> AbstractContextManager[Phase]:
    """Surround the one phase of an encoder; a request's weight is its real tokens, padding is none."""
    return work.phase(ENCODE, [item.input_tokens for item in batch])


def default_activation(config: Any) -> str:
    """Return the activation that the model's training implies, as Hugging Face's pipelines do."""
    several = config.problem_type == "multi_label_classification" or config.num_labels == 1
    return "sigmoid" if several else "softmax"


@dataclass(frozen=True, slots=True)
class _Classified:
    encoded: Encoded
    top_k: int
    activation: str


class TextClassification:
    """``inputs``: a text. Reply: ``[[{label, score}, …]]``, all labels unless ``top_k`` says fewer."""

    max_batch = MAX_BATCH

    def __init__(self, model: Any, tokens: Tokens) -> None:
        self._model, self._tokens = model, tokens

    def prepare(self, request: TaskRequest) -> Prepared:
        """See ``Task.prepare``."""
        parameters = Parameters(request.parameters, {"top_k", "function_to_apply"})
        top_k = parameters.integer("top_k", self._model.config.num_labels, 1, _MOST_RESULTS)
        activation = parameters.choice("function_to_apply", default_activation(self._model.config), ACTIVATIONS)
        encoded = self._tokens.fitting(text_of(request.inputs))
        return Prepared(_Classified(encoded, top_k, activation), len(encoded), input_tokens=len(encoded))

    def run(self, batch: Sequence[Prepared], work: Work) -> list[RawOutput]:
        """See ``Task.run``."""
        with read_in(batch, work):
            output, padding, _ = forward(self._model, self._tokens, [item.payload.encoded.row for item in batch])
            logits = to_numpy(output.logits)
        return [RawOutput(*row) for row in zip(logits, padding, strict=True)]

    def finish(self, prepared: Prepared, raw: RawOutput) -> Answer:
        """See ``Task.finish``."""
        asked: _Classified = prepared.payload
        scores = activate(raw.payload, asked.activation)
        return Answer([labelled(scores, self._model.config.id2label, asked.top_k)])


@dataclass(frozen=True, slots=True)
class _Masked:
    encoded: Encoded
    place: int
    top_k: int
    targets: tuple[int, ...]


class FillMask:
    """``inputs``: a text with one ``[MASK]`` or ``<mask>``. Reply: ``[{score, token, token_str, sequence}, …]``."""

    max_batch = MAX_BATCH

    def __init__(self, model: Any, tokens: Tokens) -> None:
        self._model, self._tokens = model, tokens

    def prepare(self, request: TaskRequest) -> Prepared:
        """See ``Task.prepare``."""
        parameters = Parameters(request.parameters, {"top_k", "targets"})
        top_k = parameters.integer("top_k", 5, 1, _MOST_RESULTS)
        targets = self._targets(parameters.texts("targets", _MOST_RESULTS))
        tokenizer = self._tokens.tokenizer
        text = text_of(request.inputs).replace("[MASK]", tokenizer.mask_token).replace("<mask>", tokenizer.mask_token)
        encoded = self._tokens.fitting(text)
        places = [place for place, id_ in enumerate(encoded.row["input_ids"]) if id_ == tokenizer.mask_token_id]
        if len(places) != 1:
            raise InvalidInputError(f"inputs must hold exactly one [MASK] or <mask>, not {len(places)}")
        return Prepared(_Masked(encoded, places[0], top_k, targets), len(encoded), input_tokens=len(encoded))

    def _targets(self, words: tuple[str, ...]) -> tuple[int, ...]:
        """Return one token id a word: the word's own, else its first piece's, as Hugging Face's pipeline does."""
        vocabulary = self._tokens.tokenizer.get_vocab() if words else {}
        ids = []
        for word in words:
            pieces = [vocabulary[word]] if word in vocabulary else self._tokens.tokenizer.encode(
                word, add_special_tokens=False
            )  # fmt: skip
            if not pieces:
                raise InvalidInputError(f"parameters.targets: no token for {word[:48]!r}")
            ids.append(int(pieces[0]))
        return tuple(dict.fromkeys(ids))

    def run(self, batch: Sequence[Prepared], work: Work) -> list[RawOutput]:
        """See ``Task.run``."""
        with read_in(batch, work):
            output, padding, _ = forward(self._model, self._tokens, [item.payload.encoded.row for item in batch])
            places = torch.tensor([item.payload.place for item in batch], device=output.logits.device)
            at_mask = to_numpy(output.logits[torch.arange(len(batch), device=output.logits.device), places])
        return [RawOutput(*row) for row in zip(at_mask, padding, strict=True)]

    def finish(self, prepared: Prepared, raw: RawOutput) -> Answer:
        """See ``Task.finish``."""
        asked: _Masked = prepared.payload
        scores = softmax(raw.payload)
        if asked.targets:
            order = [asked.targets[place] for place in best(scores[list(asked.targets)], asked.top_k)]
        else:
            order = best(scores, asked.top_k)
        return Answer([self._result(asked, id_, float(scores[id_])) for id_ in order])

    def _result(self, asked: _Masked, id_: int, score: float) -> dict[str, str | float | int]:
        ids = list(asked.encoded.row["input_ids"])
        ids[asked.place] = id_
        return {"score": score, "token": id_, "token_str": self._tokens.tokenizer.decode([id_]),
                "sequence": self._tokens.text(ids)}  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Embedded:
    row: Row
    normalize: bool


class FeatureExtraction:
    """``inputs``: a text. Reply: ``[[…]]``, one vector: the mean of the last layer over the text's tokens."""

    max_batch = MAX_BATCH

    def __init__(self, model: Any, tokens: Tokens) -> None:
        self._model, self._tokens = model, tokens

    def prepare(self, request: TaskRequest) -> Prepared:
        """See ``Task.prepare``."""
        parameters = Parameters(request.parameters, {"normalize", "truncate", "truncation_direction"})
        normalize = parameters.flag("normalize", default=False)
        truncate = parameters.flag("truncate", default=False)
        left = parameters.choice("truncation_direction", "right", ("left", "right", "Left", "Right")).lower() == "left"
        text = text_of(request.inputs)
        if truncate:
            row = self._tokens.shortened(text, self._tokens.limit, left=left)
        else:
            row = self._tokens.fitting(text).row
        length = len(row["input_ids"])
        return Prepared(_Embedded(row, normalize), length, input_tokens=length)

    def run(self, batch: Sequence[Prepared], work: Work) -> list[RawOutput]:
        """See ``Task.run``."""
        with read_in(batch, work), torch.inference_mode():
            output, padding, mask = forward(self._model, self._tokens, [item.payload.row for item in batch])
            weights = mask.unsqueeze(-1).to(torch.float32)
            mean = to_numpy((output.last_hidden_state.float() * weights).sum(dim=1) / weights.sum(dim=1))
        return [RawOutput(*row) for row in zip(mean, padding, strict=True)]

    def finish(self, prepared: Prepared, raw: RawOutput) -> Answer:
        """See ``Task.finish``."""
        vector = np.asarray(raw.payload, dtype=np.float64)
        if prepared.payload.normalize:
            vector /= max(float(np.linalg.norm(vector)), 1e-12)
        return Answer([vector.tolist()])
