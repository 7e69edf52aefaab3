"""A full-size model with random weights, made on its device in its precision: no file, no second copy in memory.

A model is laid out on ``meta``, given uninitialised memory where it will run, and initialised there once by the
library's own rules. Without trained weights a model would end its answers by chance, so it may not: special tokens are
never written, and lengths are those that a request asks for.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import transformers

from perjoule_server.profiles.blueprints import MARKS, TEXT, Blueprint
from perjoule_server.profiles.pictures import PICTURES
from perjoule_server.profiles.sights import SIGHTS
from perjoule_server.profiles.vocabulary import SPECIAL, tokenizer
from perjoule_server.tiny.text import ENTITY_LABELS, labels

SEED = 20231128
"""As the tiny models' own: the same machine makes the same weights."""

_LABELS = {"text-classification": ("NEGATIVE", "POSITIVE"), "token-classification": ENTITY_LABELS}


class Untrained:
    """The parts of one architecture's model for one workload, as ``tasks.loaders`` asks for them."""

    def __init__(self, name: str, task: str, device: torch.device, dtype: torch.dtype) -> None:
        self._name, self._task, self._device, self._dtype = name, task, device, dtype
        self.key: tuple[str, ...] = (f"architecture/{name}", str(device), str(dtype))

    @property
    def _blueprint(self) -> Blueprint:
        return TEXT[self._name] if self._name in TEXT else SIGHTS[self._name]

    def config(self) -> Any:
        """Return the configuration, with the labels of the workload."""
        config = self._blueprint.config()
        if self._task in _LABELS:
            config.id2label = labels(*_LABELS[self._task])["id2label"]
            config.label2id = labels(*_LABELS[self._task])["label2id"]
        return config

    def model(self, auto: Any) -> Any:
        """Return the model that ``auto`` makes of the configuration."""
        with torch.device("meta"):
            model = auto.from_config(self.config(), dtype=self._dtype)
        self._fill(model)
        if getattr(model, "generation_config", None) is not None:
            model.generation_config = self._generation(model.config)
        return model.eval()

    def tokenizer(self) -> Any:
        """Return a tokenizer of the model's vocabulary."""
        config = self.config()
        texts = getattr(config, "text_config", None) or getattr(config, "decoder", None) or config
        return tokenizer(texts.vocab_size, self._blueprint.limit, *(self._blueprint.frame or (None, None)))

    def processor(self) -> Any:
        """Return the image processor or feature extractor."""
        make = self._blueprint.processor
        if make is None:
            raise ValueError(f"{self._name} reads text only")
        return make()

    def pipeline(self) -> Any:
        """Return the diffusion pipeline."""
        with torch.device("meta"):
            pipeline = PICTURES[self._name]()
        for part in pipeline.components.values():
            if isinstance(part, torch.nn.Module):
                self._fill(part.to(self._dtype))
                part.eval()
        return pipeline

    def _generation(self, config: Any) -> transformers.GenerationConfig:
        marks = dict(MARKS)
        start = getattr(config, "decoder_start_token_id", None)
        if start is not None:
            marks["decoder_start_token_id"] = start
        return transformers.GenerationConfig(
            **{**marks, "max_new_tokens": 20, **self._blueprint.generation}, suppress_tokens=list(range(len(SPECIAL)))
        )

    def _fill(self, model: torch.nn.Module) -> None:
        """Give a model on ``meta`` its memory and its values."""
        model.to_empty(device=self._device)
        with _seeded(self._device), torch.no_grad():
            for tensor in (*model.parameters(), *model.buffers()):
                tensor.zero_()  # what no rule initialises must not be what the memory held
            if isinstance(model, transformers.PreTrainedModel):
                model.init_weights()  # values, buffers and ties
                return
            for module in model.modules():
                if callable(reset := getattr(module, "reset_parameters", None)):
                    reset()


@contextmanager
def _seeded(device: torch.device) -> Iterator[None]:
    """Seed the random state for the block, and leave the caller's as it was."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(SEED)
        yield
