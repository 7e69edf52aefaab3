"""What every peer does with a request: the same model files, called in the plainest way that is not wasteful.

It runs in the peers' environments, which have torch, transformers and diffusers and nothing of ours. Which server
stands around it, and how it batches, is the business of the files beside this one.
"""

import io
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

NEW_TOKENS = 16
"""How much is written for a prompt."""

STEPS = 2
"""Denoising steps of an image."""

PNG = "image/png"

Work = Callable[[Sequence[str]], list[Any]]


@dataclass(frozen=True, slots=True)
class Settings:
    """What a peer is told, in the environment.

    Attributes:
        task: what is served.
        folder: the model's files.
        port: where to listen, on 127.0.0.1.
        max_batch: most requests of a batch.
        wait_seconds: longest wait for company.
    """

    task: str
    folder: Path
    port: int
    max_batch: int
    wait_seconds: float

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Settings":
        """Read them."""
        return cls(
            environment["PEER_TASK"],
            Path(environment["PEER_FOLDER"]),
            int(environment["PEER_PORT"]),
            int(environment["PEER_MAX_BATCH"]),
            float(environment["PEER_WAIT_SECONDS"]),
        )

    @property
    def media_type(self) -> str:
        """Return the Content-Type of a reply."""
        return PNG if self.task == "text-to-image" else "application/json"

    def load(self) -> Work:
        """Load the model; one thread for an operation, as ours."""
        torch.set_num_threads(1)
        return WORK[self.task](self.folder)


def classify(folder: Path) -> Work:
    """Return labels and their scores for texts."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    names = model.config.id2label

    def work(texts: Sequence[str]) -> list[Any]:
        inputs = tokenizer(list(texts), padding=True, return_tensors="pt")
        with torch.inference_mode():
            rows = model(**inputs).logits.softmax(-1).tolist()
        return [
            [[{"label": names[place], "score": score} for place, score in sorted(enumerate(row), key=lambda x: -x[1])]]
            for row in rows
        ]

    return work


def write(folder: Path) -> Work:
    """Return what a causal model writes after prompts, greedily."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(folder).eval()

    def work(texts: Sequence[str]) -> list[Any]:
        inputs = tokenizer(list(texts), padding=True, return_tensors="pt", return_token_type_ids=False)
        with torch.inference_mode():
            rows = model.generate(**inputs, max_new_tokens=NEW_TOKENS, do_sample=False)
        written = tokenizer.batch_decode(rows[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        return [[{"generated_text": text}] for text in written]

    return work


def paint(folder: Path) -> Work:
    """Return the bytes of PNGs for prompts."""
    from diffusers import StableDiffusionPipeline

    pipeline = StableDiffusionPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)

    def work(texts: Sequence[str]) -> list[Any]:
        with torch.inference_mode():
            images = pipeline(list(texts), num_inference_steps=STEPS).images
        return [_png(image) for image in images]

    return work


def _png(image: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


WORK: Mapping[str, Callable[[Path], Work]] = MappingProxyType(
    {
        "text-classification": classify,
        "text-generation": write,
        "text-to-image": paint,
    }
)
"""How each task's model is loaded."""
