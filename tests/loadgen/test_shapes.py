"""What counts as an answer to a task."""

import json

import pytest

from perjoule.workloads import WORKLOADS
from perjoule_loadgen.shapes import right_shape

LABELS = [{"label": "x", "score": 0.5}]
ANSWERS: dict[str, object] = {
    "text-classification": [LABELS],
    "token-classification": [{"entity_group": "PER", "word": "Ada", "score": 0.9, "start": 0, "end": 3}],
    "question-answering": {"answer": "a", "score": 0.1, "start": 0, "end": 1},
    "fill-mask": [{"score": 0.1, "token": 3, "token_str": "a", "sequence": "a"}],
    "text-generation": [{"generated_text": "a"}],
    "summarization": [{"summary_text": "a"}],
    "image-classification": LABELS,
    "object-detection": [{"label": "x", "score": 0.5, "box": {"xmin": 0, "ymin": 0, "xmax": 1, "ymax": 1}}],
    "image-to-text": [{"generated_text": "a"}],
    "zero-shot-text-classification": [LABELS],
    "zero-shot-question-answering": [{"answer": "a"}, {"answer": "b"}],
    "zero-shot-summarization": [{"summary_text": "a"}],
    "feature-extraction": [[0.1, 0.2]],
    "automatic-speech-recognition": {"text": ""},
}


def test_every_task_has_an_answer_here() -> None:
    """No workload goes unchecked."""
    assert {*ANSWERS, "text-to-image"} == set(WORKLOADS)


@pytest.mark.parametrize("task", ANSWERS)
def test_the_task_s_own_answer_fits(task: str) -> None:
    """The reply of the server's API is an answer."""
    assert right_shape(task, json.dumps(ANSWERS[task]).encode())


@pytest.mark.parametrize("task", ANSWERS)
@pytest.mark.parametrize(
    "body", [b"", b"{", b"null", b"{}", b'"text"', b"[[]]", b'{"error": "x"}', b"[1, 2", b"\xff", b"[" * 100_000]
)
def test_anything_else_does_not(task: str, body: bytes) -> None:
    """Empty, broken, foreign and hostile bodies are no answer, and no crash."""
    assert not right_shape(task, body)


def test_nothing_found_is_an_answer() -> None:
    """A text without entities and an image without objects are answered by an empty list; a summary is not."""
    assert right_shape("token-classification", b"[]")
    assert right_shape("object-detection", b"[]")
    assert not right_shape("summarization", b"[]")


def test_an_image_is_a_png() -> None:
    """The answer to text-to-image is known by its first bytes."""
    assert right_shape("text-to-image", b"\x89PNG\r\n\x1a\n...")
    assert not right_shape("text-to-image", b"{}")
