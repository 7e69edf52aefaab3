"""Full-size models with random weights: the study's architectures, for a GPU without access to the hub.

This is the table of what there is; configurations and weights are made when one is loaded (``blueprints``,
``untrained``). The energy of an inference depends on shapes, precision and lengths, hardly on the weights' values; what
these models answer means nothing, and every result says ``weights="architecture"``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from perjoule.errors import UsageError
from perjoule_server.profiles.study import ZERO_SHOT
from perjoule_server.tasks.base import ModelSpec


@dataclass(frozen=True, slots=True)
class Architecture:
    """One architecture.

    Attributes:
        name: its id here is ``architecture/<name>``, followed by the workload where it serves several.
        like: the model whose shape it is, as the study or its authors call it.
        tasks: workloads that it serves.
    """

    name: str
    like: str
    tasks: tuple[str, ...]

    def ids(self) -> dict[str, str]:
        """Return its model id for each workload."""
        if len(self.tasks) == 1:
            return {self.tasks[0]: f"architecture/{self.name}"}
        return {task: f"architecture/{self.name}/{task}" for task in self.tasks}


_ENCODER = ("text-classification", "token-classification", "question-answering", "fill-mask")

_ALL = (
    Architecture("bert-base", "bert-base-uncased", _ENCODER),
    Architecture("distilbert", "distilbert-base-uncased", _ENCODER),
    Architecture("roberta-base", "roberta-base", _ENCODER),
    Architecture("roberta-large", "Jean-Baptiste/roberta-large-ner-english", _ENCODER),
    Architecture("bert-large", "bert-large-uncased-whole-word-masking-finetuned-squad", _ENCODER),
    Architecture("gpt2", "gpt2", ("text-generation",)),
    Architecture("gpt2-xl", "gpt2-xl", ("text-generation",)),
    Architecture("opt-1.3b", "facebook/opt-1.3b", ("text-generation",)),
    Architecture("opt-6.7b", "facebook/opt-6.7b", ("text-generation",)),
    Architecture("bloom-560m", "bigscience/bloom-560m", ("text-generation",)),
    Architecture("bart-large", "facebook/bart-large-cnn", ("summarization",)),
    Architecture("distilbart-12-6", "sshleifer/distilbart-cnn-12-6", ("summarization",)),
    Architecture("pegasus", "google/pegasus-xsum", ("summarization",)),
    Architecture("vit-base", "google/vit-base-patch16-224", ("image-classification",)),
    Architecture("resnet-50", "microsoft/resnet-50", ("image-classification",)),
    Architecture("detr-resnet-50", "facebook/detr-resnet-50", ("object-detection",)),
    Architecture("yolos-small", "hustvl/yolos-small", ("object-detection",)),
    Architecture("blip-base", "Salesforce/blip-image-captioning-base", ("image-to-text",)),
    Architecture("vit-gpt2", "nlpconnect/vit-gpt2-image-captioning", ("image-to-text",)),
    Architecture("stable-diffusion-1.5", "runwayml/stable-diffusion-v1-5", ("text-to-image",)),
    Architecture("stable-diffusion-xl", "stabilityai/stable-diffusion-xl-base-1.0", ("text-to-image",)),
    Architecture("flan-t5-large", "google/flan-t5-large", ZERO_SHOT),
    Architecture("flan-t5-xl", "google/flan-t5-xl", ZERO_SHOT),
    Architecture("bloomz-560m", "bigscience/bloomz-560m", ZERO_SHOT),
    Architecture("all-minilm-l6", "sentence-transformers/all-MiniLM-L6-v2", ("feature-extraction",)),
    Architecture("whisper-base", "openai/whisper-base", ("automatic-speech-recognition",)),
    Architecture("whisper-large-v3", "openai/whisper-large-v3", ("automatic-speech-recognition",)),
)

ARCHITECTURES: Mapping[str, Architecture] = MappingProxyType({each.name: each for each in _ALL})
"""All of them by name."""

_DEFAULTS = {"token-classification": "roberta-large", "question-answering": "roberta-base"}


def default(task: str) -> Architecture:
    """Return the architecture that serves a workload where none is named: the first of the table, mostly."""
    if task in _DEFAULTS:
        return ARCHITECTURES[_DEFAULTS[task]]
    return next(each for each in _ALL if task in each.tasks)


def specs(tasks: Sequence[str], named: Sequence[str]) -> list[ModelSpec]:
    """Return one architecture a workload, or those named for every wanted workload that they serve.

    Raises:
        UsageError: a name that is none of them.
    """
    if not named:
        return [_spec(default(task), task) for task in tasks]
    for name in named:
        if name not in ARCHITECTURES:
            raise UsageError(f"no architecture {name!r}; they are {', '.join(ARCHITECTURES)}")
    return [_spec(ARCHITECTURES[name], task) for name in named for task in ARCHITECTURES[name].tasks if task in tasks]


def _spec(one: Architecture, task: str) -> ModelSpec:
    return ModelSpec(one.ids()[task], task, one.name, "random", "architecture")
