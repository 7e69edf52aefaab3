"""Compiled models: few shapes, the same answers, honest padding."""

from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch._dynamo.testing import CompileCounterWithBackend

from perjoule_server import models
from perjoule_server.tasks.base import ModelSpec, SilentWork, Task
from perjoule_server.tasks.compiling import LONGEST, SHORTEST, Buckets, buckets, compile_reader
from tests.server.tasks.material import answers, request
from tests.server.tasks.test_batches import same


@given(st.integers(1, 10**9), st.integers(1, 5000))
def test_a_bucket_holds_its_batch_and_wastes_at_most_a_third(limit: int, longest: int) -> None:
    """Beyond the shortest; none is longer than the model's limit."""
    shapes = Buckets(buckets(limit))
    length = shapes.length(longest)
    assert length >= longest
    if longest <= min(limit, LONGEST):
        assert length <= min(limit, LONGEST)
        assert longest <= SHORTEST or 3 * length <= 4.5 * longest + 4.5
    else:
        assert length == longest


def test_there_are_few_lengths() -> None:
    """Eleven for a model of 512 tokens."""
    assert buckets(512) == [16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512]
    assert all(one < other for one, other in pairwise(buckets(10**9)))
    assert buckets(10) == [10]


@pytest.mark.slow
def test_a_compiled_model_answers_as_before_and_compiles_nothing_later(
    load: Callable[[str], Task], spec: Callable[[str], ModelSpec]
) -> None:
    """Batches of any size and length are served by what was compiled at the start; their padding is counted whole."""
    name = "token-classification"
    plain, compiled = load(name), models.load(spec(name), "cpu")
    tokens = compiled._tokens  # type: ignore[attr-defined]  # looks inside on purpose
    tokens.limit = 48
    counter = CompileCounterWithBackend("eager")
    compile_reader(compiled._model, tokens, counter)  # type: ignore[attr-defined]
    programs = counter.frame_count
    assert programs == 2 * len(buckets(48))
    for count in (1, 2, 3, 4):
        asked = [request(name, place) for place in range(count) if place != 2]
        assert all(map(same, answers(plain, asked), answers(compiled, asked)))
    prepared = [compiled.prepare(request(name, place)) for place in (0, 1)]
    padding = [raw.padding_tokens for raw in compiled.run(prepared, SilentWork())]
    length = tokens.shapes.length(max(one.length for one in prepared))
    assert padding == [length - one.length for one in prepared]
    assert counter.frame_count == programs


@pytest.mark.parametrize("name", ["text-classification", "fill-mask", "image-classification", "text-generation"])
def test_attention_is_sdpa_by_default(load: Callable[[str], Task], name: str) -> None:
    """Without a setting, where the library has it for the model's kind."""
    task = load(name)
    model = task._language.model if hasattr(task, "_language") else task._model  # type: ignore[attr-defined]
    assert model.config._attn_implementation == "sdpa"
