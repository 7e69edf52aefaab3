"""The API over real HTTP, with tasks that echo."""

import http.client
import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from perjoule.metrics import REQUEST_OUTCOMES
from perjoule.workloads import WORKLOADS
from perjoule_server import samples
from perjoule_server.bodies import BODIES_HELD
from perjoule_server.config import ServerConfig
from tests.server.fakes import EchoTask, Running, eventually, running, spec

TASK = "text-classification"
MODEL = f"fake/{TASK}"


def outcomes(server: Running, model: str = MODEL) -> dict[str, float]:
    """Outcomes of a model's requests that are not 0."""
    counted = {each: server.metric("inference_requests_total", model=model, outcome=each) for each in REQUEST_OUTCOMES}
    return {outcome: count for outcome, count in counted.items() if count}


def test_an_answer_carries_what_it_took(server: Running) -> None:
    """The reply is the task's own; the headers tell queue, device, batch, tokens and that energy is unknown."""
    reply = server.infer(TASK, "hello big world", x_request_id="my.id-1")
    assert (reply.status, reply.json) == (200, [{"echo": "HELLO BIG WORLD"}])
    names = ("x-request-id", "x-batch-size", "x-input-tokens", "x-output-tokens", "x-energy-quality", "content-type")
    assert [reply.headers[name] for name in names] == ["my.id-1", "1", "3", "3", "unknown", "application/json"]
    assert 0 <= float(reply.headers["x-queue-time"]) < 10
    assert 0 <= float(reply.headers["x-inference-time"]) < 10
    assert "x-energy-joules" not in reply.headers


@pytest.mark.parametrize("given", ["", "a b", "é", "x" * 65, "a/../b", '"'])
def test_a_malformed_request_id_is_replaced(server: Running, given: str) -> None:
    """Ids end up in logs and exemplars, so only plain ones are kept."""
    reply = server.infer(TASK, "a", x_request_id=given)
    assert reply.status == 200
    assert reply.headers["x-request-id"].replace("-", "").isalnum()


def test_what_is_served_is_listed(server: Running) -> None:
    """Tasks with their models, and models in OpenAI's shape."""
    assert server.get("/v1/tasks").json["data"][0] == {"task": TASK, "models": [MODEL], "default": MODEL}
    listing = server.get("/v1/models").json
    assert listing["object"] == "list"
    entry = listing["data"][0]
    assert entry.pop("created") > 1.6e9
    assert entry == {
        "id": MODEL, "object": "model", "owned_by": "perjoule", "task": TASK, "device": "cpu-test", "state": "ready",
        "weights": "tiny", "revision": "local", "dtype": "float32",
    }  # fmt: skip


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/v2/health/live", "/v2/health/ready"])
def test_health_routes_answer(server: Running, path: str) -> None:
    """Liveness and readiness under both of their names."""
    assert server.get(path).status == 200


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/", 404, "not_found"),
        ("GET", "/v1/tasks/", 404, "not_found"),
        ("POST", "/v1/tasks/unheard-of", 404, "not_found"),
        ("POST", "/v1/tasks/..%2f..%2fetc", 404, "not_found"),
        ("POST", "/v1/tasks/fill-mask", 404, "not_found"),
        ("GET", f"/v1/tasks/{TASK}", 405, "method_not_allowed"),
        ("DELETE", "/metrics", 405, "method_not_allowed"),
        ("POST", f"/v1/tasks/{TASK}", 422, "invalid_input"),
    ],
)
def test_every_error_has_one_shape(server: Running, method: str, path: str, status: int, code: str) -> None:
    """Unknown routes, methods, tasks and bodies answer alike."""
    reply = server.request(method, path)
    assert (reply.status, reply.code) == (status, code)


def test_unknown_tasks_and_models_make_no_series(server: Running) -> None:
    """Invented names count under ``unknown`` and leave the exposition as long as it was."""
    before = len(server.get("/metrics").body.splitlines())
    for number in range(5):
        assert server.post(f"task-{number}", b"{}").status == 404
        assert server.post(TASK, json.dumps({"inputs": "a", "model": f"m-{number}"}).encode()).status == 404
    assert len(server.get("/metrics").body.splitlines()) == before
    assert server.metric("inference_requests_total", task="unknown", model="unknown") == 5
    assert server.metric("inference_requests_total", task=TASK, model="unknown", outcome="invalid") == 5
    assert outcomes(server) == {}


def test_a_request_may_name_its_model() -> None:
    """Two models of one task: the first is the default, the other answers when it is named."""
    first, second = EchoTask(), EchoTask()
    specs = [spec(TASK, "fake/a"), spec(TASK, "fake/b")]
    with running(specs, lambda each: first if each.id == "fake/a" else second) as server:
        first.batches.clear()
        second.batches.clear()
        server.infer(TASK, "x")
        server.post(TASK, b'{"inputs": "y", "model": "fake/b"}')
    assert (first.batches, second.batches) == ([["x"]], [["y"]])


def test_bodies_over_the_limit_are_refused_while_they_stream() -> None:
    """413 with and without a true Content-Length, readable by the client, and the server goes on."""
    with running([spec(TASK)], lambda _: EchoTask(), ServerConfig(body_bytes=1000)) as server:
        assert server.post(TASK, b"x" * 1001).code == "too_large"
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
        connection.request("POST", f"/v1/tasks/{TASK}", iter([b"x" * 600] * 3), encode_chunked=True,
                           headers={"transfer-encoding": "chunked"})  # fmt: skip
        assert connection.getresponse().status == 413
        assert server.infer(TASK, "fine").status == 200
        assert outcomes(server) == {"too_large": 2.0, "ok": 1.0}


def test_an_endless_body_is_cut_off() -> None:
    """A client that declares terabytes and never stops sending is answered and disconnected."""
    with running([spec(TASK)], lambda _: EchoTask(), ServerConfig(body_bytes=10_000)) as server:
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as client:
            client.sendall(f"POST /v1/tasks/{TASK} HTTP/1.1\r\nhost: x\r\ncontent-length: {2**40}\r\n\r\n".encode())
            with pytest.raises(OSError):  # noqa: PT011 (reset or broken pipe, as the kernel likes)
                client.sendall(bytes(2**30))
        eventually(lambda: outcomes(server) == {"too_large": 1.0})


def test_many_large_bodies_share_a_limit() -> None:
    """Beyond what all bodies may hold together a large one is told to come later; small ones and later ones pass."""
    large, head = 200_000, f"POST /v1/tasks/{TASK} HTTP/1.1\r\nhost: x\r\ncontent-length: 300000\r\n\r\n".encode()
    with running([spec(TASK)], lambda _: EchoTask(), ServerConfig(body_bytes=large)) as server, ExitStack() as clients:
        for _ in range(BODIES_HELD):
            client = clients.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=20))
            client.sendall(head + b"x" * (large - 1_000))
        eventually(lambda: server.infer(TASK, "x" * (large - 1_000)).status == 429)
        assert server.infer(TASK, "small").status == 200
        clients.close()
        eventually(lambda: server.infer(TASK, "x" * (large - 1_000)).status == 200)


def test_a_body_that_stalls_meets_its_deadline(server: Running) -> None:
    """A client that stops in the middle of its body is told so at its deadline."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as client:
        head = f"POST /v1/tasks/{TASK} HTTP/1.1\r\nhost: x\r\nx-timeout-ms: 50\r\ncontent-length: 100\r\n\r\n"
        client.sendall(head.encode() + b'{"inputs": ')
        assert client.recv(4096).startswith(b"HTTP/1.1 504")
    assert outcomes(server) == {"expired": 1.0}


def test_hostile_bodies_are_invalid_not_errors(server: Running) -> None:
    """Broken, deep, huge-numbered and non-UTF-8 bodies get 422, and the server serves on."""
    hostile = [
        b"",
        b"\0" * 100,
        b"[" * 60_000,
        b'{"inputs": "\xff"}',
        b'{"inputs": "\\ud800"}',
        b'{"inputs": "a", "inputs": "b"}',
        b'{"inputs": ["a"]}',
        b'{"inputs":' * 30_000,
        samples.png(),
    ]
    assert [server.post(TASK, body, content_type="application/json").status for body in hostile] == [422] * len(hostile)
    assert server.infer(TASK, "fine").status == 200
    assert outcomes(server) == {"invalid": float(len(hostile)), "ok": 1.0}


def test_a_large_body_is_parsed_off_the_loop(server: Running) -> None:
    """A body of megabytes is answered like a small one."""
    assert server.infer(TASK, "word " * 400_000).status == 200


def test_raw_media_reaches_the_task(server: Running) -> None:
    """Bytes without a content type arrive untouched."""
    reply = server.post("image-classification", samples.png())
    assert (reply.status, reply.json[0]["echo"][1:4]) == (200, "PNG")


def test_waiting_requests_share_a_batch(server: Running, task: EchoTask) -> None:
    """What comes while the device is busy goes together, as far as keys and the largest batch allow."""
    with task.held():
        first = server.start(TASK, "occupy")
        eventually(lambda: len(task.batches) == 3)  # two warm-ups before
        rest = [server.start(TASK, f"text {number}") for number in range(5)]
        eventually(lambda: server.metric("inference_queue_depth", model=MODEL) == 5)
        assert server.metric("inference_in_flight", model=MODEL) == 6
    assert first.reply().headers["x-batch-size"] == "1"
    assert {call.reply().headers["x-batch-size"] for call in rest} == {"5"}
    assert server.metric("inference_in_flight", model=MODEL) == 0


def test_liveness_answers_while_the_device_is_busy(server: Running, task: EchoTask) -> None:
    """Health does not wait for the device."""
    with task.held():
        call = server.start(TASK, "occupy")
        eventually(lambda: len(task.batches) == 3)
        started = time.monotonic()
        assert server.get("/healthz").status == 200
        assert time.monotonic() - started < 1
    assert call.reply().status == 200


def test_overload_is_refused_with_a_time_to_come_back() -> None:
    """Beyond the queue's bound the answer is 429 with Retry-After, at once, and nothing accepted is lost."""
    task = EchoTask(max_batch=1)
    with running([spec(TASK)], lambda _: task, ServerConfig(queue=2)) as server:
        with task.held():
            calls = [server.start(TASK, "on the device")]
            eventually(lambda: len(task.batches) == 2)
            calls += [server.start(TASK, "waits") for _ in range(2)]
            eventually(lambda: server.metric("inference_queue_depth") == 2)
            refused = server.infer(TASK, "too much")
            assert (refused.status, refused.code) == (429, "busy")
            assert int(refused.headers["retry-after"]) >= 1
        assert [call.reply().status for call in calls] == [200, 200, 200]
        assert outcomes(server) == {"ok": 3.0, "busy": 1.0}


def test_a_deadline_in_the_queue_is_kept_and_costs_nothing(server: Running, task: EchoTask) -> None:
    """A request that expires while it waits is answered 504 at its deadline and is never computed."""
    with task.held():
        occupying = server.start(TASK, "occupy")
        eventually(lambda: len(task.batches) == 3)
        expired = server.infer(TASK, "too late", x_timeout_ms="40")
        assert (expired.status, expired.code) == (504, "expired")
    assert occupying.reply().status == 200
    assert server.infer(TASK, "next").status == 200
    assert ["too late"] not in task.batches
    assert outcomes(server) == {"ok": 2.0, "expired": 1.0}


def test_a_deadline_on_the_device_is_kept(server: Running, task: EchoTask) -> None:
    """A request that runs too long is answered 504 at its deadline."""
    with task.held():
        assert server.infer(TASK, "long", x_timeout_ms="60").code == "expired"
    assert server.infer(TASK, "next").status == 200


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "soon", "", "1e3", "99999999999"])
def test_a_malformed_deadline_is_invalid(server: Running, text: str) -> None:
    """Only whole milliseconds up to a day are a deadline."""
    assert server.infer(TASK, "a", x_timeout_ms=text).status == 422


def leave(server: Running, text: str) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", server.port), timeout=20)
    body = json.dumps({"inputs": text}).encode()
    client.sendall(f"POST /v1/tasks/{TASK} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body)
    return client


def test_a_client_that_leaves_frees_its_place(server: Running, task: EchoTask) -> None:
    """Its request is taken out of the queue and not computed; the one on the device and its neighbours are not hurt."""
    with task.held():
        on_device = leave(server, "on the device")
        eventually(lambda: len(task.batches) == 3)
        waiting = leave(server, "waits")
        eventually(lambda: server.metric("inference_queue_depth", model=MODEL) == 1)
        neighbour = server.start(TASK, "stays")
        eventually(lambda: server.metric("inference_queue_depth", model=MODEL) == 2)
        waiting.close()
        on_device.close()
        eventually(lambda: outcomes(server) == {"cancelled": 2.0})
        assert server.metric("inference_queue_depth", model=MODEL) == 1
    assert neighbour.reply().status == 200
    assert task.batches[-1] == ["stays"]
    assert outcomes(server) == {"cancelled": 2.0, "ok": 1.0}
    assert server.metric("inference_in_flight", model=MODEL) == 0


def test_a_client_that_leaves_in_its_body_is_counted(server: Running) -> None:
    """Half a body and a closed connection end as cancelled."""
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(f"POST /v1/tasks/{TASK} HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n".encode() + b'{"in')
    eventually(lambda: outcomes(server) == {"cancelled": 1.0})


def test_poison_fails_alone(server: Running, task: EchoTask) -> None:
    """Of a batch with one poison request, that one gets 500 without details, and the others get their answers."""
    with task.held():
        occupying = server.start(TASK, "occupy")
        eventually(lambda: len(task.batches) == 3)
        calls = [server.start(TASK, text) for text in ("a", "b", "poison", "c")]
        eventually(lambda: server.metric("inference_queue_depth", model=MODEL) == 4)
    assert occupying.reply().status == 200
    replies = [call.reply() for call in calls]
    assert [reply.status for reply in replies] == [200, 200, 500, 200]
    assert replies[2].code == "error"
    assert b"CUDA" not in replies[2].body
    assert b"Traceback" not in replies[2].body
    assert outcomes(server) == {"ok": 4.0, "error": 1.0}


@pytest.mark.parametrize("text", ["crash in prepare", "crash in finish"])
def test_a_bug_in_a_task_is_one_requests_error(server: Running, text: str) -> None:
    """An exception before or after the device is a 500 of that request and nothing else."""
    reply = server.infer(TASK, text)
    assert (reply.status, reply.code) == (500, "error")
    assert b"bug" not in reply.body
    assert server.infer(TASK, "next").status == 200


def test_metrics_add_up(server: Running) -> None:
    """Every request has exactly one outcome, and the device's figures tell of the same requests."""
    texts = ["one", "two words", "poison", "three more words", "crash in prepare", ""] * 10
    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(lambda text: server.infer(TASK, text).status, texts))
    assert sorted(set(statuses)) == [200, 422, 500]
    assert outcomes(server) == {"ok": 30.0, "error": 20.0, "invalid": 10.0}
    labels = {"task": TASK, "model": MODEL}
    assert server.metric("inference_request_seconds_count", **labels) == 30
    assert server.metric("inference_work_units_total", **labels, unit="inference") == 30
    assert server.metric("inference_batch_size_sum", **labels) == 40
    assert server.metric("inference_queue_seconds_count", **labels) == 40
    assert server.metric("inference_tokens_total", **labels, kind="input") == 60
    assert server.metric("inference_tokens_total", **labels, kind="output") == 60
    busy = server.metric("inference_device_busy_seconds_total", **labels, device="cpu-test")
    assert busy == pytest.approx(server.metric("inference_batch_seconds_sum", **labels))
    assert busy > 0


def test_openapi_describes_the_routes(server: Running) -> None:
    """The document names every route, and its examples for a task are valid requests."""
    document = server.get("/openapi.json").json
    assert {"/v1/tasks/{task}", "/v1/tasks", "/v1/models", "/healthz", "/readyz", "/metrics"} <= document[
        "paths"
    ].keys()
    post = document["paths"]["/v1/tasks/{task}"]["post"]
    assert {"200", "404", "413", "422", "429", "500", "503", "504"} <= post["responses"].keys()
    example = post["requestBody"]["content"]["application/json"]["examples"][TASK]["value"]
    assert server.post(TASK, json.dumps(example).encode()).status == 200


def test_openapi_describes_what_a_request_cost(server: Running) -> None:
    """The document has the headers of a real answer, and the keys of what the route tells of it."""
    paths = server.get("/openapi.json").json["paths"]
    documented = paths["/v1/tasks/{task}"]["post"]["responses"]["200"]["headers"].keys()
    reply = server.infer(TASK, "a", x_request_id="mine")
    assert {name for name in reply.headers if name.startswith("x-")} <= documented
    assert {"x-energy-joules", "x-energy-quality"} <= documented
    schema = paths["/v1/requests/{id}/energy"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    told = server.get("/v1/requests/mine/energy").json
    phase = schema["properties"]["phases"]["items"]
    assert told.keys() == schema["properties"].keys() == set(schema["required"])
    assert told["phases"][0].keys() == phase["properties"].keys() == set(phase["required"])
    assert server.get("/v1/requests/nobodys/energy").code == "not_found"


def test_samples_cover_every_workload() -> None:
    """Each workload has a body that documents it and warms it up."""
    assert all("inputs" in samples.body(task) for task in WORKLOADS)
