"""Which models to serve, and loading one of them.

Three steps, so that a mistake is told as early as it can be: ``profile`` makes specifications of a word on the command
line, ``located`` finds their files on this disk, both without torch; ``load`` imports it. Knows nothing of HTTP or
queues.
"""

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from perjoule.errors import UsageError
from perjoule_server.profiles import hub, packaged
from perjoule_server.profiles.choice import PROFILES, profile
from perjoule_server.tasks.base import ModelSpec, Task
from perjoule_server.tiny import build_tiny

__all__ = ["PROFILES", "go_offline", "load", "located", "profile", "quieten"]


def go_offline() -> None:
    """Keep the libraries from asking the hub: the server downloads nothing.

    Without it a file that a folder lacks is looked for on the network for half a minute. The libraries read the
    variable when they are imported, so call this before ``located``.
    """
    os.environ["HF_HUB_OFFLINE"] = "1"


def located(
    specs: Iterable[ModelSpec], dtype: str = "float32", *, allow_bin: bool = False, cache: Path | None = None
) -> list[ModelSpec]:
    """Return the specifications with the commit and the precision that will be served.

    Args:
        specs: as ``profile`` made them.
        dtype: ``float32``, ``float16``, ``bfloat16``, or ``auto`` for that of the stored weights; an option ``dtype``
            of a model goes before it.
        allow_bin: whether weights may be ``.bin``.
        cache: the hub library's cache folder; None takes the library's own.

    Raises:
        UsageError: a model is not there; the message names all that are not, each with the line that downloads it.
    """
    found, problems = [], []
    for spec in specs:
        try:
            found.append(_located(spec, dtype, cache, allow_bin=allow_bin))
        except UsageError as error:
            problems.append(str(error))
    if problems:
        raise UsageError("\n".join(dict.fromkeys(problems)))
    return found


def _located(spec: ModelSpec, dtype: str, cache: Path | None, *, allow_bin: bool) -> ModelSpec:
    folder = Path(spec.source)
    if spec.weights == "hub":
        if spec.revision != "local":
            spec, folder = hub.locate(spec, cache)
        hub.check_files(spec, folder, allow_bin=allow_bin)
    wanted = spec.options.get("dtype", dtype)
    if wanted == "auto":  # tiny and converted models, which may not be there yet, are float32; the others are made so
        wanted = "float32" if spec.weights == "architecture" or not folder.is_dir() else hub.stored_dtype(folder)
    return replace(spec, options={**spec.options, "dtype": wanted})


def load(spec: ModelSpec, device: str, *, allow_bin: bool = False) -> Task:
    """Load a model onto ``device`` (``cpu``, ``cuda:0``); a tiny or packaged one is made ready first if it is not.

    Raises:
        PerjouleError: it is not there, is broken, or does not fit its task.
    """
    quieten()
    from perjoule_server.tasks.loaders import load_task  # torch, transformers and diffusers

    if spec.weights == "tiny":
        build_tiny(Path(spec.source).parent, [spec.task])
    if spec.weights == "packaged":
        packaged.prepare(spec)
    return load_task(spec, device, allow_bin=allow_bin)


def quieten() -> None:
    """Silence the libraries' progress bars and advice: the server's log speaks of the server."""
    from transformers import logging as transformers_logging

    # Before diffusers is imported, which makes transformers advise on image processors.
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    from diffusers.utils import logging as diffusers_logging

    diffusers_logging.set_verbosity_error()
    diffusers_logging.disable_progress_bar()
