"""Loading and unloading over HTTP, with an admin's token: what each state answers, and ids that are none."""

import http.client
import threading
from collections.abc import Callable, Iterator
from http import HTTPStatus
from pathlib import Path

import openai
import pytest

from perjoule.errors import InvalidInputError
from perjoule_server import admin
from perjoule_server.admin import checked_id
from perjoule_server.config import ServerConfig
from perjoule_server.tasks.base import ModelSpec
from tests.server.fakes import PATIENCE, EchoTask, Reply, Running, eventually, running, spec
from tests.server.security.test_tokens import ADMIN, FILE, PLAIN

TASK = "text-classification"
MODEL = "org/models/small-v1.5"
PATH = f"/v1/models/{MODEL}"


class Ground:
    """A server with an admin's token; ``gate`` holds up loading after the start."""

    def __init__(self) -> None:
        self.task = EchoTask()
        self.gate = threading.Event()
        self.gate.set()
        self.broken = False
        self.server: Running

    def load(self, _: ModelSpec) -> EchoTask:
        assert self.gate.wait(PATIENCE)
        if self.broken:
            raise OSError("no such file")
        return self.task

    def ask(self, method: str, path: str = PATH, token: str = ADMIN) -> Reply:
        return self.server.request(method, path, authorization=f"Bearer {token}")

    def infer(self) -> int:
        return self.server.infer(TASK, "a", authorization=f"Bearer {PLAIN}").status

    @property
    def state(self) -> str:
        return str(self.ask("GET", token=PLAIN).json["state"])


@pytest.fixture
def ground(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ground]:
    """One model, loaded; changes that take over 0.2 s are answered 202."""
    monkeypatch.setattr(admin, "ANSWER_SECONDS", 0.2)
    (tmp_path / "tokens").write_text(FILE)
    made = Ground()
    with running([spec(TASK, MODEL)], made.load, ServerConfig(auth_tokens=str(tmp_path / "tokens"))) as server:
        made.server = server
        yield made
        made.gate.set()


def test_a_model_goes_and_comes_back(ground: Ground) -> None:
    """DELETE takes it away, so that it is refused; POST brings it back; both tell the state, also when repeated."""
    for _ in range(2):
        gone = ground.ask("DELETE")
        assert (gone.status, gone.json["id"], gone.json["state"]) == (200, MODEL, "unloaded")
        assert ground.infer() == 503
    for _ in range(2):
        back = ground.ask("POST")
        assert (back.status, back.json["state"]) == (200, "ready")
        assert ground.infer() == 200


def test_a_change_that_takes_long_is_accepted(ground: Ground) -> None:
    """202 while it loads, 409 for taking it away meanwhile, and it is ready in the end."""
    ground.ask("DELETE")
    ground.gate.clear()
    under_way = ground.ask("POST")
    assert (under_way.status, under_way.json["state"]) == (202, "loading")
    assert ground.ask("POST").status == 202
    refused = ground.ask("DELETE")
    assert (refused.status, refused.code) == (409, "conflict")
    ground.gate.set()
    eventually(lambda: ground.state == "ready")
    assert ground.infer() == 200


def test_accepted_requests_are_answered_first(ground: Ground) -> None:
    """Unloading waits for them with 202, loading meanwhile is a conflict, and none is lost."""
    with ground.task.held():
        call = ground.server.start(TASK, "waits", authorization=f"Bearer {PLAIN}")
        eventually(lambda: any("waits" in batch for batch in ground.task.batches))
        assert ground.ask("DELETE").status == 202
        assert ground.ask("POST").code == "conflict"
    assert call.reply().status == 200
    eventually(lambda: ground.state == "unloaded")


def test_a_model_that_cannot_be_loaded(ground: Ground) -> None:
    """503, and the server serves on."""
    ground.ask("DELETE")
    ground.broken = True
    assert ground.ask("POST").status == HTTPStatus.SERVICE_UNAVAILABLE
    assert ground.state == "failed"
    assert ground.server.get("/healthz").status == 200
    ground.broken = False
    assert ground.ask("POST").status == 200


def test_an_unknown_model_is_not_found(ground: Ground) -> None:
    """Nothing is fetched for it."""
    for method in ("GET", "POST", "DELETE"):
        assert ground.ask(method, "/v1/models/someone/else").code == "not_found"


WRONG = [
    "../etc/passwd", "..", "a/../b", "a/..", "/etc/passwd", "//a", "a//b", "a/", "a\0b", "http://h/x", "https:/h",
    "file:x", "a\\..\\b", "C:\\x", "a b", "a?b", "a#b", "~/x", ".hidden", "-rf", "é", "a\nb", "a" * 257, "s3://bucket/x",
    "a@main", "%2e%2e", "a..b",
]  # fmt: skip


@pytest.mark.parametrize("text", WRONG)
def test_what_is_no_id_is_refused(text: str) -> None:
    """Paths, climbing, URLs, NUL, blanks, flags and what no repository is called."""
    with pytest.raises(InvalidInputError):
        checked_id(text)


@pytest.mark.parametrize(
    "text", ["gpt2", "google/flan-t5-base/zero-shot-summarization", "a.b-c_d/E9", "_x", "tiny/fill-mask"]
)
def test_ids_are_taken(text: str) -> None:
    """Names with dots, dashes and slashes."""
    assert checked_id(text) == text


@pytest.mark.parametrize(
    "path",
    ["../../etc/passwd", "..%2f..%2fetc", "%2e%2e/x", "a%00b", "http://h/x", "http:%2f%2fh", "%2fetc", "..%5cx", "%ff"],
)
@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_wrong_ids_are_refused_over_http(ground: Ground, method: str, path: str) -> None:
    """As they stand or percent-encoded, sent raw: 422, and the model stays."""
    connection = http.client.HTTPConnection("127.0.0.1", ground.server.port, timeout=PATIENCE)
    connection.putrequest(method, f"/v1/models/{path}", skip_host=False)
    connection.putheader("authorization", f"Bearer {ADMIN}")
    connection.endheaders()
    assert connection.getresponse().status == 422
    connection.close()
    assert ground.state == "ready"


def test_openai_retrieves_a_model(ground: Ground) -> None:
    """Its client finds a model by an id with slashes."""
    with openai.OpenAI(base_url=f"{ground.server.url}/v1", api_key=PLAIN, max_retries=0) as client:
        assert client.models.retrieve(MODEL).id == MODEL
        with pytest.raises(openai.PermissionDeniedError):
            client.models.delete(MODEL)


def refusals(change: Callable[[], Reply]) -> tuple[int, str]:
    reply = change()
    return reply.status, reply.code


def test_plain_tokens_and_none_change_nothing(ground: Ground) -> None:
    """403 and 401, and the model serves on."""
    assert refusals(lambda: ground.ask("DELETE", token=PLAIN)) == (403, "forbidden")
    assert refusals(lambda: ground.server.request("DELETE", PATH)) == (401, "unauthorized")
    assert ground.infer() == 200
