import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from benchmarks.server_client import ClientError, closed, http_request, open_loop

REQUESTS = [http_request("/x", body) for body in (b"a", b"bb", b"ccc")]


class Echo(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    seconds = 0.0
    chunked = False
    rude = False  # every third request is cut off
    seen = 0

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        time.sleep(self.seconds)
        type(self).seen += 1
        if self.rude and self.seen % 3 == 0:
            self.close_connection = True
            return
        self.send_response(200)
        self.send_header("X-Batch-Size", "4")
        if self.chunked:
            self.send_header("transfer-encoding", "chunked")
            body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
        else:
            self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Stay silent."""


@contextmanager
def serving(**how: object) -> Iterator[tuple[int, type[Echo]]]:
    handler = type("Handler", (Echo,), how)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.server_port, handler
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("chunked", [False, True])
def test_a_closed_loop_goes_through_the_sequence(chunked: bool) -> None:  # noqa: FBT001 (a table's column)
    """Answers carry their place, body and kept headers, whole or in chunks; the edges are read once each."""
    edges = iter([10.0, 12.0])
    with serving(chunked=chunked) as (port, _):
        window = closed(port, REQUESTS, 2, (0.02, 0.1), lambda: next(edges))
    assert window.errors == 0
    assert {(reply.place, reply.body) for reply in window.replies} == {(0, b"a"), (1, b"bb"), (2, b"ccc")}
    assert {tuple(reply.headers.items()) for reply in window.replies} == {((b"x-batch-size", b"4"),)}
    assert window.edges == (10.0, 12.0)
    assert window.seconds >= 0.1


def test_a_closed_loop_ends_with_nothing_under_way() -> None:
    """What was sent within the window has been answered when it returns, so that the next one begins clean."""
    with serving(seconds=0.02) as (port, handler):
        window = closed(port, REQUESTS, 4, (0.0, 0.1), lambda: 0.0)
        seen = handler.seen
        time.sleep(0.1)
        assert handler.seen == seen
    assert all(reply.seconds >= 0.02 for reply in window.replies)


def test_a_cut_connection_is_an_error_and_the_loop_goes_on() -> None:
    """A server that cuts connections costs the requests that it cut and no others."""
    with serving(rude=True) as (port, _):
        window = closed(port, REQUESTS, 1, (0.0, 0.2), lambda: 0.0)
    assert window.errors == pytest.approx(len(window.replies) / 3, abs=1)
    assert len(window.replies) > 5


def test_an_open_loop_counts_from_the_intended_time() -> None:
    """With fewer connections than requests at once the later ones wait, and their wait is latency."""
    with serving(seconds=0.05) as (port, _):
        window = open_loop(port, REQUESTS, [0.0, 0.0, 0.0], connections=1)
    slowest = max(window.latencies)
    assert len(window.replies) == 3
    assert 0.15 <= slowest < 1.0


def test_nobody_listens() -> None:
    """Where nobody listens there is an error and no window."""
    with serving() as (port, _):
        pass
    with pytest.raises(ClientError):
        closed(port, REQUESTS, 2, (0.0, 0.1), lambda: 0.0)
    with pytest.raises(ClientError):
        open_loop(port, REQUESTS, [0.0])
