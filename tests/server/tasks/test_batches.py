"""What every workload promises whatever its model: shapes, counts, and that a batch changes nobody's answer."""

import io
import json
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from PIL import Image

from perjoule.workloads import WORKLOADS, WorkUnit
from perjoule_server.tasks.base import Answer, SilentWork, Task
from tests.server.tasks.material import answer, answers, request

Load = Callable[[str], Task]


def same(one: Any, other: Any) -> bool:
    """Compare two replies; numbers may differ by rounding."""
    if isinstance(one, Answer):
        return (one.output_tokens, one.work_units) == (other.output_tokens, other.work_units) and same(
            one.output, other.output
        )
    if isinstance(one, bytes):
        first, second = (np.asarray(Image.open(io.BytesIO(file))).astype(int) for file in (one, other))
        return bool(abs(first - second).max() <= 1)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float):
        return math.isclose(one, other, rel_tol=1e-3, abs_tol=1e-4)
    return bool(one == other)


@pytest.mark.parametrize("task", WORKLOADS)
def test_batch_equals_singles(load: Load, task: str) -> None:
    """Requests of different lengths give the same answers together and alone, in the order that they were sent."""
    served = load(task)
    requests = [request(task, place) for place in range(4)]
    together, alone = answers(served, requests), [answer(served, one) for one in requests]
    assert [same(*pair) for pair in zip(together, alone, strict=True)] == [True] * 4


@pytest.mark.parametrize("task", WORKLOADS)
def test_answers_are_json(load: Load, task: str) -> None:
    """A reply is strict JSON (no numpy scalars, no NaN), or a PNG."""
    reply = answer(load(task), request(task))
    if task == "text-to-image":
        assert (reply.media_type, Image.open(io.BytesIO(reply.output)).size) == ("image/png", (64, 64))
    else:
        assert json.loads(json.dumps(reply.output, allow_nan=False)) == reply.output


@pytest.mark.parametrize("task", WORKLOADS)
def test_work_is_counted(load: Load, task: str) -> None:
    """The work units are those of the workload: one inference or image, output tokens, or seconds of audio."""
    reply = answer(load(task), request(task))
    unit = WORKLOADS[task].unit
    expected = {WorkUnit.OUTPUT_TOKEN: reply.output_tokens, WorkUnit.AUDIO_SECOND: 0.5}.get(unit, 1)
    assert (reply.work_units, reply.work_units > 0) == (expected, True)


@pytest.mark.parametrize("task", WORKLOADS)
def test_padding_is_counted(load: Load, task: str) -> None:
    """Padding is what a row was filled up with: none for the longest, the difference for the others."""
    served = load(task)
    prepared = [served.prepare(request(task, place)) for place in (1, 2)]
    if task in {"text-classification", "token-classification", "question-answering", "fill-mask", "feature-extraction"}:
        shorter, longer = prepared
        expected = [longer.length - shorter.length, 0]
        assert [raw.padding_tokens for raw in served.run(prepared, SilentWork())] == expected
    else:
        assert [raw.padding_tokens >= 0 for raw in served.run(prepared[:1], SilentWork())] == [True]


@pytest.mark.parametrize("task", ["text-classification", "summarization", "question-answering"])
def test_preparing_in_many_threads(load: Load, task: str) -> None:
    """Requests may be prepared by many threads at once: the tokenizer has no state that they share."""
    served = load(task)
    expected = [served.prepare(request(task, place)).length for place in range(4)]
    with ThreadPoolExecutor(8) as pool:
        lengths = list(pool.map(lambda place: served.prepare(request(task, place % 4)).length, range(200)))
    assert lengths == expected * 50


def test_shared_weights(load: Load) -> None:
    """The three zero-shot workloads run on one module in memory."""
    modules = {id(load(task)._language.model) for task in WORKLOADS if task.startswith("zero-shot")}  # type: ignore[attr-defined]  # looks inside on purpose
    assert len(modules) == 1


def test_labels_and_boxes_come_out(load: Load) -> None:
    """The tiny models answer with something: entities, and boxes inside the image."""
    (entity, *_) = answer(load("token-classification"), request("token-classification")).output
    assert set(entity) == {"entity_group", "score", "word", "start", "end"}
    found = answer(load("object-detection"), request("object-detection")).output
    boxes = [one["box"] for one in found]
    assert all(0 <= box["xmin"] <= box["xmax"] <= 320 for box in boxes)
    assert all(0 <= box["ymin"] <= box["ymax"] <= 240 for box in boxes)
    assert len({tuple(box.values()) for box in boxes}) > 1
