"""The study's 88 models: all of them by name, the defaults, and what stands in the way of each."""

from collections import Counter
from typing import Any

import pytest
import transformers
from transformers.models.auto import modeling_auto

from perjoule.errors import UsageError
from perjoule.workloads import WORKLOADS, Paradigm
from perjoule_server import models
from perjoule_server.profiles import study

STUDIED = [each.id for each in WORKLOADS.values() if each.paradigm is not Paradigm.NOT_IN_STUDY]

KINDS: dict[str, Any] = {
    "text-classification": modeling_auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
    "token-classification": modeling_auto.MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES,
    "question-answering": modeling_auto.MODEL_FOR_QUESTION_ANSWERING_MAPPING_NAMES,
    "fill-mask": modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    "text-generation": modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    "summarization": modeling_auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,
    "image-classification": modeling_auto.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES,
    "object-detection": modeling_auto.MODEL_FOR_OBJECT_DETECTION_MAPPING_NAMES,
    "image-to-text": modeling_auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
}


def test_there_are_88() -> None:
    """Eight models for each of the ten tasks, and eight multi-purpose ones."""
    counts = Counter(model.tasks for model in study.models().values())
    assert set(counts.values()) == {8}
    assert sum(counts.values()) == 88
    assert {task for tasks in counts for task in tasks} == set(STUDIED)


def test_one_default_a_workload() -> None:
    """Without a name each of the study's workloads has one model; workloads that it lacks are left out of 'all'."""
    specs = models.profile("study", WORKLOADS)
    assert sorted(spec.task for spec in specs) == sorted(STUDIED)
    assert {spec.weights for spec in specs} == {"hub"}
    assert {spec.revision for spec in specs} == {"main"}
    with pytest.raises(UsageError, match="no model for automatic-speech-recognition"):
        models.profile("study", ["automatic-speech-recognition", "fill-mask"])


def test_models_are_chosen_by_name() -> None:
    """The study's name, today's name and the id all choose a model; a multi-purpose one serves three workloads."""
    for name in ("gpt2", "openai-community/gpt2"):
        (spec,) = models.profile(f"study:{name}", ["text-generation"])
        assert (spec.id, spec.source) == ("gpt2", "openai-community/gpt2")
    several = models.profile("study:google/flan-t5-xl, gpt2", WORKLOADS)
    assert [spec.id for spec in several] == [*(f"google/flan-t5-xl/{task}" for task in study.ZERO_SHOT), "gpt2"]
    (one,) = models.profile("study:bigscience/bloomz-3b/zero-shot-summarization", ["zero-shot-summarization"])
    assert one.source == "bigscience/bloomz-3b"


def test_all_of_them() -> None:
    """``study:all`` has every model that can be served, each task's default first, and no id twice."""
    specs = models.profile("study:all", WORKLOADS)
    servable = [model for model in study.models().values() if study.obstacle(model) is None]
    assert len({spec.id for spec in specs}) == len(specs) == sum(len(model.tasks) for model in servable)
    defaults = {spec.task: spec.id for spec in models.profile("study", WORKLOADS)}
    assert {spec.task: spec.id for spec in reversed(specs)} == defaults


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gpt3", "did you mean gpt2"),
        ("zzzzzzzz", "server/README.md lists them"),
        ("", "names no model after the colon"),
        ("jozhang97/deta-swin-large", "DETA"),
        ("finiteautomata/bertweet-base-sentiment-analysis", "no fast form"),
        ("Salesforce/blip2-opt-2.7b", "prompt into its answer"),
        ("gpt2,../../etc", "none of the study's models"),
    ],
)
def test_names_that_cannot_be_served(name: str, message: str) -> None:
    """An unknown name gets the nearest ones, a model that cannot be served the reason."""
    with pytest.raises(UsageError, match=message):
        models.profile(f"study:{name}", WORKLOADS)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model whose code imports another package is refused where that is missing, with the line that installs it."""
    monkeypatch.setattr(study, "find_spec", lambda _: None)
    with pytest.raises(UsageError, match="facebook/detr-resnet-50 cannot be served: it needs timm: pip install timm"):
        models.profile("study:facebook/detr-resnet-50", ["object-detection"])


@pytest.mark.parametrize("model", study.models().values(), ids=lambda model: model.name)
def test_the_library_knows_each_architecture(model: study.StudyModel) -> None:
    """The installed transformers can load each model that is not refused, and cannot load DETA."""
    if model.type == "diffusers":
        assert model.tasks == ("text-to-image",)
        return
    if model.tasks == study.ZERO_SHOT:
        known = {**KINDS["text-generation"], **KINDS["summarization"]}
    else:
        known = dict(KINDS[model.tasks[0]])
    assert (model.type in known and model.type in transformers.CONFIG_MAPPING) == (model.type != "deta"), (
        transformers.__version__
    )
