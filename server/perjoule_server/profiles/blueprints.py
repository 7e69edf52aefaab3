"""The shapes of the architectures of text and speech models, as their makers published them.

A blueprint is a configuration of the library's own class with what belongs around it: the tokenizer's frame, the
settings of its generation. Special ids are those of ``vocabulary``, which do not change the size of anything. Nothing
here holds weights. Sources: the papers, and the ``config.json`` of the models named in ``architecture``; a test counts
the parameters against published figures.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import transformers

from perjoule_server.profiles.vocabulary import BOS, EOS, PAD

MARKS: Mapping[str, Any] = MappingProxyType({"bos_token_id": BOS, "pad_token_id": PAD, "eos_token_id": EOS})
"""The special ids of every configuration."""

_BERT = ("<s> $A </s>", "<s> $A </s> $B:1 </s>:1")
_ROBERTA = ("<s> $A </s>", "<s> $A </s> </s> $B </s>")
_T5 = ("$A </s>", "$A </s> $B </s>")


@dataclass(frozen=True, slots=True)
class Blueprint:
    """One architecture.

    Attributes:
        config: makes its configuration.
        limit: longest input in tokens.
        frame: what the tokenizer adds around one text and around two; None adds nothing.
        generation: settings with which it writes, where they are not the library's own (beams of the published model).
        processor: makes the image processor or the feature extractor, where it has one.
    """

    config: Callable[[], Any]
    limit: int = 512
    frame: tuple[str, str] | None = None
    generation: Mapping[str, Any] = field(default_factory=dict)
    processor: Callable[[], Any] | None = None


def made(kind: Any, **settings: Any) -> Any:
    """Return a configuration; its classes take more settings than their signatures tell a type checker."""
    return kind(**settings)


def bert(width: int, layers: int, heads: int, vocabulary: int = 30_522) -> Blueprint:
    """Return BERT (Devlin et al. 2019)."""
    return Blueprint(
        lambda: transformers.BertConfig(
            vocab_size=vocabulary, hidden_size=width, num_hidden_layers=layers, num_attention_heads=heads,
            intermediate_size=4 * width, **MARKS,
        ),
        frame=_BERT,
    )  # fmt: skip


def roberta(width: int, layers: int, heads: int) -> Blueprint:
    """Return RoBERTa (Liu et al. 2019): 514 places for 512 tokens."""
    return Blueprint(
        lambda: transformers.RobertaConfig(
            vocab_size=50_265, hidden_size=width, num_hidden_layers=layers, num_attention_heads=heads,
            intermediate_size=4 * width, max_position_embeddings=514, type_vocab_size=1, layer_norm_eps=1e-5, **MARKS,
        ),
        frame=_ROBERTA,
    )  # fmt: skip


def distilbert() -> Blueprint:
    """Return DistilBERT (Sanh et al. 2019)."""
    return Blueprint(lambda: transformers.DistilBertConfig(vocab_size=30_522, **MARKS), frame=_BERT)


def gpt2(width: int = 768, layers: int = 12, heads: int = 12) -> Blueprint:
    """Return GPT-2 (Radford et al. 2019)."""
    return Blueprint(lambda: transformers.GPT2Config(n_embd=width, n_layer=layers, n_head=heads, **MARKS), 1024)


def opt(width: int, layers: int, heads: int) -> Blueprint:
    """Return OPT (Zhang et al. 2022)."""
    return Blueprint(
        lambda: transformers.OPTConfig(
            hidden_size=width, word_embed_proj_dim=width, num_hidden_layers=layers, num_attention_heads=heads,
            ffn_dim=4 * width, **MARKS,
        ),
        2048,
    )  # fmt: skip


def bloom(width: int, layers: int, heads: int) -> Blueprint:
    """Return BLOOM and BLOOMz (BigScience 2022)."""
    return Blueprint(
        lambda: transformers.BloomConfig(
            vocab_size=250_880, hidden_size=width, n_layer=layers, n_head=heads, **MARKS
        ),
        2048,
    )  # fmt: skip


def bart(encoder: int, decoder: int) -> Blueprint:
    """Return BART-large (Lewis et al. 2020) with some of its layers; summaries by four beams, as published."""
    return Blueprint(
        lambda: transformers.BartConfig(
            vocab_size=50_264, encoder_layers=encoder, decoder_layers=decoder, decoder_start_token_id=EOS,
            forced_eos_token_id=None, **MARKS,
        ),
        1024,
        _ROBERTA,
        {"num_beams": 4, "length_penalty": 2.0, "early_stopping": True},
    )  # fmt: skip


def pegasus() -> Blueprint:
    """Return PEGASUS-large (Zhang et al. 2020); summaries by eight beams, as published."""
    return Blueprint(
        lambda: transformers.PegasusConfig(
            vocab_size=96_103, d_model=1024, encoder_layers=16, decoder_layers=16, encoder_attention_heads=16,
            decoder_attention_heads=16, encoder_ffn_dim=4096, decoder_ffn_dim=4096, max_position_embeddings=512,
            decoder_start_token_id=PAD, forced_eos_token_id=None, scale_embedding=True, **MARKS,
        ),
        512,
        _T5,
        {"num_beams": 8, "length_penalty": 0.6},
    )  # fmt: skip


def flan_t5(width: int, inner: int, layers: int, heads: int) -> Blueprint:
    """Return Flan-T5 (Chung et al. 2022), which is T5 1.1: gated GELU, a head of its own."""
    return Blueprint(
        lambda: made(
            transformers.T5Config,
            d_model=width, d_kv=64, d_ff=inner, num_layers=layers, num_decoder_layers=layers, num_heads=heads,
            feed_forward_proj="gated-gelu", tie_word_embeddings=False, decoder_start_token_id=PAD,
            pad_token_id=PAD, eos_token_id=EOS,
        ),
        512,
        _T5,
    )  # fmt: skip


def whisper(width: int, layers: int, heads: int, vocabulary: int, mels: int) -> Blueprint:
    """Return Whisper (Radford et al. 2022), told to write text at once: no language or task tokens before it."""
    return Blueprint(
        lambda: transformers.WhisperConfig(
            vocab_size=vocabulary, num_mel_bins=mels, d_model=width, encoder_layers=layers, decoder_layers=layers,
            encoder_attention_heads=heads, decoder_attention_heads=heads, encoder_ffn_dim=4 * width,
            decoder_ffn_dim=4 * width, decoder_start_token_id=BOS, suppress_tokens=None, begin_suppress_tokens=None,
            **MARKS,
        ),
        448,
        generation={"is_multilingual": False},
        processor=lambda: transformers.WhisperFeatureExtractor(feature_size=mels),
    )  # fmt: skip


TEXT: Mapping[str, Blueprint] = MappingProxyType({
    "bert-base": bert(768, 12, 12),
    "bert-large": bert(1024, 24, 16),
    "all-minilm-l6": bert(384, 6, 12),
    "distilbert": distilbert(),
    "roberta-base": roberta(768, 12, 12),
    "roberta-large": roberta(1024, 24, 16),
    "gpt2": gpt2(),
    "gpt2-xl": gpt2(1600, 48, 25),
    "opt-1.3b": opt(2048, 24, 32),
    "opt-6.7b": opt(4096, 32, 32),
    "bloom-560m": bloom(1024, 24, 16),
    "bloomz-560m": bloom(1024, 24, 16),
    "bart-large": bart(12, 12),
    "distilbart-12-6": bart(12, 6),
    "pegasus": pegasus(),
    "flan-t5-large": flan_t5(1024, 2816, 24, 16),
    "flan-t5-xl": flan_t5(2048, 5120, 24, 32),
    "whisper-base": whisper(512, 6, 8, 51_865, 80),
    "whisper-large-v3": whisper(1280, 32, 20, 51_866, 128),
})  # fmt: skip
"""The text and speech architectures by name."""
