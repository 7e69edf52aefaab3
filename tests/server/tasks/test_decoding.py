"""Writing tokens: exact counts, seeds apart from the batch, stop strings, limits, and other architectures."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from perjoule.errors import InvalidInputError
from perjoule_server import models
from perjoule_server.tasks.base import ModelSpec, Task, TaskRequest
from tests.server.tasks.material import TEXT, answer, answers, picture, request

Load = Callable[[str], Task]

WRITERS = (
    "text-generation",
    "summarization",
    "zero-shot-summarization",
    "image-to-text",
    "automatic-speech-recognition",
)


@pytest.mark.parametrize("task", [*WRITERS, "zero-shot-question-answering"])
@pytest.mark.parametrize("count", [1, 10, 33])
def test_exact_count(load: Load, task: str, count: int) -> None:
    """With equal bounds exactly so many tokens are written, alone and in a batch."""
    bounds = {"min_new_tokens": count, "max_new_tokens": count}
    alone = answer(load(task), request(task, 0, **bounds))
    together = answers(load(task), [request(task, place, **bounds) for place in (0, 2, 1)])
    assert [reply.output_tokens for reply in (alone, *together)] == [count] * 4


@pytest.mark.parametrize("task", ["text-generation", "summarization", "image-to-text"])
def test_sampling_is_the_seeds_alone(load: Load, task: str) -> None:
    """A seed gives the same text alone and beside others; another seed gives another text."""
    sampled = {"do_sample": True, "temperature": 1.5, "top_k": 200, "top_p": 0.95, "max_new_tokens": 12}
    seeds = (1, 2, 1)
    requests = [request(task, 0, seed=seed, **sampled) for seed in seeds]
    together, alone = answers(load(task), requests), [answer(load(task), one) for one in requests]
    texts = [reply.output for reply in together]
    assert texts == [reply.output for reply in alone]
    assert (texts[0] == texts[2], texts[0] == texts[1]) == (True, False)


def test_sampling_without_a_seed(load: Load) -> None:
    """Two requests without a seed differ; greedy ones do not."""
    task = load("text-generation")
    drawn = [answer(task, request("text-generation", temperature=2.0)).output for _ in range(2)]
    greedy = [answer(task, request("text-generation", temperature=1e-40)).output for _ in range(2)]
    assert (drawn[0] == drawn[1], greedy[0] == greedy[1]) == (False, True)


def test_sampling_draws_from_the_model() -> None:
    """Gumbel noise draws from the softmax: with top_k 2 both tokens come, in about the odds that their scores say."""
    from perjoule_server.tasks.rows import Noise

    scores = torch.log(torch.tensor([[0.7, 0.3, 1e-30]]))
    drawn = [int(Noise([seed])(scores, scores).argmax()) for seed in range(2_000)]
    assert drawn.count(0) / 2_000 == pytest.approx(0.7, abs=0.04)
    assert drawn.count(2) == 0


def test_settings_are_each_requests_own(load: Load) -> None:
    """Requests that write may share a batch whatever their settings, but for lengths of different powers of two."""
    task = load("text-generation")
    settings: list[dict[str, Any]] = [
        {"max_new_tokens": 5}, {"max_new_tokens": 5, "seed": 3}, {"max_new_tokens": 8}, {"max_new_tokens": 9},
        {"max_new_tokens": 5, "temperature": 0.5}, {"max_new_tokens": 7, "stop": ["\n"]},
    ]  # fmt: skip
    keys = [task.prepare(request("text-generation", place, **one)).key for place, one in enumerate(settings)]
    assert [keys.index(key) for key in keys] == [0, 0, 0, 3, 0, 0]


def test_stop_strings(load: Load) -> None:
    """A stop string ends the text, is part of it, and the tokens are counted to there; batch-mates write on."""
    task = load("text-generation")
    whole = answer(task, request("text-generation", max_new_tokens=20)).output[0]["generated_text"]
    stop = whole[len(whole) // 3 : len(whole) // 3 + 3]
    requests = [request("text-generation", place, max_new_tokens=20, stop=[stop], details=True) for place in (0, 1)]
    stopped, other = answers(task, requests)
    text = stopped.output[0]["generated_text"]
    assert text == whole[: whole.index(stop) + len(stop)]
    assert stopped.output_tokens < 20
    assert stopped.output[0]["details"]["finish_reason"] == "stop_sequence"
    assert (other.output, other.output_tokens) == (
        answer(task, requests[1]).output,
        answer(task, requests[1]).output_tokens,
    )


def test_details_and_full_text(load: Load) -> None:
    """The prompt is repeated, and the end explained, only on request."""
    (plain,) = answer(load("text-generation"), request("text-generation")).output
    parameters = {"return_full_text": True, "details": True, "max_new_tokens": 3}
    (full,) = answer(load("text-generation"), request("text-generation", **parameters)).output
    assert (set(plain), full["generated_text"].startswith(TEXT)) == ({"generated_text"}, True)
    expected = {"finish_reason": "length", "generated_tokens": 3, "seed": None, "prefill": [], "tokens": []}
    assert full["details"] == expected


def test_client_defaults_are_taken(load: Load) -> None:
    """What Hugging Face's client sends when it wants nothing special is accepted."""
    off = {"best_of": 1, "watermark": False, "decoder_input_details": False, "details": False, "stop": [],
           "frequency_penalty": 0.0, "repetition_penalty": 1.0, "top_n_tokens": None, "grammar": None}  # fmt: skip
    with pytest.raises(InvalidInputError, match="grammar"):
        load("text-generation").prepare(TaskRequest(TEXT, {**off, "grammar": {"type": "json", "value": {}}}))
    assert answer(load("text-generation"), TaskRequest(TEXT, off)).output_tokens == 20


def test_prompt_and_answer_share_a_causal_limit(load: Load) -> None:
    """A prompt must leave room for what is to be written; truncate makes it, keeping the end."""
    task, text = load("text-generation"), "river " * 1_010
    tokens = task.prepare(TaskRequest("river " * 500, {"max_new_tokens": 1})).input_tokens
    assert tokens > 500
    with pytest.raises(InvalidInputError, match="100 to write"):
        task.prepare(TaskRequest(text, {"max_new_tokens": 100}))
    cut = task.prepare(TaskRequest(text, {"max_new_tokens": 100, "truncate": 50}))
    assert (cut.input_tokens, cut.length) == (50, 150)


def test_summaries_of_too_long_texts(load: Load) -> None:
    """Truncation is off unless asked for."""
    task, text = load("summarization"), "river " * 3_000
    with pytest.raises(InvalidInputError, match="1024"):
        task.prepare(TaskRequest(text, {}))
    prepared = task.prepare(TaskRequest(text, {"truncation": "longest_first"}))
    assert (prepared.input_tokens, prepared.payload.row["input_ids"][-1]) == (1024, 2)


def test_summary_lengths(load: Load) -> None:
    """max_length counts the decoder's start token; nested and flat parameters mean the same."""
    task = load("summarization")
    lengths = [
        answer(task, request("summarization", **parameters)).output_tokens
        for parameters in (
            {"min_length": 8, "max_length": 8},
            {"generate_parameters": {"min_length": 8, "max_length": 8}},
            {"min_new_tokens": 7, "max_new_tokens": 7},
        )
    ]
    assert lengths == [7, 7, 7]


def test_zero_shot_limits_are_the_studys(load: Load) -> None:
    """Without parameters the study's token limits hold: 1, 65 and 15."""
    names = ("text-classification", "question-answering", "summarization")
    tasks = [f"zero-shot-{name}" for name in names]
    assert [answer(load(task), request(task)).output_tokens for task in tasks] == [1, 65, 15]


@pytest.mark.parametrize(
    "task", ["zero-shot-text-classification", "zero-shot-question-answering", "zero-shot-summarization"]
)
def test_zero_shot_with_a_causal_model(load: Load, spec: Callable[[str], ModelSpec], task: str) -> None:
    """The zero-shot workloads run on a causal model too, batches equal to singles."""
    load("text-generation")
    causal = models.load(replace(spec("text-generation"), task=task, weights="hub"), "cpu")
    requests = [request(task, place) for place in (1, 0)]
    together, alone = answers(causal, requests), [answer(causal, one) for one in requests]
    assert [reply.output_tokens for reply in together] == [reply.output_tokens for reply in alone]
    if task == "zero-shot-summarization":
        assert together == alone


def test_model_without_padding(load: Load, spec: Callable[[str], ModelSpec], tmp_path: Path) -> None:
    """A model without a padding token is padded with its end token, and nothing else changes."""
    load("text-generation")
    folder = copy_without_padding(Path(spec("text-generation").source), tmp_path / "gpt2")
    bare = models.load(replace(spec("text-generation"), source=str(folder), weights="hub"), "cpu")
    bounds = {"min_new_tokens": 9, "max_new_tokens": 9}
    requests = [request("text-generation", place, **bounds) for place in range(3)]
    assert [one.output for one in answers(bare, requests)] == [
        answer(load("text-generation"), one).output for one in requests
    ]


def copy_without_padding(source: Path, target: Path) -> Path:
    """Copy a model, leaving out every word of a padding token."""
    import json
    import shutil

    shutil.copytree(source, target)
    for name in ("config.json", "generation_config.json", "tokenizer_config.json"):
        content = json.loads((target / name).read_text())
        content.pop("pad_token_id", None)
        content.pop("pad_token", None)
        (target / name).write_text(json.dumps(content))
    return target


def test_blip(tmp_path: Path) -> None:
    """BLIP, whose generate sets its own end and padding, captions with exact counts, in batches as alone."""
    models.quieten()
    task = models.load(ModelSpec("own/blip", "image-to-text", str(save_blip(tmp_path)), "local", "hub"), "cpu")
    bounds: dict[str, Any] = {"min_new_tokens": 7, "max_new_tokens": 7}
    requests = [TaskRequest(None, bounds, picture(seed=seed)) for seed in range(3)]
    together, alone = answers(task, requests), [answer(task, one) for one in requests]
    assert together == alone
    assert [reply.output_tokens for reply in together] == [7] * 3


def save_blip(folder: Path) -> Path:
    """Save a BLIP of random weights."""
    from transformers import BlipConfig, BlipForConditionalGeneration
    from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

    from perjoule_server.tiny.tokenizers import BOS, EOS, PAD, UNK, text_tokenizer

    tokenizer = text_tokenizer(64)
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    marks = {"bos_token_id": BOS, "pad_token_id": PAD, "sep_token_id": EOS, "eos_token_id": UNK}
    config = BlipConfig(
        text_config={**shape, **marks, "vocab_size": len(tokenizer), "encoder_hidden_size": 32,
                     "max_position_embeddings": 64},
        vision_config={**shape, "image_size": 32, "patch_size": 8},
    )  # fmt: skip
    BlipForConditionalGeneration(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    BlipImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder
