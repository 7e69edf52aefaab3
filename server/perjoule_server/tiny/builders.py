"""Which function builds which tiny model, and under which seed."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import torch

from perjoule_server.tiny import media, text

BUILDERS: Mapping[str, Callable[[Path], None]] = MappingProxyType({
    "text-classification": text.text_classification,
    "token-classification": text.token_classification,
    "question-answering": text.question_answering,
    "fill-mask": text.fill_mask,
    "text-generation": text.text_generation,
    "summarization": text.summarization,
    "image-classification": media.image_classification,
    "object-detection": media.object_detection,
    "image-to-text": media.image_to_text,
    "text-to-image": media.text_to_image,
    "multi-purpose": text.multi_purpose,
    "feature-extraction": text.feature_extraction,
    "automatic-speech-recognition": media.speech_recognition,
})  # fmt: skip

SEED = 20231128
"""Any constant would do; this is the day on which the study was submitted."""


def build(name: str, folder: Path) -> None:
    """Build the model called ``name`` into the empty ``folder``; the caller's random state stays as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        BUILDERS[name](folder)
