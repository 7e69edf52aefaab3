"""What hostile clients do to connections: trailers without end, unread answers, crowds, smuggling, upgrades."""

import asyncio
import json
import re
import resource
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Self

import pytest
import uvicorn
from uvicorn.server import ServerState

from perjoule_server.protocol import HEAD_BYTES, MOST_AHEAD, LimitedProtocol, most_connections
from tests.server.fakes import PATIENCE, EchoTask, Running, eventually, running, spec

TASK = "text-classification"
BODY = b'{"inputs": "a"}'
POST = b"POST /v1/tasks/text-classification HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
LENGTH = b"content-length: %d\r\n" % len(BODY)
CHUNKED = b"transfer-encoding: chunked\r\n"
CHUNKS = b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)
NEXT = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"
LAST = b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"


def connect(server: Running) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE)


def exchange(server: Running, sent: bytes) -> bytes:
    """Send bytes and return all that comes back until the server closes the connection."""
    with connect(server) as client:
        client.sendall(sent)
        return client.makefile("rb").read()


def statuses(answers: bytes) -> list[int]:
    return [int(part[:3]) for part in answers.split(b"HTTP/1.1 ")[1:]]


@pytest.mark.parametrize("piece", [b"x: y\r\n" * 5_000, b"x: " + b"y" * 30_000, b"y" * 30_000])
@pytest.mark.parametrize("start", [b"0\r\n", b"1;a="], ids=["trailers", "chunk extension"])
def test_what_is_no_body_has_an_end(server: Running, start: bytes, piece: bytes) -> None:
    """Trailers and chunk extensions are collected no more than heads are, also after the answer has gone out."""
    sent = 0
    with connect(server) as client:
        client.sendall(POST + CHUNKED + b"\r\n" + start)
        with suppress(OSError):  # reset or broken pipe, as the kernel likes
            while sent < 2**30:
                sent += client.send(piece)
    assert sent < 64 * HEAD_BYTES * 4
    assert server.infer(TASK, "fine").status == 200


def test_requests_sent_ahead_are_answered_in_their_order(server: Running) -> None:
    """As many as are kept, however they share pieces of the connection."""
    ids = [f"n-{number}" for number in range(MOST_AHEAD)]
    sent = b"".join(POST + b"x-request-id: %s\r\n" % each.encode() + LENGTH + b"\r\n" + BODY for each in ids)
    answers = exchange(server, sent + LAST)
    assert statuses(answers) == [200] * (MOST_AHEAD + 1)
    assert re.findall(rb"x-request-id: (n-\d+)", answers) == [each.encode() for each in ids]


def test_a_flood_of_requests_ahead_ends_the_connection(server: Running) -> None:
    """Thousands in one piece are not kept, and the server serves on."""
    with connect(server) as client, suppress(OSError):
        client.sendall(NEXT * 20_000)
        while client.recv(2**16):
            pass
    eventually(lambda: server.get("/healthz").status == 200)
    assert server.infer(TASK, "fine").status == 200
    answered = len(statuses(exchange_until_reset(server, NEXT * 5_000)))
    assert answered <= MOST_AHEAD + 2


def exchange_until_reset(server: Running, sent: bytes) -> bytes:
    """Send and return what comes back until the connection ends, however it does."""
    seen = b""
    with connect(server) as client, suppress(OSError):
        client.sendall(sent)
        while piece := client.recv(2**16):
            seen += piece
    return seen


def test_trailers_change_nothing(server: Running) -> None:
    """A request is judged by its head: what comes after the body is dropped."""
    head = POST + b"x-request-id: mine\r\n" + CHUNKED
    answers = exchange(server, head + b"\r\n" + CHUNKS[:-2] + b"x-request-id: other\r\norigin: http://x\r\n\r\n" + LAST)
    assert statuses(answers) == [200, 200]
    assert b"x-request-id: mine" in answers


SMUGGLING = {
    "length and chunks": LENGTH + CHUNKED,
    "chunks and length": CHUNKED + LENGTH,
    "two lengths": LENGTH + b"content-length: 3\r\n",
    "the same length twice": LENGTH + LENGTH,
    "a list of lengths": b"content-length: 15, 15\r\n",
    "a signed length": b"content-length: +15\r\n",
    "a negative length": b"content-length: -1\r\n",
    "a hexadecimal length": b"content-length: 0xf\r\n",
    "a length over 64 bits": b"content-length: 18446744073709551631\r\n",
    "a space before the colon": b"content-length : 15\r\n",
    "an unknown coding": b"transfer-encoding: xchunked\r\n",
    "chunks not last": b"transfer-encoding: chunked, identity\r\n",
    "two codings": b"transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n",
    "a folded line": LENGTH + b"x-a: b\r\n c\r\n",
    "NUL in a header": LENGTH + b"x-request-id: a\0b\r\n",
    "CR in a header": LENGTH + b"x-request-id: a\rset-cookie: b\r\n",
    "LF in a header": LENGTH + b"x-a: b\nx-c: d\r\n",
}


@pytest.mark.parametrize("headers", SMUGGLING.values(), ids=SMUGGLING)
def test_what_two_programs_could_read_differently_is_refused(server: Running, headers: bytes) -> None:
    """A proxy before the server and the server itself never disagree where a request ends: 400 and the end."""
    answers = exchange(server, POST + headers + b"\r\n" + BODY + LAST)
    assert statuses(answers) == [400]
    assert answers.count(b"\r\n\r\n") == 1


@pytest.mark.parametrize("body", [b"-1\r\n", b"fffffffffffffffff\r\nx", b"f\n" + BODY + b"\n0\n\n", b"zz\r\n", b"\r\n"])
def test_broken_chunks_are_refused(server: Running, body: bytes) -> None:
    """Sizes that are negative, too large, none, or ended by a bare line feed."""
    assert statuses(exchange(server, POST + CHUNKED + b"\r\n" + body)) == [400]


@pytest.mark.parametrize("name", ["upgrade", "Upgrade", "UPGRADE"])
@pytest.mark.parametrize("protocol", ["h2c", "websocket"])
def test_an_offered_upgrade_is_ignored(server: Running, name: str, protocol: str) -> None:
    """Who offers HTTP/2 or WebSocket with a request is answered in HTTP/1.1, body and next request included."""
    offer = f"connection: {name}, HTTP2-Settings\r\n{name}: {protocol}\r\nHTTP2-Settings: AA\r\n".encode()
    assert statuses(exchange(server, POST + offer + LENGTH + b"\r\n" + BODY + LAST)) == [200, 200]


def test_a_body_that_speaks_of_upgrades_is_not_touched(server: Running) -> None:
    """Only a head is read for the header."""
    text = "\r\nUpgrade: a\r\n\r\nupgrade: b"
    body = json.dumps({"inputs": text}).encode()
    assert server.post(TASK, body, content_type="application/json").json == [{"echo": text.upper()}]
    raw = b"BM\r\nUpgrade: x\r\n"
    assert server.post("image-classification", raw).json[0]["echo"].encode() == raw.upper()


@pytest.mark.parametrize("given", [b"a\tb", b"a;b", "é".encode(), b"a%0d%0aset-cookie: x", b"a" * 65, b"<b>"])
def test_request_ids_carry_nothing_into_the_answer(server: Running, given: bytes) -> None:
    """Only plain ids come back."""
    sent = POST + b"x-request-id: " + given + b"\r\nconnection: close\r\n" + LENGTH + b"\r\n" + BODY
    head, _, _ = exchange(server, sent).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    assert given not in head
    assert b"set-cookie" not in head


def test_the_log_says_nothing_of_strangers(server: Running, capfd: pytest.CaptureFixture[str]) -> None:
    """Requests that are none, and offers of other protocols, fill no log."""
    for _ in range(5):
        exchange(server, b"\x16\x03\x01 nonsense\r\n\r\n")
        offer = b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
        exchange(server, offer + LAST)
    told = capfd.readouterr()
    assert told.out + told.err == ""


LARGE = 2**23


class _Hasty(LimitedProtocol):
    read_seconds = 0.2
    most = 8


async def _large(scope: object, receive: object, send: object) -> None:
    """Answer every request with more than the kernel takes off the process's hands."""
    del scope, receive
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % LARGE)]})  # type: ignore[operator]  # ASGI's own untyped calls
    await send({"type": "http.response.body", "body": bytes(LARGE)})  # type: ignore[operator]  # as above


class _Narrow:
    """A server of ``_Hasty`` connections on the running loop."""

    def __init__(self) -> None:
        config = uvicorn.Config(_large, lifespan="off", log_config=None, ws="none", timeout_keep_alive=60)
        config.load()
        self.state = ServerState()
        self._make = lambda: _Hasty(config, self.state, {})

    async def __aenter__(self) -> Self:
        self._listening = await asyncio.get_running_loop().create_server(self._make, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._listening.close()

    def connect(self, held: int = 4096) -> socket.socket:
        """Return a client whose kernel holds about so many bytes for it."""
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, held)
        client.connect(self._listening.sockets[0].getsockname())
        return client

    async def until(self, connections: int) -> None:
        """Wait until so many are open."""
        async with asyncio.timeout(PATIENCE):
            while len(self.state.connections) != connections:  # noqa: ASYNC110 (uvicorn tells nobody)
                await asyncio.sleep(0.01)


@pytest.mark.parametrize("requests", [1, 50])
def test_a_client_that_reads_nothing_is_left(requests: int) -> None:
    """Its answers and its connection do not stay for good, whether it asked once or many times ahead."""

    async def play() -> None:
        async with _Narrow() as server:
            with server.connect() as client:
                client.sendall(NEXT * requests)
                await server.until(1)
                await server.until(0)

    asyncio.run(play())


@pytest.mark.parametrize("ahead", [b"", LAST])
def test_a_client_that_stops_sending_has_left(server: Running, capfd: pytest.CaptureFixture[str], ahead: bytes) -> None:
    """What cannot be told it any more fills no log, whether it had asked further or not."""
    for _ in range(20):
        with connect(server) as client:
            client.sendall(POST + LENGTH + b"\r\n" + BODY + ahead)
            client.shutdown(socket.SHUT_WR)
            with suppress(OSError):
                client.makefile("rb").read()
    assert "Traceback" not in capfd.readouterr().err


def test_a_client_that_reads_slowly_is_served() -> None:
    """As long as something goes out within the time, it may take its time."""

    async def play() -> int:
        async with _Narrow() as server:
            with server.connect(2**18) as client:
                client.sendall(NEXT)
                client.setblocking(False)
                loop, seen, began = asyncio.get_running_loop(), 0, time.monotonic()
                while seen < LARGE and (piece := await loop.sock_recv(client, 2**18)):
                    seen += len(piece)
                    await asyncio.sleep(0.02)
                assert time.monotonic() - began > 2 * _Hasty.read_seconds
                return seen

    assert asyncio.run(play()) >= LARGE


def test_a_crowd_of_idle_connections_makes_room() -> None:
    """Beyond the most, a new connection takes an idle one's place and is served."""

    async def play() -> bytes:
        async with _Narrow() as server:
            with ExitStack() as clients:
                for _ in range(_Hasty.most + 5):
                    clients.enter_context(server.connect())
                await server.until(_Hasty.most)
                last = clients.enter_context(server.connect())
                last.setblocking(False)
                loop = asyncio.get_running_loop()
                await loop.sock_sendall(last, NEXT)
                return await asyncio.wait_for(loop.sock_recv(last, 4096), PATIENCE)

    assert asyncio.run(play()).startswith(b"HTTP/1.1 200")


@pytest.fixture
def crowded(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Running, EchoTask]]:
    """A server that takes few connections."""
    monkeypatch.setattr(LimitedProtocol, "most", 6)
    task = EchoTask()
    with running([spec(TASK)], lambda _: task) as server:
        yield server, task


def test_a_crowd_of_busy_connections_is_told(crowded: tuple[Running, EchoTask]) -> None:
    """Where all have a request under way a further one gets 503 in the usual shape; those under way are answered."""
    server, task = crowded
    with task.held():
        calls = [server.start(TASK, "a") for _ in range(LimitedProtocol.most)]
        eventually(lambda: server.process.exchange.open == len(calls))
        with connect(server) as client:
            head, _, body = client.makefile("rb").read().partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 ")
    assert json.loads(body)["error"]["code"] == "unavailable"
    assert [call.reply().status for call in calls] == [200] * len(calls)


def test_connections_leave_descriptors_for_the_rest() -> None:
    """The most follows the process's own limit."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert 16 <= most_connections() <= max(16, soft - 64)


def test_non_root_image() -> None:
    """The Dockerfile's program runs as a user without rights."""
    lines = Path("server/Dockerfile").read_text().splitlines()
    users = [line.split()[1] for line in lines if line.startswith("USER ")]
    assert users
    assert users[-1] not in {"root", "0"}
    assert lines.index(f"USER {users[-1]}") < next(n for n, line in enumerate(lines) if line.startswith("ENTRYPOINT"))
