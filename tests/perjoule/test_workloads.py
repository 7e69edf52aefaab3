"""The 15 workloads."""

import re

import pytest

from perjoule.errors import UnknownWorkloadError
from perjoule.workloads import WORKLOADS, Modality, Paradigm, WorkUnit, workload


def test_the_ids_in_the_order_of_the_tables() -> None:
    """Ids are routes and label values: they do not change."""
    assert list(WORKLOADS) == [
        "text-classification", "token-classification", "question-answering", "fill-mask", "text-generation",
        "summarization", "image-classification", "object-detection", "image-to-text", "text-to-image",
        "zero-shot-text-classification", "zero-shot-question-answering", "zero-shot-summarization",
        "feature-extraction", "automatic-speech-recognition",
    ]  # fmt: skip


def test_thirteen_are_the_study_s() -> None:
    """Ten tasks, three of them again zero-shot, and two that the study does not have."""
    paradigms = [item.paradigm for item in WORKLOADS.values()]
    assert [paradigms.count(paradigm) for paradigm in Paradigm] == [10, 3, 2]


@pytest.mark.parametrize("name", WORKLOADS)
def test_a_workload_is_found_by_its_id(name: str) -> None:
    """The id fits a URL and a label, and leads back to the workload."""
    found = workload(name)
    assert found is WORKLOADS[name]
    assert re.fullmatch(r"[a-z][a-z-]*[a-z]", found.id)
    assert found.title
    assert (found.study_task is None) == (found.paradigm is Paradigm.NOT_IN_STUDY)


def test_units_and_inputs() -> None:
    """Generation counts tokens, vision images, speech seconds; the rest the inference itself."""
    units = {name: item.unit for name, item in WORKLOADS.items()}
    assert {name for name, unit in units.items() if unit is WorkUnit.OUTPUT_TOKEN} == {
        "text-generation", "summarization", "zero-shot-text-classification", "zero-shot-question-answering",
        "zero-shot-summarization",
    }  # fmt: skip
    assert units["automatic-speech-recognition"] is WorkUnit.AUDIO_SECOND
    assert {name for name, item in WORKLOADS.items() if item.input is Modality.IMAGE} == {
        "image-classification", "object-detection", "image-to-text",
    }  # fmt: skip


def test_the_study_s_lengths() -> None:
    """Ten tokens of generation, ten to fifteen of summary."""
    assert dict(workload("text-generation").parameters) == {"min_new_tokens": 10, "max_new_tokens": 10}
    assert dict(workload("summarization").parameters) == {"min_new_tokens": 10, "max_new_tokens": 15}


@pytest.mark.parametrize("name", ["", "poetry", "sentiment-analysis"])
def test_an_unknown_workload_lists_the_known(name: str) -> None:
    """The message repeats the name and, where nothing is near, lists every id."""
    with pytest.raises(UnknownWorkloadError) as failed:
        workload(name)
    assert repr(name) in str(failed.value)
    assert all(known in str(failed.value) for known in WORKLOADS)


@pytest.mark.parametrize(
    ("name", "near"),
    [("sumarization", "summarization"), ("Summarization", "summarization"), ("text_to_image", "text-to-image"),
     ("text-classification ", "text-classification"),
     ("zero-shot text classification", "zero-shot-text-classification"),
     ("speech-recognition", "automatic-speech-recognition")],
)  # fmt: skip
def test_an_unknown_workload_names_the_nearest(name: str, near: str) -> None:
    """A slip of the pen is answered with what was meant, alone."""
    with pytest.raises(UnknownWorkloadError) as failed:
        workload(name)
    assert str(failed.value) == f"unknown task {name!r}; did you mean {near}?"


def test_workloads_cannot_be_changed() -> None:
    """They are shared by all components."""
    with pytest.raises(TypeError):
        WORKLOADS["new"] = workload("summarization")  # type: ignore[index]  # that it fails is what is tested
    with pytest.raises(TypeError):
        workload("summarization").parameters["max_new_tokens"] = 99  # type: ignore[index]  # as above
    assert hash(workload("summarization"))
