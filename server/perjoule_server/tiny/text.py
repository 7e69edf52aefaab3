"""The tiny text models: configurations, seeded random weights, and the tokenizer beside them.

Architectures are those of the study's models (BERT, RoBERTa, GPT-2, BART, T5), a few layers wide. Every function builds
one model and saves it into an empty folder, in the form that ``from_pretrained`` reads.
"""

from pathlib import Path
from typing import Any

import torch
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    BertConfig,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertForTokenClassification,
    BertModel,
    GenerationConfig,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaForMaskedLM,
    T5Config,
    T5ForConditionalGeneration,
)

from perjoule_server.tiny.tokenizers import BOS, EOS, PAD, text_tokenizer, unprintable

LIMIT = 512
"""Longest input of the encoders and of T5, in tokens."""

LONG_LIMIT = 1024
"""Longest input of GPT-2 and BART, in tokens."""

_SINGLE = "<s> $A </s>"
_PAIR = "<s> $A </s> $B:1 </s>:1"
_MARKS: dict[str, Any] = {"bos_token_id": BOS, "pad_token_id": PAD, "eos_token_id": EOS}

ENTITY_LABELS = ("O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC", "B-MISC", "I-MISC")
"""The labels of CoNLL-2003."""


def labels(*names: str) -> dict[str, Any]:
    """Return the two label maps of a configuration."""
    return {"id2label": dict(enumerate(names)), "label2id": {name: id_ for id_, name in enumerate(names)}}


def generation(tokenizer: PreTrainedTokenizerFast, **marks: Any) -> GenerationConfig:
    """Return generation settings with which a random model writes printable text and ends where it was told."""
    return GenerationConfig(**marks, suppress_tokens=unprintable(tokenizer), max_new_tokens=20, do_sample=False)


def _encoder_settings(vocabulary: int, **more: Any) -> dict[str, Any]:
    shape = {"hidden_size": 128, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 512}
    return {"vocab_size": vocabulary, "initializer_range": 0.1, **shape, **_MARKS, **more}


def _save_encoder(folder: Path, kind: type[PreTrainedModel], **more: Any) -> None:
    tokenizer = text_tokenizer(LIMIT, _SINGLE, _PAIR)
    config = BertConfig(**_encoder_settings(len(tokenizer), max_position_embeddings=LIMIT, **more))
    save(folder, kind(config), tokenizer)


def save(folder: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast | None = None) -> None:
    """Save a model, and its tokenizer where it has one."""
    model.save_pretrained(folder)
    if tokenizer is not None:
        tokenizer.save_pretrained(folder)


def text_classification(folder: Path) -> None:
    """BERT with two labels."""
    _save_encoder(folder, BertForSequenceClassification, **labels("NEGATIVE", "POSITIVE"))


def token_classification(folder: Path) -> None:
    """BERT with the labels of CoNLL-2003."""
    _save_encoder(folder, BertForTokenClassification, **labels(*ENTITY_LABELS))


def question_answering(folder: Path) -> None:
    """BERT with a start and an end score for every token."""
    _save_encoder(folder, BertForQuestionAnswering)


def feature_extraction(folder: Path) -> None:
    """BERT without a head."""
    _save_encoder(folder, BertModel)


def fill_mask(folder: Path) -> None:
    """RoBERTa, whose positions start after the padding id."""
    tokenizer = text_tokenizer(LIMIT, _SINGLE, _PAIR)
    config = RobertaConfig(**_encoder_settings(len(tokenizer), max_position_embeddings=LIMIT + PAD + 1))
    save(folder, RobertaForMaskedLM(config), tokenizer)


def text_generation(folder: Path) -> None:
    """GPT-2."""
    tokenizer = text_tokenizer(LONG_LIMIT)
    config = GPT2Config(
        vocab_size=len(tokenizer), n_positions=LONG_LIMIT, n_embd=128, n_layer=4, n_head=4, initializer_range=0.1,
        **_MARKS,
    )  # fmt: skip
    model = GPT2LMHeadModel(config)
    model.generation_config = generation(tokenizer, **_MARKS)
    save(folder, model, tokenizer)


def summarization(folder: Path) -> None:
    """BART."""
    tokenizer = text_tokenizer(LONG_LIMIT, _SINGLE, _PAIR)
    config = BartConfig(
        vocab_size=len(tokenizer), max_position_embeddings=LONG_LIMIT, d_model=128, init_std=0.1,
        encoder_layers=3, decoder_layers=3, encoder_attention_heads=4, decoder_attention_heads=4,
        encoder_ffn_dim=512, decoder_ffn_dim=512, decoder_start_token_id=EOS, forced_eos_token_id=None, **_MARKS,
    )  # fmt: skip
    model = BartForConditionalGeneration(config)
    model.generation_config = generation(tokenizer, **_MARKS, decoder_start_token_id=EOS)
    save(folder, model, tokenizer)


def multi_purpose(folder: Path) -> None:
    """T5, for the three zero-shot workloads."""
    tokenizer = text_tokenizer(LONG_LIMIT, "$A </s>", "$A </s> $B:1 </s>:1")
    shape: dict[str, Any] = {"d_model": 128, "d_kv": 32, "d_ff": 512, "num_layers": 2, "num_decoder_layers": 2}
    shape["tie_word_embeddings"] = False  # a head of its own, to be scaled below
    marks: dict[str, Any] = {"pad_token_id": PAD, "eos_token_id": EOS, "decoder_start_token_id": PAD}
    config = T5Config(
        vocab_size=len(tokenizer),
        **shape,
        num_heads=4,
        feed_forward_proj="gated-gelu",
        **marks,
    )
    model = T5ForConditionalGeneration(config)
    with torch.no_grad():
        model.lm_head.weight.mul_(0.1)  # else one token takes all the probability
    model.generation_config = generation(tokenizer, **marks)
    save(folder, model, tokenizer)
