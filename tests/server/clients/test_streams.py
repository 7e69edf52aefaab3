"""Streams over real HTTP, from a task that writes letters: what is told when, and what becomes of failures."""

import http.client
import json
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from perjoule_server.tasks.base import DECODE, Answer, Prepared, RawOutput, TaskRequest, Token, Work
from tests.server.fakes import PATIENCE, EchoTask, Running, eventually, running, spec

TASK = "text-generation"
MODEL = f"fake/{TASK}"


@dataclass
class LetterTask:
    """Writes its prompt back, a letter a token. ``steps`` lets it write that many more; ``#`` fails where it stands."""

    max_batch: int = 8
    steps: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    batches: list[list[str]] = field(default_factory=list)
    special: frozenset[int] = frozenset()

    def prepare(self, request: TaskRequest) -> Prepared:
        return Prepared(request.inputs, len(request.inputs), None, len(request.inputs))

    def run(self, batch: Sequence[Prepared], work: Work) -> Sequence[RawOutput]:
        texts = [prepared.payload for prepared in batch]
        self.batches.append(texts)
        with work.phase(DECODE, [1] * len(batch)):
            for step in range(max(len(text) for text in texts)):
                if all(work.left(place) for place in range(len(batch))):
                    break
                assert not any(map(work.listens, range(len(batch)))) or self.steps.acquire(timeout=PATIENCE)
                self.write(texts, step, work)
        return [RawOutput(text) for text in texts]

    def write(self, texts: Sequence[str], step: int, work: Work) -> None:
        if any(text[step : step + 1] == "#" for text in texts):
            raise ValueError("a letter that cannot be written")
        rows = [(row, text) for row, text in enumerate(texts) if step < len(text) and work.listens(row)]
        work.tell([Token(row, step, ord(text[step]), step == len(text) - 1) for row, text in rows])

    def text(self, ids: Sequence[int]) -> str:
        return "".join(map(chr, ids))

    def finish(self, prepared: Prepared, raw: RawOutput) -> Answer:
        details = {"finish_reason": "length", "generated_tokens": prepared.length, "seed": None}
        return Answer([{"generated_text": raw.payload, "details": details}], prepared.length, prepared.length)


class Reader:
    """A client that reads a stream event by event."""

    def __init__(self, server: Running, prompt: str, **headers: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
        body = json.dumps({"prompt": prompt, "stream": True}).encode()
        self._connection.request("POST", "/v1/completions", body, headers)
        self.response = self._connection.getresponse()

    def events(self) -> Iterator[Any]:
        while line := self.response.readline():
            if line.strip():
                told = line.decode().removeprefix("data: ").strip()
                yield told if told == "[DONE]" else json.loads(told)

    def text(self) -> str:
        """Read to the end and return the text."""
        *events, done = self.events()
        assert done == "[DONE]"
        return "".join(event["choices"][0]["text"] for event in events)

    def close(self) -> None:
        self.response.close()
        self._connection.close()


@pytest.fixture
def task() -> LetterTask:
    """The task."""
    return LetterTask()


@pytest.fixture
def server(task: LetterTask) -> Iterator[Running]:
    """A server with the task alone."""
    with running([spec(TASK)], lambda _: task) as started:
        yield started


def outcome(server: Running, name: str) -> float:
    return server.metric("inference_requests_total", model=MODEL, outcome=name)


def test_pieces_come_while_the_rest_is_written(server: Running, task: LetterTask) -> None:
    """The first is read before the device writes the second, and no outcome is counted before the end."""
    task.steps.release()
    reader = Reader(server, "abc")
    events = reader.events()
    assert next(events)["choices"][0]["text"] == "a"
    assert reader.response.headers["content-type"].startswith("text/event-stream")
    assert server.metric("inference_time_to_first_token_seconds_count", model=MODEL) == 1
    assert (outcome(server, "ok"), server.metric("inference_in_flight", model=MODEL)) == (0, 1)
    task.steps.release(2)
    rest = list(events)
    assert "".join(event["choices"][0]["text"] for event in rest[:-1]) == "bc"
    assert rest[-2]["usage"]["completion_tokens"] == 3
    assert (outcome(server, "ok"), server.metric("inference_in_flight", model=MODEL)) == (1, 0)


def test_a_failure_before_the_first_piece_is_a_status(server: Running, task: LetterTask) -> None:
    """As for an answer in one piece."""
    task.steps.release(10)
    reader = Reader(server, "#abc")
    assert reader.response.status == 500
    assert json.loads(reader.response.read())["error"]["code"] == "error"
    assert outcome(server, "error") == 1


def test_a_failure_after_it_is_an_event(server: Running, task: LetterTask) -> None:
    """In the shape of every error, without the cause, and the stream ends."""
    task.steps.release(10)
    *pieces, last = Reader(server, "ab#c").events()
    assert "".join(event["choices"][0]["text"] for event in pieces) == "ab"
    assert (last["error"]["code"], last["error"]["type"]) == ("error", "server_error")
    assert "letter" not in json.dumps(last)
    assert (outcome(server, "error"), outcome(server, "ok")) == (1, 0)


def test_a_batch_that_is_run_again_tells_nothing_twice(server: Running, task: LetterTask) -> None:
    """A poison batch-mate fails alone, and the others' streams go on where they were."""
    task.steps.release()
    occupying = Reader(server, "xy")
    readers: list[Reader] = []
    threads = [
        threading.Thread(target=lambda prompt=prompt: readers.append(Reader(server, prompt)))
        for prompt in ("abcd", "ef#g", "hijkl")
    ]
    for thread in threads:
        thread.start()
    eventually(lambda: server.metric("inference_queue_depth", model=MODEL) == 3)
    task.steps.release(100)
    for thread in threads:
        thread.join()
    assert occupying.text() == "xy"
    told = [list(reader.events()) for reader in readers]
    texts = ["".join(e["choices"][0]["text"] for e in events if "choices" in e) for events in map(choices, told)]
    assert sorted(texts) == ["abcd", "ef", "hijkl"]
    assert (outcome(server, "ok"), outcome(server, "error")) == (3, 1)
    assert any(len(batch) == 3 for batch in task.batches)


def choices(events: Sequence[Any]) -> list[Any]:
    return [event for event in events if isinstance(event, dict)]


def test_a_deadline_within_a_stream_is_told(server: Running, task: LetterTask) -> None:
    """The stream ends with the error at its deadline, although the device has not written the rest."""
    task.steps.release()
    *pieces, last = Reader(server, "abc", **{"x-timeout-ms": "300"}).events()
    assert [event["choices"][0]["text"] for event in pieces] == ["a"]
    assert last["error"]["code"] == "expired"
    assert outcome(server, "expired") == 1
    task.steps.release(10)


def test_a_client_that_leaves_a_stream_is_cancelled(server: Running, task: LetterTask) -> None:
    """The device stops writing for it, and goes on with whoever comes next."""
    task.steps.release()
    leaver = Reader(server, "abcdef")
    next(leaver.events())
    leaver.close()
    eventually(lambda: outcome(server, "cancelled") == 1)
    task.steps.release(100)
    assert Reader(server, "stays").text() == "stays"
    assert server.metric("inference_in_flight", model=MODEL) == 0


def test_a_client_that_does_not_read_holds_up_nobody(server: Running, task: LetterTask) -> None:
    """The device writes on for it, and answers others meanwhile."""
    task.steps.release(10**6)
    lazy = Reader(server, "z" * 5000)
    assert Reader(server, "quick").text() == "quick"
    eventually(lambda: outcome(server, "ok") == 2)
    assert lazy.text() == "z" * 5000


def test_a_task_that_writes_nothing_refuses_to_stream() -> None:
    """422 by name, where the model that is served cannot be read along."""
    with running([spec(TASK)], lambda _: EchoTask()) as server:
        reply = server.request("POST", "/v1/completions", b'{"prompt": "a", "stream": true}')
        assert (reply.status, reply.json["error"]["param"]) == (422, "stream")
        assert outcome(server, "invalid") == 1
