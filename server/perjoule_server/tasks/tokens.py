"""Texts to token ids, ids to batches: the limit of a model, and padding that changes no answer.

Padding is done here and not by the tokenizer, whose padding settings are state that threads would share.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from perjoule.errors import InvalidInputError, PerjouleError

_CHARACTERS = 32  # of one token: more than any text but runs of spaces has
_UNLIMITED = 10**9  # tokenizers without a limit of their own say 1e30

Row = Mapping[str, list[int]]
"""One request's model inputs, such as ``input_ids`` and ``attention_mask``, each of the same length."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """One encoded text.

    Attributes:
        row: the model's inputs.
        detail: the ``tokenizers.Encoding``: offsets, words, sequences, special tokens.
    """

    row: Row
    detail: Any

    def __len__(self) -> int:
        """Return the number of tokens."""
        return len(self.row["input_ids"])


class Shapes(Protocol):
    """What the inputs of a batch look like."""

    def length(self, longest: int) -> int:
        """Return how long a batch is made whose longest row is known."""

    def mark(self, inputs: Mapping[str, torch.Tensor]) -> None:
        """Say of a batch what the model's compiler needs to know."""


class AsLongAsNeeded:
    """Batches as long as their longest row, of a model that is not compiled."""

    def length(self, longest: int) -> int:
        """See ``Shapes.length``."""
        return longest

    def mark(self, inputs: Mapping[str, torch.Tensor]) -> None:
        """See ``Shapes.mark``."""


class Tokens:
    """A tokenizer and the longest input of its model. Safe to call from several threads."""

    def __init__(self, tokenizer: Any, config: Any, source: str = "the model") -> None:
        if not tokenizer.is_fast:
            raise PerjouleError(
                f"{source} has a tokenizer without offsets; only tokenizers of the fast kind are served"
            )
        self.tokenizer = tokenizer
        self.limit = token_limit(tokenizer, config)
        self.shapes: Shapes = AsLongAsNeeded()
        pad = tokenizer.pad_token_id
        self._fill = {
            "input_ids": tokenizer.eos_token_id if pad is None else pad,
            "attention_mask": 0,
            "token_type_ids": tokenizer.pad_token_type_id,
        }
        tokenizer("warm")  # the first call sets the backend's state, later ones only compare it

    def encode(self, text: str, pair: str | None = None, *, special: bool = True) -> Encoded:
        """Encode a text, or two as a pair, without cutting anything off; without ``special`` nothing is put around."""
        encoding = self.tokenizer(text, pair, add_special_tokens=special)
        return Encoded({name: list(encoding[name]) for name in self._fill if name in encoding}, encoding.encodings[0])

    def fitting(self, text: str, pair: str | None = None) -> Encoded:
        """Encode what the model can read.

        Raises:
            InvalidInputError: more tokens than the model's limit; the message says both numbers.
        """
        self.refuse_endless(text if pair is None else max(text, pair, key=len), self.limit)
        encoded = self.encode(text, pair)
        check_length(len(encoded), self.limit)
        return encoded

    def refuse_endless(self, text: str, limit: int) -> None:
        """Refuse a text of more characters than ``limit`` tokens can hold, so that megabytes are not split for nothing.

        Raises:
            InvalidInputError: with the number of tokens counted so far.
        """
        enough = limit * _CHARACTERS
        if len(text) > 2 * enough:
            check_length(len(self.encode(text[:enough])), limit, "; the rest was not counted")
            raise InvalidInputError(f"the input has {len(text)} characters, too many for {max(limit, 0)} tokens")

    def shortened(self, text: str, limit: int, *, left: bool = False) -> Row:
        """Return as much of a text as fits into ``limit`` tokens, cut on the right or the left; special tokens stay.

        No token of what is left lies beyond twice its share of characters, so that megabytes are not split for nothing.
        """
        most = 2 * _CHARACTERS * max(limit, 1)
        encoded = self.encode(text[-most:] if left else text[:most])
        surplus = len(encoded) - limit
        if surplus <= 0:
            return encoded.row
        real = [place for place, special in enumerate(encoded.detail.special_tokens_mask) if not special]
        gone = set(real[:surplus] if left else real[-surplus:])
        return {
            name: [value for place, value in enumerate(values) if place not in gone]
            for name, values in encoded.row.items()
        }

    def batch(self, rows: Sequence[Row], device: torch.device, *, left: bool = False) -> dict[str, torch.Tensor]:
        """Pad rows to the longest of them or its bucket, on the right or the left, and move them to ``device``."""
        length = self.shapes.length(max(len(row["input_ids"]) for row in rows))
        inputs = {
            name: torch.tensor([_padded(row[name], length, self._fill[name], left=left) for row in rows]).to(device)
            for name in rows[0]
        }
        self.shapes.mark(inputs)
        return inputs

    def text(self, ids: Sequence[int]) -> str:
        """Return the text of ``ids`` without special tokens."""
        text = self.tokenizer.decode(ids, skip_special_tokens=True)
        return str(text)


def _padded(values: list[int], length: int, fill: int, *, left: bool) -> list[int]:
    padding = [fill] * (length - len(values))
    return padding + values if left else values + padding


def paddings(lengths: Sequence[int]) -> list[int]:
    """Return the padding tokens of each row of a batch."""
    longest = max(lengths)
    return [longest - length for length in lengths]


def check_length(tokens: int, limit: int, more: str = "") -> None:
    """Refuse an input of more than ``limit`` tokens.

    Raises:
        InvalidInputError: both numbers, and ``more``.
    """
    if tokens > limit:
        raise InvalidInputError(f"the input has {tokens} tokens, the model takes at most {max(limit, 0)}{more}")


def token_limit(tokenizer: Any, config: Any) -> int:
    """Return the longest input of a model in tokens: the smaller of the tokenizer's word and the position table.

    RoBERTa and its kin number positions from the padding id upwards, so that their table has places that none uses.
    """
    named = ("max_position_embeddings", "n_positions", "max_source_positions")
    places = next((value for name in named if isinstance(value := getattr(config, name, None), int)), _UNLIMITED)
    if config.model_type in {"roberta", "xlm-roberta", "camembert", "mpnet", "longformer", "xlm-roberta-xl"}:
        places -= config.pad_token_id + 1
    if config.model_type in {"t5", "mt5", "umt5"}:  # relative positions: n_positions is a remnant
        places = _UNLIMITED
    return min(int(tokenizer.model_max_length), places, _UNLIMITED)
