"""The 15 workloads: ids (which are also routes and label values), units of work, and the study's settings for them.

Ten tasks of "Power Hungry Processing" (Luccioni, Jernite, Strubell, FAccT 2024, arXiv 2311.16863), three of them again
zero-shot with a multi-purpose model, and two more that AI Energy Score measures. Says nothing about models or inputs.
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from perjoule.errors import UnknownWorkloadError


class Paradigm(StrEnum):
    """How a model comes to do the task."""

    TASK_SPECIFIC = "task-specific"
    ZERO_SHOT = "multi-purpose zero-shot"
    NOT_IN_STUDY = "not in the study"


class Modality(StrEnum):
    """What the request carries, beside its parameters."""

    TEXT = "text"
    IMAGE = "image"
    AUDIO = "audio"


class WorkUnit(StrEnum):
    """The functional unit that energy may also be divided by; label ``unit`` of ``inference_work_units_total``."""

    INFERENCE = "inference"
    OUTPUT_TOKEN = "output_token"  # noqa: S105 (a unit, not a credential)
    IMAGE = "image"
    AUDIO_SECOND = "audio_second"


@dataclass(frozen=True, slots=True)
class Workload:
    """One workload.

    Attributes:
        id: route, label value and name on the command line.
        title: the id in words.
        unit: the unit of work beside the inference itself.
        input: the modality of the request.
        paradigm: task-specific, zero-shot, or not in the study.
        study_task: the task's name in ``data/study_tasks.csv``, None where the study has none.
        energy_score_task: the task's name in ``data/ai_energy_score_2025.csv``, None where it has none.
        parameters: the study's generation settings (``study_protocol``: dtype float32, one at a time).
    """

    id: str
    title: str
    unit: WorkUnit
    input: Modality
    paradigm: Paradigm
    study_task: str | None = None
    energy_score_task: str | None = None
    parameters: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}), hash=False)


def _specific(id_: str, unit: WorkUnit, input_: Modality, study: str, score: str | None, **parameters: int) -> Workload:
    title = id_.replace("-", " ")
    return Workload(id_, title, unit, input_, Paradigm.TASK_SPECIFIC, study, score, MappingProxyType(parameters))


def _zero_shot(task: str, study: str, limit: int) -> Workload:
    return Workload(
        f"zero-shot-{task}", "zero-shot " + task.replace("-", " "), WorkUnit.OUTPUT_TOKEN, Modality.TEXT,
        Paradigm.ZERO_SHOT, study, parameters=MappingProxyType({"max_new_tokens": limit}),
    )  # fmt: skip


_ALL = (
    _specific("text-classification", WorkUnit.INFERENCE, Modality.TEXT, "text classification", "text_classification"),
    _specific("token-classification", WorkUnit.INFERENCE, Modality.TEXT, "token classification", None),
    _specific("question-answering", WorkUnit.INFERENCE, Modality.TEXT, "extractive QA", "question_answering"),
    _specific("fill-mask", WorkUnit.INFERENCE, Modality.TEXT, "masked language modeling", None),
    _specific("text-generation", WorkUnit.OUTPUT_TOKEN, Modality.TEXT, "text generation", "text_generation",
              min_new_tokens=10, max_new_tokens=10),
    _specific("summarization", WorkUnit.OUTPUT_TOKEN, Modality.TEXT, "summarization", "summarization",
              min_new_tokens=10, max_new_tokens=15),
    _specific("image-classification", WorkUnit.IMAGE, Modality.IMAGE, "image classification", "image_classification"),
    _specific("object-detection", WorkUnit.IMAGE, Modality.IMAGE, "object detection", "object_detection"),
    _specific("image-to-text", WorkUnit.IMAGE, Modality.IMAGE, "image captioning", "image_captioning"),
    _specific("text-to-image", WorkUnit.IMAGE, Modality.TEXT, "image generation", "image_generation"),
    _zero_shot("text-classification", "text classification", 1),
    _zero_shot("question-answering", "extractive QA", 65),
    _zero_shot("summarization", "summarization", 15),
    Workload(
        "feature-extraction", "feature extraction", WorkUnit.INFERENCE, Modality.TEXT, Paradigm.NOT_IN_STUDY,
        energy_score_task="sentence_similarity",
    ),
    Workload(
        "automatic-speech-recognition", "speech recognition", WorkUnit.AUDIO_SECOND, Modality.AUDIO,
        Paradigm.NOT_IN_STUDY, energy_score_task="asr",
    ),
)  # fmt: skip

WORKLOADS: Mapping[str, Workload] = MappingProxyType({workload.id: workload for workload in _ALL})
"""The 15 workloads by id, in the order in which tables show them."""


def workload(name: str) -> Workload:
    """Return the workload called ``name``.

    Raises:
        UnknownWorkloadError: the message names the nearest id, or lists all of them where none is near.
    """
    try:
        return WORKLOADS[name]
    except KeyError:
        written = "-".join(name.casefold().replace("_", " ").split())
        near = difflib.get_close_matches(written, WORKLOADS, n=1, cutoff=0.75)
        hint = f"did you mean {near[0]}?" if near else f"the tasks are {', '.join(WORKLOADS)}"
        raise UnknownWorkloadError(f"unknown task {name!r}; {hint}") from None
