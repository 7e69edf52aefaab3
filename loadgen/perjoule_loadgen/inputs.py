"""What is sent: the built-in inputs of the 15 workloads, and a user's own from a file of JSON lines.

Everything is read and checked before the first request, so that a mistake in line 900 does not end a measurement half
way. Lengths follow the study ("Power Hungry Processing", arXiv 2311.16863): the first 20 words of a passage for
fill-mask and text-generation, images of 640×480, prompts of at most 50 words. It does not know the limits of the model
that answers, nor whether a JPEG that looks like one can be decoded: the server says so.
"""

import base64
import binascii
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import NoReturn

from perjoule import workloads
from perjoule.errors import UsageError
from perjoule.workloads import Modality, Workload
from perjoule_loadgen.media import audio_seconds, sniff

MAX_MEDIA_BYTES = 20_000_000
"""One image or clip. As base64 it still fits the server's default body limit."""
MAX_FILE_BYTES = 200_000_000
"""The file of JSON lines; also all the media of a set together, since a whole set is held in memory."""

_FIRST_WORDS = 20
_JSON = "application/json"
_MASKS = ("[MASK]", "<mask>")
_KEYS = frozenset({"inputs", "file", "parameters"})
_QUESTIONS = frozenset({"question-answering", "zero-shot-question-answering"})
_NONE: Mapping[str, object] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Item:
    """One input, ready to be sent any number of times.

    Attributes:
        label: short name for logs.
        payload: media: the file; text: the JSON of ``inputs``.
        media_type: type of the media, None for text.
        parameters: the item's own parameters; they win over those of the run, since they are more specific.
        audio_seconds: length of a clip, None where there is none or its header does not tell.
        tokens: how many a made-up text has, None for any other.
    """

    label: str
    payload: bytes = field(repr=False)
    media_type: str | None = None
    parameters: Mapping[str, object] = field(default_factory=lambda: _NONE, hash=False)
    audio_seconds: float | None = None
    tokens: int | None = None

    def body(
        self, parameters: Mapping[str, object], model: str | None = None, extra: Mapping[str, object] = _NONE
    ) -> tuple[bytes, str]:
        """Return body and content type of a request to ``POST /v1/tasks/{task}``.

        Media go as they are when there is nothing to say about them, else as base64 within JSON. ``extra`` are further
        members of the body; None takes one out.
        """
        merged = {**parameters, **self.parameters}
        if self.media_type is not None and not merged and model is None and not extra:
            return self.payload, self.media_type
        inputs = self.payload if self.media_type is None else b'"%b"' % base64.b64encode(self.payload)
        rest = {"parameters": merged, **({} if model is None else {"model": model}), **extra}
        rest = {name: value for name, value in rest.items() if value is not None}
        return b'{"inputs": %b, %b' % (inputs, json.dumps(rest).encode()[1:]), _JSON


def load_inputs(workload: str, path: Path | None) -> tuple[Item, ...]:
    """Return the inputs of a workload: the built-in set, or the user's file of JSON lines.

    A line is ``{"inputs": …, "parameters": {…}}`` with a text, an object of question and context, or base64, or
    ``{"file": "picture.jpg"}`` relative to the JSON lines, or for text tasks a bare string. Blank lines are skipped.

    Raises:
        UnknownWorkloadError: no such workload.
        UsageError: the file cannot be used; the message names file and line and says what to write.
    """
    spec = workloads.workload(workload)
    return _from_file(spec, path) if path is not None else _built_in(spec)


# --- The built-in set


def _built_in(spec: Workload) -> tuple[Item, ...]:
    family, make = _SETS[spec.id]
    lines = (resources.files(__package__) / "data" / f"{family}.jsonl").read_text(encoding="utf-8").splitlines()
    return tuple(make(f"{family}:{number}", json.loads(line)) for number, line in enumerate(lines, 1))


def _text(label: str, row: Mapping[str, str], **parameters: object) -> Item:
    return text_item(label, row["text"], parameters)


def _first_words(label: str, row: Mapping[str, str]) -> Item:
    return text_item(label, " ".join(row["text"].split()[:_FIRST_WORDS]))


def _masked(label: str, row: Mapping[str, str]) -> Item:
    words = " ".join(row["text"].split()[:_FIRST_WORDS])
    return text_item(label, re.sub(rf"\b{re.escape(row['masked'])}\b", "[MASK]", words, count=1))


def _question(label: str, row: Mapping[str, str]) -> Item:
    return text_item(label, {"question": row["question"], "context": row["context"]})


def _file(_: str, row: Mapping[str, str]) -> Item:
    data = (resources.files(__package__) / "data" / row["file"]).read_bytes()
    return media_item(row["file"].rpartition("/")[2], data)


_SETS: Mapping[str, tuple[str, Callable[[str, Mapping[str, str]], Item]]] = MappingProxyType(
    {
        "text-classification": ("reviews", _text),
        "token-classification": ("news", _text),
        "question-answering": ("questions", _question),
        "fill-mask": ("passages", _masked),
        "text-generation": ("passages", _first_words),
        "summarization": ("articles", _text),
        "image-classification": ("images", _file),
        "object-detection": ("images", _file),
        "image-to-text": ("images", _file),
        "text-to-image": ("prompts", _text),
        "zero-shot-text-classification": ("reviews", partial(_text, candidate_labels=["positive", "negative"])),
        "zero-shot-question-answering": ("questions", _question),
        "zero-shot-summarization": ("articles", _text),
        "feature-extraction": ("sentences", _text),
        "automatic-speech-recognition": ("speech", _file),
    }
)
"""Workload → family of data/*.jsonl, and what makes an item of one of its lines."""


# --- Items


def text_item(label: str, inputs: object, parameters: Mapping[str, object] = _NONE, tokens: int | None = None) -> Item:
    """Return an item of a text, or of a question and its context."""
    return Item(label, json.dumps(inputs, ensure_ascii=False).encode(), parameters=MappingProxyType(dict(parameters)),
                tokens=tokens)  # fmt: skip


def media_item(label: str, data: bytes, parameters: Mapping[str, object] = _NONE) -> Item:
    """Return an item of an image or clip.

    Raises:
        UsageError: it is neither, or a clip whose header cannot be read.
    """
    media_type = sniff(data)
    if media_type is None:
        raise UsageError("it is none of JPEG, PNG, WebP, GIF, BMP, FLAC and WAV")
    try:
        seconds = audio_seconds(data, media_type) if media_type.startswith("audio/") else None
    except ValueError as error:
        raise UsageError(f"it is no readable {media_type}: {error}") from None
    return Item(label, data, media_type, MappingProxyType(dict(parameters)), seconds)


# --- The user's file


def _from_file(spec: Workload, path: Path) -> tuple[Item, ...]:
    try:
        lines = _read(path, MAX_FILE_BYTES).removeprefix(b"\xef\xbb\xbf").split(b"\n")
    except UsageError as error:
        raise UsageError(f"--inputs: {error}; it takes a file of lines such as {_example(spec)}") from None
    items: list[Item] = []
    room = MAX_FILE_BYTES
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            item = _from_line(spec, line, f"{path.name}:{number}", path.parent)
        except UsageError as error:
            raise UsageError(f"--inputs {path}, line {number}: {error}") from None
        items.append(item)
        room -= len(item.payload)
        if room < 0:
            raise UsageError(f"--inputs {path}, line {number}: the set is over {MAX_FILE_BYTES} bytes; use fewer lines")
    if not items:
        raise UsageError(f"--inputs {path}: the file is empty; write one input per line, such as {_example(spec)}")
    return tuple(items)


def _read(path: Path, limit: int) -> bytes:
    """Read a regular file; every way in which that fails is a UsageError that says so."""
    try:
        if path.is_dir():
            raise UsageError(f"{path} is a folder, not a file")
        if path.exists() and not path.is_file():
            raise UsageError(f"{path} is not a regular file")
        with path.open("rb") as stream:
            data = stream.read(limit + 1)
    except FileNotFoundError:
        raise UsageError(f"there is no file {path}") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise UsageError(f"{str(path)!r} cannot be read: {getattr(error, 'strerror', error)}") from None
    if len(data) > limit:
        raise UsageError(f"{path} is over {limit} bytes")
    return data


def _from_line(spec: Workload, line: bytes, label: str, folder: Path) -> Item:
    row = _row(spec, line)
    parameters = row.get("parameters", {})
    if not isinstance(parameters, dict):
        raise UsageError(f'"parameters" must be an object, such as {_example(spec)}')
    if ("inputs" in row) == ("file" in row):
        raise UsageError(f"write one input, such as {_example(spec)}")
    if spec.input is Modality.TEXT:
        _check_text(spec, row, parameters)
        return text_item(label, row["inputs"], parameters)
    item = media_item(label, _media(spec, row, folder), parameters)
    if item.media_type is None or not item.media_type.startswith(f"{spec.input}/"):
        raise UsageError(f"{spec.id} takes {spec.input}, and this is {item.media_type}; write {_example(spec)}")
    return item


def _row(spec: Workload, line: bytes) -> dict[str, object]:
    """One line as an object; a bare string becomes ``inputs``."""
    try:
        row = json.loads(line.decode(), parse_constant=_no_constant, object_pairs_hook=_unique)
        # What can be read cannot always be sent: 1e999 becomes infinite, an escape may be half of a surrogate pair.
        json.dumps(row, ensure_ascii=False, allow_nan=False).encode()
    except UnicodeDecodeError:
        raise UsageError("it is not UTF-8; save the file as UTF-8") from None
    except UnicodeEncodeError:
        raise UsageError(r"it holds half of a surrogate pair (\ud800 to \udfff), which is no character") from None
    except RecursionError:
        raise UsageError("it is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise UsageError(f"it is not JSON ({error.msg}, column {error.colno}); write {_example(spec)}") from None
    except ValueError as error:  # infinite numbers, and integers of thousands of digits
        raise UsageError(f"it holds a number that cannot be sent: {error}") from None
    if isinstance(row, str) and spec.input is Modality.TEXT:
        return {"inputs": row}
    if not isinstance(row, dict):
        raise UsageError(f"it must be an object; write {_example(spec)}")
    for key in row.keys() - _KEYS:
        raise UsageError(f"unknown key {key[:40]!r}; a line has inputs or file, and parameters")
    return row


def _no_constant(name: str) -> NoReturn:
    raise UsageError(f"{name} is not JSON; write a number")


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise UsageError("a key occurs twice in one object")
    return value


def _check_text(spec: Workload, row: Mapping[str, object], parameters: Mapping[str, object]) -> None:
    inputs = row.get("inputs")
    if spec.id in _QUESTIONS:
        pair = inputs if isinstance(inputs, dict) else {}
        fits = pair.keys() == {"question", "context"} and all(map(_said, pair.values()))
    else:
        fits = _said(inputs)
    if spec.id == "fill-mask":
        fits = fits and any(mask in str(inputs) for mask in _MASKS)
    if spec.id == "zero-shot-text-classification":
        labels = parameters.get("candidate_labels")
        fits = fits and isinstance(labels, list) and bool(labels) and all(map(_said, labels))
    if not fits:
        raise UsageError(f"it does not fit {spec.id}; write {_example(spec)}")


def _said(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _media(spec: Workload, row: Mapping[str, object], folder: Path) -> bytes:
    """The bytes of a media line, from its file or its base64."""
    file, inputs = row.get("file"), row.get("inputs")
    if _said(file):
        return _read(folder / str(file), MAX_MEDIA_BYTES)
    if not _said(inputs):
        raise UsageError(f'"inputs" must be base64 and "file" a path; write {_example(spec)}')
    try:
        data = base64.b64decode(str(inputs), validate=True)
    except (binascii.Error, ValueError):
        raise UsageError(f'"inputs" is not base64; write {_example(spec)}') from None
    if len(data) > MAX_MEDIA_BYTES:
        raise UsageError(f'"inputs" is over {MAX_MEDIA_BYTES} bytes')
    return data


def _example(spec: Workload) -> str:
    """A line that would have been right."""
    if spec.input is Modality.IMAGE:
        return '{"file": "picture.jpg"}'
    if spec.input is Modality.AUDIO:
        return '{"file": "speech.flac"}'
    if spec.id in _QUESTIONS:
        return '{"inputs": {"question": "Who built it?", "context": "Ada built the bridge."}}'
    if spec.id == "fill-mask":
        return '{"inputs": "Paris is the [MASK] of France."}'
    if spec.id == "zero-shot-text-classification":
        return '{"inputs": "A fine film.", "parameters": {"candidate_labels": ["positive", "negative"]}}'
    return '{"inputs": "A fine film."}'
