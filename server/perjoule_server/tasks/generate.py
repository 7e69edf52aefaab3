"""Text generation and summarization."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from perjoule.errors import InvalidInputError
from perjoule_server.tasks.base import Answer, Prepared, RawOutput, TaskRequest, Work
from perjoule_server.tasks.chat import Chat, render
from perjoule_server.tasks.decoding import MAX_BATCH, LanguageModel, token_ids
from perjoule_server.tasks.inputs import Parameters, text_of
from perjoule_server.tasks.settings import LENGTHS, SAMPLING, Decoding, read_decoding, read_seed
from perjoule_server.tasks.tokens import Row, paddings


@dataclass(frozen=True, slots=True)
class Written:
    """One request of a model that writes.

    Attributes:
        row: the encoded prompt.
        decoding: how to write.
        seed: of the request's own noise.
        prompt: the prompt as text, where the reply repeats it.
        details: whether the reply says why the text ended.
    """

    row: Row
    decoding: Decoding
    seed: int = 0
    prompt: str = ""
    details: bool = False


def prepared(language: LanguageModel, written: Written) -> Prepared:
    """Return the request with its length, its key and its tokens."""
    tokens = len(written.row["input_ids"])
    length, key = language.length(tokens, written.decoding), language.key(tokens, written.decoding)
    return Prepared(written, length, key, tokens)


def run_batch(language: LanguageModel, batch: Sequence[Prepared], work: Work) -> list[RawOutput]:
    """Write for a batch of ``Written`` with the same key."""
    rows = [item.payload.row for item in batch]
    seeds = [item.payload.seed for item in batch]
    written = language.write(rows, [item.payload.decoding for item in batch], work, seeds)
    return [RawOutput(*one) for one in zip(written, paddings_of(rows, written), strict=True)]


def paddings_of(rows: Sequence[Row], written: Sequence[Sequence[int]]) -> list[int]:
    """Return the padding of each row: before the prompt, and the steps of others after its own end."""
    before, after = paddings([len(row["input_ids"]) for row in rows]), paddings([len(ids) for ids in written])
    return [one + other for one, other in zip(before, after, strict=True)]


# Hugging Face's schema has these too; clients send them switched off.
_OFF = {
    "best_of": (1,), "watermark": (False,), "decoder_input_details": (False,), "frequency_penalty": (0.0, 0),
    "repetition_penalty": (1.0, 1), "typical_p": (1.0, 1), "top_n_tokens": (0,),
}  # fmt: skip


class TextGeneration:
    """``inputs``: a prompt, or a ``Chat``. Reply: ``[{generated_text}]``, with ``details`` where they are asked for.

    The text does not repeat the prompt unless ``return_full_text`` says so. A stop string ends the text and is part of
    it, as in text-generation-inference.
    """

    max_batch = MAX_BATCH

    def __init__(self, language: LanguageModel) -> None:
        self._language = language

    def prepare(self, request: TaskRequest) -> Prepared:
        """See ``Task.prepare``."""
        own = {"return_full_text", "stop", "truncate", "details"}
        parameters = Parameters(request.parameters, LENGTHS | SAMPLING | own | set(_OFF))
        for name, off in _OFF.items():
            parameters.only(name, *off)
        text, special = self._prompt(request.inputs)
        default, limit = self._language.default, self._language.tokens.limit
        if isinstance(request.inputs, Chat) and "max_new_tokens" not in parameters:
            default = replace(default, max_new_tokens=self._language.long_answer(text, special=special))
        decoding = read_decoding(parameters, default, limit, parameters.texts("stop", 16, blank=True))
        row = self._encode(text, decoding, parameters, special=special)
        full = parameters.flag("return_full_text", default=False)
        details = parameters.flag("details", default=False)
        written = Written(row, decoding, read_seed(parameters), text if full else "", details)
        return prepared(self._language, written)

    def _prompt(self, inputs: Any) -> tuple[str, bool]:
        """Return the prompt, and whether the tokenizer is to put its special tokens around it."""
        if not isinstance(inputs, Chat):
            return text_of(inputs), True
        text, marked = render(inputs, self._language.tokens.tokenizer)
        return text, not marked

    def _encode(self, text: str, decoding: Decoding, parameters: Parameters, *, special: bool) -> Row:
        if "truncate" not in parameters:
            return self._language.encode(text, decoding, special=special)
        keep = parameters.integer("truncate", 0, 1, 10**9)
        return self._language.encode_cut(text, decoding, keep, left=True)

    def run(self, batch: Sequence[Prepared], work: Work) -> list[RawOutput]:
        """See ``Task.run``."""
        return run_batch(self._language, batch, work)

    @property
    def special(self) -> frozenset[int]:
        """See ``Writer.special``."""
        return frozenset(self._language.tokens.tokenizer.all_special_ids)

    def text(self, ids: Sequence[int]) -> str:
        """See ``Writer.text``."""
        return self._language.tokens.text(ids)

    def finish(self, prepared: Prepared, raw: RawOutput) -> Answer:
        """See ``Task.finish``."""
        asked: Written = prepared.payload
        text, stopped = _cut(self._language.tokens.text(raw.payload), asked.decoding.stop)
        reply: dict[str, Any] = {"generated_text": asked.prompt + text}
        if asked.details:
            reply["details"] = self._details(asked, raw.payload, stopped=stopped)
        count = len(raw.payload)
        return Answer([reply], output_tokens=count, work_units=count)

    def _details(self, asked: Written, ids: Sequence[int], *, stopped: bool) -> dict[str, Any]:
        ends = token_ids(self._language.model.generation_config.eos_token_id)
        ended = "eos_token" if ids and ids[-1] in ends else "length"
        seed = asked.seed if asked.decoding.sample else None
        return {"finish_reason": "stop_sequence" if stopped else ended, "generated_tokens": len(ids), "seed": seed,
                "prefill": [], "tokens": []}  # fmt: skip


def _cut(text: str, stop: Sequence[str]) -> tuple[str, bool]:
    """Cut ``text`` after the first stop string that it holds."""
    ends = [text.index(one) + len(one) for one in stop if one in text]
    return (text[: min(ends)], True) if ends else (text, False)


_TRUNCATION = ("do_not_truncate", "longest_first", "only_first")
_SUMMARY = LENGTHS | SAMPLING | {"max_length", "min_length"}


class Summarization:
    """``inputs``: a text. Reply: ``[{summary_text}]``.

    Lengths stand in ``generate_parameters``, as the schema has it, or beside it. ``max_length`` and ``min_length``
    count the decoder's start token, as transformers counts them.
    """

    max_batch = MAX_BATCH

    def __init__(self, language: LanguageModel, prompt: str = "{text}", default: Decoding | None = None) -> None:
        self._language, self._prompt, self._default = language, prompt, default or language.default

    def prepare(self, request: TaskRequest) -> Prepared:
        """See ``Task.prepare``."""
        flat = Parameters(
            request.parameters, _SUMMARY | {"generate_parameters", "truncation", "clean_up_tokenization_spaces"}
        )
        cut = flat.choice("truncation", "do_not_truncate", _TRUNCATION) != "do_not_truncate"
        flat.flag("clean_up_tokenization_spaces", default=False)
        parameters = flat.with_nested("generate_parameters", _SUMMARY)
        decoding = self._decoding(parameters)
        prompt = self._prompt.replace("{text}", text_of(request.inputs))
        row = (self._language.encode_cut if cut else self._language.encode)(prompt, decoding)
        return prepared(self._language, Written(row, decoding, read_seed(parameters)))

    def _decoding(self, parameters: Parameters) -> Decoding:
        most = self._language.tokens.limit
        first = 0 if self._language.causal else 1
        default = self._default
        longest = parameters.integer("max_length", default.max_new_tokens + first, 1 + first, most) - first
        shortest = parameters.integer("min_length", default.min_new_tokens + first, 0, most) - first
        if "max_length" in parameters and "min_length" in parameters and shortest > longest:
            raise InvalidInputError(f"min_length ({shortest + first}) is over max_length ({longest + first})")
        return read_decoding(
            parameters, replace(default, max_new_tokens=longest, min_new_tokens=max(shortest, 0)), most
        )

    def run(self, batch: Sequence[Prepared], work: Work) -> list[RawOutput]:
        """See ``Task.run``."""
        return run_batch(self._language, batch, work)

    def finish(self, prepared: Prepared, raw: RawOutput) -> Answer:
        """See ``Task.finish``."""
        del prepared
        count = len(raw.payload)
        summary = self._language.tokens.text(raw.payload).strip()
        return Answer([{"summary_text": summary}], output_tokens=count, work_units=count)
