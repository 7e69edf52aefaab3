"""Requests of one batch that write by settings of their own."""

from collections.abc import Callable
from typing import Any

import pytest

from perjoule.errors import InvalidInputError
from perjoule_server.tasks.base import Prepared, SilentWork, Task
from perjoule_server.tasks.generate import TextGeneration
from tests.server.tasks.material import TEXT, request

Load = Callable[[str], Task]

SETTINGS: list[dict[str, Any]] = [
    {"max_new_tokens": 20},
    {"max_new_tokens": 17, "temperature": 0.7, "seed": 1},
    {"max_new_tokens": 32, "top_k": 5, "seed": 2, "min_new_tokens": 32},
    {"max_new_tokens": 25, "top_p": 0.8, "seed": 3},
    {"max_new_tokens": 18, "do_sample": True, "seed": 4},
    {"max_new_tokens": 30, "stop": ["e"]},
    {"max_new_tokens": 31, "stop": ["ab", "er", " t"], "temperature": 1.5, "seed": 5},
]


def written(task: Task, batch: list[Prepared]) -> list[Any]:
    outputs = task.run(batch, SilentWork())
    return [task.finish(prepared, raw).output for prepared, raw in zip(batch, outputs, strict=True)]


@pytest.mark.parametrize("name", ["text-generation", "summarization"])
def test_a_mixed_batch_gives_what_each_gets_alone(load: Load, name: str) -> None:
    """Lengths, sampling and stop strings of each request are kept, and nobody's change anybody else's text."""
    task = load(name)
    allowed = [
        {key: value for key, value in one.items() if key != "stop" or name == "text-generation"} for one in SETTINGS
    ]
    batch = [task.prepare(request(name, place, **one)) for place, one in enumerate(allowed)]
    assert len({prepared.key for prepared in batch}) == 1
    together = written(task, batch)
    assert together == [written(task, [prepared])[0] for prepared in batch]
    assert together == written(task, batch[::-1])[::-1]


def test_rows_that_have_ended_stay_within_the_models_positions(load: Load) -> None:
    """A prompt that fills the context shares a batch only with requests for whose length it has room."""
    task = load("text-generation")
    assert isinstance(task, TextGeneration)
    limit = task._language.tokens.limit
    long = task.prepare(request("text-generation", 1, max_new_tokens=limit - 100))
    for spare in (1, 2, 3, 33):
        prompt = request("text-generation", 0, max_new_tokens=spare, truncate=limit - spare)
        full = task.prepare(type(prompt)(TEXT * 100, prompt.parameters))
        assert full.input_tokens + spare == limit
        short = task.prepare(request("text-generation", 1, max_new_tokens=64))
        mates = [full, *(one for one in (short, long) if one.key == full.key)]
        assert len(written(task, mates)) == len(mates)
        assert full.key not in {short.key, long.key}
    with pytest.raises(InvalidInputError, match="tokens"):
        task.prepare(type(prompt)(TEXT * 100, {"max_new_tokens": 1}))
