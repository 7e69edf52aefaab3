"""How much memory the weights of models take, and how much a model is likely to take before it is loaded.

Weights only: what a batch needs besides is not known beforehand, and has to be left free by whoever sets a budget.
"""

import weakref
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from perjoule_server.tasks.base import ModelSpec

_DEPTH = 3  # attributes of attributes of a task: its language model's module, its pipeline's parts
_SUFFIXES = (".safetensors", ".bin")


def weights(task: object) -> dict[int, int]:
    """Return the bytes of each storage that holds parameters or buffers of ``task``, by its address."""
    found: dict[int, int] = {}
    for module in _modules(task, _DEPTH, set()):
        for tensor in chain(module.parameters(), module.buffers()):
            storage = tensor.untyped_storage()
            found[storage.data_ptr()] = storage.nbytes()
    return found


def watched(task: object) -> list["weakref.ref[Any]"]:
    """Return weak references to the modules of ``task``, which tell whether they are still there."""
    return [weakref.ref(module) for module in _modules(task, _DEPTH, set())]


def together(tasks: Iterable[object]) -> int:
    """Return the bytes that the weights of several tasks take; those that they share count once."""
    found: dict[int, int] = {}
    for task in tasks:
        found.update(weights(task))
    return sum(found.values())


def expected(spec: ModelSpec) -> int:
    """Return the bytes of a model's files, 0 where they are not in a folder of their own.

    What it takes when it is loaded follows its precision, and is measured then.
    """
    folder = Path(spec.source)
    if not folder.is_dir():
        return 0
    return sum(file.stat().st_size for file in folder.rglob("*") if file.suffix in _SUFFIXES and file.is_file())


def _modules(value: Any, depth: int, seen: set[int]) -> Iterator[Any]:
    from torch.nn import Module

    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, Module):
        yield value
    elif depth:
        inside = value.values() if isinstance(value, Mapping) else getattr(value, "__dict__", {}).values()
        for each in list(inside):
            yield from _modules(each, depth - 1, seen)
