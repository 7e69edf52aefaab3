"""From a model specification to a loaded task.

The parts of a model (weights, tokenizer, processor) come from the libraries' own ``from_pretrained``, or are made on
the spot where the profile says so; how a workload's task is put together of them stands here once. Never the code of a
repository (``trust_remote_code=False``), never the network, never pickles unless ``.bin`` was allowed, and then through
PyTorch's restricted unpickler. Image processors are those on PIL, so that torchvision is not needed.
"""

import logging
import pickle
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol
from weakref import WeakValueDictionary

import diffusers
import torch
import transformers

from perjoule.errors import PerjouleError
from perjoule_server.profiles.untrained import Untrained
from perjoule_server.tasks.base import ModelSpec, Task
from perjoule_server.tasks.compiling import compile_reader
from perjoule_server.tasks.decoding import LanguageModel, give_padding
from perjoule_server.tasks.diffusion import TextToImage
from perjoule_server.tasks.encoder import FeatureExtraction, FillMask, TextClassification
from perjoule_server.tasks.generate import Summarization, TextGeneration
from perjoule_server.tasks.questions import QuestionAnswering
from perjoule_server.tasks.spans import TokenClassification
from perjoule_server.tasks.speech import SpeechRecognition
from perjoule_server.tasks.tokens import Tokens
from perjoule_server.tasks.vision import ImageClassification, ImageToText, ObjectDetection
from perjoule_server.tasks.zeroshot import (
    ZeroShotQuestionAnswering,
    ZeroShotTextClassification,
    zero_shot_summarization,
)

log = logging.getLogger(__name__)


class Parts(Protocol):
    """Where a model's parts come from."""

    key: tuple[str, ...]
    """What tells its weights from others': parts of equal key may share them."""

    def config(self) -> Any:
        """Return the model's configuration."""

    def model(self, auto: Any) -> Any:
        """Return the model of ``auto``'s kind, on its device, ready to infer."""

    def tokenizer(self) -> Any:
        """Return its tokenizer."""

    def processor(self) -> Any:
        """Return its image processor or feature extractor."""

    def pipeline(self) -> Any:
        """Return the diffusers pipeline."""


class Pretrained:
    """Parts that ``from_pretrained`` reads from a folder, or from the hub library's cache."""

    def __init__(self, spec: ModelSpec, device: torch.device, dtype: torch.dtype, *, allow_bin: bool) -> None:
        self._spec, self._device, self._dtype = spec, device, dtype
        self.key: tuple[str, ...] = (spec.source, spec.revision, str(device), str(dtype))
        self._where: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        if not Path(spec.source).is_dir():
            self._where["revision"] = spec.revision
        # None takes safetensors first, and .bin where there are none.
        self._weights = {"use_safetensors": None if allow_bin else True}

    def config(self) -> Any:
        """See ``Parts.config``."""
        return transformers.AutoConfig.from_pretrained(self._spec.source, **self._where)

    def model(self, auto: Any) -> Any:
        """See ``Parts.model``."""
        model, info = auto.from_pretrained(
            self._spec.source, **self._where, **self._weights, weights_only=True, dtype=self._dtype,
            output_loading_info=True,
        )  # fmt: skip
        unused = "pooler" if self._spec.task == "feature-extraction" else "no such weight"  # the mean needs no pooler
        missing = sorted(name for name in info["missing_keys"] if unused not in name)
        if missing:
            told = "%s: %d weights are not in the checkpoint and are random: %s"
            log.warning(told, self._spec.id, len(missing), missing[0])
        return model.to(self._device).eval()

    def tokenizer(self) -> Any:
        """See ``Parts.tokenizer``."""
        return transformers.AutoTokenizer.from_pretrained(self._spec.source, **self._where)

    def processor(self) -> Any:
        """See ``Parts.processor``."""
        if self._spec.task == "automatic-speech-recognition":
            return transformers.AutoFeatureExtractor.from_pretrained(self._spec.source, **self._where)
        return transformers.AutoImageProcessor.from_pretrained(self._spec.source, **self._where, backend="pil")

    def pipeline(self) -> Any:
        """See ``Parts.pipeline``."""
        return diffusers.DiffusionPipeline.from_pretrained(self._spec.source, **self._where, **self._weights).to(
            self._device, self._dtype
        )


Loader = Callable[[ModelSpec, Parts], Task]

_shared: WeakValueDictionary[tuple[str, ...], LanguageModel] = WeakValueDictionary()
_sharing = threading.Lock()


def _model(parts: Parts, auto: Any) -> Any:
    model = parts.model(auto)
    give_padding(model)
    return model


def _text(auto: Any, kind: Callable[[Any, Tokens], Task]) -> Loader:
    def load(spec: ModelSpec, parts: Parts) -> Task:
        model = _model(parts, auto)
        tokens = Tokens(parts.tokenizer(), model.config, spec.source)
        if spec.options.get("compile"):
            compile_reader(model, tokens)
        return kind(model, tokens)

    return load


def _image(auto: Any, kind: Callable[[Any, Any], Task]) -> Loader:
    def load(_: ModelSpec, parts: Parts) -> Task:
        return kind(_model(parts, auto), parts.processor())

    return load


def _language(kind: Callable[[LanguageModel], Task]) -> Loader:
    def load(spec: ModelSpec, parts: Parts) -> Task:
        return kind(_language_model(spec, parts))

    return load


def _language_model(spec: ModelSpec, parts: Parts) -> LanguageModel:
    """Load a language model, or take the one that another task of this process has loaded from the same source."""
    with _sharing:
        found = _shared.get(parts.key)
        if found is None:
            text_to_text = parts.config().is_encoder_decoder
            auto = transformers.AutoModelForSeq2SeqLM if text_to_text else transformers.AutoModelForCausalLM
            model = _model(parts, auto)
            tokens = Tokens(parts.tokenizer(), model.config, spec.source)
            found = _shared[parts.key] = LanguageModel(model, tokens)
        return found


def _load_summaries(spec: ModelSpec, parts: Parts) -> Task:
    return Summarization(_language_model(spec, parts), spec.options.get("prompt", "{text}"))


def _load_captions(spec: ModelSpec, parts: Parts) -> Task:
    model = _model(parts, transformers.AutoModelForImageTextToText)
    return ImageToText(model, parts.processor(), Tokens(parts.tokenizer(), model.config, spec.source))


def _load_speech(spec: ModelSpec, parts: Parts) -> Task:
    model = _model(parts, transformers.AutoModelForSpeechSeq2Seq)
    return SpeechRecognition(model, parts.processor(), Tokens(parts.tokenizer(), model.config, spec.source))


def _load_images(spec: ModelSpec, parts: Parts) -> Task:
    pipeline = parts.pipeline()
    pipeline.set_progress_bar_config(disable=True)
    return TextToImage(pipeline, spec.options)


LOADERS: Mapping[str, Loader] = MappingProxyType({
    "text-classification": _text(transformers.AutoModelForSequenceClassification, TextClassification),
    "token-classification": _text(transformers.AutoModelForTokenClassification, TokenClassification),
    "question-answering": _text(transformers.AutoModelForQuestionAnswering, QuestionAnswering),
    "fill-mask": _text(transformers.AutoModelForMaskedLM, FillMask),
    "text-generation": _language(TextGeneration),
    "summarization": _load_summaries,
    "image-classification": _image(transformers.AutoModelForImageClassification, ImageClassification),
    "object-detection": _image(transformers.AutoModelForObjectDetection, ObjectDetection),
    "image-to-text": _load_captions,
    "text-to-image": _load_images,
    "zero-shot-text-classification": _language(ZeroShotTextClassification),
    "zero-shot-question-answering": _language(ZeroShotQuestionAnswering),
    "zero-shot-summarization": _language(zero_shot_summarization),
    "feature-extraction": _text(transformers.AutoModel, FeatureExtraction),
    "automatic-speech-recognition": _load_speech,
})  # fmt: skip
"""How each workload's model is loaded."""


def load_task(spec: ModelSpec, device: str, *, allow_bin: bool = False) -> Task:
    """Load one model onto ``device``, in the precision of ``spec.options["dtype"]`` (float32 where it is not there).

    Raises:
        PerjouleError: no such model, or one that is broken or does not fit the task.
    """
    where, dtype = torch.device(device), getattr(torch, spec.options.get("dtype", "float32"))
    try:
        if spec.weights == "architecture":
            return LOADERS[spec.task](spec, Untrained(spec.source, spec.task, where, dtype))
        return LOADERS[spec.task](spec, Pretrained(spec, where, dtype, allow_bin=allow_bin))
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, pickle.UnpicklingError) as error:
        raise PerjouleError(f"cannot load {spec.id} for {spec.task} from {spec.source}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    lines = (str(error).strip() or type(error).__name__).splitlines()
    if "trust_remote_code" in str(error):
        return "it needs code of its own repository, which this server never runs (trust_remote_code)"
    return lines[0][:300]
