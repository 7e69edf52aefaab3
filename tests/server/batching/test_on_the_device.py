"""Batches on a real server: too little memory, a device that is lost, and images that let texts pass."""

import itertools
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch

from perjoule_server.config import ServerConfig
from perjoule_server.tasks.base import DENOISE, ENCODE, ModelSpec, Prepared, RawOutput, Work
from tests.exporter.span_books import started
from tests.server.energy_fakes import ToldBook, telling
from tests.server.fakes import EchoTask, eventually, running, spec

TEXT, IMAGE = "text-classification", "text-to-image"


@dataclass
class SmallTask(EchoTask):
    """Fits ``words`` words into its memory, padding included."""

    words: int = 16

    def run(self, batch: Sequence[Prepared], work: Work) -> Sequence[RawOutput]:
        outputs = super().run(batch, work)
        if max(prepared.length for prepared in batch) * len(batch) > self.words:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return outputs


def test_a_batch_that_does_not_fit_is_halved_and_the_size_remembered() -> None:
    """All are answered; the next batches are of the size that fitted; who alone is too large is told so."""
    task = SmallTask(max_batch=24)
    with running([spec(TEXT)], lambda _: task) as server:
        for _ in range(2):
            with task.held():
                first = server.start(TEXT, "x")
                eventually(lambda: ["x"] in task.batches)
                calls = [server.start(TEXT, f"t{number}") for number in range(24)]
                eventually(lambda: server.metric("inference_queue_depth") == 24)
            assert [call.reply().status for call in (first, *calls)] == [200] * 25
            sizes = [len(batch) for batch in task.batches]
            task.batches.clear()
        assert max(sizes) == 12
        answer = server.infer(TEXT, "word " * 17)
        assert (answer.status, "more memory" in answer.json["error"]["message"]) == (413, True)
        assert server.infer(TEXT, "short").status == 200


@pytest.mark.parametrize("words", ["device-side assert triggered", "unspecified launch failure"])
def test_a_lasting_error_of_the_device_ends_the_program(words: str) -> None:
    """No request is repeated on it: all who wait are answered 503, and the exit code is 1."""

    class Failing(EchoTask):
        def run(self, batch: Sequence[Prepared], work: Work) -> Sequence[RawOutput]:
            outputs = super().run(batch, work)
            if any(prepared.payload == "break it" for prepared in batch):
                raise torch.AcceleratorError(f"CUDA error: {words}")
            return outputs

    task = Failing()
    with running([spec(TEXT)], lambda _: task) as server:
        with task.held():
            first = server.start(TEXT, "break it")
            eventually(lambda: len(task.batches) == 2)
            second = server.start(TEXT, "waits")
            eventually(lambda: server.metric("inference_queue_depth") == 1)
        assert [first.reply().status, second.reply().status] == [503, 503]
        failure = server.failure()
    assert (words in str(failure), getattr(failure, "exit_code", 0)) == (True, 1)
    assert len(task.batches) == 2


@dataclass
class SteppingTask(EchoTask):
    """Draws in ``steps`` steps of ``seconds`` each, between which it lets others pass."""

    max_batch: int = 2
    steps: int = 20
    seconds: float = 0.02
    done: list[int] = field(default_factory=list)

    def run(self, batch: Sequence[Prepared], work: Work) -> Sequence[RawOutput]:
        self.batches.append([prepared.payload for prepared in batch])
        weights = [100.0 * (place + 1) for place in range(len(batch))]
        with work.phase(DENOISE, weights):
            for step in range(self.steps):
                threading.Event().wait(self.seconds)
                self.done.append(step)
                if step + 1 < self.steps:
                    work.pause([weight * (step + 1) / self.steps for weight in weights])
        return [RawOutput(prepared.payload.upper()) for prepared in batch]


def both(text: EchoTask, image: EchoTask) -> "dict[str, EchoTask]":
    return {TEXT: text, IMAGE: image}


def test_texts_pass_between_the_steps_of_an_image(tmp_path: Path) -> None:
    """A text waits for one step, not for the image; the spans of the image add up to its weights and never overlap."""
    book = ToldBook()
    told = started(book, tmp_path / "s.sock")
    drawing = SteppingTask()
    tasks = both(EchoTask(), drawing)
    with running(
        [spec(TEXT), spec(IMAGE)], lambda each: tasks[each.task], telling(tmp_path / "s.sock"), device=None
    ) as server:
        eventually(lambda: len(book.spans("warm-up")) == 2)
        drawing.done.clear()
        images = [server.start(IMAGE, f"a house {number}", x_request_id=f"image-{number}") for number in range(2)]
        eventually(lambda: bool(drawing.done))
        waits = []
        for number in range(3):
            begun = time.monotonic()
            assert server.infer(TEXT, f"hello {number}", x_request_id=f"text-{number}").status == 200
            waits.append(time.monotonic() - begun)
            assert len(drawing.done) < 2 * drawing.steps
        assert [image.reply().status for image in images] == [200, 200]
        seconds = [float(image.reply().headers["x-inference-time"]) for image in images]
        busy = server.metric("inference_device_busy_seconds_total")
        eventually(lambda: len(book.outcomes()) == 5 and book.balanced())
    told.close()
    assert min(waits) < drawing.steps * drawing.seconds / 2
    entries = book.requests()
    for name in ("image-0", "image-1"):
        weights = [weight for phase, weight, _ in entries[name] if phase == DENOISE]
        assert round(sum(weights), 6) in {100, 200}
        assert entries[name][-1][2] == "ok"
    assert sum(len(entries[name]) for name in ("image-0", "image-1")) > 2
    spans = sorted((opened.start, closed.end) for opened, closed in book.spans(ENCODE, DENOISE))
    assert all(one[1] <= other[0] for one, other in itertools.pairwise(spans))
    assert busy <= sum(end - start for start, end in spans) + 0.3
    assert all(each >= drawing.steps * drawing.seconds for each in seconds)


def test_only_one_batch_passes_at_each_step() -> None:
    """A flood of texts does not starve the image: at most one batch of others for each of its steps, in their turn."""
    drawing, text = SteppingTask(steps=10, seconds=0.001), EchoTask(max_batch=1)
    tasks = both(text, drawing)
    with running([spec(TEXT), spec(IMAGE)], lambda each: tasks[each.task], ServerConfig(queue=500)) as server:
        text.batches.clear()
        with text.held():
            calls = [server.start(TEXT, f"t{number}") for number in range(40)]
            eventually(lambda: server.metric("inference_queue_depth", task=TEXT) == 39)
            image = server.start(IMAGE, "a house")
            eventually(lambda: server.metric("inference_queue_depth", task=IMAGE) == 1)
            calls += [server.start(TEXT, f"late {number}") for number in range(20)]
            eventually(lambda: server.metric("inference_queue_depth", task=TEXT) == 59)
        assert image.reply().status == 200
        assert [call.reply().status for call in calls] == [200] * 60
        assert server.metric("inference_batch_size_count", task=IMAGE) == 1


def test_a_pause_within_another_batch_serves_nobody() -> None:
    """Two models that draw do not nest deeper than one, whatever waits; and all end."""
    first, second = SteppingTask(steps=6, seconds=0.005), SteppingTask(steps=6, seconds=0.005)
    specs = [spec(IMAGE, "one"), spec("image-classification", "two"), spec(TEXT)]
    tasks: dict[str, EchoTask] = {"one": first, "two": second, f"fake/{TEXT}": EchoTask()}

    def load(each: ModelSpec) -> EchoTask:
        return tasks[each.id]

    with running(specs, load) as server:
        calls = [server.start(IMAGE, f"a {number}") for number in range(4)]
        calls += [server.start(TEXT, f"b {number}") for number in range(4)]
        media = [server.post("image-classification", b"pixels", content_type="image/png").status for _ in range(3)]
        assert [call.reply().status for call in calls] == [200] * 8
        assert media == [200] * 3
