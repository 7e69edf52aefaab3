"""Requests are prepared on other threads than the device's, while it runs."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Event

from perjoule_server.tasks.base import SilentWork, Task
from tests.server.tasks.material import request


def test_prompts_are_prepared_while_images_are_drawn(load: Callable[[str], Task]) -> None:
    """The pipeline's own use of its tokenizer, which sets its padding, and that of preparing threads never meet."""
    task = load("text-to-image")
    prepared = [task.prepare(request("text-to-image", place, num_inference_steps=1)) for place in (0, 0)]
    (alone, _) = task.run(prepared, SilentWork())
    enough = Event()

    def prepare() -> set[int]:
        lengths: set[int] = set()
        while not enough.is_set():
            lengths.add(task.prepare(request("text-to-image", 2)).input_tokens)
        return lengths

    with ThreadPoolExecutor(2) as threads:
        others = [threads.submit(prepare) for _ in range(2)]
        try:
            drawn = [task.run(prepared, SilentWork())[0].payload for _ in range(10)]
        finally:
            enough.set()
        lengths = {length for other in others for length in other.result()}
    assert all((image == alone.payload).all() for image in drawn)
    assert lengths == {task.prepare(request("text-to-image", 2)).input_tokens}
