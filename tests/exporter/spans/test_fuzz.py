"""Whatever is thrown at the span socket, a well-behaved client is served afterwards as before; nothing has grown."""

import contextlib
import json
import os
import random
import resource
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from perjoule.spans import Quality, Spans
from perjoule_exporter.spans import SpanServer
from tests.exporter.running import wait_until
from tests.exporter.span_books import GPU, SUMMARY, WrittenBook

HELLO = b'{"hello": 1, "client": "fuzz"}\n'
SEEDS = (
    HELLO,
    b'{"hello": 2}\n',
    b'{"open": 1, "device": "GPU-simulated-0", "task": "t", "model": "m", "phase": "p", "start_ns": 1}\n',
    b'{"close": 1, "end_ns": 2, "requests": [["a", 1, "ok"]], "reply": true}\n',
    b'{"close": 1, "end_ns": -2, "requests": [["a", 1e999, "ok"]]}\n',
    b'{"open": 1, "device": "\\ud800"}\n',
    b"[[[[[[[[[[[[[[[[[[[[[[[[[[\n",
    b"\n\n\n\r\n",
    b"\x00\xff\xfe\n",
    b"9" * 5000 + b"\n",
)


def works(book: WrittenBook, served: SpanServer) -> None:
    """Assert that a well-behaved client is served."""
    before = len(book.closed())
    with Spans("good/1", socket=served.path, retry_seconds=(0.01, 0.05)) as spans:
        wait_until(lambda: spans.stats.connected, "the good client is connected")
        with spans.span(*SUMMARY, requests=[("good", 1)]) as span:
            pass
        assert span.energy.quality is Quality.ESTIMATED
        wait_until(lambda: len(book.closed()) > before, "its span is told")
        assert book.closed()[-1].shares[0].request == "good"


def files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def settled(served: SpanServer) -> None:
    wait_until(lambda: not served._clients, "all have gone")


def mutated(draw: random.Random) -> bytes:
    """Return lines that were cut, joined and overwritten at random, or bytes that never were lines."""
    if draw.random() < 0.3:
        return draw.randbytes(draw.randrange(2000))
    data = bytearray(b"".join(draw.choice(SEEDS) for _ in range(draw.randrange(1, 8))))
    for _ in range(draw.randrange(6)):
        at = draw.randrange(len(data) + 1)
        data[at : at + draw.randrange(4)] = draw.randbytes(draw.randrange(4))
    return bytes(data[: draw.randrange(len(data) + 1)])


def attack(path: str, seed: int) -> None:
    """Connect, say something, and leave in one of several ways."""
    draw = random.Random(seed)  # noqa: S311 (test data)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
        client.settimeout(0.05)
        with contextlib.suppress(OSError):  # cut off, as it deserves
            if draw.random() < 0.6:
                client.sendall(HELLO)
            for _ in range(draw.randrange(4)):
                client.sendall(mutated(draw))
            if draw.random() < 0.3:
                client.recv(draw.randrange(1, 5000))
            if draw.random() < 0.3:
                client.shutdown(draw.choice((socket.SHUT_RD, socket.SHUT_WR, socket.SHUT_RDWR)))


def test_a_thousand_hostile_connections_leave_no_trace(book: WrittenBook, served: SpanServer) -> None:
    """Random and mutated bytes from eight threads: the same thread serves on, and no file or memory is kept."""
    works(book, served)
    settled(served)
    for seed in range(100):  # whatever the interpreter keeps for itself, it has by now
        attack(served.path, seed)
    settled(served)
    before = (files(), threading.active_count(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)

    def many(first: int) -> None:
        for seed in range(first, 1100, 8):
            attack(served.path, seed)

    threads = [threading.Thread(target=many, args=(100 + first,)) for first in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    settled(served)
    works(book, served)
    settled(served)
    book.told.clear()
    wait_until(lambda: threading.active_count() <= before[1], "the good client's thread has ended")
    wait_until(lambda: files() <= before[0], "no file is kept")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before[2] < 20_000  # KiB
    assert set(book.gone) >= {1}


def test_hundreds_of_connections_at_once_shut_nobody_out(book: WrittenBook, served: SpanServer) -> None:
    """They stay, silent or with half a line: places are bounded, and who says hello gets one."""
    clients: list[socket.socket] = []
    try:
        for index in range(700):
            client = socket.socket(socket.AF_UNIX)
            client.connect(served.path)
            clients.append(client)
            if index % 3 == 0:
                with contextlib.suppress(OSError):  # another has its place already
                    client.sendall(HELLO[:-3])
        works(book, served)
        assert len(served._clients) <= 64
    finally:
        for client in clients:
            client.close()
    settled(served)
    works(book, served)


def test_a_line_of_megabytes_and_one_that_trickles(book: WrittenBook, served: SpanServer) -> None:
    """The first is cut off in the middle; the second, byte by byte, is taken as if it had come at once."""
    with socket.socket(socket.AF_UNIX) as huge, socket.socket(socket.AF_UNIX) as slow:
        for each in (huge, slow):
            each.connect(served.path)
            each.settimeout(10)
        with pytest.raises(OSError):  # noqa: PT011 (a broken pipe or a reset, as it happens)
            huge.sendall(b"x" * 10_000_000)
        for byte in HELLO:
            slow.sendall(bytes([byte]))
        assert json.loads(slow.makefile().readline())["hello"] == 1
        task, model, phase = SUMMARY
        begin = {
            "open": 1,
            "device": GPU,
            "task": task,
            "model": model,
            "phase": phase,
            "start_ns": time.monotonic_ns(),
        }
        for byte in json.dumps(begin).encode() + b"\n":
            slow.sendall(bytes([byte]))
        wait_until(book.opened, "the span is told")
    works(book, served)


_FEW_FILES = """
import resource, sys
from pathlib import Path
from perjoule_exporter.spans import start_spans
from tests.exporter.span_books import WrittenBook
resource.setrlimit(resource.RLIMIT_NOFILE, (30, 30))
served = start_spans(WrittenBook(), Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.read()
served.close()
"""


def test_where_files_run_out_silent_connections_give_way(tmp_path: Path) -> None:
    """An exporter that may open 30 files, and 60 connections that say nothing: who says hello is served."""
    path = tmp_path / "spans.sock"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", _FEW_FILES, str(path)]
    pipe = subprocess.PIPE
    with (
        contextlib.ExitStack() as stack,
        subprocess.Popen(command, env=environment, text=True, stdin=pipe, stdout=pipe) as child,
    ):
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        for _ in range(60):
            silent = stack.enter_context(socket.socket(socket.AF_UNIX))
            silent.connect(str(path))
        with Spans("good/1", socket=path, retry_seconds=(0.01, 0.05)) as spans:
            wait_until(lambda: spans.stats.connected, "the good client is connected", seconds=8)
        child.stdin.close()
