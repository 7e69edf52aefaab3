"""From a model specification to a loaded task, through the libraries' own ``from_pretrained``.

Never the code of a repository (``trust_remote_code=False``), never pickles (safetensors only); a local folder is read
with ``local_files_only``. Image processors are those on PIL, so that torchvision is not needed.
"""

import logging
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any
from weakref import WeakValueDictionary

import diffusers
import torch
import transformers

from perjoule.errors import PerjouleError
from perjoule_server.tasks.base import ModelSpec, Task
from perjoule_server.tasks.decoding import LanguageModel, give_padding
from perjoule_server.tasks.diffusion import TextToImage
from perjoule_server.tasks.encoder import FeatureExtraction, FillMask, TextClassification
from perjoule_server.tasks.generate import Summarization, TextGeneration
from perjoule_server.tasks.spans import QuestionAnswering, TokenClassification
from perjoule_server.tasks.speech import SpeechRecognition
from perjoule_server.tasks.tokens import Tokens
from perjoule_server.tasks.vision import ImageClassification, ImageToText, ObjectDetection
from perjoule_server.tasks.zeroshot import (
    ZeroShotQuestionAnswering,
    ZeroShotTextClassification,
    zero_shot_summarization,
)

log = logging.getLogger(__name__)

Loader = Callable[[ModelSpec, torch.device], Task]

_shared: WeakValueDictionary[tuple[str, str, str], LanguageModel] = WeakValueDictionary()
_sharing = threading.Lock()


def _where(spec: ModelSpec) -> dict[str, Any]:
    local = Path(spec.source).is_dir()
    return {"local_files_only": True} if local else {"revision": spec.revision}


def _model(spec: ModelSpec, device: torch.device, auto: Any) -> Any:
    model, info = auto.from_pretrained(
        spec.source, **_where(spec), trust_remote_code=False, use_safetensors=True, dtype=torch.float32,
        output_loading_info=True,
    )  # fmt: skip
    unused = "pooler" if spec.task == "feature-extraction" else "no such weight"  # the mean needs no pooler
    missing = sorted(name for name in info["missing_keys"] if unused not in name)
    if missing:
        log.warning("%s: %d weights are not in the checkpoint and are random: %s", spec.id, len(missing), missing[0])
    give_padding(model)
    return model.to(device).eval()


def _tokens(spec: ModelSpec, model: Any) -> Tokens:
    tokenizer = transformers.AutoTokenizer.from_pretrained(spec.source, **_where(spec), trust_remote_code=False)
    return Tokens(tokenizer, model.config, spec.source)


def _image_processor(spec: ModelSpec) -> Any:
    return transformers.AutoImageProcessor.from_pretrained(
        spec.source, **_where(spec), trust_remote_code=False, backend="pil"
    )


def _text(auto: Any, kind: Callable[[Any, Tokens], Task]) -> Loader:
    def load(spec: ModelSpec, device: torch.device) -> Task:
        model = _model(spec, device, auto)
        return kind(model, _tokens(spec, model))

    return load


def _image(auto: Any, kind: Callable[[Any, Any], Task]) -> Loader:
    def load(spec: ModelSpec, device: torch.device) -> Task:
        return kind(_model(spec, device, auto), _image_processor(spec))

    return load


def _language(kind: Callable[[LanguageModel], Task]) -> Loader:
    def load(spec: ModelSpec, device: torch.device) -> Task:
        return kind(_language_model(spec, device))

    return load


def _language_model(spec: ModelSpec, device: torch.device) -> LanguageModel:
    """Load a language model, or take the one that another task of this process has loaded from the same source."""
    key = (spec.source, spec.revision, str(device))
    with _sharing:
        found = _shared.get(key)
        if found is None:
            config = transformers.AutoConfig.from_pretrained(spec.source, **_where(spec), trust_remote_code=False)
            text_to_text = config.is_encoder_decoder
            auto = transformers.AutoModelForSeq2SeqLM if text_to_text else transformers.AutoModelForCausalLM
            model = _model(spec, device, auto)
            found = _shared[key] = LanguageModel(model, _tokens(spec, model))
        return found


def _load_captions(spec: ModelSpec, device: torch.device) -> Task:
    model = _model(spec, device, transformers.AutoModelForImageTextToText)
    return ImageToText(model, _image_processor(spec), _tokens(spec, model))


def _load_speech(spec: ModelSpec, device: torch.device) -> Task:
    model = _model(spec, device, transformers.AutoModelForSpeechSeq2Seq)
    extractor = transformers.AutoFeatureExtractor.from_pretrained(spec.source, **_where(spec), trust_remote_code=False)
    return SpeechRecognition(model, extractor, _tokens(spec, model))


def _load_images(spec: ModelSpec, device: torch.device) -> Task:
    pipeline = diffusers.DiffusionPipeline.from_pretrained(
        spec.source, **_where(spec), trust_remote_code=False, use_safetensors=True
    ).to(device)
    pipeline.set_progress_bar_config(disable=True)
    return TextToImage(pipeline, spec.options)


LOADERS: Mapping[str, Loader] = MappingProxyType({
    "text-classification": _text(transformers.AutoModelForSequenceClassification, TextClassification),
    "token-classification": _text(transformers.AutoModelForTokenClassification, TokenClassification),
    "question-answering": _text(transformers.AutoModelForQuestionAnswering, QuestionAnswering),
    "fill-mask": _text(transformers.AutoModelForMaskedLM, FillMask),
    "text-generation": _language(TextGeneration),
    "summarization": _language(Summarization),
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


def load_task(spec: ModelSpec, device: str) -> Task:
    """Load one model onto ``device``.

    Raises:
        PerjouleError: no such model, or one that is broken or does not fit the task.
    """
    try:
        return LOADERS[spec.task](spec, torch.device(device))
    except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
        raise PerjouleError(f"cannot load {spec.id} for {spec.task} from {spec.source}: {reason}") from error
