"""One small valid request for each workload: what warms a model up and what the API's documentation shows.

Self-written sentences, a drawn image and a synthesised tone; made in code, so nothing is shipped or read.
"""

import base64
import io
import math
import struct
import wave
import zlib
from collections.abc import Mapping
from functools import cache
from typing import Any

from perjoule.workloads import WORKLOADS

_SENTENCE = "The new heat pump in Freiburg is quiet, and it halved our bill."
_ARTICLE = (
    "The town council met on Tuesday to discuss the new tram line. After three hours of debate it agreed to build the "
    "first five kilometres next year. The mayor said that the line would carry nine thousand people a day."
)
_QUESTION = {"question": "When did the council meet?", "context": _ARTICLE}
_SIDE = 32


@cache
def png() -> bytes:
    """Return a PNG of 32 × 32 pixels: a colour gradient."""
    rows = b"".join(b"\0" + b"".join(bytes((x * 8, y * 8, 128)) for x in range(_SIDE)) for y in range(_SIDE))
    header = struct.pack(">IIBBBBB", _SIDE, _SIDE, 8, 2, 0, 0, 0)  # 8 bits, RGB
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )


@cache
def wav() -> bytes:
    """Return a WAV of half a second: 440 Hz, 16 kHz, mono, 16 bits."""
    rate = 16_000
    samples = (round(8000 * math.sin(2 * math.pi * 440 * n / rate)) for n in range(rate // 2))
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(b"".join(struct.pack("<h", sample) for sample in samples))
    return buffer.getvalue()


def _text(task: str) -> Any:
    if task.endswith("question-answering"):
        return dict(_QUESTION)
    if task.endswith("summarization"):
        return _ARTICLE
    return {
        "fill-mask": "The capital of France is [MASK].",
        "text-to-image": "a small house by a lake",
        "text-generation": "Once upon a time",
    }.get(task, _SENTENCE)


_PARAMETERS: Mapping[str, Mapping[str, Any]] = {
    "zero-shot-text-classification": {"candidate_labels": ["praise", "complaint"]},
    "text-generation": {"max_new_tokens": 10},
}


def body(task: str) -> dict[str, Any]:
    """Return the JSON body of a valid request for ``task``."""
    media = {"image": png, "audio": wav}.get(WORKLOADS[task].input)
    inputs = base64.b64encode(media()).decode() if media else _text(task)
    parameters = dict(_PARAMETERS.get(task, {}))
    return {"inputs": inputs, "parameters": parameters} if parameters else {"inputs": inputs}
