"""Text to image with a diffusers pipeline; requests of one size, step count and guidance share a batch."""

import io
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from perjoule.errors import InvalidInputError
from perjoule_server.tasks.base import Answer, Prepared, RawOutput, TaskRequest
from perjoule_server.tasks.inputs import Parameters, text_of
from perjoule_server.tasks.tokens import Tokens

MAX_BATCH = 8
MAX_SIDE = 1024
MAX_STEPS = 150

_GRID = 8  # pixels a latent place; both sides must be whole multiples
_KNOWN = frozenset({"width", "height", "num_inference_steps", "guidance_scale", "seed", "negative_prompt"})


@dataclass(frozen=True, slots=True)
class Picture:
    """What all images of a batch have in common."""

    width: int
    height: int
    steps: int
    guidance: float


@dataclass(frozen=True, slots=True)
class _Prompt:
    text: str
    negative: str
    seed: int
    picture: Picture


class TextToImage:
    """``inputs``: a prompt. Reply: the bytes of a PNG."""

    max_batch = MAX_BATCH

    def __init__(self, pipeline: Any, options: Mapping[str, Any]) -> None:
        self._pipeline = pipeline
        self._tokens = Tokens(pipeline.tokenizer, pipeline.text_encoder.config)
        side = int(pipeline.unet.config.sample_size) * int(pipeline.vae_scale_factor)
        self._default = Picture(side, side, int(options.get("num_inference_steps", 50)), 7.5)

    def prepare(self, request: TaskRequest) -> Prepared:
        """See ``Task.prepare``."""
        parameters = Parameters(request.parameters, _KNOWN)
        picture = self._picture(parameters)
        text = text_of(request.inputs)
        negative = parameters.text("negative_prompt")
        tokens = len(self._tokens.fitting(text))  # the pipeline itself would cut off the surplus in silence
        self._tokens.fitting(negative)
        seed = parameters.integer("seed", secrets.randbits(63), 0, 2**63 - 1)
        length = picture.width * picture.height // _GRID**2
        return Prepared(_Prompt(text, negative, seed, picture), length, picture, tokens)

    def _picture(self, parameters: Parameters) -> Picture:
        default = self._default
        width, height = (
            parameters.integer(name, getattr(default, name), 8 * _GRID, MAX_SIDE) for name in ("width", "height")
        )
        if width % _GRID or height % _GRID:
            raise InvalidInputError(f"width and height must be multiples of {_GRID}, not {width}×{height}")
        steps = parameters.integer("num_inference_steps", default.steps, 1, MAX_STEPS)
        return Picture(width, height, steps, parameters.number("guidance_scale", default.guidance, 0.0, 50.0))

    def run(self, batch: Sequence[Prepared]) -> list[RawOutput]:
        """See ``Task.run``."""
        asked: list[_Prompt] = [item.payload for item in batch]
        picture = asked[0].picture
        with torch.inference_mode():
            images = self._pipeline(
                prompt=[one.text for one in asked],
                negative_prompt=[one.negative for one in asked],
                # On the CPU, so that every device starts from the same noise.
                generator=[torch.Generator().manual_seed(one.seed) for one in asked],
                width=picture.width,
                height=picture.height,
                num_inference_steps=picture.steps,
                guidance_scale=picture.guidance,
                output_type="np",
            ).images
        return [RawOutput(image) for image in images]

    def finish(self, prepared: Prepared, raw: RawOutput) -> Answer:
        """See ``Task.finish``."""
        del prepared
        return Answer(_png(raw.payload), media_type="image/png")


def _png(pixels: npt.NDArray[np.floating]) -> bytes:
    """Return the PNG of pixels in [0, 1], shape [height, width, 3].

    Raises:
        ValueError: the model gave pixels that are no numbers.
    """
    if not np.isfinite(pixels).all():
        raise ValueError("the model's image holds pixels that are no finite numbers")
    file = io.BytesIO()
    Image.fromarray((pixels * 255).round().clip(0, 255).astype(np.uint8)).save(file, "PNG")
    return file.getvalue()
