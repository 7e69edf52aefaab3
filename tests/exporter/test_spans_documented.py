"""What docs/spans.md tells to write and to expect, held against the programs."""

import json
import re
import threading
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from perjoule.spans.link import RETRY_SECONDS
from perjoule.spans.talk import Talk
from perjoule.spans.wire import MAX_LINE_BYTES, MAX_NAME, MAX_REQUESTS, OUTCOMES, REQUEST_ID
from perjoule_exporter.charging.book import GRACE_SECONDS, MOST_GRACE_SECONDS
from perjoule_exporter.spans import Opened, start_spans
from perjoule_exporter.spans.conversation import MAX_FAULTS, MAX_OPEN, OLDEST_SECONDS, Conversation
from perjoule_exporter.spans.server import HELLO_SECONDS, MAX_CLIENTS, MAX_UNREAD_BYTES
from tests.exporter.running import wait_until
from tests.exporter.span_books import WrittenBook

PAGE = (Path(__file__).parents[2] / "docs/spans.md").read_text(encoding="utf-8")


def block(language: str, holding: str) -> str:
    """Return the page's one block of this language that holds this text."""
    (found,) = [text for text in re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL) if holding in text]
    return str(found)


def test_the_fastapi_example_runs_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Copied from the page into a server, each request is a span, and other routes are none."""
    book = WrittenBook()
    served = start_spans(book, tmp_path / "spans.sock")
    assert served is not None
    monkeypatch.setenv("PERJOULE_SPAN_SOCKET", served.path)
    names: dict[str, Any] = {}
    exec(compile(block("python", "FastAPI"), "docs/spans.md", "exec"), names)  # noqa: S102 (our own page)
    wait_until(lambda: names["spans"].stats.connected, "the example is connected")
    server = uvicorn.Server(uvicorn.Config(names["app"], port=0, log_level="critical"))
    thread = threading.Thread(target=server.run)
    thread.start()
    wait_until(lambda: server.started, "the example listens")
    url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    asked = urllib.request.Request(f"{url}/classify", b'["good"]', {"content-type": "application/json"})
    with urllib.request.urlopen(asked, timeout=10) as answer:
        assert json.load(answer) == ["POSITIVE"]
        assert answer.headers["x-energy-quality"] == "unknown"
    with urllib.request.urlopen(f"{url}/docs", timeout=10) as answer:
        assert answer.headers["x-energy-quality"] is None
    server.should_exit = True
    thread.join()
    wait_until(book.closed, "the span is told")
    assert [each.kind.task for each in book.opened()] == ["text-classification"]
    served.close()


def test_the_documented_lines_are_taken() -> None:
    """Both sides understand what the page shows, as it stands there."""
    to_exporter = block("json", '"open": 17')
    heard = Conversation().received(to_exporter.encode(), 81235.0)
    assert heard.faults == 0
    assert [type(each) for each in heard.told][1] is Opened
    talk = Talk()
    (settled,), refused = talk.received(block("json", '"settled": 17').encode())
    assert refused == [17]
    assert settled.joules == pytest.approx(sum(joules or 0.0 for joules in settled.requests.values()))
    assert (talk.refused, list(talk.watts.values())) == (2, [253.0])
    assert str(talk.problem).startswith("the end of span 17 is told late")


def test_the_documented_limits_are_those_of_the_code() -> None:
    """Each number of the page is the constant's."""
    assert f"`{REQUEST_ID.pattern}`" in PAGE
    assert all(f"`{outcome}`" in PAGE for outcome in OUTCOMES)
    for text, value in (
        (r"a line over (\d+) KiB", MAX_LINE_BYTES // 1024),
        (r"up to ([\d,]+), each id once", MAX_REQUESTS),
        (r"1 to (\d+) printable characters", MAX_NAME),
        (r"over (\d+) errors in one chunk", MAX_FAULTS),
        (r"over ([\d,]+) open spans", MAX_OPEN),
        (r"over (\d+) clients", MAX_CLIENTS),
        (r"left unread, over (\d+) KiB", MAX_UNREAD_BYTES // 1024),
        (r"a connection ends after (\d+) s", HELLO_SECONDS),
        (r"energy is split (\d+) ms after", 1000 * GRACE_SECONDS),
        (r"the latest of them took, (\d+) ms at most", 1000 * MOST_GRACE_SECONDS),
    ):
        found = re.search(text, PAGE)
        assert found, text
        assert float(found[1].replace(",", "")) == value, text
    assert OLDEST_SECONDS == 600
    assert RETRY_SECONDS == (0.1, 5.0)
