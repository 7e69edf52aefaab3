"""Full-size models with random weights: as large as the published ones, and answering, without a file."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import transformers

from perjoule.errors import UsageError
from perjoule.workloads import WORKLOADS
from perjoule_server import models
from perjoule_server.loading import warm_up
from perjoule_server.profiles import architecture, study
from perjoule_server.profiles.blueprints import TEXT
from perjoule_server.profiles.pictures import PICTURES
from perjoule_server.profiles.sights import SIGHTS
from perjoule_server.profiles.untrained import Untrained
from perjoule_server.profiles.vocabulary import EOS, SPECIAL, tokenizer
from perjoule_server.tasks.base import SilentWork, Task, TaskRequest

PUBLISHED = {
    "bert-large": 335_141_888,  # the study's repository
    "roberta-large": 355_359_744,  # as above
    "opt-6.7b": 6_658_473_984,  # as above
    "all-minilm-l6": 22_713_216,  # its model card
    "whisper-base": 72_593_920,  # its model card
    "whisper-large-v3": 1_543_490_560,  # its model card
    # The study counts the safety checker of 1.5 too (303,981,588 parameters), which only reads what was made.
    "stable-diffusion-1.5": 1_370_216_895 - 303_981_588,
}
"""Parameters of models that ``study.toml`` has no figure for, or another boundary."""


def parameters(module: torch.nn.Module) -> int:
    """Return the number of parameters."""
    return sum(parameter.numel() for parameter in module.parameters())


def published(name: str) -> int:
    """Return the published number of parameters of an architecture."""
    if name in PUBLISHED:
        return PUBLISHED[name]
    count = study.models()[architecture.ARCHITECTURES[name].like].parameters
    assert count is not None, f"no published figure for {name}"
    return count


def test_every_architecture_has_a_shape() -> None:
    """The table and the shapes name the same architectures, and every workload has one by default."""
    assert {*TEXT, *SIGHTS, *PICTURES} == set(architecture.ARCHITECTURES)
    specs = models.located(models.profile("architecture", WORKLOADS), "bfloat16")
    assert [spec.task for spec in specs] == list(WORKLOADS)
    assert {(spec.weights, spec.revision, spec.options["dtype"]) for spec in specs} == {
        ("architecture", "random", "bfloat16")
    }
    assert len({spec.id for spec in specs}) == len(WORKLOADS)


@pytest.mark.parametrize("name", [*TEXT, *SIGHTS])
def test_published_sizes(name: str) -> None:
    """Without its head each model has exactly the published number of parameters (counted without memory)."""
    # ViT with GPT-2 has no form without its head, which is the embedding again and adds nothing.
    auto: Any = transformers.AutoModelForImageTextToText if name == "vit-gpt2" else transformers.AutoModel
    with torch.device("meta"):
        model = auto.from_config(Untrained(name, "", torch.device("meta"), torch.float32).config())
    assert parameters(model) == published(name)


@pytest.mark.parametrize("name", PICTURES)
def test_published_sizes_of_pipelines(name: str) -> None:
    """A pipeline's encoders, denoiser and decoder together have exactly the published number of parameters."""
    with torch.device("meta"):
        parts = PICTURES[name]().components.values()
    assert sum(parameters(part) for part in parts if isinstance(part, torch.nn.Module)) == published(name)


def test_names() -> None:
    """An architecture is chosen by name for the workloads that it serves; an unknown one is refused with all names."""
    specs = models.profile("architecture:gpt2-xl,opt-1.3b", WORKLOADS)
    assert [spec.id for spec in specs] == ["architecture/gpt2-xl", "architecture/opt-1.3b"]
    (one,) = models.profile("architecture:bert-base", ["fill-mask"])
    assert (one.id, one.source) == ("architecture/bert-base/fill-mask", "bert-base")
    with pytest.raises(UsageError, match="no architecture 'gpt5'; they are bert-base"):
        models.profile("architecture:gpt5", WORKLOADS)
    with pytest.raises(UsageError, match="no model for fill-mask"):
        models.profile("architecture:gpt2", ["fill-mask"])


def load(name: str, task: str, dtype: str = "float32") -> Task:
    """Load one architecture onto the CPU."""
    (spec,) = models.located(models.profile(f"architecture:{name}", [task]), dtype)
    return models.load(spec, "cpu")


def test_memory_is_what_initialisation_says() -> None:
    """Made without a second copy, a model has the library's own initial values: none forgotten, none not a number."""
    made: Any = Untrained("vit-base", "image-classification", torch.device("cpu"), torch.float32)
    model = made.model(transformers.AutoModelForImageClassification)
    usual = transformers.AutoModelForImageClassification.from_config(made.config())
    pairs = [*zip(model.named_parameters(), usual.named_parameters(), strict=True)]
    assert len(pairs) == 200
    for (name, own), (other, usual_one) in pairs:
        assert name == other
        mine, theirs = own.detach(), usual_one.detach()
        assert torch.isfinite(mine).all(), name
        assert float(mine.std(correction=0)) == pytest.approx(float(theirs.std(correction=0)), rel=0.3, abs=1e-3), name
        assert float(mine.mean()) == pytest.approx(float(theirs.mean()), abs=1e-2), name


def test_same_weights_each_time_and_the_callers_randomness_stays() -> None:
    """Weights come from a seed of their own."""
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    made = [
        Untrained("all-minilm-l6", "feature-extraction", torch.device("cpu"), torch.float32).model(
            transformers.AutoModel
        )
        for _ in range(2)
    ]
    assert torch.equal(torch.rand(3), expected)
    for one, two in zip(made[0].parameters(), made[1].parameters(), strict=True):
        assert torch.equal(one, two)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_full_size_answers() -> None:
    """GPT-2, BERT-base and ViT-base at full size load, warm up and answer on a CPU, in the precision asked for."""
    warm_up(load("bert-base", "fill-mask"), "fill-mask")
    warm_up(load("vit-base", "image-classification", "bfloat16"), "image-classification")
    task = load("gpt2", "text-generation")
    request = task.prepare(TaskRequest("Where does the river begin?", {"max_new_tokens": 12}))
    (raw,) = task.run([request], SilentWork())
    answer = task.finish(request, raw)
    assert answer.output_tokens == 12
    assert len(answer.output[0]["generated_text"].split()) == 12


@pytest.mark.parametrize("task", ["text-generation", "summarization", "zero-shot-summarization", "image-to-text"])
@pytest.mark.parametrize("length", [1, 7, 15])
def test_lengths_are_those_asked_for(task: str, length: int, small: Callable[[str], Task]) -> None:
    """A random model never ends its text by chance: it writes what the request asks for, and no special token."""
    from tests.server.tasks.material import TEXT as PROSE
    from tests.server.tasks.material import picture

    made = small(task)
    asked = {"max_new_tokens": length}
    request = TaskRequest(None, asked, picture()) if task == "image-to-text" else TaskRequest(PROSE, asked)
    prepared = made.prepare(request)
    (raw,) = made.run([prepared], SilentWork())
    assert len(raw.payload) == length
    assert min(raw.payload) >= len(SPECIAL)


SMALL = {
    "text-generation": ("gpt2", {"n_layer": 1, "n_embd": 64, "n_head": 2}),
    "summarization": ("bart-large", {"encoder_layers": 1, "decoder_layers": 1, "d_model": 64}),
    "zero-shot-summarization": ("flan-t5-large", {"num_layers": 1, "num_decoder_layers": 1, "d_model": 64}),
    "image-to-text": ("blip-base", {}),
}
"""The same shapes with most of their layers taken out: what ends a text does not hang on them."""


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Task]:
    """Loads an architecture with a layer or two."""

    def make(task: str) -> Task:
        name, fewer = SMALL[task]
        whole = Untrained.config

        def config(self: Untrained) -> Any:
            made = whole(self)
            for key, value in fewer.items():
                setattr(made, key, value)
            if name == "blip-base":
                made.text_config.num_hidden_layers = made.vision_config.num_hidden_layers = 1
            return made

        monkeypatch.setattr(Untrained, "config", config)
        return load(name, task)

    return make


PROSE = (
    "The train from Paris to Lyon was late again, but the staff were friendly and we arrived in time for dinner. "
    "A new report, published in 2024, says that the city council has approved a plan to build a park beside the river."
)


def test_token_counts_are_those_of_english() -> None:
    """A word is one token, a mark is one, a number one for each three digits; equal words have equal ids."""
    made = tokenizer(50_257, 1024)
    assert made.is_fast
    ids = made.encode(PROSE)
    assert len(ids) == len(PROSE.replace(",", " ,").replace(".", " .").split()) + 1  # 2024 is two
    assert made.encode("river")[0] in ids
    assert len(set(ids)) > 30
    assert max(ids) < 50_257
    assert min(ids) >= len(SPECIAL)


def test_framed_tokens_keep_offsets() -> None:
    """Frames, pairs and masks stand where a model expects them, and each token knows its place in the text."""
    made = tokenizer(30_522, 512, "<s> $A </s>", "<s> $A </s> $B:1 </s>:1")
    encoding = made("Who met?", "The council met.")
    detail: Any = (encoding.encodings or [])[0]
    assert encoding["input_ids"][0] == 0
    assert encoding["input_ids"].count(EOS) == 2
    assert [detail.offsets[place] for place, side in enumerate(detail.sequence_ids) if side == 1][:2] == [
        (0, 3), (4, 11),
    ]  # fmt: skip
    first, second = (place for place, id_ in enumerate(encoding["input_ids"]) if id_ == made.encode("met")[1])
    assert first < second
    assert made.encode("a <mask> b", add_special_tokens=False)[1] == made.mask_token_id
