"""A server whose exporter is not there, restarts, hangs or is something else: it works on, and figures are unknown."""

import contextlib
import json
import socket
import threading
import time
from pathlib import Path

from perjoule.spans import UNKNOWN, Quality, Spans
from perjoule_exporter.spans import Announced, SpanServer
from tests.exporter.running import wait_until
from tests.exporter.span_books import GPU, SUMMARY, Connect, WrittenBook, started


def test_a_settlement_that_cannot_come_is_not_waited_for(served: SpanServer, spans: Spans) -> None:
    """When the exporter goes, whoever waits goes on at once, without figures."""
    span = spans.span(*SUMMARY)
    span.close([("a",)], reply=True)
    threading.Timer(0.05, served.close).start()
    start = time.monotonic()
    assert span.wait(30).quality is not Quality.SETTLED
    assert time.monotonic() - start < 10


def test_without_an_exporter_everything_works_and_energy_is_unknown(make: Connect) -> None:
    """Spans are dropped and counted, nothing raises, nothing waits, and no figure is made up."""
    spans = make()
    start = time.monotonic()
    for _ in range(1000):
        with spans.span(*SUMMARY, requests=[("a",)]) as span:
            pass
        assert span.energy == UNKNOWN
    assert time.monotonic() - start < 5
    wait_until(lambda: spans.stats.dropped == 1000, "all are counted")
    assert (spans.stats.sent, spans.stats.connected, spans.device) == (0, False, None)


def test_it_finds_the_exporter_again(book: WrittenBook, path: Path, make: Connect) -> None:
    """Exporter restarted under load: the server works on, energy is unknown for the gap, and comes back."""
    first = started(book, path)
    spans = make(owners=[("summarization", "bart")])
    wait_until(lambda: spans.stats.connected, "the client is connected")
    across = spans.span(*SUMMARY)
    wait_until(book.opened, "its begin was told")
    first.close()
    wait_until(lambda: not spans.stats.connected, "the loss is seen")
    with spans.span(*SUMMARY) as gap:
        pass
    assert gap.energy == UNKNOWN
    assert across.close([("a",)]) == UNKNOWN
    wait_until(lambda: spans.stats.dropped == 2, "both are counted")
    again = WrittenBook()
    second = started(again, path)
    wait_until(lambda: spans.stats.connected, "it is connected again")
    with spans.span(*SUMMARY, requests=[("b",)]) as span:
        pass
    wait_until(again.closed, "spans are told again")
    assert [each.shares[0].request for each in again.closed()] == ["b"]
    assert span.energy.quality is Quality.ESTIMATED
    assert [each for _, each in again.told if isinstance(each, Announced)]
    assert spans.stats.refused == 0
    second.close()


def test_an_exporter_that_hangs_costs_dropped_spans_and_nothing_else(path: Path, make: Connect) -> None:
    """It greets and then reads no more: the queue fills up to its bound, what is more is dropped and counted."""
    with socket.socket(socket.AF_UNIX) as listening, contextlib.ExitStack() as stack:
        listening.bind(str(path))
        listening.listen()
        spans = make(queue=500, device=GPU)
        hung, _ = listening.accept()
        stack.enter_context(hung)
        hung.recv(4096)
        hung.sendall(json.dumps({"hello": 1, "devices": [], "watts": []}).encode() + b"\n")
        wait_until(lambda: spans.stats.connected, "it is greeted")

        def overflows() -> bool:
            start = time.monotonic()
            for _ in range(100):
                spans.span(*SUMMARY).close([("a",)])
            assert time.monotonic() - start < 2
            return spans.stats.dropped > 100

        wait_until(overflows, "spans are dropped")
        # Ends of spans whose begin is in the queue always find room: one for each.
        assert len(spans._session._link._queue) <= 1000  # type: ignore[union-attr]


def test_a_full_queue_drops_whole_spans(book: WrittenBook, served: SpanServer, make: Connect) -> None:
    """Whatever overflows, each begin that is told is followed by its end, and each span is told or counted."""
    spans = make(queue=10)
    wait_until(lambda: spans.stats.connected, "the client is connected")
    for _ in range(2000):
        spans.span(*SUMMARY).close()
    wait_until(lambda: sum(spans.stats[:2]) == 2000, "each is told or counted")
    assert spans.stats.dropped > 0
    wait_until(lambda: len(book.closed()) == spans.stats.sent, "each that began is ended")
    assert len(book.opened()) == spans.stats.sent
    assert served.clients == 1


def test_nonsense_at_the_other_end_is_left_and_tried_again(path: Path, make: Connect) -> None:
    """Something else listens there and answers garbage, or hangs up: the client backs off and goes on trying."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        spans = make()
        for answer in (b"HTTP/1.1 400 Bad Request\r\n\r\n", b"", b'{"hello":1}\n'):
            connection, _ = listening.accept()
            with connection:
                connection.sendall(answer)
                if answer:
                    connection.recv(4096)
        assert not spans.stats.connected
        with spans.span(*SUMMARY) as span:
            pass
        assert span.energy == UNKNOWN
