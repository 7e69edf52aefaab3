"""Where a hub repository lies on this disk: the folder and commit in the hub library's own cache.

The server never downloads: a model that is not there is refused at once, with the line that brings it. Only files that
hold no code are taken, safetensors unless ``.bin`` is allowed. Knows nothing of torch.
"""

import json
import shlex
import struct
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from perjoule.errors import UsageError
from perjoule_server.profiles.study import renamed
from perjoule_server.tasks.base import ModelSpec

_NAMES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}
_LONGEST_HEADER = 100 * 2**20  # what the format itself allows


def locate(spec: ModelSpec, cache: Path | None = None) -> tuple[ModelSpec, Path]:
    """Return the specification with the repository and commit that are on this disk, and the folder that holds them.

    ``cache`` is the hub library's cache folder; None takes the library's own (``HF_HOME``, ``HF_HUB_CACHE``).

    Raises:
        UsageError: it is not there; the message holds the command that downloads it.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    for repository in _names(spec.source):
        try:
            folder = Path(snapshot_download(repository, revision=spec.revision, cache_dir=cache, local_files_only=True))
        except LocalEntryNotFoundError:
            continue
        except HFValidationError as error:
            raise UsageError(f"{spec.id}: {repository!r} is no name of a hub repository") from error
        if Path(repository).is_dir():  # the libraries would take it, whatever commit was found
            raise UsageError(f"{spec.id}: the working directory has a folder {repository!r}: start from another one")
        return replace(spec, source=repository, revision=folder.name), folder
    raise UsageError(
        f"{spec.id} is not on this machine ({spec.source}, revision {spec.revision}); the server downloads nothing:"
        f" run\n  {download_line(spec)}"
    )


def _names(repository: str) -> list[str]:
    """Return the names under which a repository may have been downloaded, today's first."""
    new, old = renamed(), {new: old for old, new in renamed().items()}
    names = (new.get(repository), repository, old.get(repository))
    return list(dict.fromkeys(name for name in names if name is not None))


def download_line(spec: ModelSpec) -> str:
    """Return the shell command that downloads what the server reads, and not the same weights in five formats."""
    if spec.task == "text-to-image":  # a pipeline: one folder a part; single files at the top are the same again
        take, leave = ["*.json", "*/*.txt", "*/*.safetensors"], ["*.fp16.*", "*non_ema*", "*flax*"]
    else:
        take, leave = ["*.json", "*.txt", "*.model", "*.safetensors"], ["*/*"]
    words = ["hf", "download", _names(spec.source)[0], "--revision", spec.revision]
    words += [word for pattern in take for word in ("--include", pattern)]
    words += [word for pattern in leave for word in ("--exclude", pattern)]
    return shlex.join(words)


def check_files(spec: ModelSpec, folder: Path, *, allow_bin: bool) -> None:
    """Check that a folder holds a configuration, and weights in a format that is allowed.

    Raises:
        UsageError: it does not; the message says what to do.
    """
    if not any((folder / name).is_file() for name in ("config.json", "model_index.json")):
        raise UsageError(f"{spec.id}: {folder} holds no config.json and no model_index.json: is its download complete?")
    if next(folder.rglob("*.safetensors"), None) is not None:
        return
    if next(folder.rglob("*.bin"), None) is None:
        raise UsageError(f"{spec.id}: {folder} holds no weights (*.safetensors): is its download complete?")
    if not allow_bin:
        raise UsageError(
            f"{spec.id} has its weights as .bin only, which are pickles: --allow-bin reads them with PyTorch's"
            " restricted unpickler, which runs none of their code"
        )


def stored_dtype(folder: Path) -> str:
    """Return the precision in which most of the weights are stored; float32 where no header tells."""
    sizes: dict[str, int] = {}
    for path in sorted(folder.rglob("*.safetensors")):
        for tensor in _header(path).values():
            if isinstance(tensor, dict) and tensor.get("dtype") in _NAMES:
                begin, end = tensor["data_offsets"]
                sizes[tensor["dtype"]] = sizes.get(tensor["dtype"], 0) + end - begin
    return _NAMES[max(sizes, key=lambda name: sizes[name])] if sizes else "float32"


def _header(path: Path) -> Mapping[str, object]:
    """Return the header of a safetensors file: eight bytes of length, then JSON.

    Raises:
        UsageError: the file is cut off or is none.
    """
    with path.open("rb") as file:
        try:
            (length,) = struct.unpack("<Q", file.read(8))
            content = json.loads(file.read(min(length, _LONGEST_HEADER)))
        except (struct.error, ValueError) as error:
            raise UsageError(f"{path} is not a whole safetensors file") from error
    return content if isinstance(content, dict) else {}
