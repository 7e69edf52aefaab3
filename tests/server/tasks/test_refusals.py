"""What each workload refuses, with which status, and that it says why."""

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from perjoule.errors import InvalidInputError
from perjoule.workloads import WORKLOADS, Modality
from perjoule_server.tasks.base import Task, TaskRequest
from tests.server.tasks.material import IMAGE_TASKS, QUESTION_TASKS, SPEECH, TEXT_TASKS, answer, picture, request

Load = Callable[[str], Task]

LABELS = {"candidate_labels": ["a", "b"]}
NO_TEXT: list[Any] = [None, 5, True, {}, [], ["one", "two"], "", "  ", "a\0b [MASK]", "\ud800 [MASK]", 1.5]


def parameters_of(task: str) -> dict[str, Any]:
    """Return the parameters that a task cannot do without."""
    return dict(LABELS) if task == "zero-shot-text-classification" else {}


@pytest.mark.parametrize("task", [*TEXT_TASKS, *QUESTION_TASKS])
def test_inputs_of_a_wrong_kind(load: Load, task: str) -> None:
    """Whatever is no usable text is refused, as the whole of inputs or as a part of it."""
    served = load(task)
    for value in NO_TEXT:
        wrongs = [{"question": value, "context": "b"}, {"question": "a", "context": value}, value]
        for wrong in wrongs if task in QUESTION_TASKS else [value]:
            with pytest.raises(InvalidInputError):
                served.prepare(TaskRequest(wrong, parameters_of(task)))


@pytest.mark.parametrize("task", [*IMAGE_TASKS, SPEECH])
def test_media_of_a_wrong_kind(load: Load, task: str) -> None:
    """Nothing, text, and the other medium are refused."""
    other = picture() if task == SPEECH else b"RIFF\0\0\0\0WAVEfmt "
    for media in (None, b"", b"text", other):
        with pytest.raises(InvalidInputError):
            load(task).prepare(TaskRequest("/etc/hostname", {}, media))


@pytest.mark.parametrize("task", WORKLOADS)
def test_unknown_parameter(load: Load, task: str) -> None:
    """An unknown parameter is refused, by name; a null parameter is none."""
    one = request(task)
    with pytest.raises(InvalidInputError, match="bogus"):
        load(task).prepare(TaskRequest(one.inputs, {**one.parameters, "bogus": 1}, one.media))
    load(task).prepare(TaskRequest(one.inputs, {**one.parameters, "bogus": None}, one.media))


@pytest.mark.parametrize("task", [task for task in WORKLOADS if WORKLOADS[task].input is Modality.TEXT])
def test_too_many_tokens(load: Load, task: str) -> None:
    """Text over the model's limit is refused; the message says both numbers."""
    for text in ("river " * (40_000 if task == "question-answering" else 1_200), "river " * 200_000):
        inputs: Any = {"question": "Who?", "context": text} if task in QUESTION_TASKS else text + " [MASK]" * (
            task == "fill-mask"
        )  # fmt: skip
        with pytest.raises(InvalidInputError, match=r"has \d+ tokens, the model takes at most \d+"):
            load(task).prepare(TaskRequest(inputs, parameters_of(task)))


@pytest.mark.parametrize(("task", "name"), [("text-to-image", "inputs"), ("text-to-image", "negative_prompt"),
                                            ("fill-mask", "targets"), ("token-classification", "ignore_labels"),
                                            ("text-generation", "stop")])  # fmt: skip
def test_blanks_without_end(load: Load, task: str, name: str) -> None:
    """Megabytes that a tokenizer would drop, or read as one piece, are refused before it splits them."""
    one, blank = request(task), "a" + " " * 2_000_000 + "b"
    item = [blank] if name in {"targets", "ignore_labels", "stop"} else blank
    parameters = one.parameters if name == "inputs" else {**one.parameters, name: item}
    asked = TaskRequest(blank if name == "inputs" else one.inputs, parameters)
    with pytest.raises(InvalidInputError, match="characters"):
        load(task).prepare(asked)


def test_text_that_just_fits(load: Load) -> None:
    """A text of exactly the limit is taken, and one token more is not."""
    served = load("text-classification")
    most = next(n for n in range(600, 0, -1) if fits(served, "river " * n))
    assert answer(served, TaskRequest("river " * most, {})).output
    assert (served.prepare(TaskRequest("river " * most, {})).length, most) == (512, most)


def fits(task: Task, text: str) -> bool:
    """Tell whether ``task`` takes ``text``."""
    try:
        task.prepare(TaskRequest(text, {}))
    except InvalidInputError:
        return False
    return True


WRONG_PARAMETERS: list[tuple[str, dict[str, Any]]] = [
    ("text-classification", {"top_k": 0}),
    ("text-classification", {"top_k": "2"}),
    ("text-classification", {"function_to_apply": "relu"}),
    ("token-classification", {"aggregation_strategy": "all"}),
    ("token-classification", {"ignore_labels": "O"}),
    ("question-answering", {"top_k": True}),
    ("question-answering", {"max_answer_len": 0}),
    ("fill-mask", {"targets": "word"}),
    ("feature-extraction", {"normalize": 1}),
    ("feature-extraction", {"truncation_direction": "up"}),
    ("text-generation", {"max_new_tokens": 0}),
    ("text-generation", {"max_new_tokens": 10, "min_new_tokens": 11}),
    ("text-generation", {"max_new_tokens": 10**6}),
    ("text-generation", {"temperature": -1}),
    ("text-generation", {"temperature": float("nan")}),
    ("text-generation", {"top_p": 1.5}),
    ("text-generation", {"seed": -1}),
    ("text-generation", {"seed": 2**64}),
    ("text-generation", {"stop": "one"}),
    ("text-generation", {"stop": [""]}),
    ("text-generation", {"best_of": 2}),
    ("text-generation", {"truncate": 0}),
    ("summarization", {"generate_parameters": {"max_new_tokens": "5"}}),
    ("summarization", {"generate_parameters": {"beams": 5}}),
    ("summarization", {"generate_parameters": {"max_new_tokens": 5}, "max_new_tokens": 5}),
    ("summarization", {"max_length": 10, "min_length": 20}),
    ("summarization", {"truncation": "all"}),
    ("object-detection", {"threshold": 2}),
    ("image-to-text", {"max_new_tokens": 1000}),
    ("automatic-speech-recognition", {"return_timestamps": True}),
    ("automatic-speech-recognition", {"generation_parameters": {"num_beams": 2}}),
    ("text-to-image", {"width": 63}),
    ("text-to-image", {"width": 68}),
    ("text-to-image", {"height": 2048}),
    ("text-to-image", {"num_inference_steps": 0}),
    ("text-to-image", {"num_inference_steps": 1000}),
    ("text-to-image", {"guidance_scale": float("inf")}),
    ("text-to-image", {"negative_prompt": 5}),
    ("text-to-image", {"negative_prompt": "rain " * 100}),
    ("text-to-image", {"scheduler": "other"}),
    ("zero-shot-text-classification", {"candidate_labels": "a,b"}),
    ("zero-shot-text-classification", {"candidate_labels": []}),
    ("zero-shot-text-classification", {"candidate_labels": None}),
    ("zero-shot-text-classification", {"candidate_labels": ["a", "a "]}),
    ("zero-shot-text-classification", {"candidate_labels": ["a", 1]}),
    ("zero-shot-text-classification", {"candidate_labels": [str(n) for n in range(101)]}),
    ("zero-shot-text-classification", {"multi_label": True}),
    ("zero-shot-question-answering", {"temperature": 1.0}),
]


@pytest.mark.parametrize(("task", "parameters"), WRONG_PARAMETERS)
def test_wrong_parameters(load: Load, task: str, parameters: dict[str, Any]) -> None:
    """A parameter that cannot be honoured is refused, never replaced by a default."""
    one = request(task)
    with pytest.raises(InvalidInputError):
        load(task).prepare(TaskRequest(one.inputs, {**one.parameters, **parameters}, one.media))


@pytest.mark.parametrize("text", ["no mask here", "[MASK] and <mask>"])
def test_masks_are_counted(load: Load, text: str) -> None:
    """fill-mask wants exactly one mask."""
    with pytest.raises(InvalidInputError, match="exactly one"):
        load("fill-mask").prepare(TaskRequest(text, {}))


PIECES = ["</s>", "<s>", "<pad>", "<mask>", "[MASK]", "<unk>", "😀", "\u200b", "\u202e", "\n", " ", "river", "{text}",
          "{context}", "{question}", '"', "\x01", "ﷺ", "1" * 30]  # fmt: skip

ODD_TEXTS = st.lists(st.sampled_from(PIECES), min_size=1, max_size=12).map("".join)


@pytest.mark.parametrize("task", [*TEXT_TASKS, *QUESTION_TASKS])
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=ODD_TEXTS, other=ODD_TEXTS)
def test_odd_texts(load: Load, task: str, text: str, other: str) -> None:
    """Special tokens, template marks, invisible and foreign characters in a text are answered or refused, in JSON."""
    parameters: dict[str, dict[str, Any]] = {
        "zero-shot-text-classification": {"candidate_labels": [other, "river"]},
        "text-generation": {"max_new_tokens": 2, "stop": [other]},
        "text-to-image": {"num_inference_steps": 1},
    }
    short = {"max_new_tokens": 2} if task in {"summarization", "zero-shot-question-answering"} else {}
    inputs = {"question": other, "context": text} if task in QUESTION_TASKS else text
    with suppress(InvalidInputError):
        reply = answer(load(task), TaskRequest(inputs, parameters.get(task, short)))
        assert isinstance(reply.output, bytes) or json.dumps(reply.output, allow_nan=False).encode()
