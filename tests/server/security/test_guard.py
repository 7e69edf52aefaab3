"""Who is let in: with tokens, without, and from web pages; over real HTTP and with OpenAI's own client."""

import json
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

from perjoule.errors import UsageError
from perjoule_server.auth import Tokens, warn_if_open
from perjoule_server.config import ServerConfig, from_arguments
from perjoule_server.guard import QUIET_SECONDS, Refusals
from tests.server.fakes import PATIENCE, EchoTask, Running, eventually, running, spec
from tests.server.security.test_tokens import ADMIN, FILE, PLAIN
from tests.server.test_program import started

TASK = "text-classification"
BODY = json.dumps({"inputs": "a"}).encode()
HEALTH = ["/healthz", "/readyz", "/v2/health/live", "/v2/health/ready"]


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    """A file with a plain and an admin token."""
    file = tmp_path / "tokens"
    file.write_text(FILE)
    file.chmod(0o600)
    return file


@pytest.fixture
def locked(tokens: Path) -> Iterator[Running]:
    """A server that wants tokens."""
    with running([spec(TASK)], lambda _: EchoTask(), ServerConfig(auth_tokens=str(tokens))) as server:
        yield server


def bearer(token: str) -> str:
    return f"Bearer {token}"


@pytest.mark.parametrize("token", [PLAIN, ADMIN])
def test_a_token_opens_the_routes(locked: Running, token: str) -> None:
    """Either kind may ask and list."""
    assert locked.infer(TASK, "a", authorization=bearer(token)).status == 200
    assert locked.get("/v1/models", authorization=bearer(token)).status == 200
    assert locked.get("/openapi.json", authorization=bearer(token)).status == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", f"/v1/tasks/{TASK}"), ("POST", "/v1/tasks/unheard-of"), ("GET", "/v1/tasks"), ("GET", "/v1/models"),
     ("GET", "/v1/requests/x/energy"), ("GET", "/openapi.json"), ("GET", "/"), ("GET", "/healthz/"),
     ("GET", "//healthz"), ("DELETE", f"/v1/models/fake/{TASK}"), ("POST", "/v1/embeddings"),
     ("OPTIONS", f"/v1/tasks/{TASK}")],
)  # fmt: skip
def test_nothing_is_told_without_a_token(locked: Running, method: str, path: str) -> None:
    """All that is not named as open wants one, also what does not exist; the challenge says which kind."""
    reply = locked.request(method, path)
    assert (reply.status, reply.json["error"]["code"]) == (401, "unauthorized")
    assert reply.headers["www-authenticate"] == 'Bearer realm="inference-server"'


@pytest.mark.parametrize("path", [*HEALTH, "/metrics"])
def test_health_and_metrics_are_open(locked: Running, path: str) -> None:
    """Probes and Prometheus need no secret."""
    assert locked.get(path).status == 200


def test_metrics_can_be_locked_too(tokens: Path) -> None:
    """With --auth.metrics they want a token, and health still does not."""
    config = ServerConfig(auth_tokens=str(tokens), auth_metrics=True)
    with running([spec(TASK)], lambda _: EchoTask(), config) as server:
        assert server.get("/metrics").status == 401
        assert server.get("/metrics", authorization=bearer(PLAIN)).status == 200
        assert [server.get(path).status for path in HEALTH] == [200] * 4


def test_locked_metrics_need_tokens() -> None:
    """Nobody could read them: a usage error at the start."""
    with pytest.raises(UsageError, match=r"--auth\.metrics needs --auth\.tokens"):
        from_arguments(["--auth.metrics"])


def test_a_wrong_token_is_told_so(locked: Running) -> None:
    """With RFC 6750's word for it, and the token nowhere in the answer."""
    reply = locked.infer(TASK, "a", authorization=bearer("wrong-token-wrong-token"))
    assert (reply.status, reply.code) == (401, "unauthorized")
    assert reply.headers["www-authenticate"].endswith('error="invalid_token"')
    assert "wrong-token" not in f"{reply.headers} {reply.body!r}"


def test_two_authorization_headers_are_none(locked: Running) -> None:
    """A proxy might have checked the other one."""
    with socket.create_connection(("127.0.0.1", locked.port), timeout=PATIENCE) as client:
        twice = f"authorization: Bearer {PLAIN}\r\nauthorization: Bearer {ADMIN}\r\n"
        client.sendall(f"GET /v1/models HTTP/1.1\r\nhost: x\r\n{twice}\r\n".encode())
        assert client.recv(4096).startswith(b"HTTP/1.1 401")


def test_refused_inferences_are_counted_as_any(locked: Running) -> None:
    """Each under the unknown model, and none reaches a task; reading without a token counts nothing."""
    for _ in range(3):
        locked.infer(TASK, "a")
    locked.get("/v1/models")
    locked.request("POST", "/v1/models/fake/x")
    assert locked.metric("inference_requests_total", task="unknown", model="unknown", outcome="invalid") == 3
    assert locked.metric("inference_requests_total", model=f"fake/{TASK}") == 0


def test_openai_understands_the_refusal(locked: Running) -> None:
    """Its client raises its own error for it, message and code included, and passes with the token."""
    with openai.OpenAI(base_url=f"{locked.url}/v1", api_key="wrong", max_retries=0) as client:
        with pytest.raises(openai.AuthenticationError, match="valid token") as caught:
            client.embeddings.create(model="x", input="a")
        assert (caught.value.code, caught.value.type) == ("unauthorized", "invalid_request_error")
    with openai.OpenAI(base_url=f"{locked.url}/v1", api_key=PLAIN, max_retries=0) as client:
        assert [model.id for model in client.models.list()] == [f"fake/{TASK}"]


def test_a_plain_token_changes_no_models(locked: Running) -> None:
    """403, with RFC 6750's word for what is missing."""
    for method in ("POST", "DELETE", "PUT", "PATCH"):
        reply = locked.request(method, f"/v1/models/fake/{TASK}", authorization=bearer(PLAIN))
        assert (reply.status, reply.code) == (403, "forbidden")
        assert "insufficient_scope" in reply.headers["www-authenticate"]


def test_without_tokens_nobody_changes_models(server: Running) -> None:
    """403 says what to start the server with."""
    for method in ("POST", "DELETE"):
        reply = server.request(method, f"/v1/models/fake/{TASK}", authorization=bearer(ADMIN))
        assert (reply.status, reply.code) == (403, "forbidden")
        assert "--auth.tokens" in reply.json["error"]["message"]


def test_a_web_page_cannot_use_an_open_server(server: Running) -> None:
    """Browsers send a page's POST to 127.0.0.1 without asking: its Origin header gives it away."""
    reply = server.post(TASK, BODY, origin="https://example.org", content_type="text/plain")
    assert (reply.status, reply.code) == (403, "forbidden")
    assert server.post(TASK, BODY, content_type="text/plain").status == 200


def test_a_page_with_a_token_is_a_client_like_any(locked: Running) -> None:
    """Nothing comes with it by itself, so it has what its author was given; reading the answer is not allowed to it."""
    reply = locked.post(TASK, BODY, origin="https://example.org", authorization=bearer(PLAIN))
    assert reply.status == 200
    assert not [name for name in reply.headers if name.startswith("access-control-")]


def test_a_preflight_gets_no_leave(server: Running) -> None:
    """CORS is off: no answer allows another origin anything."""
    reply = server.request(
        "OPTIONS", f"/v1/tasks/{TASK}", origin="https://example.org", access_control_request_method="POST"
    )
    assert reply.status in {403, 405}
    assert not [name for name in reply.headers if name.startswith("access-control-")]


def test_the_log_is_not_flooded(caplog: pytest.LogCaptureFixture) -> None:
    """Refusals are told once a minute with their number."""
    now = 0.0
    refusals = Refusals(lambda: now)
    for _ in range(50):
        refusals.add("192.0.2.1")
    now = QUIET_SECONDS
    refusals.add("192.0.2.2")
    assert [message.split()[0] for message in caplog.messages] == ["1", "50"]
    assert caplog.messages[-1].endswith("192.0.2.2")


def test_sighup_reads_the_file_again(tokens: Path) -> None:
    """A token that was taken out no longer opens; the program runs on, and its log tells no token."""
    other = "other-" + "o" * 20
    with started("--tasks", TASK, "--auth.tokens", str(tokens)) as program:
        assert program.server.get("/v1/models", authorization=bearer(PLAIN)).status == 200
        tokens.write_text(other)
        os.kill(program.process.pid, signal.SIGHUP)
        eventually(lambda: program.server.get("/v1/models", authorization=bearer(other)).status == 200)
        assert program.server.get("/v1/models", authorization=bearer(PLAIN)).status == 401
        program.process.send_signal(signal.SIGTERM)
        code, log = program.ended()
    assert code == 0
    assert not [token for token in (PLAIN, ADMIN, other) if token in log + program.first_line]


@pytest.mark.parametrize(
    ("host", "warned"),
    [("127.0.0.1", 0), ("127.1.2.3", 0), ("::1", 0), ("0.0.0.0", 1), ("::", 1), ("192.0.2.1", 1), ("fe80::1%eth0", 1)],  # noqa: S104 (is never listened on)
)
def test_an_open_server_that_others_reach_says_so(
    tokens: Path, caplog: pytest.LogCaptureFixture, host: str, warned: int
) -> None:
    """Whoever starts one learns that everyone may use it; with tokens or on this machine's own address it is quiet."""
    warn_if_open(host, Tokens(str(tokens)))
    assert caplog.messages == []
    warn_if_open(host, None)
    assert ["--auth.tokens" in message for message in caplog.messages] == [True] * warned


def test_security_headers(server: Running) -> None:
    """Answers are never taken for pages, and nothing tells what serves them."""
    for reply in (server.infer(TASK, "<script>"), server.get("/nowhere"), server.get("/metrics")):
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in reply.headers["content-security-policy"]
        assert not {"server", "x-powered-by"} & reply.headers.keys()
