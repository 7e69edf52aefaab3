"""An image that lets others pass between its steps is the same image, and its weights add up."""

from collections.abc import Callable, Sequence

from perjoule_server.tasks.base import DENOISE, SilentWork, Task
from tests.server.tasks.material import answer, request
from tests.server.tasks.test_work import Noted


class Interrupted(Noted):
    """Serves another request at each pause, and notes what was said to be done by then."""

    def __init__(self, meanwhile: Callable[[], object]) -> None:
        super().__init__()
        self.done: list[Sequence[float]] = []
        self._meanwhile = meanwhile

    def pause(self, done: Sequence[float]) -> None:
        assert self.inside
        self.done.append(done)
        self._meanwhile()


def test_an_image_that_pauses_is_the_same_image(load: Callable[[str], Task]) -> None:
    """Whatever runs between its steps, its seed gives it; there is a pause after each step but the last."""
    drawing, reading, writing = load("text-to-image"), load("text-classification"), load("text-generation")
    asked = request("text-to-image", 1)

    def meanwhile() -> None:
        answer(reading, request("text-classification"))
        answer(writing, request("text-generation", do_sample=True, seed=1))

    work = Interrupted(meanwhile)
    prepared = drawing.prepare(asked)
    (raw,) = drawing.run([prepared], work)
    (alone,) = drawing.run([prepared], SilentWork())
    assert drawing.finish(prepared, raw).output == drawing.finish(prepared, alone).output
    ((whole,),) = [weights for name, weights in work.phases if name == DENOISE]
    steps = prepared.payload.picture.steps
    assert [each[0] for each in work.done] == [whole * (step + 1) / steps for step in range(steps - 1)]
