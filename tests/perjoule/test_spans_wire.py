"""Lines and the arithmetic of estimates: what a server says, what it understands, and what a figure is worth."""

import json
import math
import os
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perjoule.errors import UsageError
from perjoule.spans import UNKNOWN, Energy, Quality, Request, added
from perjoule.spans.estimate import estimated, known_watts, share_of
from perjoule.spans.path import ENVIRONMENT, SYSTEM, client_paths
from perjoule.spans.talk import Talk
from perjoule.spans.wire import (
    MAX_LINE_BYTES,
    Close,
    Device,
    Greeting,
    Kind,
    Open,
    Problem,
    Settled,
    Watts,
    checked_name,
    checked_requests,
    close_line,
    decoded,
    hello_lines,
    open_line,
)

BEGIN = Open(17, None, "summarization", "bart", "decode", 5_000_000_000)
HELLO = b'{"hello":1,"devices":[{"device":"GPU-1","kind":"gpu","method":"counter","x":1}],"watts":[]}\n'


def test_lines_are_those_of_the_documentation() -> None:
    """Each line is one JSON object with the documented keys, and ends with a newline."""
    requests = (Request("a", 312, "more"), Request("b"))
    expected = [
        {"hello": 1, "client": "s/1", "owners": [["summarization", "bart"]]},
        {
            "open": 17,
            "device": "GPU-1",
            "task": "summarization",
            "model": "bart",
            "phase": "decode",
            "start_ns": 5_000_000_000,
        },
        {"close": 17, "end_ns": 6, "requests": [["a", 312, "more"], ["b", 1.0, "ok"]]},
        {"close": 17, "end_ns": 6, "requests": [], "reply": True},
    ]
    lines = [
        hello_lines("s/1", [("summarization", "bart")]),
        open_line(BEGIN, "GPU-1"),
        close_line(Close(17, 6, requests, reply=False)),
        close_line(Close(17, 6, (), reply=True)),
    ]
    assert [json.loads(line) for line in lines] == expected
    assert all(line.count(b"\n") == 1 and line.endswith(b"\n") for line in lines)


def test_many_owners_are_several_hellos_of_which_none_is_too_long() -> None:
    """A thousand owners with the longest names in four bytes a character all arrive, in lines that are taken."""
    owners = [(chr(0x1F600) * 200, f"{number:0200d}") for number in range(1000)]
    lines = hello_lines("s/1", owners).splitlines(keepends=True)
    assert max(map(len, lines)) <= MAX_LINE_BYTES
    assert [tuple(owner) for line in lines for owner in json.loads(line)["owners"]] == owners


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (HELLO, Greeting((Device("GPU-1", "gpu", "counter"),), {})),
        (b'{"watts":[["t","m","p",250.5]]}', Watts({Kind("", "t", "m", "p"): 250.5})),
        (b'{"watts":[["t","m","p",null,"GPU-1","later"]]}', Watts({Kind("GPU-1", "t", "m", "p"): None})),
        (b'{"settled":17,"joules":1.5,"requests":[["a",0.5]]}', Settled(17, 1.5, {"a": 0.5})),
        (b'{"error":"no","span":17}', Problem("no", 17)),
        (b'{"error":"no"}', Problem("no", None)),
        (b'{"later":1}', None),
    ],
)
def test_answers_are_understood_and_later_versions_words_passed_over(line: bytes, expected: object) -> None:
    """Every documented answer becomes its value; unknown keys, longer rows and unknown messages do no harm."""
    assert decoded(line) == expected


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\xff\xfe",
        b"[" * 60_000,
        b"17",
        b'{"hello":1}',
        b'{"hello":1,"devices":[1],"watts":[]}',
        b'{"watts":[["t","m","p"]]}',
        b'{"watts":[["t","m","p",NaN]]}',
        b'{"watts":[["t","m","p",-1]]}',
        b'{"watts":[["t","m","p",true]]}',
        b'{"watts":[["t",2,"p",1]]}',
        b'{"settled":17,"joules":1e999,"requests":[]}',
        b'{"settled":17,"joules":' + b"9" * 400 + b',"requests":[]}',
        b'{"error":5}',
    ],
)
def test_what_is_no_answer_is_one_error(line: bytes) -> None:
    """Whatever else comes is a ValueError, so that one handler is enough."""
    with pytest.raises(ValueError, match="the exporter sent"):
        decoded(line)


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_no_bytes_surprise(data: bytes) -> None:
    """Any bytes are an answer or a ValueError."""
    try:
        decoded(data)
    except ValueError as error:
        assert "sent" in str(error)  # noqa: PT017 (there need not be one)


@pytest.mark.parametrize(
    "requests",
    [
        [("",)],
        [("a b",)],
        [("a\n",)],
        [("a\nb",)],
        [("a" * 65,)],
        [("é",)],
        [(7,)],
        [(None,)],
        [("a", math.nan)],
        [("a", math.inf)],
        [("a", -1)],
        [("a", -1), ("b", 2)],
        [("a", True)],
        [("a", "1")],
        [("a", 10**400)],
        [("a", 1, "done")],
        [("a", 1, ["ok"])],
        [("a",), ("a",)],
        [("a", 1, "ok", 1)],
        [5],
        [(f"{number}",) for number in range(1025)],
        [(f"{number:064}",) for number in range(1000)],
    ],
)
def test_requests_that_the_exporter_would_refuse_are_a_usage_error(requests: list[Any]) -> None:
    """A server's author is told at the call what the exporter would not take."""
    with pytest.raises(UsageError):
        checked_requests(requests)


@pytest.mark.parametrize(("length", "most"), [(4, 1024), (16, 1024), (64, 594)])
def test_the_largest_spans_lines_are_taken(length: int, most: int) -> None:
    """As many requests as are allowed, with the longest weights and outcomes, make a line that the exporter takes."""
    requests = [(f"{number:0{length}}", 1234567890123.4567, "cancelled") for number in range(most)]
    line = close_line(Close(2**63 - 1, 2**63 - 1, checked_requests(requests), reply=True))
    assert MAX_LINE_BYTES // 2 < len(line) < MAX_LINE_BYTES
    with pytest.raises(UsageError, match="too many"):
        checked_requests([*requests, ("one.more",)])


def test_good_requests_pass_in_any_form() -> None:
    """Tuples are requests too, with weight 1 and outcome ok unless they say otherwise; none at all are fine."""
    assert checked_requests([("a",), ("b", 2), Request("c", 0, "more")]) == (
        Request("a", 1.0, "ok"),
        Request("b", 2, "ok"),
        Request("c", 0, "more"),
    )
    assert checked_requests([]) == ()


@pytest.mark.parametrize("name", ["", "a" * 201, "a\nb", "\ud800", 5, None])
def test_names_that_cannot_be_labels_are_a_usage_error(name: Any) -> None:
    """A name that would break a scrape never leaves the server."""
    with pytest.raises(UsageError, match="cannot be a task"):
        checked_name(name, "task")


# Estimates


def test_an_estimate_is_watts_times_time_times_share() -> None:
    """250 W for 20 ms and 312 of 416 tokens are 3.75 J."""
    requests = checked_requests([("a", 312), ("b", 104)])
    share = share_of("a", requests)
    assert share == 0.75
    assert estimated(250.0, 20_000_000, share) == pytest.approx((3.75, Quality.ESTIMATED))
    assert estimated(250.0, -5) == (0.0, Quality.ESTIMATED)


def test_unknown_watts_are_an_unknown_estimate() -> None:
    """No figure is made up: neither 0 nor a default."""
    assert estimated(None, 20_000_000) == UNKNOWN == Energy(None, Quality.UNKNOWN)


def test_shares_without_weights_are_alike_and_strangers_have_none() -> None:
    """Four requests of weight 0 have a quarter each."""
    requests = checked_requests([(name, 0) for name in "abcd"])
    assert share_of("c", requests) == 0.25
    assert share_of("e", requests) is None


def test_watts_of_the_device_come_before_those_of_any() -> None:
    """A device's own figure counts; without one, the figure for any device; without that, none."""
    kind, other = Kind("GPU-1", "t", "m", "p"), Kind("GPU-2", "t", "m", "p")
    table = {kind: 100.0, kind._replace(device=""): 50.0}
    assert [known_watts(table, each) for each in (kind, other, kind._replace(phase="q"))] == [100.0, 50.0, None]


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([(1.0, Quality.SETTLED), (2.0, Quality.SETTLED)], (3.0, Quality.SETTLED)),
        ([(1.0, Quality.SETTLED), (2.0, Quality.ESTIMATED)], (3.0, Quality.ESTIMATED)),
        ([(1.0, Quality.SETTLED), (None, Quality.UNKNOWN)], (None, Quality.UNKNOWN)),
        ([], (None, Quality.UNKNOWN)),
    ],
)
def test_a_sum_is_worth_its_worst_part(
    parts: list[tuple[float | None, Quality]], expected: tuple[float | None, Quality]
) -> None:
    """The energy of several phases is settled only if all are, and unknown if one is."""
    assert added(Energy(*part) for part in parts) == expected


# The conversation


def test_the_end_of_a_span_is_told_only_where_its_begin_was() -> None:
    """After a connection is lost, ends of its spans are not told on the next, and the spans count as dropped."""
    talk = Talk()
    talk.received(HELLO)
    lines, _ = talk.told([BEGIN._replace(device="GPU-1")])
    assert lines.startswith(b'{"open":17')
    talk.lost()
    talk.received(HELLO)
    assert talk.told([Close(17, 6, (), reply=True)]) == (b"", [17])
    assert (talk.sent, talk.dropped) == (1, 1)


def test_a_server_without_a_device_takes_the_simulated_gpu_or_else_the_cpu() -> None:
    """As the design says; with neither there, the span is dropped and not put on a GPU that others use."""
    gpu = {"device": "GPU-1", "kind": "gpu", "method": "counter"}
    cpu = {"device": "cpu-0", "kind": "cpu", "method": "estimated"}
    simulated = {"device": "GPU-simulated-0", "kind": "gpu", "method": "simulated"}
    for devices, expected in (([gpu, cpu, simulated], "GPU-simulated-0"), ([gpu, cpu], "cpu-0"), ([gpu], None)):
        talk = Talk()
        talk.received(json.dumps({"hello": 1, "devices": devices, "watts": []}).encode() + b"\n")
        assert talk.usual_device() == expected
        lines, _ = talk.told([BEGIN])
        assert bool(lines) is (expected is not None)
        assert talk.dropped == (expected is None)


def test_watts_are_kept_up_to_date_and_forgotten_with_the_connection() -> None:
    """Changes are taken over, null forgets, and after a loss nothing is known: old watts are not shown."""
    talk = Talk()
    for part in (b'{"watts":[["t","m","p",1.5],', b'["t","m","q",2]]}\n{"watts":[["t","m","p",', b"null]]}\n"):
        talk.received(part)
    assert dict(talk.watts) == {Kind("", "t", "m", "q"): 2.0}
    talk.lost()
    assert not talk.watts


def test_an_answer_without_an_end_is_an_error() -> None:
    """What an exporter never says does not fill the server's memory."""
    talk = Talk()
    talk.received(b"x" * 4_000_000)
    with pytest.raises(ValueError, match="does not end"):
        talk.received(b"x" * 1_000_000)


@pytest.mark.parametrize(
    ("named", "environment", "expected"),
    [
        ("/a", {ENVIRONMENT: "/b"}, ["/a"]),
        (None, {ENVIRONMENT: "/b", "XDG_RUNTIME_DIR": "/c"}, ["/b"]),
        (None, {"XDG_RUNTIME_DIR": "/c"}, [str(SYSTEM), "/c/perjoule/spans.sock"]),
        (None, {"XDG_RUNTIME_DIR": "relative"}, [str(SYSTEM)]),
        (None, {}, [str(SYSTEM)]),
    ],
)
def test_the_socket_is_where_it_was_named_or_in_the_usual_places(
    named: str | None, environment: dict[str, str], expected: list[str]
) -> None:
    """Argument, environment, the system's place, the user's: in this order."""
    assert [str(path) for path in client_paths(named, environment)] == expected


def test_who_imports_the_lines_gets_no_asyncio() -> None:
    """The exporter shares this package and has its memory to mind; the middleware is there when asked for."""
    asked = (
        "import sys, perjoule.spans; assert 'asyncio' not in sys.modules; "
        "from perjoule.spans import SpanMiddleware; assert 'asyncio' in sys.modules; "
        "assert not hasattr(perjoule.spans, 'nothing')"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", asked], env=environment, check=True, timeout=60)
