"""Text to image with a diffusers pipeline; requests of one size, step count and guidance share a batch."""

import copy
import io
import secrets
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from perjoule.errors import InvalidInputError
from perjoule_server.tasks.base import DECODE_IMAGE, DENOISE, ENCODE, Answer, Prepared, RawOutput, TaskRequest, Work
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
        # A tokenizer of its own for the preparing threads: the pipeline sets the padding of its one at each call.
        self._tokens = Tokens(copy.deepcopy(pipeline.tokenizer), pipeline.text_encoder.config)
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

    def run(self, batch: Sequence[Prepared], work: Work) -> list[RawOutput]:
        """See ``Task.run``."""
        asked: list[_Prompt] = [item.payload for item in batch]
        picture = asked[0].picture
        try:
            with _Drawing(self._pipeline, work, [item.input_tokens for item in batch], picture) as drawing:
                images = self._images(asked, picture, drawing)
        except _NobodyWaitsError:
            return [RawOutput(None)] * len(batch)
        return [RawOutput(image) for image in images]

    def _images(self, asked: Sequence[_Prompt], picture: Picture, drawing: "_Drawing") -> npt.NDArray[np.floating]:
        """Return the images [requests, height, width, 3]."""
        with torch.inference_mode():
            return self._pipeline(  # type: ignore[no-any-return]  # diffusers is typed in part
                prompt=[one.text for one in asked],
                negative_prompt=[one.negative for one in asked],
                # On the CPU, so that every device starts from the same noise.
                generator=[torch.Generator().manual_seed(one.seed) for one in asked],
                width=picture.width,
                height=picture.height,
                num_inference_steps=picture.steps,
                guidance_scale=picture.guidance,
                callback_on_step_end=drawing.stepped,
                output_type="np",
            ).images

    def finish(self, prepared: Prepared, raw: RawOutput) -> Answer:
        """See ``Task.finish``."""
        del prepared
        return Answer(_png(raw.payload), media_type="image/png")


class _NobodyWaitsError(Exception):
    """All clients of a batch have left; ends the pipeline, which has no other way out."""


class _Drawing:
    """Tells the three phases of a pipeline apart, by its first call of the denoiser and by its last step."""

    def __init__(self, pipeline: Any, work: Work, tokens: Sequence[int], picture: Picture) -> None:
        self._work, self._tokens, self._steps = work, tokens, picture.steps
        self._pixels = [picture.width * picture.height] * len(tokens)
        self._denoiser = pipeline.unet
        self._stack = ExitStack()
        self._hook: Any = None

    def __enter__(self) -> Self:
        self._hook = self._denoiser.register_forward_pre_hook(self._denoise)
        self._begin(ENCODE, self._tokens)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._hook.remove()
        self._stack.__exit__(kind, error, trace)

    def stepped(self, pipeline: Any, step: int, _time: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        """Take over that a step of denoising is done; the pipeline goes on with the tensors that are returned."""
        if all(self._work.left(place) for place in range(len(self._pixels))):
            raise _NobodyWaitsError
        if step == pipeline.num_timesteps - 1:  # some schedulers take more than were asked for
            self._begin(DECODE_IMAGE, self._pixels)
        else:
            done = (step + 1) * self._steps / pipeline.num_timesteps
            self._work.pause([pixels * done for pixels in self._pixels])
        return tensors

    def _denoise(self, *_: Any) -> None:
        self._hook.remove()
        self._begin(DENOISE, [pixels * self._steps for pixels in self._pixels])

    def _begin(self, phase: str, weights: Sequence[float]) -> None:
        self._stack.close()
        self._stack.enter_context(self._work.phase(phase, weights))


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
