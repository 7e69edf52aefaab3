"""A file of the user's own models: ``[[model]]`` tables in TOML, checked before anything is loaded.

Sources are folders, relative to the file, or hub repositories; never URLs, never a path out of a repository.
"""

import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from perjoule.errors import UsageError
from perjoule.workloads import workload
from perjoule_server.tasks.base import ModelSpec

DTYPES = ("float32", "float16", "bfloat16")
"""Precisions that a model can be loaded in."""

_NAME = r"[A-Za-z0-9][\w-]*(\.[\w-]+)*"  # no part begins with a dot, none holds two in a row
_REPOSITORY = re.compile(rf"{_NAME}(/{_NAME})?", re.ASCII)
_PATH = re.compile(rf"{_NAME}(/{_NAME}){{0,5}}", re.ASCII)
_LONGEST = 128

_KEYS = {"id": str, "task": str, "source": str, "revision": str, "options": dict}


def read(path: Path) -> list[ModelSpec]:
    """Return the specifications of a file.

    Raises:
        UsageError: the file cannot be read, or holds a mistake; the message names the file, the model and the mistake.
    """
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


def is_repository(text: str) -> bool:
    """Tell whether ``text`` can be the name of a hub repository: ``name`` or ``organisation/name``."""
    return _REPOSITORY.fullmatch(text) is not None and len(text) <= _LONGEST


def _spec(path: Path, place: int, table: Any) -> ModelSpec:
    where = f"{path}, model {place}"
    _check_keys(where, table)
    if not _PATH.fullmatch(table["id"]) or len(table["id"]) > _LONGEST:
        raise UsageError(
            f"{where}: id {table['id'][:_LONGEST]!r} must be names of A-Z, a-z, 0-9, . _ - between slashes"
        )
    folder = (path.parent / table["source"]).resolve()
    options = _options(where, table.get("options", {}))
    task = workload(table["task"]).id
    if folder.is_dir():
        if "revision" in table:
            raise UsageError(f"{where}: revision is for hub repositories; {table['source']!r} is a folder")
        return ModelSpec(table["id"], task, str(folder), "local", "hub", options)
    if not is_repository(table["source"]):
        raise UsageError(f"{where}: {table['source']!r} is neither a folder nor the name of a hub repository")
    revision = table.get("revision", "main")
    if not _PATH.fullmatch(revision):
        raise UsageError(f"{where}: {revision!r} is no revision: name a branch, a tag or a commit")
    return ModelSpec(table["id"], task, table["source"], revision, "hub", options)


def _check_keys(where: str, table: Any) -> None:
    if not isinstance(table, dict) or not {"id", "task", "source"} <= set(table) <= set(_KEYS):
        raise UsageError(f"{where}: must hold id, task and source, and may hold revision and options")
    for name, kind in _KEYS.items():
        if name in table and not (isinstance(table[name], kind) and table[name]):
            raise UsageError(f"{where}: {name} must be a {'table' if kind is dict else 'string'}, not empty")


def _options(where: str, options: Mapping[str, Any]) -> Mapping[str, Any]:
    for name, value in options.items():
        if name not in _OPTIONS:
            raise UsageError(f"{where}: unknown option {name!r}; the options are {', '.join(_OPTIONS)}")
        if not _OPTIONS[name][0](value):
            raise UsageError(f"{where}: {name} must be {_OPTIONS[name][1]}, not {value!r}")
    return options


_OPTIONS: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "dtype": (lambda value: value in DTYPES, f"one of {', '.join(DTYPES)}"),
    "num_inference_steps": (lambda value: type(value) is int and 1 <= value <= 150, "a whole number from 1 to 150"),  # noqa: PLR2004 (the server's limit)
    "load": (lambda value: value in {"eager", "lazy"}, "eager or lazy"),
    "prompt": (lambda value: isinstance(value, str) and "{text}" in value, "a string with {text} in it"),
}
