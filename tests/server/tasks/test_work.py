"""What each task tells of its work on the device: phases, weights, and that it stops when nobody waits."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import pytest

from perjoule.workloads import WORKLOADS
from perjoule_server.tasks.base import DECODE, DECODE_IMAGE, DENOISE, ENCODE, PREFILL, Phase, SilentWork, Task
from tests.server.tasks.material import request

Load = Callable[[str], Task]

READERS = ("text-classification", "token-classification", "question-answering", "fill-mask", "feature-extraction")
WRITERS = ("text-generation", "summarization", "zero-shot-question-answering", "zero-shot-summarization")
VIEWERS = ("image-classification", "object-detection")


class Noted(SilentWork):
    """Notes phases with their final weights.

    ``leaving`` says of each request after how many questions it has left; one that is not in it stays.
    """

    def __init__(self, leaving: dict[int, int] | None = None) -> None:
        self.phases: list[tuple[str, list[float]]] = []
        self.inside = 0
        self.asked: dict[int, int] = {}
        self._leaving = leaving or {}

    @contextmanager
    def phase(self, name: str, weights: Sequence[float]) -> Iterator[Phase]:
        assert not self.inside, "phases do not overlap"
        self.inside += 1
        noted = _Noted(weights)
        try:
            yield noted
        finally:
            self.inside -= 1
            self.phases.append((name, noted.weights))

    def left(self, index: int) -> bool:
        self.asked[index] = self.asked.get(index, 0) + 1
        return self.asked[index] > self._leaving.get(index, 1_000_000)


class _Noted:
    def __init__(self, weights: Sequence[float]) -> None:
        self.weights = list(weights)

    def weigh(self, weights: Sequence[float]) -> None:
        self.weights = list(weights)


def ran(task: Task, name: str, work: Noted, count: int = 2, **parameters: object) -> list[float]:
    """Run a batch of a workload, and return what each request's answer says of its length."""
    asked = [request(name, 2 * place, **parameters) for place in range(count)]
    prepared = [task.prepare(each) for each in asked]
    assert len({each.key for each in prepared}) == 1
    raws = task.run(prepared, work)
    return [task.finish(*each).output_tokens for each in zip(prepared, raws, strict=True)]


def test_no_workload_is_missing() -> None:
    """Every workload stands in one of the groups that are tested here."""
    others = {"image-to-text", "text-to-image", "automatic-speech-recognition", "zero-shot-text-classification"}
    assert {*READERS, *WRITERS, *VIEWERS, *others} == set(WORKLOADS)


@pytest.mark.parametrize("name", READERS)
def test_readers_weigh_real_tokens(load: Load, name: str) -> None:
    """One phase; a request weighs its tokens, of which padding is none."""
    task, work = load(name), Noted()
    ran(task, name, work)
    tokens = [task.prepare(request(name, 2 * place)).input_tokens for place in range(2)]
    assert work.phases == [(ENCODE, tokens)]
    assert tokens[0] != tokens[1]


@pytest.mark.parametrize("name", WRITERS)
def test_writers_weigh_what_they_read_and_what_they_wrote(load: Load, name: str) -> None:
    """Two phases: prompt tokens, then the tokens of each answer."""
    task, work = load(name), Noted()
    written = ran(task, name, work)
    tokens = [task.prepare(request(name, 2 * place)).input_tokens for place in range(2)]
    assert work.phases == [(PREFILL, tokens), (DECODE, written)]


def test_one_token_is_all_prefill(load: Load) -> None:
    """Zero-shot classification reads its scores from the first token that would be written."""
    name, work = "zero-shot-text-classification", Noted()
    ran(load(name), name, work)
    tokens = [load(name).prepare(request(name, 2 * place)).input_tokens for place in range(2)]
    assert work.phases == [(PREFILL, tokens)]


@pytest.mark.parametrize("name", VIEWERS)
def test_viewers_weigh_pixels(load: Load, name: str) -> None:
    """One phase; a request weighs the pixels that its model reads."""
    task, work = load(name), Noted()
    ran(task, name, work)
    (phase, weights), pixels = work.phases[0], task.prepare(request(name)).payload.pixels
    assert (phase, weights) == (ENCODE, [pixels.shape[-1] * pixels.shape[-2]] * 2)


def test_captions_weigh_pixels_and_tokens(load: Load) -> None:
    """The image is read in the first phase, the caption written in the second."""
    task, work = load("image-to-text"), Noted()
    written = ran(task, "image-to-text", work)
    pixels = task.prepare(request("image-to-text")).payload.pixels
    assert work.phases == [(PREFILL, [pixels.shape[-1] * pixels.shape[-2]] * 2), (DECODE, written)]


def test_speech_weighs_seconds_and_tokens(load: Load) -> None:
    """The recording is read in the first phase, by its length; the text is written in the second."""
    task, work = load("automatic-speech-recognition"), Noted()
    written = ran(task, "automatic-speech-recognition", work)
    assert work.phases == [(PREFILL, [0.5, 2.5]), (DECODE, written)]


def test_diffusion_weighs_pixels_and_steps(load: Load) -> None:
    """Three phases: the prompt's tokens, pixels × steps, and pixels."""
    task, work = load("text-to-image"), Noted()
    ran(task, "text-to-image", work, num_inference_steps=3, width=64, height=72)
    tokens = [task.prepare(request("text-to-image", 2 * place)).input_tokens for place in range(2)]
    assert work.phases == [(ENCODE, tokens), (DENOISE, [64 * 72 * 3] * 2), (DECODE_IMAGE, [64 * 72] * 2)]
    assert not load("text-to-image")._pipeline.unet._forward_pre_hooks  # type: ignore[attr-defined]  # looks inside on purpose


@pytest.mark.parametrize("name", [*WRITERS, "image-to-text", "automatic-speech-recognition"])
def test_nobody_waits_any_more(load: Load, name: str) -> None:
    """When all have left, writing ends at the next token."""
    work = Noted({0: 2, 1: 2})
    written = ran(load(name), name, work, max_new_tokens=12, min_new_tokens=12)
    assert work.asked == {0: 3, 1: 3}
    assert max(written) <= 3
    assert [phase for phase, _ in work.phases] == [PREFILL, DECODE]


@pytest.mark.parametrize("name", ["text-generation", "summarization"])
def test_who_stays_gets_the_same(load: Load, name: str) -> None:
    """A batch-mate that leaves changes nothing for the other, which is weighed with all that it wrote."""
    task = load(name)
    asked = [task.prepare(request(name, 2 * place, max_new_tokens=8, min_new_tokens=8)) for place in range(2)]
    (alone,) = task.run(asked[1:], SilentWork())
    work = Noted({0: 2})
    _, stayed = task.run(asked, work)
    assert stayed.payload == alone.payload
    weights = dict(work.phases)[DECODE]
    assert (weights[0] <= 3, weights[1]) == (True, len(alone.payload))


def test_no_image_for_nobody(load: Load) -> None:
    """When all have left, denoising ends at the next step, and no image is decoded."""
    work = Noted({0: 1, 1: 0})
    task = load("text-to-image")
    prepared = [task.prepare(request("text-to-image", 2 * place, num_inference_steps=6)) for place in range(2)]
    assert [raw.payload for raw in task.run(prepared, work)] == [None, None]
    assert [phase for phase, _ in work.phases] == [ENCODE, DENOISE]
    assert work.asked[0] == 2
