"""Tasks that read an image: classification, object detection, captions.

Pixels are resized and scaled in ``prepare``; images whose tensors differ in shape never share a batch, so that none is
padded.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch

from perjoule_server.tasks.base import ENCODE, Answer, Prepared, RawOutput, TaskRequest, Work
from perjoule_server.tasks.decoding import Writing, default_decoding, generate
from perjoule_server.tasks.encoder import default_activation, to_numpy
from perjoule_server.tasks.images import decode_image
from perjoule_server.tasks.inputs import Parameters, media_of
from perjoule_server.tasks.scores import ACTIVATIONS, activate, labelled
from perjoule_server.tasks.settings import LENGTHS, SAMPLING, Decoding, read_decoding, read_seed
from perjoule_server.tasks.tokens import Tokens, paddings

MAX_BATCH = 32
"""Largest batch of images."""

_PATCH = 16  # pixels a side: what one "token" of an image is taken to be


def pixels_of(processor: Any, media: bytes) -> tuple[torch.Tensor, tuple[int, int]]:
    """Return the model's input [3, height, width] and the image's own (width, height)."""
    image = decode_image(media)
    return processor(images=image, return_tensors="pt")["pixel_values"][0], image.size


def patches(pixels: torch.Tensor) -> int:
    """Return the length of an image in patches."""
    return max(1, pixels.shape[-1] * pixels.shape[-2] // _PATCH**2)


def areas(batch: Sequence[Prepared]) -> list[int]:
    """Return the pixels that the model reads of each image: its weight."""
    return [item.payload.pixels.shape[-1] * item.payload.pixels.shape[-2] for item in batch]


def stacked(batch: Sequence[Prepared], model: Any) -> torch.Tensor:
    """Return the images of a batch, on the model's device and in its precision."""
    return torch.stack([item.payload.pixels for item in batch]).to(model.device, model.dtype)


@dataclass(frozen=True, slots=True)
class _Classified:
    pixels: torch.Tensor
    top_k: int
    activation: str


class ImageClassification:
    """Bytes of an image. Reply: ``[{label, score}, …]``, five unless ``top_k`` says otherwise."""

    max_batch = MAX_BATCH

    def __init__(self, model: Any, processor: Any) -> None:
        self._model, self._processor = model, processor

    def prepare(self, request: TaskRequest) -> Prepared:
        """See ``Task.prepare``."""
        parameters = Parameters(request.parameters, {"top_k", "function_to_apply"})
        top_k = parameters.integer("top_k", 5, 1, 100_000)
        activation = parameters.choice("function_to_apply", default_activation(self._model.config), ACTIVATIONS)
        pixels, _ = pixels_of(self._processor, media_of(request))
        return Prepared(_Classified(pixels, top_k, activation), patches(pixels), tuple(pixels.shape))

    def run(self, batch: Sequence[Prepared], work: Work) -> list[RawOutput]:
        """See ``Task.run``."""
        with work.phase(ENCODE, areas(batch)), torch.inference_mode():
            logits = to_numpy(self._model(pixel_values=stacked(batch, self._model)).logits)
        return [RawOutput(row) for row in logits]

    def finish(self, prepared: Prepared, raw: RawOutput) -> Answer:
        """See ``Task.finish``."""
        asked: _Classified = prepared.payload
        scores = activate(raw.payload, asked.activation)
        return Answer(labelled(scores, self._model.config.id2label, asked.top_k))


@dataclass(frozen=True, slots=True)
class _Searched:
    pixels: torch.Tensor
    width: int
    height: int
    threshold: float


class ObjectDetection:
    """Bytes of an image. Reply: ``[{label, score, box: {xmin, ymin, xmax, ymax}}, …]``, boxes in its own pixels."""

    max_batch = MAX_BATCH

    def __init__(self, model: Any, processor: Any) -> None:
        self._model, self._processor = model, processor

    def prepare(self, request: TaskRequest) -> Prepared:
        """See ``Task.prepare``."""
        parameters = Parameters(request.parameters, {"threshold"})
        threshold = parameters.number("threshold", 0.5, 0.0, 1.0)
        pixels, (width, height) = pixels_of(self._processor, media_of(request))
        return Prepared(_Searched(pixels, width, height, threshold), patches(pixels), tuple(pixels.shape))

    def run(self, batch: Sequence[Prepared], work: Work) -> list[RawOutput]:
        """See ``Task.run``."""
        with work.phase(ENCODE, areas(batch)), torch.inference_mode():
            output = self._model(pixel_values=stacked(batch, self._model))
            logits, boxes = output.logits.float().cpu(), output.pred_boxes.float().cpu()
        return [RawOutput((logits[row : row + 1], boxes[row : row + 1])) for row in range(len(batch))]

    def finish(self, prepared: Prepared, raw: RawOutput) -> Answer:
        """See ``Task.finish``."""
        asked: _Searched = prepared.payload
        logits, boxes = raw.payload
        found = self._processor.post_process_object_detection(
            SimpleNamespace(logits=logits, pred_boxes=boxes), asked.threshold, [(asked.height, asked.width)]
        )[0]
        rows = zip(found["scores"].tolist(), found["labels"].tolist(), found["boxes"].tolist(), strict=True)
        objects = [self._object(asked, score, label, box) for score, label, box in rows]
        return Answer(sorted(objects, key=lambda one: -one["score"]))

    def _object(self, asked: _Searched, score: float, label: int, box: Sequence[float]) -> dict[str, Any]:
        sides = {"xmin": asked.width, "ymin": asked.height, "xmax": asked.width, "ymax": asked.height}
        inside = {name: min(max(round(value), 0), most) for (name, most), value in zip(sides.items(), box, strict=True)}
        return {"label": self._model.config.id2label[label], "score": score, "box": inside}


@dataclass(frozen=True, slots=True)
class _Captioned:
    pixels: torch.Tensor
    decoding: Decoding
    seed: int


class ImageToText:
    """Bytes of an image. Reply: ``[{generated_text}]``."""

    max_batch = MAX_BATCH

    def __init__(self, model: Any, processor: Any, tokens: Tokens) -> None:
        self._model, self._processor, self._tokens = model, processor, tokens
        self._default = default_decoding(model)

    def prepare(self, request: TaskRequest) -> Prepared:
        """See ``Task.prepare``."""
        known = LENGTHS | SAMPLING
        parameters = Parameters(request.parameters, known | {"generation_parameters"})
        parameters = parameters.with_nested("generation_parameters", known)
        decoding = read_decoding(parameters, self._default, self._tokens.limit - 1)
        pixels, _ = pixels_of(self._processor, media_of(request))
        length = patches(pixels) + decoding.max_new_tokens
        return Prepared(_Captioned(pixels, decoding, read_seed(parameters)), length, (tuple(pixels.shape), decoding))

    def run(self, batch: Sequence[Prepared], work: Work) -> list[RawOutput]:
        """See ``Task.run``."""
        writing = Writing(work, areas(batch))
        inputs = {"pixel_values": stacked(batch, self._model)}
        seeds = [item.payload.seed for item in batch]
        written = generate(self._model, inputs, self._tokens, batch[0].payload.decoding, writing, start=1, seeds=seeds)
        padding = paddings([len(ids) for ids in written])
        return [RawOutput(*one) for one in zip(written, padding, strict=True)]

    def finish(self, prepared: Prepared, raw: RawOutput) -> Answer:
        """See ``Task.finish``."""
        del prepared
        text = self._tokens.text(raw.payload).strip()
        return Answer([{"generated_text": text}], output_tokens=len(raw.payload))
