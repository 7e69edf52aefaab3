"""Models that come when they are asked for and go when others need the room."""

import concurrent.futures
import json
import socket
import struct
import weakref
from collections.abc import Iterator
from dataclasses import replace

import pytest

from perjoule.errors import BrokenModelError, NotFoundError, UnavailableError
from perjoule_server import life
from perjoule_server.config import ServerConfig
from tests.server.fakes import PATIENCE, Call, EchoTask, Running, eventually, running, spec
from tests.server.life.helpers import FIRST, MEGABYTE, SECOND, THIRD, Shelf, called, states

LAZY = ServerConfig(load="lazy", queue=4)
SPECS = [spec(FIRST), spec(SECOND), spec(THIRD)]


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def lazy(shelf: Shelf) -> Iterator[Running]:
    """A server whose models are loaded when they are asked for."""
    with running(SPECS, shelf.load, LAZY) as server:
        yield server


def test_a_lazy_server_is_ready_at_once_and_loads_what_is_asked_for(lazy: Running, shelf: Shelf) -> None:
    """The first request waits for its model; nobody else's is loaded."""
    assert (lazy.ready, shelf.loaded) == (True, [])
    assert states(lazy) == dict.fromkeys((FIRST, SECOND, THIRD), "unloaded")
    assert lazy.infer(SECOND, "hello").status == 200
    assert lazy.infer(SECOND, "again").status == 200
    assert shelf.loaded == [SECOND]
    assert states(lazy) == {FIRST: "unloaded", SECOND: "ready", THIRD: "unloaded"}
    assert lazy.metric("inference_model_info", task=SECOND) == 1


def test_requests_wait_in_a_bounded_queue_while_their_model_loads(lazy: Running, shelf: Shelf) -> None:
    """Loading twice at once loads once; who comes when the queue is full is told so; the others are all answered."""
    with shelf.held():
        calls = [lazy.start(FIRST, f"text {number}") for number in range(4)]
        eventually(lambda: lazy.metric("inference_in_flight", task=FIRST) == 4)
        assert states(lazy)[FIRST] == "loading"
        assert lazy.metric("inference_queue_depth", task=FIRST) == 4
        refused = lazy.infer(FIRST, "one too many")
        assert (refused.status, refused.headers["retry-after"].isdecimal()) == (429, True)
        by_hand = [called(lazy, lazy.process.engine.load(f"fake/{FIRST}")) for _ in range(2)]
    assert [call.reply().status for call in calls] == [200] * 4
    assert [each.result(PATIENCE) for each in by_hand] == [None, None]
    assert shelf.loaded == [FIRST]


def test_a_deadline_holds_while_the_model_loads(lazy: Running, shelf: Shelf) -> None:
    """The place of who waits no longer is free at once, and the model is there for the next."""
    with shelf.held():
        late = lazy.start(FIRST, "urgent", x_timeout_ms="50")
        assert late.reply().code == "expired"
        eventually(lambda: lazy.metric("inference_queue_depth", task=FIRST) == 0)
    assert lazy.infer(FIRST, "patient").status == 200
    assert shelf.loaded == [FIRST]


def test_a_client_that_leaves_while_the_model_loads_frees_its_place(lazy: Running, shelf: Shelf) -> None:
    """It is counted as cancelled, and never reaches the model."""
    shelf.kept = True
    body = json.dumps({"inputs": "gone"}).encode()
    with shelf.held():
        with socket.create_connection(("127.0.0.1", lazy.port), timeout=PATIENCE) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            head = f"POST /v1/tasks/{FIRST} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
            client.sendall(head.encode() + body)
            eventually(lambda: lazy.metric("inference_queue_depth", task=FIRST) == 1)
        eventually(lambda: lazy.metric("inference_queue_depth", task=FIRST) == 0)
    eventually(lambda: lazy.metric("inference_requests_total", task=FIRST, outcome="cancelled") == 1)
    assert lazy.infer(FIRST, "stays").status == 200
    assert ["gone"] not in shelf.tasks[FIRST].batches


def test_a_model_that_cannot_be_loaded_costs_the_others_nothing(
    lazy: Running, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its clients learn why, and when to come back; until then nobody tries again, and then it may well work."""
    shelf.broken[FIRST] = OSError("no such file: model.safetensors")
    answer = lazy.infer(FIRST, "please")
    assert (answer.status, answer.code, answer.headers["retry-after"]) == (503, "unavailable", "30")
    assert "no such file: model.safetensors" in answer.json["error"]["message"]
    again = lazy.infer(FIRST, "please")
    assert (again.status, 1 <= int(again.headers["retry-after"]) <= 30) == (503, True)
    assert (states(lazy)[FIRST], shelf.loaded, lazy.ready) == ("failed", [FIRST], True)
    assert lazy.infer(SECOND, "and you?").status == 200
    assert lazy.metric("inference_requests_total", task=FIRST, outcome="error") == 2
    del shelf.broken[FIRST]
    called(lazy, lazy.process.engine.load(f"fake/{FIRST}")).result(PATIENCE)  # by hand it is tried at once
    assert lazy.infer(FIRST, "please").status == 200
    monkeypatch.setattr(life, "AGAIN_SECONDS", 0.0)
    shelf.broken[THIRD] = OSError("busy")
    assert lazy.infer(THIRD, "please").status == 503
    del shelf.broken[THIRD]
    assert lazy.infer(THIRD, "please").status == 200


def test_loading_by_hand_tells_why_it_failed(lazy: Running, shelf: Shelf) -> None:
    """Whoever waits for it; and an unknown model is named."""
    shelf.broken[FIRST] = ValueError("a header that is none")
    with pytest.raises(BrokenModelError, match="a header that is none"):
        called(lazy, lazy.process.engine.load(f"fake/{FIRST}")).result(PATIENCE)
    with pytest.raises(NotFoundError, match="unknown model 'nobody'"):
        called(lazy, lazy.process.engine.load("nobody")).result(PATIENCE)


def test_unloading_answers_what_was_accepted_and_frees_the_memory(shelf: Shelf) -> None:
    """Afterwards requests are refused until the model is loaded by hand; its info series is gone meanwhile."""
    with running(SPECS, lambda each: remembered(shelf.load(each)), ServerConfig()) as server:
        alive = weakref.ref(server.process.engine.find(FIRST).task.module)  # type: ignore[union-attr]
        engine = server.process.engine
        with engine.find(FIRST).task.held():  # type: ignore[union-attr]
            calls = [server.start(FIRST, f"text {number}") for number in range(3)]
            eventually(lambda: server.metric("inference_in_flight", task=FIRST) == 3)
            unloading = [called(server, engine.unload(f"fake/{FIRST}")) for _ in range(2)]
            eventually(lambda: engine.find(FIRST).withdrawn)
            assert server.infer(FIRST, "too late").code == "unavailable"
            assert not any(each.done() for each in unloading)
        assert [call.reply().status for call in calls] == [200] * 3
        assert [each.result(PATIENCE) for each in unloading] == [None, None]
        eventually(lambda: alive() is None)
        assert states(server) == {FIRST: "unloaded", SECOND: "ready", THIRD: "ready"}
        refused = server.infer(FIRST, "where are you?")
        assert (refused.status, "was unloaded" in refused.json["error"]["message"]) == (503, True)
        assert (
            f'inference_model_info{{device="cpu-test",dtype="float32",model="fake/{FIRST}"'
            not in server.get("/metrics").body.decode()
        )
        called(server, engine.load(f"fake/{FIRST}")).result(PATIENCE)
        assert server.infer(FIRST, "back").status == 200


def remembered(task: EchoTask) -> EchoTask:
    """Give a module a cycle, as libraries do: only a collection finds it."""
    task.module.myself = [task.module]  # type: ignore[attr-defined]
    return task


def test_a_load_calls_off_an_unload_that_has_not_begun(lazy: Running, shelf: Shelf) -> None:
    """The last word counts, nothing hangs, and the model goes on serving."""
    shelf.kept = True
    assert lazy.infer(FIRST, "load it").status == 200
    with shelf.tasks[FIRST].held():
        call = lazy.start(FIRST, "occupy")
        eventually(lambda: len(shelf.tasks[FIRST].batches) == 3)
        waiting = lazy.start(FIRST, "waits")
        eventually(lambda: lazy.metric("inference_queue_depth", task=FIRST) == 1)
        unload = called(lazy, lazy.process.engine.unload(f"fake/{FIRST}"))
        eventually(lambda: lazy.process.engine.find(FIRST).withdrawn)
        load = called(lazy, lazy.process.engine.load(f"fake/{FIRST}"))
        eventually(lambda: not lazy.process.engine.find(FIRST).withdrawn)
    assert (load.result(PATIENCE), unload.result(PATIENCE)) == (None, None)
    assert [call.reply().status, waiting.reply().status, lazy.infer(FIRST, "more").status] == [200] * 3
    assert shelf.loaded == [FIRST]


def test_who_was_used_longest_ago_makes_room(shelf: Shelf) -> None:
    """Within the budget two of three models fit; the third takes the place of the one that rested longest."""
    config = ServerConfig(load="lazy", memory_budget=2 * MEGABYTE + 500_000)
    with running(SPECS, shelf.load, config) as server:
        for task in (FIRST, SECOND, FIRST, THIRD):
            assert server.infer(task, "hello").status == 200
        eventually(lambda: states(server) == {FIRST: "ready", SECOND: "unloaded", THIRD: "ready"})
        assert server.infer(SECOND, "back again").status == 200
        eventually(lambda: states(server) == {FIRST: "unloaded", SECOND: "ready", THIRD: "ready"})
        assert shelf.loaded == [FIRST, SECOND, THIRD, SECOND]


def test_what_is_loaded_stays_within_the_budget_under_load_from_all_sides(shelf: Shelf) -> None:
    """Everybody is answered though no two models fit together, also those whose model had to go while they waited."""
    config = ServerConfig(load="lazy", memory_budget=MEGABYTE + 500_000)
    with running(SPECS, shelf.load, config) as server:
        with concurrent.futures.ThreadPoolExecutor(12) as pool:
            tasks = [(FIRST, SECOND, THIRD)[number % 3] for number in range(90)]
            statuses = list(pool.map(lambda task: server.infer(task, "hello").status, tasks))
        assert statuses == [200] * 90
        eventually(lambda: sorted(states(server).values()) == ["ready", "unloaded", "unloaded"])
        assert server.metric("inference_queue_depth") == server.metric("inference_in_flight") == 0


def test_a_model_larger_than_the_budget_is_refused_with_both_figures(shelf: Shelf) -> None:
    """And stays out; a smaller one is served after it."""
    shelf.sizes[FIRST] = 5
    with running(SPECS, shelf.load, ServerConfig(load="lazy", memory_budget=2 * MEGABYTE)) as server:
        answer = server.infer(FIRST, "hello")
        assert (answer.status, "5 MB" in answer.json["error"]["message"]) == (503, True)
        assert "--memory-budget does not allow: 2 MB" in answer.json["error"]["message"]
        assert server.infer(SECOND, "hello").status == 200


def test_too_little_memory_while_loading_lets_others_make_room(shelf: Shelf) -> None:
    """Without a budget, too: the device itself says when it is full."""
    with running(SPECS, lambda each: crowded(shelf, each), ServerConfig(load="lazy")) as server:
        assert server.infer(FIRST, "hello").status == 200
        assert server.infer(SECOND, "hello").status == 200
        eventually(lambda: states(server) == {FIRST: "unloaded", SECOND: "ready", THIRD: "unloaded"})


def crowded(shelf: Shelf, each: object) -> EchoTask:
    """Load a second model only if the first has gone."""
    task = shelf.load(each)  # type: ignore[arg-type]
    if shelf.loaded == [FIRST, SECOND]:
        raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB")
    return task


def test_an_eager_server_leaves_out_what_does_not_fit_and_loads_it_when_asked(shelf: Shelf) -> None:
    """It does not load models only to throw them out again; a model's own option goes before the flag."""
    specs = [replace(spec(FIRST), options={"load": "lazy"}), spec(SECOND)]
    with running(specs, shelf.load, ServerConfig()) as server:
        assert states(server) == {FIRST: "unloaded", SECOND: "ready"}
        assert server.infer(FIRST, "hello").status == 200
        assert shelf.loaded == [SECOND, FIRST]


def test_draining_loads_what_accepted_requests_still_need(shelf: Shelf) -> None:
    """A request that was accepted while its model was loading is answered after the signal."""
    with running(SPECS, shelf.load, LAZY) as server, shelf.held():
        call = server.start(FIRST, "accepted")
        eventually(lambda: server.metric("inference_in_flight", task=FIRST) == 1)
        server.process.stop()
        eventually(lambda: server.get("/readyz").status == 503)
        shelf.gate.set()
        assert call.reply().status == 200


def test_a_server_that_ends_tells_those_who_wait_for_a_model(shelf: Shelf) -> None:
    """Also whoever loads by hand: nobody waits for ever."""

    def dying(each: object) -> EchoTask:
        del each
        shelf.begun.set()
        assert shelf.gate.wait(PATIENCE)
        raise SystemExit("the driver is gone")

    shelf.gate.clear()
    with running(SPECS, dying, LAZY) as server:
        call: Call = server.start(FIRST, "waits")
        assert shelf.begun.wait(PATIENCE)
        by_hand = called(server, server.process.engine.load(f"fake/{FIRST}"))
        eventually(lambda: server.process.engine.find(FIRST).loading is not None)
        shelf.gate.set()
        assert call.reply().status == 503
        with pytest.raises(UnavailableError):
            by_hand.result(PATIENCE)
        assert "the driver is gone" in str(server.failure())
