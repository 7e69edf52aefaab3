"""Heads of requests that are too long, too slow, or none at all."""

import asyncio
import json
import socket
import time

import uvicorn
from uvicorn.server import ServerState

from perjoule_server.protocol import HEAD_BYTES, LimitedProtocol
from tests.server.fakes import PATIENCE, Running

START = b"GET /healthz HTTP/1.1\r\nhost: x\r\n"


def flood(server: Running, piece: bytes) -> int:
    """Send ``piece`` again and again within one head; return how many bytes went before the connection ended."""
    sent = 0
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as client:
        try:
            client.sendall(START)
            while sent < 2**30:
                sent += client.send(piece)
        except OSError:  # reset or broken pipe, as the kernel likes
            return sent
    raise AssertionError("it took a gigabyte of one head")


def test_a_head_without_end_is_cut_off(server: Running) -> None:
    """Neither many headers nor one long one are collected beyond the limit and what the sockets hold."""
    assert flood(server, b"x: y\r\n" * 5_000) < 64 * HEAD_BYTES * 4
    assert flood(server, b"x: " + b"y" * 30_000) < 64 * HEAD_BYTES * 4
    assert server.get("/healthz").status == 200


def test_a_head_of_usual_size_is_read(server: Running) -> None:
    """A dozen long headers are no flood, nor are the heads of many requests on one connection."""
    headers = b"".join(b"x-%d: %s\r\n" % (number, b"y" * 4_000) for number in range(12))
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as client:
        for _ in range(4):
            client.sendall(START + headers + b"\r\n")
            assert client.recv(4096).startswith(b"HTTP/1.1 200")


def test_what_is_no_http_gets_an_error_of_the_usual_shape(server: Running) -> None:
    """Bytes that are no request are answered 400, in JSON, and the connection is closed."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as client:
        client.sendall(b"\x16\x03\x01 this is no HTTP\r\n\r\n")
        head, _, body = client.makefile("rb").read().partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert json.loads(body)["error"].keys() == {"code", "message", "request_id"}


class _Hasty(LimitedProtocol):
    head_seconds = 0.2


async def _application(scope: object, receive: object, send: object) -> None:
    """Answer every request with nothing."""
    del scope, receive
    await send({"type": "http.response.start", "status": 204, "headers": []})  # type: ignore[operator]  # ASGI's own untyped calls
    await send({"type": "http.response.body"})  # type: ignore[operator]  # as above


async def _seconds_until_closed(*sent: bytes) -> float:
    config = uvicorn.Config(_application, lifespan="off", log_config=None, ws="none", timeout_keep_alive=60)
    config.load()
    loop, state = asyncio.get_running_loop(), ServerState()
    listening = await loop.create_server(lambda: _Hasty(config, state, {}), "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*listening.sockets[0].getsockname())
    began = time.monotonic()
    for piece in sent:
        writer.write(piece)
        if piece.endswith(b"\r\n\r\n") and piece.strip():
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 204")
    await asyncio.wait_for(reader.read(), PATIENCE)
    writer.close()
    listening.close()
    return time.monotonic() - began


def test_a_connection_without_a_whole_head_is_closed() -> None:
    """One that says nothing, half a head, blank lines only, or those after an answered request."""
    for sent in ((), (START,), (b"\r\n\r\n",), (START + b"\r\n", START), (START + b"\r\n", b"\r\n")):
        assert 0.15 < asyncio.run(_seconds_until_closed(*sent)) < PATIENCE
