"""A provider's far end on 127.0.0.1: it answers what the test has laid down and remembers what it was asked."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Answer:
    """One HTTP answer; ``length`` lies about its size, ``pause`` is called after each piece."""

    status: int = 200
    body: bytes = b"{}"
    headers: Mapping[str, str] = field(default_factory=dict)
    length: int | None = None
    pieces: int = 1
    pause: Callable[[], object] = lambda: None


@dataclass(frozen=True)
class Asked:
    """One request as it came in."""

    path: str
    headers: Mapping[str, str]


class FarEnd:
    """What is answered, and what was asked. ``answer`` may be a function of the request."""

    def __init__(self) -> None:
        self.answer: Answer | Callable[[Asked], Answer] = Answer()
        self.asked: list[Asked] = []
        self.url = ""
        self.came = threading.Semaphore(0)

    def take(self, request: Asked) -> Answer:
        self.asked.append(request)
        self.came.release()
        return self.answer if isinstance(self.answer, Answer) else self.answer(request)

    def wait(self) -> Asked:
        """Wait for one more request."""
        assert self.came.acquire(timeout=10), "nobody asked"
        return self.asked[-1]


@contextmanager
def far_end(wrap: Callable[[Any], Any] | None = None) -> Iterator[FarEnd]:
    """Run a far end on a free port; ``wrap`` may put its socket into TLS."""
    end = FarEnd()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer = end.take(Asked(self.path, {name.lower(): value for name, value in self.headers.items()}))
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.body) if answer.length is None else answer.length))
            self.end_headers()
            size = -(-len(answer.body) // answer.pieces)
            try:
                for start in range(0, len(answer.body), max(1, size)):
                    self.wfile.write(answer.body[start : start + size])
                    answer.pause()
            except OSError:
                pass  # the exporter has had enough, as it should

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False

        def handle_error(self, *_: object) -> None:
            pass  # a client that does not trust us breaks off

    server = Server(("127.0.0.1", 0), Handler)
    if wrap is not None:
        server.socket = wrap(server.socket)
    end.url = f"{'http' if wrap is None else 'https'}://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield end
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
