"""The model files that every server of the benchmark reads: random weights from a fixed seed, a few ms of work.

    .venv/bin/python -m benchmarks.server_models FOLDER

They are larger than the tiny models of the demo, so that what stands around a model is seen in proportion. It knows
configurations and the tokenizer of the tiny models; it serves nothing.
"""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

SEED = 20231128

WORDS: Mapping[str, str] = MappingProxyType(
    {
        "text-classification": "BERT, 4 layers, 128 wide, texts of 3 to 60 words",
        "text-generation": "GPT-2, 4 layers, 128 wide, prompts of 3 to 40 words, 16 tokens written",
        "text-to-image": "Stable Diffusion, two blocks, 64 × 64 pixels, 2 steps",
    }
)
"""What each task's model is, for a reader."""


def classifier(folder: Path) -> None:
    """BERT with two labels."""
    from transformers import BertConfig, BertForSequenceClassification

    from perjoule_server.tiny.text import labels, save
    from perjoule_server.tiny.tokenizers import BOS, EOS, PAD, text_tokenizer

    tokenizer = text_tokenizer(512, "<s> $A </s>", "<s> $A </s> $B:1 </s>:1")
    shape: dict[str, Any] = {"hidden_size": 128, "num_hidden_layers": 4, "num_attention_heads": 4}
    config = BertConfig(
        vocab_size=len(tokenizer), **shape, intermediate_size=512, max_position_embeddings=512, initializer_range=0.1,
        bos_token_id=BOS, pad_token_id=PAD, eos_token_id=EOS, **labels("NEGATIVE", "POSITIVE"),
    )  # fmt: skip
    save(folder, BertForSequenceClassification(config), tokenizer)


def writer(folder: Path) -> None:
    """GPT-2."""
    from transformers import GPT2Config, GPT2LMHeadModel

    from perjoule_server.tiny.text import generation, save
    from perjoule_server.tiny.tokenizers import BOS, EOS, PAD, text_tokenizer

    tokenizer = text_tokenizer(1024)
    marks: dict[str, Any] = {"bos_token_id": BOS, "pad_token_id": PAD, "eos_token_id": EOS}
    config = GPT2Config(
        vocab_size=len(tokenizer), n_positions=1024, n_embd=128, n_layer=4, n_head=4, initializer_range=0.1, **marks
    )
    model = GPT2LMHeadModel(config)
    model.generation_config = generation(tokenizer, **marks)
    save(folder, model, tokenizer)


def painter(folder: Path) -> None:
    """Stable Diffusion, as small as it goes."""
    from perjoule_server.tiny.media import text_to_image

    text_to_image(folder)


BUILDERS: Mapping[str, Callable[[Path], None]] = MappingProxyType(
    {
        "text-classification": classifier,
        "text-generation": writer,
        "text-to-image": painter,
    }
)
"""How each task's model is built."""


def build(folder: Path) -> None:
    """Build every model into a folder of its task's name below ``folder``."""
    import torch

    for task, builder in BUILDERS.items():
        torch.manual_seed(SEED)
        (folder / task).mkdir(parents=True)
        builder(folder / task)


if __name__ == "__main__":
    build(Path(sys.argv[1]))
