"""Writing tokens: one way for every model that generates, batched without changing any request's answer.

Sampling adds Gumbel noise of the request's own generator to the processed scores and takes the highest, which draws
from their softmax (Gumbel-max); so what a seed gives does not depend on the batch. Padding is never written.
"""

from collections.abc import Hashable, Mapping, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

import torch
from transformers import LogitsProcessor, LogitsProcessorList, StoppingCriteria, StoppingCriteriaList

from perjoule.errors import InvalidInputError
from perjoule_server.tasks.base import DECODE, PREFILL, Phase, Work
from perjoule_server.tasks.rows import ByRow, Ends, Noise
from perjoule_server.tasks.settings import Decoding
from perjoule_server.tasks.tokens import Row, Tokens, check_length

MAX_BATCH = 32
"""Largest batch of a model that generates."""

LONGEST_UNASKED = 4096
"""Most tokens that a chat's answer has, where its client names no limit."""

_DEFAULT_NEW_TOKENS = 20  # transformers' own default length


class Writing(StoppingCriteria):
    """Tells the two phases of writing apart, and ends the rows whose clients have left.

    The library asks after every token whether a row is done: the first time, what was asked of the device is read and
    one token a row is written. With beams it asks for all candidates of a row, which come one after the other.
    """

    def __init__(self, work: Work, weights: Sequence[float]) -> None:
        self.work, self._weights = work, weights
        self._stack = ExitStack()
        self._decode: Phase | None = None

    def __enter__(self) -> Self:
        self._stack.enter_context(self.work.phase(PREFILL, self._weights))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def __call__(self, ids: torch.Tensor, _scores: Any, **_: Any) -> torch.Tensor:
        """Tell which rows nobody waits for."""
        if self._decode is None:
            self._stack.close()
            # Until it is known how much each writes, all are alike.
            self._decode = self._stack.enter_context(self.work.phase(DECODE, [1] * len(self._weights)))
        gone = [self.work.left(place) for place in range(len(self._weights))]
        rows = torch.zeros(ids.shape[0], dtype=torch.bool, device=ids.device)
        if any(gone):
            rows |= torch.tensor(gone, device=ids.device).repeat_interleave(ids.shape[0] // len(gone))
        return rows

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self._weights)

    @property
    def heard(self) -> bool:
        """Whether somebody reads along."""
        return any(self.work.listens(place) for place in range(len(self)))

    def wrote(self, lengths: Sequence[int]) -> None:
        """Take over how many tokens each row wrote."""
        if self._decode is not None:
            self._decode.weigh(lengths)


class LanguageModel:
    """A causal or text-to-text model with its tokenizer. ``write`` is for the device thread only."""

    def __init__(self, model: Any, tokens: Tokens) -> None:
        self.model, self.tokens = model, tokens
        self.causal = not model.config.is_encoder_decoder
        self.default = default_decoding(model)

    def encode(self, text: str, decoding: Decoding, *, special: bool = True) -> Row:
        """Encode a prompt that leaves room for the answer; see ``Tokens.encode``.

        Raises:
            InvalidInputError: the prompt is over the model's limit.
        """
        self.tokens.refuse_endless(text, self.room(decoding))
        row = self.tokens.encode(text, special=special).row
        self.check(len(row["input_ids"]), decoding)
        return row

    def encode_cut(self, text: str, decoding: Decoding, most: int | None = None, *, left: bool = False) -> Row:
        """Encode as much of a prompt as leaves room for the answer, and at most ``most`` tokens."""
        limit = self.room(decoding)
        row = self.tokens.shortened(text, limit if most is None else min(most, limit), left=left)
        self.check(len(row["input_ids"]), decoding)
        return row

    def room(self, decoding: Decoding) -> int:
        """Return the longest prompt: a causal model's limit holds the answer too."""
        return self.tokens.limit - decoding.max_new_tokens if self.causal else self.tokens.limit

    def check(self, prompt: int, decoding: Decoding) -> None:
        """Refuse a prompt of no tokens, or one that is over the model's limit with its answer."""
        if not prompt:
            raise InvalidInputError("inputs holds nothing that the model can read")
        check_length(prompt, self.room(decoding), f" with {decoding.max_new_tokens} to write" if self.causal else "")

    def long_answer(self, text: str, *, special: bool) -> int:
        """Return the length of an answer that nobody limits: the largest power of two that there is room for.

        A power of two, so that prompts of unlike lengths still share a batch; at most ``LONGEST_UNASKED``.
        """
        self.tokens.refuse_endless(text, self.tokens.limit)
        prompt = len(self.tokens.encode(text, special=special)) if self.causal else 0
        return 1 << (max(min(self.tokens.limit - prompt, LONGEST_UNASKED), 1).bit_length() - 1)

    def key(self, prompt: int, decoding: Decoding) -> Hashable:
        """Return what requests that share a batch must have in common.

        Lengths up to the same power of two, since a row that has ended is computed until the last one has; where that
        power would take a row beyond the model's last position, the very length. Beams, and tokens that the model is
        forced to end with, are the batch's: then all settings.
        """
        own = self.model.generation_config
        if own.forced_eos_token_id is not None or (beams_allowed(self.model, decoding) and (own.num_beams or 1) > 1):
            return decoding
        power = 1 << (decoding.max_new_tokens - 1).bit_length()
        fits = not self.causal or prompt + power <= self.tokens.limit
        return power if fits else -decoding.max_new_tokens

    def length(self, prompt: int, decoding: Decoding) -> int:
        """Return what the token budget counts: the prompt and what may be written."""
        return prompt + decoding.max_new_tokens

    def first_logits(self, rows: Sequence[Row], work: Work) -> torch.Tensor:
        """Generate one token; return the model's own scores [rows, vocabulary] for it, none of them suppressed."""
        arguments = _arguments(self.model, [Decoding(1)]) | {"num_beams": 1}
        with work.phase(PREFILL, tokens_of(rows)), torch.inference_mode():
            output = self.model.generate(
                **self._batch(rows), **arguments, return_dict_in_generate=True, output_logits=True
            )
        logits: torch.Tensor = output.logits[0]
        return logits

    def _batch(self, rows: Sequence[Row]) -> dict[str, torch.Tensor]:
        inputs = self.tokens.batch(rows, self.model.device, left=self.causal)
        inputs.pop("token_type_ids", None)
        return inputs

    def write(
        self,
        rows: Sequence[Row],
        decoding: Decoding | Sequence[Decoding],
        work: Work,
        seeds: Sequence[int] = (),
        processors: Sequence[LogitsProcessor] = (),
    ) -> list[list[int]]:
        """Generate; return the tokens that each row wrote, the end-of-sequence token included.

        ``decoding`` is that of all rows, or one for each; their ``key`` must then be the same.
        """
        writing = Writing(work, tokens_of(rows))
        inputs = self._batch(rows)
        start = inputs["input_ids"].shape[1] if self.causal else 1
        return generate(
            self.model, inputs, self.tokens, decoding, writing, start=start, seeds=seeds, processors=processors
        )


def tokens_of(rows: Sequence[Row]) -> list[int]:
    """Return the real tokens of each row."""
    return [len(row["input_ids"]) for row in rows]


def generate(  # noqa: PLR0913 (the one door to the library, whose own has hundreds)
    model: Any,
    inputs: Mapping[str, torch.Tensor],
    tokens: Tokens,
    decoding: Decoding | Sequence[Decoding],
    writing: "Writing",
    *,
    start: int,
    seeds: Sequence[int] = (),
    processors: Sequence[LogitsProcessor] = (),
) -> list[list[int]]:
    """Run ``model.generate`` and return what each row wrote after its first ``start`` tokens.

    ``decoding`` is that of all rows, or one for each; the latter needs a model without beams.
    """
    each = [decoding] * len(writing) if isinstance(decoding, Decoding) else list(decoding)
    alike, draws = len(set(each)) == 1, [one.sample for one in each]
    ends, pad = token_ids(model.generation_config.eos_token_id), model.generation_config.pad_token_id
    beams = alike and beams_allowed(model, each[0]) and (model.generation_config.num_beams or 1) > 1
    apart = not alike or each[0].stop or (writing.heard and not beams)
    watch = [Ends(tokens, each, start, ends, writing.work)] if apart else []
    first = [] if alike and not any(draws) else [ByRow(each, start, ends)]
    last = [Noise(seeds, draws)] if any(draws) else []
    with writing, torch.inference_mode():
        sequences = model.generate(
            **inputs,
            **_arguments(model, each),
            logits_processor=LogitsProcessorList([*first, *processors, *last]),
            stopping_criteria=StoppingCriteriaList([writing, *watch]),
        ).tolist()
        lengths = watch[0].lengths if watch else {}
        written = [_until_end(row[start:], ends, pad, lengths.get(place)) for place, row in enumerate(sequences)]
        writing.wrote([len(ids) for ids in written])
    return written


def _arguments(model: Any, each: Sequence[Decoding]) -> dict[str, Any]:
    """Return generate's settings; the model's own stay for whatever is not named here (beams, forced tokens)."""
    alike = len(set(each)) == 1
    own = model.generation_config
    banned = set(own.suppress_tokens or ()) | ({own.pad_token_id} - set(token_ids(own.eos_token_id)))
    arguments = {
        "max_new_tokens": max(one.max_new_tokens for one in each),
        "min_new_tokens": (each[0].min_new_tokens or None) if alike else None,
        "min_length": 0,
        "do_sample": False,
        "suppress_tokens": sorted(banned) or None,
    }
    if not (alike and beams_allowed(model, each[0])):
        arguments["num_beams"] = 1  # beams share neither noise nor a length
    return arguments


def beams_allowed(model: Any, decoding: Decoding) -> bool:
    """Tell whether the model may follow several beams, if its own settings say so."""
    return bool(model.config.is_encoder_decoder) and not (decoding.sample or decoding.stop)


def token_ids(value: int | Sequence[int] | None) -> list[int]:
    """Return a configuration's one id, several or none as a list."""
    if value is None:
        return []
    return [value] if isinstance(value, int) else [int(one) for one in value]


def give_padding(model: Any) -> None:
    """Name the id with which finished rows are filled up, where the model names none: its end-of-sequence."""
    own = getattr(model, "generation_config", None)
    if own is not None and own.pad_token_id is None:
        own.pad_token_id = next(iter(token_ids(own.eos_token_id)), 0)


def _until_end(row: list[int], ends: Sequence[int], pad: int, length: int | None) -> list[int]:
    """Cut off what fills a finished row: after its end token, at its stop text, or trailing padding."""
    if length is not None:
        row = row[:length]
    for place, id_ in enumerate(row):
        if id_ in ends:
            return row[: place + 1]
    while row and row[-1] == pad and length is None:
        row = row[:-1]
    return row


def default_decoding(model: Any) -> Decoding:
    """Return the lengths that the model's own settings ask for, without the decoder's start token."""
    own = model.generation_config
    first = 1 if model.config.is_encoder_decoder else 0
    longest = own.max_new_tokens or (own.max_length - first if first and own.max_length else _DEFAULT_NEW_TOKENS)
    shortest = own.min_new_tokens or (max(own.min_length - first, 0) if first and own.min_length else 0)
    return Decoding(max(longest, 1), min(shortest, longest))
