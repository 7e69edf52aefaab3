"""Fixtures of the span socket's tests: a book that writes down, a server over it, clients that end with the test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from perjoule.spans import Spans
from perjoule_exporter.spans import SpanServer
from tests.exporter.running import wait_until
from tests.exporter.span_books import Connect, WrittenBook, started

RETRY = (0.01, 0.05)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "spans.sock"


@pytest.fixture
def book() -> WrittenBook:
    return WrittenBook()


@pytest.fixture
def served(book: WrittenBook, path: Path) -> Iterator[SpanServer]:
    made = started(book, path)
    yield made
    made.close()
    assert not made.alive


@pytest.fixture
def make(path: Path) -> Iterator[Connect]:
    made: list[Spans] = []

    def make(**settings: object) -> Spans:
        spans = Spans("test/1", socket=path, retry_seconds=RETRY, **settings)  # type: ignore[arg-type]
        made.append(spans)
        return spans

    yield make
    for each in made:
        each.close()


@pytest.fixture
def spans(served: SpanServer, make: Connect) -> Spans:
    assert served.alive
    made = make()
    wait_until(lambda: made.stats.connected, "the client is connected")
    return made
