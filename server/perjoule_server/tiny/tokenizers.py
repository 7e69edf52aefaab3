"""The tiny models' tokenizers: byte-level BPE, trained on the package's own text when a model is built.

BPE because training it is deterministic (training WordPiece is not); byte-level because any text then has tokens.
"""

import json
from collections.abc import Sequence
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import CLIPTokenizer, PreTrainedTokenizerFast

from perjoule_server.tiny.corpus import CORPUS

VOCABULARY = 1500
"""Largest number of tokens; the text of this package fills about as many."""

SPECIAL = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
"""In the order of RoBERTa and BART, so that the ids are those that their configurations expect."""

BOS, PAD, EOS, UNK, MASK = range(5)


def text_tokenizer(limit: int, template: str | None = None, pair: str | None = None) -> PreTrainedTokenizerFast:
    """Return a trained tokenizer that adds ``template`` around a text and ``pair`` around two.

    Args:
        limit: longest input of the model, in tokens.
        template: such as ``<s> $A </s>``; None adds nothing.
        pair: such as ``<s> $A </s> $B:1 </s>:1``.
    """
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    mask = AddedToken("<mask>", lstrip=True, special=True)  # as RoBERTa has it: the space before it is its own
    backend.train_from_iterator(CORPUS, _trainer((*SPECIAL[:MASK], mask)))
    words = processors.ByteLevel(trim_offsets=True)  # a word's offsets leave out the space before it
    backend.post_processor = words
    if template is not None:
        marks = [(token, backend.token_to_id(token)) for token in SPECIAL]
        around = processors.TemplateProcessing(single=template, pair=pair, special_tokens=marks)
        backend.post_processor = processors.Sequence([words, around])
    names = dict(zip(("bos_token", "pad_token", "eos_token", "unk_token"), SPECIAL, strict=False))
    ends = {"cls_token": "<s>", "sep_token": "</s>", "mask_token": mask}
    return PreTrainedTokenizerFast(tokenizer_object=backend, model_max_length=limit, **names, **ends)


def _trainer(special: Sequence[str | AddedToken], suffix: str = "") -> trainers.BpeTrainer:
    return trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(special),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        end_of_word_suffix=suffix,
        show_progress=False,
    )


def clip_tokenizer(limit: int) -> CLIPTokenizer:
    """Return a CLIP tokenizer with merges of the package's text: lower case, words end in ``</w>``."""
    backend = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    backend.normalizer = normalizers.Lowercase()
    words = pre_tokenizers.Split(Regex(r"[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"), behavior="removed", invert=True)
    backend.pre_tokenizer = pre_tokenizers.Sequence([words, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    # Every letter at the end of a word is named beforehand: the trainer would number them in the order of a hash table.
    endings = [letter + "</w>" for letter in sorted(pre_tokenizers.ByteLevel.alphabet())]
    backend.train_from_iterator(CORPUS, _trainer(("<|startoftext|>", "<|endoftext|>", *endings), "</w>"))
    state = json.loads(backend.model.__getstate__())  # the only way to the merges but a file
    merges: Any = [tuple(pair) for pair in state["merges"]]
    return CLIPTokenizer(vocab=backend.get_vocab(), merges=merges, model_max_length=limit)


def unprintable(tokenizer: PreTrainedTokenizerFast) -> list[int]:
    """Return the ids that a random model must not write: special tokens, and pieces that are no printable ASCII."""
    pieces = ((id_, str(tokenizer.decode([id_]))) for id_ in range(len(tokenizer)))
    special = set(tokenizer.all_special_ids)
    return [id_ for id_, text in pieces if id_ in special or not (text.isascii() and text.isprintable())]
