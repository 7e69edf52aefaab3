"""Requests that the tests of the tasks send: texts, pictures and recordings made on the spot."""

import io
from typing import Any

import numpy as np
import soundfile
from PIL import Image

from perjoule_server.tasks.base import Answer, SilentWork, Task, TaskRequest

TEXT = "The committee said on Thursday that Marie Curie moved to Paris, and that sales rose by seven percent."

IMAGE_TASKS = ("image-classification", "object-detection", "image-to-text")
TEXT_TASKS = (
    "text-classification", "token-classification", "fill-mask", "text-generation", "summarization", "text-to-image",
    "zero-shot-text-classification", "zero-shot-summarization", "feature-extraction",
)  # fmt: skip
QUESTION_TASKS = ("question-answering", "zero-shot-question-answering")
SPEECH = "automatic-speech-recognition"


def picture(width: int = 320, height: int = 240, seed: int = 0, kind: str = "PNG") -> bytes:
    """Return an image file of coloured noise."""
    pixels = np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def recording(seconds: float = 1.0, rate: int = 16_000, channels: int = 1, kind: str = "WAV", seed: int = 0) -> bytes:
    """Return an audio file of quiet noise."""
    samples = 0.1 * np.random.default_rng(seed).standard_normal((int(seconds * rate), channels))
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=kind)
    return file.getvalue()


def sine(seconds: float, rate: int, hertz: float, subtype: str = "FLOAT") -> bytes:
    """Return a WAV file of a pure tone."""
    file = io.BytesIO()
    soundfile.write(file, 0.5 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate), rate,
                    format="WAV", subtype=subtype)  # fmt: skip
    return file.getvalue()


def request(task: str, place: int = 0, **parameters: Any) -> TaskRequest:
    """Return the request number ``place`` of a task: each of another length, all of them valid."""
    text = (TEXT, "A cat.", TEXT * 3, "Where does the river begin? Nobody knows, and nobody asked.")[place % 4]
    odd = place % 2
    if task in IMAGE_TASKS:
        return TaskRequest(None, parameters, picture(320 + 64 * odd, 240, place, ("BMP", "PNG")[odd]))
    if task == SPEECH:
        return TaskRequest(None, parameters, recording(0.5 + place, (16_000, 44_100)[odd], seed=place))
    labels = (["positive", "negative"], ["sports", "politics", "music"])[odd]
    inputs: dict[str, Any] = {
        "question-answering": {"question": "Who moved to Paris?", "context": text},
        "zero-shot-question-answering": {"question": "Who moved to Paris?", "context": text},
        "fill-mask": text + (" [MASK]", " <mask>")[odd] + " and more",
        "text-to-image": text[:60],
    }
    more: dict[str, dict[str, Any]] = {
        "zero-shot-text-classification": {"candidate_labels": labels},
        "text-to-image": {"seed": place, "negative_prompt": "rain" * odd},
    }
    return TaskRequest(inputs.get(task, text), {**more.get(task, {}), **parameters})


def answer(task: Task, one: TaskRequest) -> Answer:
    """Serve one request alone."""
    prepared = task.prepare(one)
    (raw,) = task.run([prepared], SilentWork())
    return task.finish(prepared, raw)


def answers(task: Task, several: list[TaskRequest]) -> list[Answer]:
    """Serve several requests in as few batches as their keys allow, in order."""
    prepared = [task.prepare(one) for one in several]
    done: dict[int, Answer] = {}
    for key in dict.fromkeys(one.key for one in prepared):
        places = [place for place, one in enumerate(prepared) if one.key == key]
        raws = task.run([prepared[place] for place in places], SilentWork())
        for place, raw in zip(places, raws, strict=True):
            done[place] = task.finish(prepared[place], raw)
    return [done[place] for place in range(len(several))]
