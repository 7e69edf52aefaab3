"""All 15 workloads with the real tiny models behind real HTTP: the contract's shapes, and 422 for what is no input."""

import base64
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
import torch

from perjoule.workloads import WORKLOADS, Modality
from perjoule_server import models, samples
from perjoule_server.config import ServerConfig
from tests.server.fakes import Running, running

MEDIA_TASKS = [task for task, workload in WORKLOADS.items() if workload.input is not Modality.TEXT]
TEXT_TASKS = [task for task in WORKLOADS if task not in MEDIA_TASKS]
LONG = "heat pump " * 20_000


@pytest.fixture(scope="module")
def tiny() -> Iterator[Running]:
    """A server with all tiny models."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    specs = models.profile("tiny", WORKLOADS)
    with running(specs, partial(models.load, device="cpu"), ServerConfig(body_bytes=2**20)) as server:
        yield server
    torch.set_num_threads(threads)


def labelled(value: Any, *more: str) -> bool:
    return isinstance(value, list) and all(
        {"label", "score", *more} == set(each) and isinstance(each["score"], float) for each in value
    )


def entities(value: Any) -> bool:
    names = {"entity_group", "score", "word", "start", "end"}
    return isinstance(value, list) and all(set(each) == names for each in value)


def fillings(value: Any) -> bool:
    return len(value) == 5 and all(set(each) == {"score", "token", "token_str", "sequence"} for each in value)


def answer(value: Any) -> bool:
    return set(value) == {"answer", "score", "start", "end"} and isinstance(value["answer"], str)


def text(name: str) -> Callable[[Any], bool]:
    return lambda value: len(value) == 1 and set(value[0]) == {name} and isinstance(value[0][name], str)


SHAPES: dict[str, Callable[[Any], bool]] = {
    "text-classification": lambda value: len(value) == 1 and labelled(value[0]),
    "token-classification": entities,
    "question-answering": answer,
    "fill-mask": fillings,
    "text-generation": text("generated_text"),
    "summarization": text("summary_text"),
    "image-classification": labelled,
    "object-detection": lambda value: labelled(value, "box"),
    "image-to-text": text("generated_text"),
    "zero-shot-text-classification": lambda value: len(value) == 1 and labelled(value[0]),
    "zero-shot-question-answering": answer,
    "zero-shot-summarization": text("summary_text"),
    "feature-extraction": lambda value: len(value) == 1 and all(isinstance(number, float) for number in value[0]),
    "automatic-speech-recognition": lambda value: set(value) == {"text"} and isinstance(value["text"], str),
}


@pytest.mark.parametrize("task", WORKLOADS)
def test_a_valid_request_gets_the_tasks_shape(tiny: Running, task: str) -> None:
    """200 with the reply of the contract's table, and one more inference and its work in the metrics."""
    labels = {"task": task, "model": f"tiny/{task}"}
    before = tiny.metric("inference_work_units_total", **labels)
    reply = tiny.post(task, json.dumps(samples.body(task)).encode(), content_type="application/json")
    assert reply.status == 200, reply.body
    if task == "text-to-image":
        assert (reply.headers["content-type"], reply.body[:4]) == ("image/png", b"\x89PNG")
    else:
        assert SHAPES[task](reply.json), reply.json
    assert tiny.metric("inference_work_units_total", **labels) > before
    if task in TEXT_TASKS:
        assert int(reply.headers["x-input-tokens"]) > 0


@pytest.mark.parametrize("task", MEDIA_TASKS)
def test_raw_bytes_are_the_same_as_base64(tiny: Running, task: str) -> None:
    """A file sent as the body, with or without its type, gets the answer that its base64 gets."""
    media, kind = (
        (samples.wav(), "audio/wav") if WORKLOADS[task].input is Modality.AUDIO else (samples.png(), "image/png")
    )
    as_json = tiny.infer(task, base64.b64encode(media).decode())
    assert (as_json.status, as_json.json) == (200, tiny.post(task, media).json)
    assert as_json.json == tiny.post(task, media, content_type=kind).json


WRONG_TYPES: list[Any] = [None, 1, True, 1.5, [], {}, [1], [[]], {"a": 1}, {"question": "q"}]
WRONG_TYPES.append({"question": 1, "context": "c"})


@pytest.mark.parametrize("task", WORKLOADS)
def test_wrong_types_are_invalid(tiny: Running, task: str) -> None:
    """Whatever JSON value stands where a text, a question or media should be."""
    for inputs in WRONG_TYPES:
        reply = tiny.infer(task, inputs)
        assert (reply.status, reply.code) == (422, "invalid_input"), inputs
    body = samples.body(task)
    for parameters in [{"unheard_of": 1}, {"top_k": "many"}, {"max_new_tokens": -1}, {"candidate_labels": 3}, [1], "x"]:
        assert tiny.infer(task, body["inputs"], parameters).status == 422, parameters


@pytest.mark.parametrize("task", WORKLOADS)
def test_empty_input_is_invalid(tiny: Running, task: str) -> None:
    """Neither an empty body nor an empty or blank text is an input."""
    assert tiny.post(task, b"").status == 422
    for blank in ["", " ", "\n\t", {"question": "", "context": ""}, {"question": " ", "context": "c"}]:
        assert tiny.infer(task, blank, samples.body(task).get("parameters")).status == 422, blank


@pytest.mark.parametrize("task", MEDIA_TASKS)
def test_what_is_no_media_is_invalid(tiny: Running, task: str) -> None:
    """Text, the other kind of media, truncated files, and names of files and URLs."""
    audio = WORKLOADS[task].input is Modality.AUDIO
    right, other = (samples.wav(), samples.png()) if audio else (samples.png(), samples.wav())
    bodies = [b"not media", other, right[:20], b"\0" * 1000, right[:8] + b"\xff" * 500]
    assert [tiny.post(task, body).status for body in bodies] == [422] * len(bodies)
    assert [tiny.infer(task, base64.b64encode(body).decode()).status for body in bodies] == [422] * len(bodies)
    for name in [
        "/etc/hostname",
        "file:///etc/hostname",
        f"{tiny.url}/healthz",
        "cat.png",
        "https://example.org/a.wav",
    ]:
        assert tiny.infer(task, name).status == 422


@pytest.mark.parametrize("task", TEXT_TASKS)
def test_a_text_over_the_limit_is_invalid(tiny: Running, task: str) -> None:
    """More tokens than the model takes are refused, never cut silently."""
    inputs: Any = {"question": LONG, "context": "c"} if "question" in task else LONG + "[MASK]"
    reply = tiny.infer(task, inputs, samples.body(task).get("parameters"))
    assert (reply.status, reply.code) == (422, "invalid_input")
    assert "tokens" in reply.json["error"]["message"]


def test_all_tasks_at_once_add_up(tiny: Running) -> None:
    """Every task under concurrent load: all answered, each counted once, and the device is never busy twice at once."""
    started = time.monotonic()
    busy = tiny.metric("inference_device_busy_seconds_total")
    ok = tiny.metric("inference_requests_total", outcome="ok")
    bodies = [(task, json.dumps(samples.body(task)).encode()) for task in WORKLOADS] * 4
    with ThreadPoolExecutor(16) as pool:
        replies = list(pool.map(lambda each: tiny.post(*each, content_type="application/json"), bodies))
    assert {reply.status for reply in replies} == {200}
    assert tiny.metric("inference_requests_total", outcome="ok") - ok == len(bodies)
    assert 0 < tiny.metric("inference_device_busy_seconds_total") - busy < time.monotonic() - started
    assert tiny.metric("inference_in_flight") == 0
