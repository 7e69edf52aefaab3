"""Tiny models with random weights for all 15 workloads, built offline in seconds and cached.

They exercise the whole path (tokenizer, image processor, ``from_pretrained``, generation, denoising) and use joules
like any model; what they answer means nothing. Importing this package imports no torch: building does.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType

from perjoule.workloads import WORKLOADS, Paradigm
from perjoule_server.tiny.cache import cache_root, ensure

__all__ = ["FOLDERS", "build_tiny", "cache_root"]

FOLDERS: Mapping[str, str] = MappingProxyType(
    {w.id: "multi-purpose" if w.paradigm is Paradigm.ZERO_SHOT else w.id for w in WORKLOADS.values()}
)
"""Folder of each workload's model below the cache; the three zero-shot workloads share one."""


def build_tiny(cache_dir: Path, tasks: Iterable[str]) -> dict[str, Path]:
    """Build what is missing below ``cache_dir`` and return each task's model folder.

    The same libraries give the same bytes; nothing is read from a network.

    Raises:
        PerjouleError: the folder cannot be written.
    """
    folders = {task: cache_dir / FOLDERS[task] for task in tasks}
    for folder in dict.fromkeys(folders.values()):
        ensure(folder, _build)
    return folders


def _build(name: str, folder: Path) -> None:
    from perjoule_server.tiny.builders import build  # torch, transformers and diffusers, only where they are needed

    build(name, folder)
