"""One build of the tiny models a session, each loaded when a test first asks for it."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from perjoule_server import models
from perjoule_server.tasks.base import ModelSpec, Task
from perjoule_server.tiny import FOLDERS


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for tiny models."""
    return tmp_path_factory.mktemp("tiny")


@pytest.fixture(scope="session")
def spec(cache: Path) -> Callable[[str], ModelSpec]:
    """The tiny specification of a workload, kept in the session's own folder."""

    def make(task: str) -> ModelSpec:
        (one,) = models.profile("tiny", [task])
        return replace(one, source=str(cache / FOLDERS[task]))

    return make


@pytest.fixture(scope="session")
def load(spec: Callable[[str], ModelSpec]) -> Iterator[Callable[[str], Task]]:
    """Loads a tiny model once, with torch on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    loaded: dict[str, Task] = {}

    def make(task: str) -> Task:
        if task not in loaded:
            loaded[task] = models.load(spec(task), "cpu")
        return loaded[task]

    yield make
    torch.set_num_threads(threads)
