"""Models with weights whose loading a test holds, counts and breaks."""

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch

from perjoule_server.tasks.base import ModelSpec
from tests.server.fakes import PATIENCE, EchoTask, Running

MEGABYTE = 1_000_000
FIRST, SECOND, THIRD = "text-classification", "fill-mask", "token-classification"


@dataclass
class WeightyTask(EchoTask):
    """Echoes, and holds a megabyte of weights for each unit of its size."""

    size: int = 1
    module: torch.nn.Module = field(default_factory=torch.nn.Module)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.module.weight = torch.nn.Parameter(torch.zeros(self.size * MEGABYTE // 4))


@dataclass
class Shelf:
    """Loads tasks: each model's of a size of its own, one at a time, as often as it is asked."""

    sizes: dict[str, int] = field(default_factory=dict)
    broken: dict[str, Exception] = field(default_factory=dict)
    loaded: list[str] = field(default_factory=list)
    gate: threading.Event = field(default_factory=threading.Event)
    begun: threading.Event = field(default_factory=threading.Event)
    tasks: dict[str, WeightyTask] = field(default_factory=dict)
    kept: bool = False

    def __post_init__(self) -> None:
        self.gate.set()

    def load(self, spec: ModelSpec) -> WeightyTask:
        self.begun.set()
        assert self.gate.wait(PATIENCE)
        self.loaded.append(spec.task)
        if spec.task in self.broken:
            raise self.broken[spec.task]
        task = WeightyTask(size=self.sizes.get(spec.task, 1))
        if self.kept:
            self.tasks[spec.task] = task
        return task

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold whatever is to be loaded until the end of the block."""
        self.gate.clear()
        self.begun.clear()
        try:
            yield
        finally:
            self.gate.set()


def called(server: Running, asked: Coroutine[Any, Any, None]) -> Any:
    """Have a coroutine run on the server's event loop; the future is the test's thread's."""
    loop = server.process.engine._loop
    assert loop is not None
    return asyncio.run_coroutine_threadsafe(asked, loop)


def states(server: Running) -> dict[str, str]:
    """Return each model's state by its task."""
    return {each["task"]: each["state"] for each in server.get("/v1/models").json["data"]}
