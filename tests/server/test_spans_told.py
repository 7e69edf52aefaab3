"""What the server tells of its batches: spans, weights and outcomes, at the exporter's own end of the socket."""

import json
import socket
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from perjoule.spans import MORE
from perjoule.spans.link import FLUSH_SECONDS
from perjoule.spans.wire import OUTCOMES as TOLD
from perjoule_exporter.charging.book import GRACE_SECONDS
from perjoule_exporter.spans import Announced, SpanServer
from perjoule_server.accounting import PENDING_SECONDS
from perjoule_server.tasks.base import DECODE, ENCODE, PREFILL, Prepared, RawOutput, Work
from tests.exporter.span_books import GPU, started
from tests.server.energy_fakes import MODEL, OTHER, TASK, ToldBook, WritingTask, telling
from tests.server.fakes import PATIENCE, EchoTask, Running, eventually, running, spec


@pytest.fixture
def book() -> ToldBook:
    return ToldBook()


@pytest.fixture
def path(tmp_path: Path, book: ToldBook) -> Iterator[Path]:
    """A socket whose exporter writes down what it is told."""
    made: SpanServer = started(book, tmp_path / "s.sock")
    yield tmp_path / "s.sock"
    made.close()


@pytest.fixture
def writing() -> WritingTask:
    return WritingTask()


@pytest.fixture
def telling_server(path: Path, book: ToldBook, writing: WritingTask) -> Iterator[Running]:
    """A server that tells; when it has ended, nothing that it told is open."""
    with running([spec(TASK)], lambda _: writing, telling(path), device=None) as server:
        eventually(lambda: bool(book.spans("warm-up")))
        yield server
    eventually(book.balanced)


def send(server: Running, text: str, name: str) -> socket.socket:
    """Send a request from a client that can leave."""
    client = socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE)
    body = json.dumps({"inputs": text}).encode()
    head = f"POST /v1/tasks/{TASK} HTTP/1.1\r\nhost: x\r\nx-request-id: {name}\r\ncontent-length: {len(body)}\r\n\r\n"
    client.sendall(head.encode() + body)
    return client


def test_each_phase_is_a_span_and_the_last_says_how_it_ended(telling_server: Running, book: ToldBook) -> None:
    """Prefill weighs what was read, decode what was written; only the last entry of a request is final."""
    telling_server.infer(TASK, "three small words", x_request_id="a")
    eventually(lambda: "a" in book.requests() and len(book.requests()["a"]) == 2)
    assert book.requests()["a"] == [(PREFILL, 3, MORE), (DECODE, 3, "ok")]
    opened = [opened for opened, _ in book.spans(PREFILL, DECODE)]
    assert {(each.device, each.kind.task, each.kind.model) for each in opened} == {(GPU, TASK, MODEL)}


def test_requests_of_a_batch_are_in_its_spans_with_weights_of_their_own(
    telling_server: Running, book: ToldBook, writing: WritingTask
) -> None:
    """What waits together goes together: one span a phase, whatever the number of requests."""
    with writing.held():
        first = telling_server.start(TASK, "occupy", x_request_id="first")
        eventually(lambda: len(writing.batches) == 2)
        calls = [telling_server.start(TASK, "w " * words, x_request_id=f"r{words}") for words in (1, 2, 5)]
        eventually(lambda: telling_server.metric("inference_queue_depth") == 3)
    assert [call.reply().status for call in (first, *calls)] == [200] * 4
    eventually(lambda: len(book.requests()) == 4)
    assert {name: told for name, told in book.requests().items() if name != "first"} == {
        f"r{words}": [(PREFILL, words, MORE), (DECODE, words, "ok")] for words in (1, 2, 5)
    }
    # How a request ended that is known late, on a busy machine, is told by a span of no length.
    lasted = [opened.kind.phase for opened, closed in book.spans() if closed.end > opened.start]
    assert (lasted.count(PREFILL), lasted.count(DECODE)) == (2, 2)


def test_spans_have_the_times_of_the_work(telling_server: Running, book: ToldBook, writing: WritingTask) -> None:
    """They begin and end when the device did, one after the other, and are not longer for being told later."""
    writing.seconds = 0.03
    reply = telling_server.infer(TASK, "one two")
    eventually(lambda: len(book.spans(DECODE)) == 1)
    (read, read_end), (wrote, wrote_end) = book.spans(PREFILL, DECODE)
    assert read_end.end <= wrote.start
    seconds = (read_end.end - read.start) + (wrote_end.end - wrote.start)
    assert 0.09 <= seconds <= float(reply.headers["x-inference-time"]) + 0.001


def test_an_id_that_clients_repeat_is_several_requests(
    telling_server: Running, book: ToldBook, writing: WritingTask
) -> None:
    """They share a batch and have an id each in its spans, which begins with theirs; both get theirs back."""
    with writing.held():
        first = telling_server.start(TASK, "occupy", x_request_id="first")
        eventually(lambda: len(writing.batches) == 2)
        calls = [telling_server.start(TASK, "same", x_request_id="x" * 64) for _ in range(3)]
        eventually(lambda: telling_server.metric("inference_queue_depth") == 3)
    assert {call.reply().headers["x-request-id"] for call in calls} == {"x" * 64}
    assert first.reply().status == 200
    eventually(lambda: len(book.spans(DECODE)) == 2)
    ids = [share.request for _, closed in book.spans(DECODE)[1:] for share in closed.shares]
    assert len(set(ids)) == 3
    assert all(each.startswith("xxxx") and len(each) <= 64 for each in ids)


def test_loading_and_warming_up_are_spans_without_requests(telling_server: Running, book: ToldBook) -> None:
    """All work that may come is announced, and what it takes to be ready has no request."""
    assert telling_server.ready
    announced = [owner for _, told in book.told if isinstance(told, Announced) for owner in told.owners]
    assert announced == [(TASK, MODEL)]
    assert [(opened.kind.phase, closed.shares) for opened, closed in book.spans()] == [("load", ()), ("warm-up", ())]


def test_poison_is_charged_as_error_and_its_mates_as_ok(
    telling_server: Running, book: ToldBook, writing: WritingTask
) -> None:
    """Failed runs are charged to all who were in them without ending them; each ends as what became of it."""
    with writing.held():
        first = telling_server.start(TASK, "occupy", x_request_id="first")
        eventually(lambda: len(writing.batches) == 2)
        names = ("a", "b", "poison", "c")
        texts = {name: "crash" if name == "poison" else name for name in names}
        calls = []
        for name in names:
            calls.append(telling_server.start(TASK, texts[name], x_request_id=name))
            eventually(lambda: telling_server.metric("inference_queue_depth") == len(calls))
    assert [call.reply().status for call in (first, *calls)] == [200, 200, 200, 500, 200]
    eventually(lambda: len(book.outcomes()) == 5 and book.balanced())
    outcomes = book.outcomes()
    assert outcomes.pop("first") == [MORE, "ok"]
    # The whole batch fails in its second phase, then {a, b} and {poison, c}, the latter failing too, then each alone.
    assert outcomes == {
        "a": [MORE, MORE, MORE, "ok"],
        "b": [MORE, MORE, MORE, "ok"],
        "poison": [MORE, MORE, MORE, MORE, MORE, "error"],
        "c": [MORE, MORE, MORE, MORE, MORE, "ok"],
    }


class Unready(WritingTask):
    """Cannot be run alone: fails before its first phase, once it has been in a batch of several."""

    def run(self, batch: Sequence[Prepared], work: Work) -> Sequence[RawOutput]:
        texts = [prepared.payload for prepared in batch]
        if texts == ["crash"]:
            raise ValueError("not even begun")
        return super().run(batch, work)


def test_what_fails_between_phases_is_ended_all_the_same(path: Path, book: ToldBook) -> None:
    """A request whose last run opened no span gets its final entry by one of no length."""
    task = Unready()
    with running([spec(TASK)], lambda _: task, telling(path), device=None) as server:
        with task.held():
            first = server.start(TASK, "occupy", x_request_id="first")
            eventually(lambda: len(task.batches) == 2)
            calls = []
            for text in ("crash", "fine"):
                calls.append(server.start(TASK, text, x_request_id=text))
                eventually(lambda: server.metric("inference_queue_depth") == len(calls))
        assert [call.reply().status for call in (first, *calls)] == [200, 500, 200]
        eventually(lambda: len(book.outcomes()) == 3 and book.balanced())
    assert book.outcomes()["crash"] == [MORE, MORE, "error"]
    assert book.requests()["crash"][-1] == (DECODE, 0, "error")
    (ended,) = [(o, c) for o, c in book.spans(DECODE) if [s.outcome for s in c.shares] == ["error"]]
    assert ended[1].end == ended[0].start


def test_a_client_that_leaves_on_the_device_is_cancelled(
    telling_server: Running, book: ToldBook, writing: WritingTask
) -> None:
    """It left after the first phase: nothing more is computed for it, and it ends as cancelled."""
    writing.between.clear()
    client = send(telling_server, "many words that nobody will ever get to read", "gone")
    eventually(lambda: len(writing.batches) == 2)
    client.close()
    eventually(lambda: telling_server.metric("inference_requests_total", outcome="cancelled") == 1)
    before = writing.steps
    writing.between.set()
    eventually(lambda: "gone" in book.requests() and book.balanced())
    assert book.requests()["gone"] == [(PREFILL, 9, MORE), (DECODE, 0, "cancelled")]
    assert writing.steps == before


def test_its_mates_are_not_hurt(telling_server: Running, book: ToldBook, writing: WritingTask) -> None:
    """In a batch of two, of which one left, the other is computed to its end and is ok."""
    writing.between.clear()
    first = telling_server.start(TASK, "occupy", x_request_id="first")
    eventually(lambda: len(writing.batches) == 2)
    leaver = send(telling_server, "one two three", "gone")
    stayer = telling_server.start(TASK, "one two", x_request_id="stayer")
    eventually(lambda: telling_server.metric("inference_queue_depth") == 2)
    writing.gate.clear()
    writing.between.set()
    eventually(lambda: len(writing.batches) == 3)
    leaver.close()
    eventually(lambda: telling_server.metric("inference_requests_total", outcome="cancelled") == 1)
    writing.gate.set()
    assert [first.reply().status, stayer.reply().status] == [200, 200]
    eventually(lambda: len(book.outcomes()) == 3 and book.balanced())
    assert (book.outcomes()["gone"], book.outcomes()["stayer"]) == ([MORE, "cancelled"], [MORE, "ok"])
    assert writing.left.count(True) == 1


def test_what_is_answered_504_on_the_device_is_expired(
    telling_server: Running, book: ToldBook, writing: WritingTask
) -> None:
    """It was on the device when its deadline passed."""
    with writing.held():
        assert telling_server.infer(TASK, "long", x_timeout_ms="60", x_request_id="late").code == "expired"
    eventually(lambda: "late" in book.outcomes() and book.balanced())
    assert book.outcomes()["late"] == [MORE, "expired"]


def test_what_never_reached_the_device_has_no_span(
    telling_server: Running, book: ToldBook, writing: WritingTask
) -> None:
    """Expired or left in the queue, or refused: the exporter is told of none of them, nor has the server a figure."""
    with writing.held():
        first = telling_server.start(TASK, "occupy", x_request_id="first")
        eventually(lambda: len(writing.batches) == 2)
        assert telling_server.infer(TASK, "late", x_timeout_ms="40", x_request_id="late").code == "expired"
        assert telling_server.infer(TASK, "", x_request_id="invalid").status == 422
        assert telling_server.infer(TASK, "crash in prepare", x_request_id="crash").status == 500
    assert first.reply().status == 200
    assert telling_server.infer(TASK, "next", x_request_id="next").status == 200
    eventually(lambda: "next" in book.outcomes())
    assert set(book.outcomes()) == {"first", "next"}
    assert telling_server.get("/v1/requests/late/energy").code == "not_found"


def test_an_error_after_the_device_is_an_error(telling_server: Running, book: ToldBook) -> None:
    """The device did its part, the answer could not be made: the energy is an error's, not an ok one's."""
    assert telling_server.infer(TASK, "crash in finish", x_request_id="odd").status == 500
    eventually(lambda: "odd" in book.outcomes() and book.balanced())
    assert book.outcomes()["odd"] == [MORE, "error"]
    assert telling_server.get("/v1/requests/odd/energy").json["outcome"] == "error"


def test_an_answer_that_takes_long_to_make_holds_up_no_span(
    telling_server: Running, book: ToldBook, writing: WritingTask
) -> None:
    """The end is told in time for its energy to be shared out, and how the request ended when that is known."""
    writing.finishing.clear()
    call = telling_server.start(TASK, "slow finish", x_request_id="slow")
    eventually(lambda: len(book.spans(DECODE)) == 1)
    assert book.outcomes()["slow"] == [MORE, MORE]
    writing.finishing.set()
    assert call.reply().status == 200
    eventually(lambda: book.outcomes()["slow"] == [MORE, MORE, "ok"])
    opened, closed = book.spans(DECODE)[-1]
    assert (opened.start, closed.shares[0].weight) == (closed.end, 0)
    assert PENDING_SECONDS + FLUSH_SECONDS < GRACE_SECONDS / 2


def test_a_device_that_dies_ends_what_was_on_it(path: Path, book: ToldBook) -> None:
    """The batch that it took along is an error, and so is told before the program ends."""
    task = EchoTask()
    with running([spec(TASK)], lambda _: task, telling(path), device=None) as server:
        assert server.infer(TASK, "die", x_request_id="last").status == 503
        server.failure()
    eventually(lambda: book.outcomes() == {"last": ["error"]})
    assert book.balanced()


def test_what_is_answered_while_it_drains_is_told(path: Path, book: ToldBook) -> None:
    """After SIGTERM the accepted requests run, and all their spans have their ends before the server hangs up."""
    task = WritingTask()
    with running([spec(TASK)], lambda _: task, telling(path), device=None) as server:
        with task.held():
            calls = [server.start(TASK, f"text {number}", x_request_id=f"r{number}") for number in range(5)]
            eventually(lambda: server.metric("inference_in_flight") == 5)
            server.process.stop()
        assert [call.reply().status for call in calls] == [200] * 5
        assert server.ended.wait(PATIENCE)
    eventually(lambda: bool(book.gone))
    assert book.outcomes() == {f"r{number}": [MORE, "ok"] for number in range(5)}
    assert book.balanced()


def test_many_threads_of_requests_leave_nothing_open(path: Path, book: ToldBook) -> None:
    """Errors, leavers, late and good ones at once: each id has one final entry, and it is the one that is counted."""
    tasks = {TASK: WritingTask(max_batch=4), OTHER: EchoTask(max_batch=3)}

    def visit(number: int) -> None:
        if number % 7 == 0:
            send(server, f"leaver {number}", f"l{number}").close()
        text = ("crash", "poison", "one two three", "crash in finish", "plain")[number % 5]
        more = {"x_timeout_ms": "5"} if number % 11 == 0 else {}
        server.infer((TASK, OTHER)[number % 2], text, **more)

    specs = [spec(TASK), spec(OTHER)]
    with running(specs, lambda each: tasks[each.task], telling(path), device=None) as server:
        with ThreadPoolExecutor(6) as pool:
            list(pool.map(visit, range(240)))
        eventually(lambda: server.metric("inference_in_flight") == 0)
        counted = {each: server.metric("inference_requests_total", outcome=each) for each in TOLD if each != MORE}
    eventually(book.balanced)
    told = [share.outcome for each in book.closed() for share in each.shares if share.outcome != MORE]
    # Who left or was late in the queue never was on the device; all errors here come from it or from after it.
    assert (told.count("ok"), told.count("error")) == (counted["ok"], counted["error"])
    assert all(told.count(each) <= counted[each] for each in ("cancelled", "expired"))
    assert min(counted["ok"], counted["error"]) > 0
    assert {opened.kind.phase for opened in book.opened()} == {"load", "warm-up", PREFILL, DECODE, ENCODE}
