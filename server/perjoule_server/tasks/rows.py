"""What each row of a batch that writes has of its own: its noise, its sampling, where it ends, and who reads along.

Rows of one batch take each step together; a row that has ended is filled up until the last one has. So what a request
gets does not depend on its batch-mates.
"""

from collections.abc import Sequence
from typing import Any

import torch
from transformers import (
    LogitsProcessor,
    StoppingCriteria,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from perjoule_server.tasks.base import Token, Work
from perjoule_server.tasks.settings import Decoding
from perjoule_server.tasks.tokens import Tokens


class Noise(LogitsProcessor):
    """Adds Gumbel noise to the rows that draw, each from its own seed."""

    def __init__(self, seeds: Sequence[int], draws: Sequence[bool] | None = None) -> None:
        self._rows = [place for place in range(len(seeds)) if draws is None or draws[place]]
        self._generators = [torch.Generator().manual_seed(seeds[place]) for place in self._rows]

    def __call__(self, _ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Return the noisy scores; drawn on the CPU, so that every device gives the same text."""
        uniform = torch.stack([torch.rand(scores.shape[-1], generator=one) for one in self._generators])
        noise = torch.log(-torch.log(uniform.clamp_min(1e-20))).to(scores)
        return scores.index_add(0, torch.tensor(self._rows, device=scores.device), noise, alpha=-1)


class ByRow(LogitsProcessor):
    """Shapes the scores of each row by its own settings; rows with equal settings together."""

    def __init__(self, decodings: Sequence[Decoding], start: int, ends: Sequence[int]) -> None:
        shapes = [_shape(one) for one in decodings]
        self._groups = [
            ([place for place, one in enumerate(shapes) if one == shape], processors)
            for shape in dict.fromkeys(shapes)
            if (processors := _processors(*shape, start, ends))
        ]

    def __call__(self, ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Return the shaped scores."""
        shaped = scores.clone() if self._groups else scores
        for rows, processors in self._groups:
            part = scores[rows]
            for processor in processors:
                part = processor(ids[rows], part)
            shaped[rows] = part
        return shaped


_Shape = tuple[int, float, int, float]


def _shape(decoding: Decoding) -> _Shape:
    return decoding.min_new_tokens, decoding.temperature, decoding.top_k, decoding.top_p


def _processors(
    shortest: int, temperature: float, top_k: int, top_p: float, start: int, ends: Sequence[int]
) -> list[Any]:
    """Return the library's processors, those that would change nothing left out."""
    processors: list[Any] = []
    if shortest and ends:
        processors.append(_Shortest(start, shortest, ends))
    if temperature != 1:
        processors.append(TemperatureLogitsWarper(temperature))
    if top_k:
        processors.append(TopKLogitsWarper(top_k))
    if top_p < 1:
        processors.append(TopPLogitsWarper(top_p))
    return processors


class _Shortest(LogitsProcessor):
    """Forbids the end before a row has its fewest tokens."""

    def __init__(self, start: int, shortest: int, ends: Sequence[int]) -> None:
        self._until, self._ends = start + shortest, list(ends)

    def __call__(self, ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        if ids.shape[-1] >= self._until:
            return scores
        scores = scores.clone()
        scores[:, self._ends] = -torch.inf
        return scores


class Ends(StoppingCriteria):
    """Ends each row at its own length or stop string, and tells who reads along of each token.

    Attributes:
        lengths: the tokens that each row wrote, of those that have ended.
    """

    def __init__(
        self, tokens: Tokens, decodings: Sequence[Decoding], start: int, ends: Sequence[int], work: Work
    ) -> None:
        self._tokens, self._decodings, self._start, self._ends = tokens, decodings, start, frozenset(ends)
        self._work = work
        self._heard = [row for row in range(len(decodings)) if work.listens(row)]
        # A stop string of n bytes spans at most n tokens of one byte or more; two more let pieces decode whole.
        self._tails = [max((len(text.encode()) for text in one.stop), default=0) + 2 for one in decodings]
        self.lengths: dict[int, int] = {}

    def __call__(self, ids: torch.Tensor, _scores: Any, **_: Any) -> torch.Tensor:
        """Tell which rows are done."""
        written = ids[:, self._start :].tolist()
        before = self.lengths.copy()
        for row, line in enumerate(written):
            if row not in before and self._ended(row, line):
                self.lengths[row] = len(line)
        told = [
            Token(row, len(written[row]) - 1, written[row][-1], row in self.lengths)
            for row in self._heard
            if row not in before
        ]
        if told:
            self._work.tell(told)
        return torch.tensor([row in self.lengths for row in range(len(written))], device=ids.device)

    def _ended(self, row: int, line: list[int]) -> bool:
        decoding = self._decodings[row]
        if len(line) >= decoding.max_new_tokens or line[-1] in self._ends:
            return True
        if not decoding.stop:
            return False
        text = self._tokens.text(line[-self._tails[row] :])
        return any(one in text for one in decoding.stop)
