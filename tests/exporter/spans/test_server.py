"""The span socket with real clients on real sockets: several at once, dying, stalling, too many, too fast."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from perjoule_exporter.ledger import MORE, Share
from perjoule_exporter.spans import Charged, Closed, KnownWatts, SpanServer, server, start_spans
from tests.exporter.running import wait_until
from tests.exporter.span_books import GPU, SUMMARY, LedgerBook, WrittenBook


class RawClient:
    """A client that says exactly what it is told to."""

    def __init__(self, path: str, *, hello: bool = True) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path)
        self.socket.settimeout(10)
        self._received = self.socket.makefile("rb")
        self.greeting: dict[str, Any] = {}
        if hello:
            self.say({"hello": 1, "client": "raw"})
            self.greeting = self.hear()

    def say(self, *messages: Any) -> None:
        self.socket.sendall(b"".join(json.dumps(message).encode() + b"\n" for message in messages))

    def open(self, number: int, device: str = GPU) -> None:
        start_ns = time.monotonic_ns()
        task, model, phase = SUMMARY
        self.say({"open": number, "device": device, "task": task, "model": model, "phase": phase, "start_ns": start_ns})

    def shut(self, number: int, *requests: tuple[str, float, str], reply: bool = False) -> None:
        self.say({"close": number, "end_ns": time.monotonic_ns(), "requests": requests, "reply": reply})

    def hear(self) -> dict[str, Any]:
        """Return the next answer; empty if the exporter has hung up."""
        try:
            line = self._received.readline()
        except ConnectionResetError:
            return {}
        return dict(json.loads(line)) if line else {}

    def close(self) -> None:
        self._received.close()
        self.socket.close()


@pytest.fixture
def connect(served: SpanServer) -> Iterator[Callable[..., RawClient]]:
    made: list[RawClient] = []

    def connect(*, hello: bool = True) -> RawClient:
        made.append(RawClient(served.path, hello=hello))
        return made[-1]

    yield connect
    for client in made:
        client.close()


Connect = Callable[..., RawClient]


def test_two_clients_at_once_are_told_apart(book: WrittenBook, served: SpanServer, connect: Connect) -> None:
    """The same numbers of two clients are two spans; each client's lines come in order."""
    first, second = connect(), connect()
    first.open(1)
    second.open(1)
    second.shut(1, ("b", 2, "ok"))
    first.shut(1, ("a", 1, MORE))
    wait_until(lambda: len(book.closed()) == 2, "both are closed")
    shares = {client: each.shares for client, each in book.told if isinstance(each, Closed)}
    assert sorted(shares.values()) == [(Share("a", 1, MORE),), (Share("b", 2, "ok"),)]
    assert served.clients == 2


def test_the_greeting_has_devices_and_watts_and_changes_are_told_once(
    book: WrittenBook, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client knows from the start what was learned; later it hears of what changed, with null for the forgotten."""
    monkeypatch.setattr(server, "WATTS_SECONDS", 0.02)
    client = connect()
    assert client.greeting == {
        "hello": 1,
        "devices": [{"device": GPU, "kind": "gpu", "method": "simulated"}],
        "watts": [[*SUMMARY, 200.0, GPU]],
    }
    other = SUMMARY._replace(phase="prefill")
    book.known = (*book.known, KnownWatts(GPU, other, 350.04))
    assert client.hear() == {"watts": [[*other, 350.0, GPU]]}
    late = connect()
    assert len(late.greeting["watts"]) == 2
    book.known = ()
    for each in (client, late):
        assert each.hear() == {"watts": [[*SUMMARY, None, GPU], [*other, None, GPU]]}


def test_refusals_come_back_and_cost_nobody_else_anything(book: WrittenBook, connect: Connect) -> None:
    """An unknown device, garbage and an unknown version: an error line to who said it, while another is served."""
    good, bad, old = connect(), connect(), connect(hello=False)
    bad.open(1, "GPU-of-another-machine")
    assert bad.hear() == {"error": "GPU-of-another-machine is not a device here", "span": 1}
    bad.socket.sendall(b"\xde\xad\xbe\xef\n")
    assert bad.hear() == {"error": "a line is not UTF-8"}
    old.say({"hello": 7})
    assert "this is version 1" in old.hear()["error"]
    assert old.hear() == {}
    good.open(1)
    good.shut(1)
    wait_until(book.closed, "the good client's span is closed")
    bad.open(2)
    wait_until(lambda: len(book.opened()) == 2, "the bad client may go on")


_MID_SPAN = """
import sys, time
from perjoule.spans import Spans
spans = Spans("victim", device=sys.argv[2], socket=sys.argv[1])
span = spans.span("summarization", "bart", "decode")
print("open", flush=True)
time.sleep(60)
"""


def test_a_client_killed_in_the_middle_of_a_span_is_gone(
    book: WrittenBook, served: SpanServer, connect: Connect
) -> None:
    """SIGKILL: the book hears that it left, and the other client's span goes on."""
    other = connect()
    other.open(1)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", _MID_SPAN, served.path, GPU]
    victim = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)
    with victim:
        wait_until(lambda: len(book.opened()) == 2, "both spans are open")
        victim.send_signal(signal.SIGKILL)
    numbers = {client for client, each in book.told if client != 1}
    wait_until(lambda: book.gone, "the victim has left")
    assert set(book.gone) == numbers
    other.shut(1, ("a", 1, "ok"))
    wait_until(book.closed, "the other span is closed")
    assert served.clients == 1


def test_a_killed_clients_energy_is_abandoned_and_all_of_it_adds_up(tmp_path: Path) -> None:
    """With a ledger behind the socket: its span is abandoned, the other's is ok, and no joule is lost."""
    book = LedgerBook()
    made = start_spans(book, tmp_path / "ledger.sock")
    assert made is not None
    stays, leaves = RawClient(made.path), RawClient(made.path)
    stays.open(1)
    leaves.open(1)
    wait_until(lambda: len(book.opened()) == 2, "both are open")
    book.tick(200.0)
    leaves.close()
    wait_until(lambda: book.gone, "it has left")
    stays.shut(1, ("a", 1, "ok"), reply=True)
    wait_until(book.closed, "the other is closed")

    def settled() -> bool:
        time.sleep(0.02)
        book.tick(200.0)
        charged = book.snapshot().charged[SUMMARY[:2]]  # type: ignore[index]
        return {"ok", "abandoned", "overhead"} & set(charged.outcomes) >= {"ok", "abandoned"} and all(
            charged.outcomes[outcome].microjoules > 0 for outcome in ("ok", "abandoned")
        )

    wait_until(settled, "both are charged")
    snapshot = book.snapshot()
    charged = sum(c.microjoules for each in snapshot.charged.values() for c in each.outcomes.values())
    assert snapshot.counter == charged + snapshot.idle + sum(snapshot.unattributed.values()) + snapshot.open
    answer = stays.hear()
    assert answer["settled"] == 1
    assert answer["requests"] == [["a", answer["joules"]]]
    assert answer["joules"] * 1e6 == pytest.approx(snapshot.charged[SUMMARY[:2]].outcomes["ok"].microjoules)  # type: ignore[index]
    stays.close()
    made.close()


def test_a_client_that_reads_no_answers_is_cut_off(served: SpanServer, connect: Connect) -> None:
    """Its answers fill the kernel's buffer and then ours, up to a bound; another client is served meanwhile."""
    deaf, good = connect(), connect()
    garbage = b"garbage\n" * 90
    deaf.socket.settimeout(0.05)
    end = time.monotonic() + 60
    while served.clients == 2 and time.monotonic() < end:
        try:
            deaf.socket.sendall(garbage)
        except TimeoutError:
            continue
        except OSError:
            break
    wait_until(lambda: served.clients == 1, "the deaf client is cut off")
    good.say({"hello": 1})
    assert good.hear()["hello"] == 1


def test_silent_connections_make_room_and_clients_do_not(served: SpanServer, connect: Connect) -> None:
    """Of 64 places those without a hello are given away first; where all have said hello, the next is refused."""
    good = connect()
    silent = [connect(hello=False) for _ in range(3 * server.MAX_CLIENTS)]
    late = connect()
    assert late.greeting["hello"] == 1
    assert silent[0].hear() == {}
    for each in silent:
        each.close()
    others = [connect() for _ in range(server.MAX_CLIENTS - 2)]
    assert served.clients == server.MAX_CLIENTS
    assert connect(hello=False).hear() == {"error": "64 clients are connected already"}
    good.say({"hello": 1})
    assert good.hear()["hello"] == 1
    others[0].close()
    wait_until(lambda: served.clients < server.MAX_CLIENTS, "there is room again")
    assert connect().greeting["hello"] == 1


def test_who_says_nothing_is_hung_up_on(served: SpanServer, connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection without a hello ends by itself; a client that is silent after its hello stays."""
    monkeypatch.setattr(server, "HELLO_SECONDS", 0.05)
    monkeypatch.setattr(server, "WATTS_SECONDS", 0.02)
    good, silent = connect(), connect(hello=False)
    assert silent.hear() == {}
    assert served.clients == 1
    good.say({"hello": 1})
    assert good.hear()["hello"] == 1


def test_a_fault_behind_the_socket_costs_one_connection(
    book: WrittenBook, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    """An exception of the book's own is logged and cuts off the client whose line it was, and nobody else."""
    unlucky, lucky = connect(), connect()
    book.faulty = True
    unlucky.open(1)
    assert unlucky.hear() == {}
    book.faulty = False
    lucky.open(1)
    wait_until(book.opened, "the other is served")
    assert "a span client's connection failed" in caplog.text


def test_a_flood_holds_up_nobody(book: WrittenBook, connect: Connect) -> None:
    """While two clients send as fast as they can, a third's hello is answered and its span arrives."""
    stop = threading.Event()
    line = json.dumps({"later": "x" * 200}).encode() + b"\n"

    def flood(client: RawClient) -> None:
        client.socket.settimeout(0.1)
        while not stop.is_set():
            try:
                client.socket.sendall(line * 100)
            except TimeoutError:
                continue

    floods = [threading.Thread(target=flood, args=(connect(),)) for _ in range(2)]
    for each in floods:
        each.start()
    good = connect()
    good.open(5)
    wait_until(lambda: any(each.number == 5 for each in book.opened()), "the span is told")
    stop.set()
    for each in floods:
        each.join()


def test_devices_may_change(book: WrittenBook, connect: Connect) -> None:
    """A device that came later is in the next hello's answer, and its spans are taken."""
    client = connect()
    book.shared = (*book.shared, Charged("GPU-2", "gpu", "counter"))
    client.say({"hello": 1})
    assert [each["device"] for each in client.hear()["devices"]] == [GPU, "GPU-2"]
    client.open(1, "GPU-2")
    wait_until(book.opened, "the span is told")


def test_the_end_hangs_up_and_removes_the_file(tmp_path: Path) -> None:
    """After close there is no thread, no file, and clients see the end of the connection; within a second."""
    book = WrittenBook()
    made = start_spans(book, tmp_path / "spans.sock")
    assert made is not None
    client = RawClient(made.path)
    start = time.monotonic()
    made.close()
    assert time.monotonic() - start < 1.0
    assert client.hear() == {}
    assert book.gone == [1]
    assert not (tmp_path / "spans.sock").exists()
    client.close()
