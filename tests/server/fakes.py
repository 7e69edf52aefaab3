"""A task without a model, and a real server around it on a free port.

The seam is the one that every model stands behind: ``perjoule_server.tasks.base.Task``.
"""

import http.client
import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from perjoule.errors import InvalidInputError
from perjoule_server.config import ServerConfig
from perjoule_server.energy import Device
from perjoule_server.program import Process, listen
from perjoule_server.tasks.base import ENCODE, Answer, ModelSpec, Prepared, RawOutput, TaskRequest, Work

PATIENCE = 20.0
"""Seconds after which a test gives up waiting for what must happen."""


@dataclass
class EchoTask:
    """Answers with its input, upper case. ``hold()`` makes the device wait; some inputs make it fail."""

    max_batch: int = 8
    batches: list[list[str]] = field(default_factory=list)
    gate: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.gate.set()

    def prepare(self, request: TaskRequest) -> Prepared:
        text = request.inputs if request.media is None else request.media.decode("latin-1")
        if not isinstance(text, str) or not text:
            raise InvalidInputError("inputs must be a text")
        if text == "crash in prepare":
            raise RuntimeError("a bug in prepare")
        words = len(text.split())
        return Prepared(text, words, request.parameters.get("key"), words)

    def run(self, batch: Sequence[Prepared], work: Work) -> Sequence[RawOutput]:
        texts = [prepared.payload for prepared in batch]
        self.batches.append(texts)
        with work.phase(ENCODE, [prepared.length for prepared in batch]):
            assert self.gate.wait(PATIENCE)
            if "die" in texts:
                raise SystemExit("the driver is gone")
            if "poison" in texts:
                raise ValueError("CUDA kernel says no at 0x7f00")
        longest = max(prepared.length for prepared in batch)
        return [RawOutput(prepared.payload.upper(), longest - prepared.length) for prepared in batch]

    def finish(self, prepared: Prepared, raw: RawOutput) -> Answer:
        if prepared.payload == "crash in finish":
            raise RuntimeError("a bug in finish")
        return Answer([{"echo": raw.payload}], output_tokens=prepared.length, work_units=1.0)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold whatever reaches the device until the end of the block."""
        self.gate.clear()
        try:
            yield
        finally:
            self.gate.set()


@dataclass(frozen=True)
class Reply:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The error's code, its whole shape checked."""
        assert self.json.keys() == {"error"}
        assert self.json["error"].keys() == {"code", "message", "request_id"}
        assert self.json["error"]["request_id"] == self.headers["x-request-id"]
        return str(self.json["error"]["code"])


@dataclass(frozen=True)
class Running:
    """A server that runs in this process, on a thread of its own."""

    process: Process
    port: int
    failures: list[BaseException] = field(default_factory=list)
    """What ended it, if that was an error."""
    ended: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def request(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Reply:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            connection.request(method, path, body, {name.replace("_", "-"): text for name, text in headers.items()})
            response = connection.getresponse()
            return Reply(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Reply:
        return self.request("GET", path, None, **headers)

    def infer(self, task: str, inputs: Any, parameters: Any = None, **headers: str) -> Reply:
        body = {"inputs": inputs} if parameters is None else {"inputs": inputs, "parameters": parameters}
        headers.setdefault("content_type", "application/json")
        return self.request("POST", f"/v1/tasks/{task}", json.dumps(body).encode(), **headers)

    def post(self, task: str, body: bytes, **headers: str) -> Reply:
        return self.request("POST", f"/v1/tasks/{task}", body, **headers)

    @property
    def ready(self) -> bool:
        try:
            return self.get("/readyz").status == HTTPStatus.OK
        except (http.client.HTTPException, OSError):  # it may just be ending
            return False

    def failure(self) -> BaseException:
        """Wait for its end and return the error that it ended with; the test then answers for it."""
        assert self.ended.wait(PATIENCE)
        return self.failures.pop()

    def start(self, task: str, inputs: Any, **headers: str) -> "Call":
        """Send a request from a thread of its own."""
        return Call(lambda: self.infer(task, inputs, **headers))

    def metric(self, name: str, **labels: str) -> float:
        """Return the sum of the samples ``name`` whose labels include ``labels``."""
        from prometheus_client.parser import text_string_to_metric_families

        samples = [
            sample
            for family in text_string_to_metric_families(self.get("/metrics").body.decode())
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        ]
        assert samples, f"no {name}{labels}"
        return sum(sample.value for sample in samples)


class Call:
    """A request under way; ``reply()`` waits for it."""

    def __init__(self, send: Callable[[], Reply]) -> None:
        self._replies: list[Reply | Exception] = []
        self._thread = threading.Thread(target=self._run, args=(send,), daemon=True)
        self._thread.start()

    def _run(self, send: Callable[[], Reply]) -> None:
        try:
            self._replies.append(send())
        except Exception as error:  # noqa: BLE001 (handed to the test's own thread)
            self._replies.append(error)

    def reply(self) -> Reply:
        self._thread.join(PATIENCE)
        assert self._replies, "no reply in time"
        if isinstance(self._replies[0], Exception):
            raise self._replies[0]
        return self._replies[0]


def spec(task: str, model: str | None = None) -> ModelSpec:
    return ModelSpec(model or f"fake/{task}", task, "nowhere", "local", "tiny")


def eventually(holds: Callable[[], bool]) -> None:
    """Wait until ``holds()``."""
    pause = threading.Event()
    for _ in range(int(PATIENCE / 0.005)):
        if holds():
            return
        pause.wait(0.005)
    raise AssertionError("it did not come about in time")


@contextmanager
def running(
    specs: Sequence[ModelSpec],
    load: Callable[[ModelSpec], Any],
    config: ServerConfig | None = None,
    *,
    wait_ready: bool = True,
    device: str | None = "cpu-test",
) -> Iterator[Running]:
    """Serve ``specs`` on a free port; drained and ended at the end. ``device``: None for what an exporter suggests."""
    process = Process(config or ServerConfig(), specs, Device("cpu", device), load)

    def serve() -> None:
        try:
            process.run(listener, signals=False)
        except BaseException as error:  # noqa: BLE001 (shown by the test's own thread)
            server.failures.append(error)
        finally:
            server.ended.set()

    with listen("127.0.0.1", 0) as listener:
        server = Running(process, listener.getsockname()[1])
        threading.Thread(target=serve, name="server", daemon=True).start()
        try:
            if wait_ready:
                eventually(lambda: server.ended.is_set() or server.ready)
            yield server
        finally:
            process.stop()
            assert server.ended.wait(PATIENCE)
    if server.failures:
        raise server.failures[0]
