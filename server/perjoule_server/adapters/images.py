"""OpenAI's ``/v1/images/generations``, answered by text-to-image with PNGs as base64.

Each image is a request of its own to the task: each is computed and counted.
"""

import base64
import re
from collections.abc import Mapping, Sequence
from typing import Any

from perjoule.errors import InvalidInputError
from perjoule_server.adapters import fields
from perjoule_server.adapters.base import Asked, Part, Stamp, as_json, named_model, told_energy
from perjoule_server.schemas import Envelope
from perjoule_server.tasks.inputs import Parameters, text_of

_OFF: Mapping[str, Sequence[Any]] = {
    "quality": ("auto", "standard"), "style": (None,), "background": ("auto", "opaque"), "output_format": ("png",),
    "output_compression": (100,), "moderation": ("auto", "low"), "stream": (False,), "partial_images": (0,),
}  # fmt: skip
_OURS = ("num_inference_steps", "guidance_scale", "negative_prompt", "seed")
_MOST_IMAGES = 10

NAMES = {"width": "size", "height": "size"}
"""The task's parameters that have other names here."""


def read_images(value: Any) -> Asked:
    """Read the body of ``/v1/images/generations``.

    Raises:
        InvalidInputError: what is wrong, by the client's own name.
    """
    parameters = fields.body_of(value, {"model", "prompt", "n", "size", "response_format", *_OURS}, _OFF)
    if parameters.choice("response_format", "b64_json", ("b64_json", "url")) == "url":
        raise InvalidInputError("response_format url is not supported: nothing is stored; use b64_json",
                                "response_format")  # fmt: skip
    prompt = text_of(value.get("prompt"), "prompt")
    given = {**_size(parameters), **{name: value[name] for name in _OURS if value.get(name) is not None}}
    choices = fields.seeds(value, parameters.integer("n", 1, 1, _MOST_IMAGES))
    envelopes = tuple(Envelope(prompt, {**given, **seed}) for seed in choices)
    return Asked(envelopes, named_model(value.get("model")), _answer)


def _size(parameters: Parameters) -> dict[str, int]:
    """Return ``size``, ``<width>x<height>``, as the task's parameters; nothing for ``auto``, the model's own."""
    text = parameters.text("size", "auto")
    if text == "auto":
        return {}
    found = re.fullmatch(r"([0-9]{1,5})x([0-9]{1,5})", text)
    if found is None:
        raise InvalidInputError("size must be auto, or <width>x<height> in pixels such as 512x512", "size")
    return {"width": int(found[1]), "height": int(found[2])}


def _answer(parts: Sequence[Part], stamp: Stamp) -> tuple[bytes, str]:
    read = sum(part.reply.input_tokens for part in parts)
    details = {"text_tokens": read, "image_tokens": 0}
    usage = {"input_tokens": read, "output_tokens": 0, "total_tokens": read, "input_tokens_details": details}
    data = [{"b64_json": base64.b64encode(part.reply.body).decode()} for part in parts]
    return as_json({"created": stamp.created, "data": data, "output_format": "png",
                    "usage": {**usage, **told_energy(parts)}})  # fmt: skip
