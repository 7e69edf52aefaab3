"""A tokenizer for models whose weights are random: as many tokens as a trained one gives, of a vocabulary of any size.

What a token's id is does not matter to such a model, how many there are does. English words are one token each up to
ten letters, numbers up to three digits, marks one each, which is what WordPiece and byte-level BPE come to within some
15 % on English prose (a test compares). The id is a hash of the word, so that equal words are equal and ids vary.
Right for languages that write spaces; others get too few tokens.
"""

import zlib
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, models, pre_tokenizers, processors
from transformers import BatchEncoding, PreTrainedTokenizerFast

SPECIAL = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
"""In the order of RoBERTa and BART, so that ids are those that positions are counted from."""

BOS, PAD, EOS, UNK, MASK = range(5)

_WORDS = r"\p{L}{1,10}|\p{N}{1,3}|[^\s\p{L}\p{N}]"


class HashingTokenizer(PreTrainedTokenizerFast):
    """Splits as its backend says; every piece, unknown to that, gets the id that its letters hash to."""

    def __call__(self, text: str, text_pair: str | None = None, **settings: Any) -> BatchEncoding:
        """Encode one text, or two as a pair."""
        encoding = super().__call__(text, text_pair, **settings)
        detail = encoding.encodings[0]
        texts = {0: text, 1: text_pair or ""}
        encoding["input_ids"] = [
            id_ if id_ != UNK or side is None else self._hashed(texts[side][start:end])
            for id_, (start, end), side in zip(detail.ids, detail.offsets, detail.sequence_ids, strict=True)
        ]
        return encoding  # type: ignore[no-any-return]  # the library is typed in part

    def encode(self, text: str, text_pair: str | None = None, **settings: Any) -> list[int]:
        """Return the ids of one text, or of two as a pair."""
        ids: list[int] = self(text, text_pair, **settings)["input_ids"]
        return ids

    def _hashed(self, piece: str) -> int:
        return len(SPECIAL) + zlib.crc32(piece.lower().encode()) % (len(self) - len(SPECIAL))


def tokenizer(size: int, limit: int, template: str | None = None, pair: str | None = None) -> HashingTokenizer:
    """Return a tokenizer of ``size`` ids that adds ``template`` around a text and ``pair`` around two.

    Args:
        size: vocabulary of the model.
        limit: longest input of the model, in tokens.
        template: such as ``<s> $A </s>``; None adds nothing.
        pair: such as ``<s> $A </s> $B:1 </s>:1``.
    """
    # Written as "w17", which no text gives: letters and digits are never one piece.
    vocabulary = {**{token: id_ for id_, token in enumerate(SPECIAL)}, **{f"w{id_}": id_ for id_ in range(5, size)}}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token=SPECIAL[UNK]))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(_WORDS), behavior="removed", invert=True)
    if template is not None:
        marks = list(zip(SPECIAL, range(len(SPECIAL)), strict=True))
        backend.post_processor = processors.TemplateProcessing(single=template, pair=pair, special_tokens=marks)
    mask = AddedToken(SPECIAL[MASK], lstrip=True, special=True)
    names: dict[str, Any] = dict(zip(("bos_token", "pad_token", "eos_token", "unk_token"), SPECIAL, strict=False))
    names |= {"cls_token": SPECIAL[BOS], "sep_token": SPECIAL[EOS], "mask_token": mask}
    return HashingTokenizer(  # type: ignore[no-untyped-call]  # as above
        tokenizer_object=backend, model_max_length=limit, **names
    )
