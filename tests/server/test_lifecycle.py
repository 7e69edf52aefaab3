"""Loading, draining, dying: what is visible from outside, and how the process ends."""

import http.client
import threading
from collections.abc import Callable, Sequence

import pytest

from perjoule.errors import PerjouleError
from perjoule_server.config import ServerConfig
from perjoule_server.loading import ModelError
from perjoule_server.program import ServingError, listen
from perjoule_server.tasks.base import ModelSpec, Prepared, RawOutput, Work
from tests.server.fakes import PATIENCE, EchoTask, Running, eventually, running, spec

TASK = "text-classification"


def test_loading_is_visible() -> None:
    """Live from the start, ready only when every model is, and each model's state can be read meanwhile."""
    go_on = threading.Event()

    def load(each: ModelSpec) -> EchoTask:
        if each.task != TASK:
            assert go_on.wait(PATIENCE)
        return EchoTask()

    with running([spec(TASK), spec("fill-mask")], load, wait_ready=False) as server:
        eventually(lambda: [model["state"] for model in server.get("/v1/models").json["data"]] == ["ready", "loading"])
        assert server.get("/healthz").status == 200
        refused = server.get("/readyz")
        assert (refused.status, refused.code) == (503, "loading")
        answer = server.infer(TASK, "too early")
        assert (answer.status, answer.code) == (503, "unavailable")
        assert "1 of 2" in answer.json["error"]["message"]
        assert server.metric("inference_requests_total", task=TASK, outcome="draining") == 1
        assert server.metric("inference_requests_total", task="fill-mask", outcome="ok") == 0
        go_on.set()
        eventually(lambda: server.get("/readyz").status == 200)
        assert server.infer(TASK, "now").status == 200


class Broken(EchoTask):
    """Fails at whatever it is asked to compute."""

    def run(self, batch: Sequence[Prepared], work: Work) -> Sequence[RawOutput]:
        del work
        raise RuntimeError(f"no kernel image for {len(batch)}")


def unreadable(_: ModelSpec) -> EchoTask:
    raise OSError("no such file")


@pytest.mark.parametrize(
    ("load", "reason"), [(unreadable, "OSError: no such file"), (lambda _: Broken(), "RuntimeError: no kernel image")]
)
def test_a_model_that_cannot_serve_ends_the_program(load: Callable[[ModelSpec], EchoTask], reason: str) -> None:
    """Neither one that does not load nor one that fails its warm-up; the error names the model and the reason."""
    with running([spec("fill-mask")], load) as server:
        failure = server.failure()
    assert isinstance(failure, ModelError)
    assert str(failure).startswith(f"fake/fill-mask cannot serve fill-mask: {reason}")


def test_draining_answers_what_was_accepted(server: Running, task: EchoTask) -> None:
    """After the signal readiness is red and new requests are refused, while accepted ones are still answered."""
    idle = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
    with task.held():
        calls = [server.start(TASK, f"text {number}") for number in range(4)]
        eventually(lambda: server.metric("inference_in_flight", task=TASK) == 4)
        server.process.stop()
        eventually(lambda: server.get("/readyz").status == 503)
        assert server.get("/healthz").status == 200
        idle.request("POST", f"/v1/tasks/{TASK}", b'{"inputs": "new"}')
        refused = idle.getresponse()
        assert (refused.status, b"shutting down" in refused.read()) == (503, True)
    assert [call.reply().status for call in calls] == [200] * 4


def test_draining_does_not_wait_for_ever() -> None:
    """What is not answered within the drain timeout is given up, and the program says so."""
    task = EchoTask()
    with running([spec(TASK)], lambda _: task, ServerConfig(drain_seconds=0.1)) as server, task.held():
        call = server.start(TASK, "stuck")
        eventually(lambda: len(task.batches) == 2)
        server.process.stop()
        assert call.reply().code == "unavailable"
        failure = server.failure()
    assert isinstance(failure, ServingError)
    assert "1 requests were not answered" in str(failure)


def test_a_dead_device_thread_ends_the_program(task: EchoTask) -> None:
    """All who wait get 503, and the program ends with an error of its own."""
    with running([spec(TASK)], lambda _: task) as server:
        with task.held():
            first = server.start(TASK, "die")
            eventually(lambda: len(task.batches) == 2)
            second = server.start(TASK, "waits")
            eventually(lambda: server.metric("inference_queue_depth") == 1)
        assert [first.reply().status, second.reply().status] == [503, 503]
        failure = server.failure()
    assert isinstance(failure, ServingError)
    assert (str(failure), failure.exit_code) == ("the device thread died: SystemExit: the driver is gone", 1)


def test_a_port_in_use_is_one_sentence() -> None:
    """Before anything is loaded."""
    with listen("127.0.0.1", 0) as first, pytest.raises(PerjouleError, match="choose another --host or --port"):
        listen("127.0.0.1", first.getsockname()[1])
