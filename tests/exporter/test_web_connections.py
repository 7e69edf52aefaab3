"""Connections: bounded in number and in time, whatever clients do or leave undone."""

import socket
import threading
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from prometheus_client import CollectorRegistry, Gauge

from perjoule_exporter import connections, web
from perjoule_exporter.address import Address, listening_socket
from perjoule_exporter.connections import MAX_CONNECTIONS, Connection, Connections
from perjoule_exporter.web import Site, WebHandle, start_web
from tests.exporter.running import request, wait_until

ANY_PORT = Address("127.0.0.1", 0)


@pytest.fixture
def handle() -> Iterator[WebHandle]:
    registry = CollectorRegistry()
    Gauge("gpu_up", "x" * 30_000_000, registry=registry).set(1)  # more than the kernel's buffers take
    made = start_web(Site(registry, "/metrics", lambda: None, lambda: None, lambda: ""), ANY_PORT)
    yield made
    made.close()


def connect(url: str) -> socket.socket:
    target = urlsplit(url)
    return socket.create_connection((target.hostname or "", target.port or 0), timeout=5)


def threads() -> int:
    return sum(thread.name == "web-connection" for thread in threading.enumerate())


def ended(client: socket.socket) -> bool:
    try:
        while client.recv(65536):
            pass
    except ConnectionResetError:
        pass
    return True


def test_a_flood_of_silent_connections_shuts_nobody_out(handle: WebHandle) -> None:
    """Three times as many as there may be: threads stay bounded, and each scrape beside them is answered at once."""
    silent = [connect(handle.url) for _ in range(3 * MAX_CONNECTIONS)]
    for _ in range(5):
        start = time.monotonic()
        assert request(handle.url + "/healthz").status == 200
        assert time.monotonic() - start < 1.0
        assert threads() <= MAX_CONNECTIONS
    for client in silent:
        client.close()


def test_the_longest_silent_makes_room() -> None:
    """Of two that may be, the first is ended for the third; one that is being answered is not."""
    release, at_work = threading.Event(), threading.Semaphore(0)

    def serve(connection: Connection) -> None:
        while connection.receive(time.monotonic() + 10):
            if connection.received == b"work":
                connection.waiting_since = None
                at_work.release()
                release.wait(10)
                connection.send(b"done")
                return

    listening = listening_socket(ANY_PORT)
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    served = Connections(listening, serve, limit=2)
    worker, idle = connect(url), connect(url)
    worker.sendall(b"work")
    assert at_work.acquire(timeout=5)
    late = connect(url)
    assert ended(idle)
    late.sendall(b"work")
    assert at_work.acquire(timeout=5)
    nobody = connect(url)
    assert ended(nobody)  # both work: one too many is turned away
    release.set()
    assert (worker.recv(5), late.recv(5)) == (b"done", b"done")
    served.close()
    for client in (worker, idle, late, nobody):
        client.close()


def test_a_head_that_trickles_in_is_cut_off(handle: WebHandle, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time limit is of the whole head, not of its next byte."""
    monkeypatch.setattr(web, "PATIENCE_SECONDS", 0.3)
    with connect(handle.url) as client:
        client.sendall(b"GET /metrics HTTP/1.1\r\n")
        stop = threading.Event()

        def trickle() -> None:
            while not stop.wait(0.02):
                try:
                    client.sendall(b"X: y\r\n")
                except OSError:
                    return

        trickler = threading.Thread(target=trickle)
        trickler.start()
        start = time.monotonic()
        reply = client.recv(4096)
        stop.set()
        trickler.join()
    assert reply.startswith(b"HTTP/1.1 408 ")
    assert time.monotonic() - start < 2.0


def test_a_client_that_does_not_read_is_cut_off(handle: WebHandle, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its thread ends, and a scrape beside it is answered meanwhile."""
    monkeypatch.setattr(connections, "PATIENCE_SECONDS", 0.3)
    with connect(handle.url) as client:
        client.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.recv(10) == b"HTTP/1.1 2"
        assert request(handle.url + "/healthz").status == 200
        wait_until(lambda: threads() == 0, "its thread has ended")


def test_a_silent_client_is_cut_off(handle: WebHandle, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an answer, for it asked nothing."""
    monkeypatch.setattr(web, "PATIENCE_SECONDS", 0.2)
    with connect(handle.url) as client:
        assert client.recv(10) == b""


def test_closing_ends_every_connection_within_a_second(handle: WebHandle) -> None:
    """Silent ones, one in the middle of a request, and one that does not take its answer."""
    silent, half, hung = (connect(handle.url) for _ in range(3))
    half.sendall(b"GET /metrics HTTP/1.1\r\n")
    hung.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
    assert hung.recv(10) == b"HTTP/1.1 2"
    start = time.monotonic()
    handle.close()
    assert time.monotonic() - start < 1.0
    assert ended(silent)
    wait_until(lambda: threads() == 0, "all threads have ended")
    with pytest.raises(ConnectionRefusedError):
        connect(handle.url)
    for client in (silent, half, hung):
        client.close()


def test_running_out_of_threads_costs_that_connection_alone(handle: WebHandle, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is closed, and the next one is served."""
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name == "web-connection":
            raise RuntimeError("can't start new thread")
        start(thread)

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        with connect(handle.url) as client:
            assert ended(client)
    assert request(handle.url + "/healthz").status == 200
