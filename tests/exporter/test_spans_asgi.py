"""The middleware around a real FastAPI application in a real uvicorn: each request is a span, however it ends."""

import asyncio
import http.client
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from fastapi import APIRouter, FastAPI, HTTPException, Request, Response
from fastapi.responses import StreamingResponse

from perjoule.spans import SpanMiddleware, Spans
from perjoule.spans.asgi import Exchange
from perjoule_exporter.ledger import Kind
from perjoule_exporter.spans import Closed, KnownWatts, SpanServer, start_spans
from tests.exporter.running import wait_until
from tests.exporter.span_books import GPU, WrittenBook

KIND = Kind("summarization", "bart", "inference")


ROUTES = APIRouter()


@ROUTES.post("/echo")
async def echo(request: Request) -> Response:
    return Response(await request.body())


@ROUTES.get("/plain")
async def plain() -> dict[str, int]:
    return {"answer": 42}


@ROUTES.get("/blocking")
def blocking() -> dict[str, int]:
    return {"answer": 42}


@ROUTES.get("/stream")
async def stream(parts: int) -> StreamingResponse:
    async def made() -> AsyncIterator[bytes]:
        for _ in range(parts):
            yield b"x" * 1000
            await asyncio.sleep(0.001)

    return StreamingResponse(made())


@ROUTES.get("/held")
async def held(request: Request) -> dict[str, int]:
    await asyncio.to_thread(request.app.state.release.wait, 10)
    return {"answer": 42}


@ROUTES.get("/fails")
async def fails() -> None:
    raise LookupError("a fault of the application's own")


@ROUTES.get("/status/{code}")
async def status(code: int) -> None:
    raise HTTPException(code)


@ROUTES.get("/healthz")
async def healthz() -> str:
    return "ok"


def application(spans: Spans, release: threading.Event) -> FastAPI:
    """An application that knows nothing of energy, but for the line that adds the middleware."""
    app = FastAPI()
    app.include_router(ROUTES)
    app.state.release = release

    def task(scope: Any) -> str | None:
        return None if scope["path"] == "/healthz" else "summarization"

    def weight(exchange: Exchange) -> float:
        return exchange.received_bytes + exchange.sent_bytes

    def model(scope: Any) -> str:
        return "b\nart" if scope["path"] == "/status/418" else "bart"

    app.add_middleware(SpanMiddleware, spans=spans, task=task, model=model, weight=weight)
    return app


@dataclass
class Site:
    """The application as it runs."""

    port: int
    book: WrittenBook
    release: threading.Event

    def ask(self, path: str, body: bytes | None = None, **headers: str) -> tuple[http.client.HTTPResponse, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request("GET" if body is None else "POST", path, body, named)
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        return answer, text

    def closed(self, count: int = 1) -> list[Closed]:
        wait_until(lambda: len(self.book.closed()) >= count, "the span is closed")
        return self.book.closed()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    book, release = WrittenBook(), threading.Event()
    book.known = (KnownWatts(GPU, KIND, 1000.0),)
    served = start_spans(book, tmp_path / "spans.sock")
    assert isinstance(served, SpanServer)
    spans = Spans("app/1", socket=served.path, retry_seconds=(0.01, 0.05))
    wait_until(lambda: spans.stats.connected, "the client is connected")
    server = uvicorn.Server(uvicorn.Config(application(spans, release), port=0, log_level="critical", lifespan="off"))
    thread = threading.Thread(target=server.run)
    thread.start()
    wait_until(lambda: server.started, "the application listens")
    yield Site(server.servers[0].sockets[0].getsockname()[1], book, release)
    release.set()
    server.should_exit = True
    server.force_exit = True
    thread.join()
    spans.close()
    served.close()


@pytest.mark.parametrize("path", ["/plain", "/blocking"])
def test_an_answer_is_unchanged_but_for_its_headers(site: Site, path: str) -> None:
    """Body and status are the application's; estimate, quality and id come beside them, and the span has that id."""
    answer, body = site.ask(path)
    assert (answer.status, body) == (200, b'{"answer":42}')
    (closed,) = site.closed()
    (opened,) = site.book.opened()
    assert opened.kind == KIND
    assert answer.headers["x-energy-quality"] == "estimated"
    assert 0 < float(answer.headers["x-energy-joules"]) <= 1000.0 * (closed.end - opened.start)
    (share,) = closed.shares
    assert share == (answer.headers["x-request-id"], len(body), "ok")


def test_the_requests_own_id_is_kept_where_it_is_valid(site: Site) -> None:
    """So that a trace leads to its energy; what is no id is replaced."""
    assert site.ask("/plain", x_request_id="trace-1.a_B")[0].headers["x-request-id"] == "trace-1.a_B"
    assert site.ask("/plain", x_request_id="no id")[0].headers["x-request-id"] != "no id"
    assert site.closed(2)[0].shares[0].request == "trace-1.a_B"


def test_a_stream_says_that_its_energy_is_not_known_yet(site: Site) -> None:
    """Its headers leave before its work is done: no joules, quality unknown. The span lasts until the last byte."""
    answer, body = site.ask("/stream?parts=5")
    assert len(body) == 5000
    assert answer.headers["x-energy-quality"] == "unknown"
    assert "x-energy-joules" not in answer.headers
    (closed,) = site.closed()
    assert closed.shares[0][1:] == (5000, "ok")


def test_without_an_exporter_the_application_works_and_energy_is_unknown(tmp_path: Path) -> None:
    """No socket, no figure, no failure."""

    async def ask() -> list[dict[str, Any]]:
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Any) -> None:
            sent.append(dict(message))

        scope = {"type": "http", "method": "GET", "path": "/plain", "headers": [], "query_string": b""}
        with Spans("app/1", socket=tmp_path / "none.sock") as spans:
            await application(spans, threading.Event())(scope, receive, send)
        return sent

    start = asyncio.run(ask())[0]
    assert start["status"] == 200
    assert (b"x-energy-quality", b"unknown") in start["headers"]
    assert not [value for name, value in start["headers"] if name == b"x-energy-joules"]


def test_large_bodies_arrive_whole(site: Site) -> None:
    """Reading ahead neither loses nor repeats anything, also where the body comes in many pieces."""
    body = bytes(range(256)) * 20_000
    assert site.ask("/echo", body)[1] == body
    assert site.closed()[0].shares[0].weight == 2 * len(body)
    assert site.ask("/echo", b"")[1] == b""


@pytest.mark.parametrize(
    ("path", "status", "outcome"),
    [
        ("/fails", 500, "error"),
        ("/status/503", 503, "error"),
        ("/status/422", 422, "error"),
        ("/nowhere", 404, "error"),
        ("/status/504", 504, "expired"),
    ],
)
def test_failures_are_charged_to_their_outcome(site: Site, path: str, status: int, outcome: str) -> None:
    """An exception is the application's to handle, and an error here; so is every status from 400 on, but 504."""
    answer, _ = site.ask(path)
    assert answer.status == status
    assert [each.outcome for each in site.closed()[0].shares] == [outcome]


@pytest.mark.parametrize("path", ["/held", "/stream?parts=100000"])
def test_a_client_that_hangs_up_is_cancelled(site: Site, path: str) -> None:
    """In the middle of a stream, and while a plain handler works on that never asks whether anybody listens."""
    with socket.create_connection(("127.0.0.1", site.port)) as client:
        client.sendall(f"GET {path} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
        wait_until(site.book.opened, "the span is open")
        if path != "/held":
            assert client.recv(100)
    timer = threading.Timer(0.2, site.release.set)
    timer.start()
    assert [each.outcome for each in site.closed()[0].shares] == ["cancelled"]
    timer.cancel()


def test_what_is_no_task_is_left_alone(site: Site) -> None:
    """A task of None is no span: health checks cost nobody anything. Nor is a model that cannot be a label."""
    for path, status_code in (("/healthz", 200), ("/status/418", 418)):
        answer, _ = site.ask(path)
        assert answer.status == status_code
        assert "x-energy-quality" not in answer.headers
    site.ask("/plain")
    site.closed()
    assert len(site.book.opened()) == 1


def test_many_requests_at_once_are_many_spans(site: Site) -> None:
    """Fifty at a time, each with its own id and its own end."""
    ask: Callable[[], object] = lambda: site.ask("/plain")  # noqa: E731 (one expression)
    threads = [threading.Thread(target=ask) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    closed = site.closed(50)
    assert len({each.shares[0].request for each in closed}) == 50
    assert {each.shares[0].outcome for each in closed} == {"ok"}
