"""Writing tokens: one way for every model that generates, batched without changing any request's answer.

Sampling adds Gumbel noise of the request's own generator to the processed scores and takes the highest, which draws
from their softmax (Gumbel-max); so what a seed gives does not depend on the batch. Padding is never written.
"""

import secrets
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Self

import torch
from transformers import (
    LogitsProcessor,
    LogitsProcessorList,
    StoppingCriteria,
    StoppingCriteriaList,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from perjoule.errors import InvalidInputError
from perjoule_server.tasks.base import DECODE, PREFILL, Phase, Work
from perjoule_server.tasks.inputs import Parameters
from perjoule_server.tasks.tokens import Row, Tokens, check_length

LENGTHS = frozenset({"max_new_tokens", "min_new_tokens"})
SAMPLING = frozenset({"do_sample", "temperature", "top_k", "top_p", "seed"})

MAX_BATCH = 32
"""Largest batch of a model that generates."""

LONGEST_UNASKED = 4096
"""Most tokens that a chat's answer has, where its client names no limit."""

_GREEDY = 0.01  # temperatures up to here: the division would leave the range of floats
_DEFAULT_NEW_TOKENS = 20  # transformers' own default length


@dataclass(frozen=True, slots=True)
class Decoding:
    """How to write; requests with equal settings may share a batch.

    Attributes:
        max_new_tokens: most tokens to write.
        min_new_tokens: fewest tokens to write.
        sample: draw instead of taking the likeliest.
        temperature: scores are divided by it.
        top_k: draw from the k likeliest only; 0 from all.
        top_p: draw from the likeliest whose probabilities add up to p.
        stop: texts that end the writing.
    """

    max_new_tokens: int
    min_new_tokens: int = 0
    sample: bool = False
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    stop: tuple[str, ...] = ()


def read_decoding(parameters: Parameters, default: Decoding, most: int, stop: tuple[str, ...] = ()) -> Decoding:
    """Read the generation parameters; ``most`` is the longest output of the model.

    Temperature 0, or one next to it, means greedy. A temperature, top_k or top_p without ``do_sample`` means sampling,
    as it does in text-generation-inference.

    Raises:
        InvalidInputError: a value of the wrong type or out of its range.
    """
    longest = parameters.integer("max_new_tokens", default.max_new_tokens, 1, max(most, 1))
    shortest = parameters.integer("min_new_tokens", min(default.min_new_tokens, longest), 0, max(most, 1))
    if shortest > longest:
        raise InvalidInputError(f"min_new_tokens ({shortest}) is over max_new_tokens ({longest})")
    temperature = parameters.number("temperature", 1.0, 0.0, 100.0)
    top_k = parameters.integer("top_k", 0, 0, 1_000_000)
    top_p = parameters.number("top_p", 1.0, 0.0, 1.0)
    implied = any(name in parameters for name in ("temperature", "top_k", "top_p"))
    sample = parameters.flag("do_sample", default=implied) and temperature > _GREEDY and top_p > 0
    if not sample:
        return Decoding(longest, shortest, stop=stop)
    return Decoding(longest, shortest, sample=True, temperature=temperature, top_k=top_k, top_p=top_p, stop=stop)


def read_seed(parameters: Parameters) -> int:
    """Read ``seed``, or draw one."""
    return parameters.integer("seed", secrets.randbits(63), 0, 2**63 - 1)


class Noise(LogitsProcessor):
    """Adds Gumbel noise, each row from its own seed."""

    def __init__(self, seeds: Sequence[int]) -> None:
        self._generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def __call__(self, _ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Return the noisy scores; drawn on the CPU, so that every device gives the same text."""
        uniform = torch.stack([torch.rand(scores.shape[-1], generator=one) for one in self._generators])
        return scores - torch.log(-torch.log(uniform.clamp_min(1e-20))).to(scores)


class Watch(StoppingCriteria):
    """Ends a row once its text holds a stop string, and remembers its length there."""

    def __init__(self, tokens: Tokens, stop: Sequence[str], start: int) -> None:
        self._tokens, self._stop, self._start = tokens, stop, start
        # A stop string of n bytes spans at most n tokens of one byte or more; two more let pieces decode whole.
        self._tail = max(len(text.encode()) for text in stop) + 2
        self.lengths: dict[int, int] = {}

    def __call__(self, ids: torch.Tensor, _scores: Any, **_: Any) -> torch.Tensor:
        """Tell which rows are done."""
        written = ids[:, self._start :].tolist()
        for row, line in enumerate(written):
            if row not in self.lengths:
                text = self._tokens.text(line[-self._tail :])
                if any(one in text for one in self._stop):
                    self.lengths[row] = len(line)
        return torch.tensor([row in self.lengths for row in range(len(written))], device=ids.device)


class Writing(StoppingCriteria):
    """Tells the two phases of writing apart, and ends the rows whose clients have left.

    The library asks after every token whether a row is done: the first time, what was asked of the device is read and
    one token a row is written. With beams it asks for all candidates of a row, which come one after the other.
    """

    def __init__(self, work: Work, weights: Sequence[float]) -> None:
        self._work, self._weights = work, weights
        self._stack = ExitStack()
        self._decode: Phase | None = None

    def __enter__(self) -> Self:
        self._stack.enter_context(self._work.phase(PREFILL, self._weights))
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)

    def __call__(self, ids: torch.Tensor, _scores: Any, **_: Any) -> torch.Tensor:
        """Tell which rows nobody waits for."""
        if self._decode is None:
            self._stack.close()
            # Until it is known how much each writes, all are alike.
            self._decode = self._stack.enter_context(self._work.phase(DECODE, [1] * len(self._weights)))
        gone = [self._work.left(place) for place in range(len(self._weights))]
        rows = torch.zeros(ids.shape[0], dtype=torch.bool, device=ids.device)
        if any(gone):
            rows |= torch.tensor(gone, device=ids.device).repeat_interleave(ids.shape[0] // len(gone))
        return rows

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

    def length(self, prompt: int, decoding: Decoding) -> int:
        """Return what the token budget counts: the prompt and what may be written."""
        return prompt + decoding.max_new_tokens

    def first_logits(self, rows: Sequence[Row], work: Work) -> torch.Tensor:
        """Generate one token; return the model's own scores [rows, vocabulary] for it, none of them suppressed."""
        arguments = _arguments(self.model, Decoding(1)) | {"num_beams": 1}
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
        decoding: Decoding,
        work: Work,
        seeds: Sequence[int] = (),
        processors: Sequence[LogitsProcessor] = (),
    ) -> list[list[int]]:
        """Generate; return the tokens that each row wrote, the end-of-sequence token included."""
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
    decoding: Decoding,
    writing: "Writing",
    *,
    start: int,
    seeds: Sequence[int] = (),
    processors: Sequence[LogitsProcessor] = (),
) -> list[list[int]]:
    """Run ``model.generate`` and return what each row wrote after its first ``start`` tokens."""
    watch = [Watch(tokens, decoding.stop, start)] if decoding.stop else []
    last = [Noise(seeds)] if decoding.sample else []
    with writing, torch.inference_mode():
        sequences = model.generate(
            **inputs,
            **_arguments(model, decoding),
            logits_processor=LogitsProcessorList([*_warpers(decoding), *processors, *last]),
            stopping_criteria=StoppingCriteriaList([writing, *watch]),
        ).tolist()
        ends, pad = token_ids(model.generation_config.eos_token_id), model.generation_config.pad_token_id
        lengths = watch[0].lengths if watch else {}
        written = [_until_end(row[start:], ends, pad, lengths.get(place)) for place, row in enumerate(sequences)]
        writing.wrote([len(ids) for ids in written])
    return written


def _warpers(decoding: Decoding) -> list[LogitsProcessor]:
    if not decoding.sample:
        return []
    warpers: list[LogitsProcessor] = [TemperatureLogitsWarper(decoding.temperature)]
    if decoding.top_k:
        warpers.append(TopKLogitsWarper(decoding.top_k))
    if decoding.top_p < 1:
        warpers.append(TopPLogitsWarper(decoding.top_p))
    return warpers


def _arguments(model: Any, decoding: Decoding) -> dict[str, Any]:
    """Return generate's settings; the model's own stay for whatever is not named here (beams, forced tokens)."""
    own = model.generation_config
    banned = set(own.suppress_tokens or ()) | ({own.pad_token_id} - set(token_ids(own.eos_token_id)))
    arguments = {
        "max_new_tokens": decoding.max_new_tokens,
        "min_new_tokens": decoding.min_new_tokens or None,
        "min_length": 0,
        "do_sample": False,
        "suppress_tokens": sorted(banned) or None,
    }
    if decoding.sample or decoding.stop or not model.config.is_encoder_decoder:
        arguments["num_beams"] = 1  # beams share neither noise nor a length
    return arguments


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
