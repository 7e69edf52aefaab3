"""perjoule.spans as a server uses it, with the exporter's real socket at the other end, or none."""

import asyncio
import contextlib
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from perjoule.errors import UsageError
from perjoule.spans import MORE, UNKNOWN, Quality, Request, Spans, added
from perjoule_exporter.ledger import Owner, Share
from perjoule_exporter.spans import Announced, Charged, Closed, KnownWatts, SpanServer
from tests.exporter.running import wait_until
from tests.exporter.span_books import GPU, SUMMARY, Connect, LedgerBook, WrittenBook, started


def test_two_lines_are_enough(book: WrittenBook, spans: Spans) -> None:
    """A batch in a with block is one span with its requests; its estimate is there at once, also for each request."""
    with spans.span(*SUMMARY, requests=[("a", 300), ("b", 100, MORE)]) as span:
        time.sleep(0.01)
    (opened,) = wait_until(book.opened, "it is opened")
    (closed,) = wait_until(book.closed, "it is closed")
    assert (opened.device, opened.kind) == (GPU, SUMMARY)
    assert closed.shares == (Share("a", 300, "ok"), Share("b", 100, MORE))
    joules, quality = span.energy
    assert quality is Quality.ESTIMATED
    assert joules == pytest.approx(200.0 * (closed.end - opened.start), rel=1e-6)
    assert span.energy_of("a").joules == pytest.approx(0.75 * (joules or 0))
    assert span.energy_of("stranger") == UNKNOWN


def test_owners_are_announced_before_any_work(book: WrittenBook, served: SpanServer, make: Connect) -> None:
    """Those that were given and those that come later, so that their series exist at 0."""
    spans = make(owners=[("summarization", "bart")])
    spans.announce([("fill-mask", "bert"), ("summarization", "bart")])

    def owners() -> set[Owner]:
        return {owner for _, each in list(book.told) if isinstance(each, Announced) for owner in each.owners}

    expected = {Owner("summarization", "bart"), Owner("fill-mask", "bert")}
    wait_until(lambda: owners() == expected, "both are known")
    assert served.clients == 1


@pytest.mark.parametrize(
    ("error", "outcome"),
    [(ValueError, "error"), (asyncio.CancelledError, "cancelled"), (KeyboardInterrupt, "cancelled")],
)
def test_a_block_left_by_an_exception_says_so(
    book: WrittenBook, spans: Spans, error: type[BaseException], outcome: str
) -> None:
    """Its requests are errors, or cancelled; the exception goes on, and what was closed before stays as it was."""
    with pytest.raises(error), spans.span(*SUMMARY, requests=[("a",)]):
        raise error
    with contextlib.suppress(error), spans.span(*SUMMARY) as span:
        span.close([("b", 1, "expired")])
        raise error
    wait_until(lambda: len(book.closed()) == 2, "both are closed")
    assert [each.shares[0].outcome for each in book.closed()] == [outcome, "expired"]


def test_an_async_block_is_the_same(book: WrittenBook, spans: Spans) -> None:
    """The same in a coroutine: ended by itself, cancelled when its task is."""

    async def work(seconds: float) -> None:
        async with spans.span(*SUMMARY, requests=[("a",)]):
            await asyncio.sleep(seconds)

    async def both() -> None:
        await work(0.001)
        task = asyncio.create_task(work(60))
        await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(both())
    wait_until(lambda: len(book.closed()) == 2, "both are closed")
    assert [each.shares[0].outcome for each in book.closed()] == ["ok", "cancelled"]


def test_phases_are_closed_one_by_one_and_their_sum_is_the_requests(book: WrittenBook, spans: Spans) -> None:
    """Prefill and decode are two spans; a request's energy is their sum, unknown while one of them is."""
    prefill = spans.span("summarization", "bart", "prefill")
    prefill.close([Request("a", 10, MORE)])
    decode = spans.span(*SUMMARY)
    decode.close([Request("a", 5), Request("b", 5)])
    assert decode.close([("c",)]) == decode.energy
    assert added([prefill.energy_of("a"), decode.energy_of("a")]) == UNKNOWN
    other = spans.span(*SUMMARY)
    other.close([Request("a")])
    both = added([decode.energy_of("a"), other.energy_of("a")])
    assert both.quality is Quality.ESTIMATED
    wait_until(lambda: len(book.closed()) == 3, "all are closed")
    assert [len(each.shares) for each in book.closed()] == [1, 2, 1]


def test_tensor_parallel_is_a_span_on_each_device(book: WrittenBook, served: SpanServer, make: Connect) -> None:
    """Several devices are several spans of the same time, and the estimate is of all of them together."""
    book.shared = tuple(Charged(name, "gpu", "counter") for name in ("GPU-1", "GPU-2"))
    book.known = tuple(KnownWatts(name, SUMMARY, watts) for name, watts in (("GPU-1", 300.0), ("GPU-2", 100.0)))
    now = time.monotonic_ns()
    ticks = iter([now - 500_000_000, now])
    spans = make(device=["GPU-1", "GPU-2"], clock_ns=lambda: next(ticks))
    wait_until(lambda: spans.stats.connected, "the client is connected")
    span = spans.span(*SUMMARY)
    assert span.close([("a",)]) == (200.0, Quality.ESTIMATED)
    wait_until(lambda: len(book.closed()) == 2, "both are closed")
    assert {each.device: each.end for each in book.closed()} == {"GPU-1": now / 1e9, "GPU-2": now / 1e9}
    assert (spans.stats.sent, served.clients) == (2, 1)


def test_a_settlement_is_waited_for_when_asked(path: Path, make: Connect) -> None:
    """With reply the settled joules replace the estimate, of two phases too; without a tick the wait ends by itself."""
    book = LedgerBook()
    served = started(book, path)
    spans = make()
    wait_until(lambda: spans.stats.connected, "the client is connected")
    stop = threading.Event()

    def energy() -> None:
        while not stop.wait(0.02):
            book.tick(200.0)

    meter = threading.Thread(target=energy)
    meter.start()
    try:
        with spans.span(*SUMMARY) as span:
            time.sleep(0.03)
            span.close([("a", 3), ("b", 1)], reply=True)
        settled = span.wait(10)

        async def later() -> float | None:
            async with spans.span(*SUMMARY) as second:
                await asyncio.sleep(0.03)
                second.close([("a", 3)], reply=True)
            return (await second.settled(10)).joules

        again = asyncio.run(later())
    finally:
        stop.set()
        meter.join()
    assert settled.quality is Quality.SETTLED
    assert span.energy_of("a").joules == pytest.approx(0.75 * (settled.joules or 0))
    charged = book.snapshot().charged[Owner("summarization", "bart")].outcomes["ok"]
    assert (settled.joules or 0) + (again or 0) == pytest.approx(charged.microjoules / 1e6)
    silent = spans.span(*SUMMARY)
    silent.close([("a",)], reply=True)
    assert silent.wait(0.05).quality is not Quality.SETTLED

    def told_later() -> bool:
        book.tick(200.0)
        return silent.wait(0.02).quality is Quality.SETTLED

    wait_until(told_later, "what came after the wait is there for who asks again")
    served.close()


def test_nobody_waits_for_what_is_refused(book: WrittenBook, spans: Spans) -> None:
    """A span on an unknown device gets its refusal and no settlement; whoever waits goes on, and nothing is kept."""
    span = spans.span(*SUMMARY, device="GPU-of-another-machine")
    span.close([("a",)], reply=True)
    start = time.monotonic()
    assert span.wait(30) == UNKNOWN
    assert time.monotonic() - start < 10
    assert not spans._session._awaited  # type: ignore[union-attr]
    assert not book.opened()


def test_settlements_that_never_come_do_not_end_the_asking(
    book: WrittenBook, spans: Spans, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only so many are waited for: the first of more are given up, and the newest are asked for all the same."""
    monkeypatch.setattr("perjoule.spans.session.MOST_AWAITED", 20)
    made = [spans.span(*SUMMARY) for _ in range(50)]
    for span in made:
        span.close([("a",)], reply=True)
    assert made[0].wait(30).quality is not Quality.SETTLED
    wait_until(lambda: len(book.closed()) == 50, "all are told")
    assert all(each.reply for each in book.closed())
    waiting = spans._session._awaited  # type: ignore[union-attr]
    assert len(waiting) <= 20
    assert max(waiting) == 50


def test_many_threads_share_one_client(book: WrittenBook, spans: Spans) -> None:
    """Spans of eight threads all arrive, each with its own number and its own end."""

    def work(name: int) -> None:
        for index in range(200):
            with spans.span(*SUMMARY, requests=[(f"{name}-{index}",)]):
                pass

    threads = [threading.Thread(target=work, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wait_until(lambda: len(book.closed()) == 1600, "all are closed")
    assert len({each.number for each in book.opened()}) == 1600
    assert len({each.shares[0].request for each in book.closed()}) == 1600


_FORKS = """
import os, sys
from perjoule.spans import Spans
spans = Spans("parent", device=sys.argv[2], socket=sys.argv[1], retry_seconds=(0.01, 0.05))
while not spans.stats.connected:
    pass
before = spans.span("summarization", "bart", "decode")
child = os.fork()
if child == 0:
    before.close([("from-child",)])
    with spans.span("summarization", "bart", "decode", requests=[("child",)]):
        while not spans.stats.connected:
            pass
    spans.close()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
before.close([("parent",)])
spans.close()
"""


def test_after_a_fork_the_child_has_a_connection_of_its_own(book: WrittenBook, served: SpanServer) -> None:
    """As with gunicorn's preloading: two clients, whose spans do not mix; the parent's span is the parent's to end."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", _FORKS, served.path, GPU], env=environment, check=True, timeout=60)
    wait_until(lambda: len(book.gone) == 2, "both have left")
    ends = {each.shares[0].request: client for client, each in book.told if isinstance(each, Closed)}
    assert ends.keys() == {"parent", "child"}
    assert ends["parent"] != ends["child"]


def test_names_that_cannot_be_labels_are_a_mistake_of_the_call(book: WrittenBook, spans: Spans) -> None:
    """They are a UsageError, and no span is opened."""
    for names in (("", "bart"), ("summarization", "b\nart"), ("summarization", "bart", "\ud800")):
        with pytest.raises(UsageError):
            spans.span(*names)
    with pytest.raises(UsageError):
        spans.span(*SUMMARY, device=[])
    assert not book.opened()


def test_requests_that_are_none_cost_figures_and_no_answer(
    book: WrittenBook, spans: Spans, caplog: pytest.LogCaptureFixture
) -> None:
    """The span ends as an error, which is logged and counted; the server goes on, and so do its other spans."""
    with spans.span(*SUMMARY, requests=[("a", -1)]) as span:
        pass
    assert span.energy_of("a") == UNKNOWN
    with contextlib.suppress(LookupError), spans.span(*SUMMARY, requests=[("a", "b", "c", "d")]):
        raise LookupError
    with spans.span(*SUMMARY) as span:
        span.close([("a", 1, "fine")])
    with spans.span(*SUMMARY) as span:
        span.close([("good",)])
    wait_until(lambda: len(book.closed()) == 4, "all are closed")
    *invalid, good = [each.shares for each in book.closed()]
    assert invalid == [(Share("invalid", 1.0, "error"),)] * 3
    assert good == (Share("good", 1.0, "ok"),)
    assert spans.stats.refused == 3
    wait_until(lambda: "spans are refused: " in caplog.text, "the log says so")


def test_the_last_spans_are_told_before_the_end(book: WrittenBook, spans: Spans) -> None:
    """Close flushes: what ended just before is told, and afterwards spans are only counted."""
    with spans.span(*SUMMARY, requests=[("last",)]):
        pass
    spans.close()
    wait_until(book.closed, "the last is told")
    with spans.span(*SUMMARY):
        pass
    assert spans.stats.dropped == 1
