"""Which models to serve: profiles by name, or a file of the user's own; and loading one of them.

A profile is a list of specifications, made without importing torch, so that a command line is answered at once; loading
imports it. Knows nothing of HTTP or queues.
"""

import os
import re
import sys
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from perjoule.errors import UsageError
from perjoule.workloads import workload
from perjoule_server.tasks.base import ModelSpec, Task
from perjoule_server.tiny import FOLDERS, build_tiny, cache_root

PROFILES = ("tiny",)
"""Names that ``--models`` takes, beside the path of a TOML file."""

_REPOSITORY = re.compile(r"[A-Za-z0-9][\w-]*(\.[\w-]+)*(/[A-Za-z0-9][\w-]*(\.[\w-]+)*)?", re.ASCII)

_KEYS = {"id": str, "task": str, "source": str, "revision": str, "options": dict}

_TINY_OPTIONS = {"text-to-image": {"num_inference_steps": 4}}


def profile(name_or_path: str, tasks: Iterable[str]) -> list[ModelSpec]:
    """Return what to load for ``tasks``, one specification or more a task.

    A file holds ``[[model]]`` tables with ``id``, ``task``, ``source`` (a folder, relative to the file, or a hub
    repository) and optionally ``revision`` and ``options``.

    Raises:
        UsageError: no such profile or file, a file with mistakes, or a task without a model.
    """
    wanted = [workload(task).id for task in tasks]
    if name_or_path == "tiny":
        return [_tiny(task) for task in wanted]
    if not name_or_path.endswith(".toml"):
        raise UsageError(f"--models {name_or_path}: profiles are {', '.join(PROFILES)}; or name a .toml file")
    specs = [spec for spec in _from_file(Path(name_or_path)) if spec.task in wanted]
    missing = sorted(set(wanted) - {spec.task for spec in specs})
    if missing:
        raise UsageError(f"{name_or_path} names no model for {', '.join(missing)}: add one, or name --tasks without it")
    return specs


def _tiny(task: str) -> ModelSpec:
    source = str(cache_root() / FOLDERS[task])
    return ModelSpec(f"tiny/{task}", task, source, "local", "tiny", _TINY_OPTIONS.get(task, {}))


def _from_file(path: Path) -> list[ModelSpec]:
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:  # TOML's mistakes, and bytes that are no UTF-8
        raise UsageError(f"{path} is not TOML: {error}") from error
    tables = content.get("model")
    if set(content) != {"model"} or not isinstance(tables, list) or not tables:
        raise UsageError(f"{path} must hold [[model]] tables and nothing else")
    specs = [_spec(path, place, table) for place, table in enumerate(tables, 1)]
    twice = {spec.id for spec in specs if [other.id for other in specs].count(spec.id) > 1}
    if twice:
        raise UsageError(f"{path}: the id {min(twice)!r} occurs twice")
    return specs


def _spec(path: Path, place: int, table: Any) -> ModelSpec:
    where = f"{path}, model {place}"
    if not isinstance(table, dict) or not {"id", "task", "source"} <= set(table) <= set(_KEYS):
        raise UsageError(f"{where}: must hold id, task and source, and may hold revision and options")
    wrong = [
        name for name, kind in _KEYS.items() if name in table and not (isinstance(table[name], kind) and table[name])
    ]
    if wrong:
        raise UsageError(f"{where}: {wrong[0]} must be a {'table' if wrong[0] == 'options' else 'string'}, not empty")
    folder = (path.parent / table["source"]).resolve()
    local = folder.is_dir()
    if not (local or _REPOSITORY.fullmatch(table["source"])):
        raise UsageError(f"{where}: {table['source']!r} is neither a folder nor the name of a hub repository")
    return ModelSpec(
        table["id"],
        workload(table["task"]).id,
        str(folder) if local else table["source"],
        "local" if local else table.get("revision", "main"),
        "hub",
        table.get("options", {}),
    )


def is_local(spec: ModelSpec) -> bool:
    """Tell whether ``spec`` is read from this machine's disk."""
    return spec.revision == "local"


def go_offline(specs: Sequence[ModelSpec]) -> bool:
    """Keep the libraries from asking the hub when every model is local; return whether they are kept.

    Without it a file that a folder lacks is looked for on the network for half a minute. The libraries read the
    variable when they are imported, so call this before ``load``.
    """
    if not all(is_local(spec) for spec in specs):
        return False
    os.environ["HF_HUB_OFFLINE"] = "1"
    return "huggingface_hub" not in sys.modules


def load(spec: ModelSpec, device: str) -> Task:
    """Load a model onto ``device`` (``cpu``, ``cuda:0``); a tiny one is built first if it is not there yet.

    Raises:
        PerjouleError: it is not there, is broken, or does not fit its task.
    """
    quieten()
    from perjoule_server.tasks.loaders import load_task  # torch, transformers and diffusers

    if spec.weights == "tiny":
        build_tiny(Path(spec.source).parent, [spec.task])
    return load_task(spec, device)


def quieten() -> None:
    """Silence the libraries' progress bars and advice: the server's log speaks of the server."""
    from transformers import logging as transformers_logging

    # Before diffusers is imported, which makes transformers advise on image processors.
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    from diffusers.utils import logging as diffusers_logging

    diffusers_logging.set_verbosity_error()
    diffusers_logging.disable_progress_bar()
