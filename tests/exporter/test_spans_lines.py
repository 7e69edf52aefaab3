"""What clients of the span socket may say, and what becomes of the rest. No socket is opened here."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from perjoule.spans.session import Awaited
from perjoule.spans.talk import Talk
from perjoule_exporter.ledger import Kind, Owner, Settled, Share
from perjoule_exporter.ledger.accounts import Row
from perjoule_exporter.ledger.span import Span
from perjoule_exporter.spans import Announced, Charged, Closed, KnownWatts, Opened
from perjoule_exporter.spans.conversation import MAX_FAULTS, MAX_OPEN, Conversation, Heard
from perjoule_exporter.spans.lines import changes, error_line, greeting_line, settled_line, table, watts_line

NOW = 1000.0
HELLO = {"hello": 1, "client": "server/1", "owners": [["summarization", "bart"]]}
OPEN = {
    "open": 17,
    "device": "GPU-1",
    "task": "summarization",
    "model": "bart",
    "phase": "decode",
    "start_ns": 999_000_000_000,
}
CLOSE = {"close": 17, "end_ns": 999_500_000_000, "requests": [["a", 312, "more"], ["b", 1.5, "ok"]], "reply": True}
KIND = Kind("summarization", "bart", "decode")
OPENED = Opened(17, "GPU-1", KIND, 999.0)


def text(*messages: Any) -> bytes:
    return b"".join(json.dumps(message).encode() + b"\n" for message in messages)


def greeted() -> Conversation:
    conversation = Conversation()
    assert conversation.received(text(HELLO), NOW).greeted
    return conversation


def errors(heard: Heard) -> list[dict[str, Any]]:
    return [json.loads(line) for line in heard.errors().splitlines()]


def test_a_span_from_hello_to_close() -> None:
    """What is told arrives as frozen values, with times in monotonic seconds, in the order of the lines."""
    conversation = Conversation()
    heard = conversation.received(text(HELLO, OPEN, CLOSE), NOW)
    assert heard.told == [
        Announced((Owner("summarization", "bart"),)),
        OPENED,
        Closed(17, "GPU-1", 999.5, (Share("a", 312, "more"), Share("b", 1.5, "ok")), reply=True),
    ]
    assert (heard.greeted, heard.broken, heard.faults, heard.replies) == (True, False, 0, 1)
    assert (conversation.name, conversation.open) == ("server/1", 0)


def test_later_versions_words_are_passed_over() -> None:
    """Unknown keys, unknown messages, longer entries and empty lines are no errors."""
    conversation = greeted()
    longer = {**CLOSE, "requests": [["a", 1, "ok", {"more": 1}]]}
    later: tuple[dict[str, Any], ...] = {**OPEN, "colour": "red"}, {"pause": 1}, {}, longer
    heard = conversation.received(b"\n\r\n" + text(*later), NOW)
    assert [type(each) for each in heard.told] == [Opened, Closed]
    assert heard.faults == 1  # the line that is not empty but for a carriage return


@settings(deadline=None)
@given(st.data())
def test_lines_may_arrive_in_any_pieces(data: st.DataObject) -> None:
    """However the bytes are cut, within characters too, the same is told."""
    messages = [HELLO, {**OPEN, "model": "bärt 😀"}, CLOSE, {"close": 99, "end_ns": 1}, "garbage"]
    whole = b"".join(json.dumps(m, ensure_ascii=False).encode() + b"\n" for m in messages)
    cuts = sorted(data.draw(st.sets(st.integers(1, len(whole) - 1))))
    conversation = Conversation()
    pieces = [conversation.received(whole[a:b], NOW) for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    once = Conversation().received(whole, NOW)
    assert [each for piece in pieces for each in piece.told] == once.told
    assert b"".join(piece.errors() for piece in pieces) == once.errors()


@pytest.mark.parametrize(
    "line",
    [
        b"garbage",
        b"\xff\x00\x80",
        b'"text"',
        b"[1]",
        b"17",
        b"null",
        b"[" * 60_000,
        b'{"open":' + b"9" * 5000 + b"}",
        b'{"open":17,',
        text({**OPEN, "open": "17"}),
        text({**OPEN, "open": True}),
        text({**OPEN, "open": -1}),
        text({**OPEN, "open": 2**63}),
        text({**OPEN, "open": 1.5}),
        text({**OPEN, "open": None}),
        text({**OPEN, "open": [[]]}),
        text({**OPEN, "device": 5}),
        text({**OPEN, "device": ""}),
        text({**OPEN, "task": "a" * 201}),
        text({**OPEN, "model": "a\nb"}),
        text({**OPEN, "model": "\ud800"}),
        text({**OPEN, "phase": None}),
        text({key: value for key, value in OPEN.items() if key != "phase"}),
        text({**OPEN, "start_ns": "999"}),
        text({**OPEN, "start_ns": 999.5}),
        text({**OPEN, "start_ns": -1}),
        text({**OPEN, "start_ns": 10**30}),
        text({**OPEN, "start_ns": True}),
        b'{"open":18,"start_ns":NaN}',
        text({**HELLO, "client": 5}),
        text({**HELLO, "client": "\ud800"}),
        text({**HELLO, "owners": 5}),
        text({**HELLO, "owners": [["a"]]}),
        text({**HELLO, "owners": [["a", ""]]}),
        text({**HELLO, "owners": ["ab"]}),
        text({**HELLO, "owners": [["a", str(n)] for n in range(1001)]}),
    ],
)
def test_a_bad_line_is_one_error_and_costs_nothing_else(line: bytes) -> None:
    """Wrong types, binary garbage and impossible values get an error line; the next line counts as ever."""
    conversation = greeted()
    heard = conversation.received(line.rstrip(b"\n") + b"\n" + text(OPEN), NOW)
    assert heard.told == [OPENED]
    assert len(errors(heard)) == 1
    assert errors(heard)[0]["error"]
    assert not heard.broken


@pytest.mark.parametrize(
    "wrong",
    [
        {"requests": 5},
        {"requests": {}},
        {"requests": [5]},
        {"requests": ["abc"]},
        {"requests": [{}]},
        {"requests": [["a"]]},
        {"requests": [["a", 1]]},
        {"requests": [[5, 1, "ok"]]},
        {"requests": [["a b", 1, "ok"]]},
        {"requests": [["a\nb", 1, "ok"]]},
        {"requests": [["", 1, "ok"]]},
        {"requests": [["a" * 65, 1, "ok"]]},
        {"requests": [["a", "1", "ok"]]},
        {"requests": [["a", -1, "ok"], ["b", 5, "ok"]]},
        {"requests": [["a", True, "ok"]]},
        {"requests": [["a", 10**400, "ok"]]},
        {"requests": [["a", 1, "done"]]},
        {"requests": [["a", 1, ["ok"]]]},
        {"requests": [["a", 1, "abandoned"]]},
        {"requests": [["a", 1, "ok"], ["a", 1, "ok"]]},
        {"requests": [[str(n), 1, "ok"] for n in range(1025)]},
        {"reply": "yes"},
        {"reply": 1},
        {"end_ns": "now"},
        {"end_ns": None},
        {"end_ns": -1},
        {"end_ns": 10**30},
    ],
)
def test_a_close_that_cannot_be_read_ends_its_span_as_an_error(wrong: dict[str, Any]) -> None:
    """Left open, it would take the energy of others for ten minutes: so its own owner is charged, until now at most."""
    conversation = greeted()
    heard = conversation.received(text(OPEN, {**CLOSE, **wrong}, {**OPEN, "open": 18}), NOW)
    closed = heard.told[1]
    assert isinstance(closed, Closed)
    assert (closed.number, closed.shares, closed.reply) == (17, (Share("invalid", 1.0, "error"),), False)
    assert OPENED.start <= closed.end <= NOW
    assert [error["span"] for error in errors(heard)] == [17]
    assert conversation.open == 1


@pytest.mark.parametrize(
    ("begin", "end", "expected", "says"),
    [
        (999.0, 999.5, (999.0, 999.5), None),
        (999.0, 1000.0005, (999.0, NOW), None),
        (999.0, 2000.0, (999.0, NOW), "future"),
        (999.0, 998.0, (999.0, 999.0), "before its start_ns"),
        (999.0, 0.0, (999.0, 999.0), "before its start_ns"),
        (1000.5, 1001.0, None, "future"),
        (1.7e9, 1.7e9, None, "future"),
        (399.0, 999.0, None, "ago"),
        (401.0, 999.0, (401.0, 999.0), None),
    ],
)
def test_times_that_cannot_be_are_told_and_harm_nobody(
    begin: float, end: float, expected: tuple[float, float] | None, says: str | None
) -> None:
    """The future, the distant past and ends before starts: refused at the begin, brought within bounds at the end."""
    conversation = greeted()
    lines = {**OPEN, "start_ns": round(begin * 1e9)}, {**CLOSE, "end_ns": round(end * 1e9)}
    heard = conversation.received(text(*lines), NOW)
    if expected is None:
        assert heard.told == []
    else:
        opened, closed = heard.told
        assert isinstance(opened, Opened)
        assert isinstance(closed, Closed)
        assert (opened.start, closed.end) == pytest.approx(expected)
    said = errors(heard)
    assert says in said[0]["error"] if says else not said


def test_numbers_that_come_twice_or_from_nowhere_are_refused() -> None:
    """A second open and a second close of one number are errors; the first ones hold. It may be used again later."""
    conversation = greeted()
    heard = conversation.received(text(OPEN, {**OPEN, "start_ns": 1000}, CLOSE, CLOSE, OPEN), NOW)
    assert [type(each) for each in heard.told] == [Opened, Closed, Opened]
    assert [error["error"] for error in errors(heard)] == ["span 17 is open already", "span 17 is not open"]


def test_nothing_counts_before_hello() -> None:
    """Spans of who has not said hello are errors, and are not open afterwards."""
    conversation = Conversation()
    heard = conversation.received(text(OPEN, CLOSE), NOW)
    assert heard.told == []
    assert [error["error"] for error in errors(heard)] == ["the first line is a hello"] * 2


@pytest.mark.parametrize("version", [2, 0, "1", None, True, 1.0, [1]])
def test_another_version_is_told_and_not_listened_to(version: Any) -> None:
    """Nothing that a client of another version says can be understood: it is told so and cut off."""
    heard = Conversation().received(text({**HELLO, "hello": version}, OPEN), NOW)
    assert heard.told == []
    assert heard.broken
    assert "this is version 1" in errors(heard)[0]["error"]


def test_a_line_without_an_end_is_cut_off() -> None:
    """64 KiB without a newline, in one piece, in many or as one complete line, end the connection."""
    for pieces in ([b"x" * 70_000], [b"x" * 1000] * 66, [b"x" * 70_000 + b"\n"], [b"\xff" * 70_000 + b"\n"]):
        conversation = greeted()
        assert any(conversation.received(piece, NOW).broken for piece in pieces)


def test_a_long_line_that_fits_is_taken() -> None:
    """A thousand requests are one span, though they come with other lines in more than 64 KiB."""
    requests = [[f"{number:032}", number, "ok"] for number in range(1024)]
    conversation = greeted()
    lines = text(*[{**OPEN, "open": number} for number in range(200)], {**CLOSE, "close": 3, "requests": requests})
    heard = conversation.received(lines, NOW)
    assert len(lines) > 65536
    assert isinstance(heard.told[-1], Closed)
    assert len(heard.told[-1].shares) == 1024


def test_who_sends_only_errors_is_cut_off() -> None:
    """Errors are told up to a number, the rest is counted, and more than a hundred at once end the connection."""
    heard = greeted().received(b"garbage\n" * 50, NOW)
    assert not heard.broken
    assert len(errors(heard)) == 21
    assert errors(heard)[-1]["error"] == "and 30 errors more"
    assert greeted().received(b"garbage\n" * (MAX_FAULTS + 1), NOW).broken
    assert greeted().received(b"\xff\n" * (MAX_FAULTS + 1), NOW).broken


def test_open_spans_are_limited_and_the_forgotten_make_room() -> None:
    """One more than ten thousand is refused; after ten minutes the oldest, which the ledger gave up, makes room."""
    conversation = greeted()
    for number in range(MAX_OPEN):
        assert conversation.received(text({**OPEN, "open": number}), NOW).faults == 0
    more = {**OPEN, "open": MAX_OPEN}
    assert conversation.received(text(more), NOW).faults == 1
    assert conversation.open == MAX_OPEN
    later = {**more, "start_ns": 1_700_000_000_000}
    assert conversation.received(text(later), 1700.0).faults == 0
    assert conversation.open == MAX_OPEN


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["ok", "a", "more"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from([*OPEN, *CLOSE, *HELLO]), inner),
    max_leaves=8,
)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])  # on a busy machine
@given(st.lists(st.dictionaries(st.sampled_from([*OPEN, *CLOSE, *HELLO]), JSON), max_size=6), st.binary(max_size=40))
def test_whatever_comes_the_book_gets_only_what_was_checked(messages: list[Any], rubbish: bytes) -> None:
    """Any objects with our keys and any values, and any bytes: what is told fits its types, at times that can be."""
    conversation = greeted()
    mixed = [{**OPEN, **each} if index % 2 else {**OPEN, **CLOSE, **each} for index, each in enumerate(messages)]
    heard = conversation.received(text(*messages, *mixed) + rubbish + b"\n", NOW)
    json.loads(b"[" + b",".join(heard.errors().splitlines()) + b"]")
    for each in heard.told:
        if isinstance(each, Opened):
            assert 400.0 <= each.start <= NOW + 0.001
            assert all(name.isprintable() for name in (*each.kind, each.device))
        elif isinstance(each, Closed):
            assert 400.0 <= each.end <= NOW + 0.001
            assert all(0 <= share.weight <= 1e18 for share in each.shares)


def test_answers_are_those_of_the_documentation() -> None:
    """Devices and watts in the greeting, only what changed afterwards, and null for what is not known any more."""
    known = table([KnownWatts("GPU-1", KIND, 251.26), KnownWatts("cpu-0", KIND, 30.0)])
    devices = [Charged("GPU-1", "gpu", "counter")]
    assert json.loads(greeting_line(devices, known)) == {
        "hello": 1,
        "devices": [{"device": "GPU-1", "kind": "gpu", "method": "counter"}],
        "watts": [
            ["summarization", "bart", "decode", 251.0, "GPU-1"],
            ["summarization", "bart", "decode", 30.0, "cpu-0"],
        ],
    }
    after = table([KnownWatts("GPU-1", KIND, 251.4)])
    assert json.loads(watts_line(changes(known, after))) == {
        "watts": [["summarization", "bart", "decode", None, "cpu-0"]]
    }
    assert changes(after, table([KnownWatts("GPU-1", KIND, 251.3)])) == {}
    assert json.loads(error_line("a\ud800", 17))["span"] == 17


def test_who_was_late_is_told_and_still_hears_what_it_cost() -> None:
    """It is logged and counted, but is no refusal: the settlement comes, which says that the energy is not known."""
    line = error_line("the end of span 17 is told late", 17, late=True)
    assert json.loads(line) == {"error": "the end of span 17 is told late", "late": 17}
    talk = Talk()
    assert talk.received(line) == ([], [])
    assert (talk.refused, talk.problem) == (1, "the end of span 17 is told late")
    assert talk.received(error_line("span 18 is not open", 18)) == ([], [18])


@pytest.mark.parametrize(("measured", "joules"), [(0.5, (4.0, 3.0, 1.0)), (0.4, (None, None, None))])
def test_a_settlement_of_what_was_not_measured_has_no_joules(measured: float, joules: tuple[float | None, ...]) -> None:
    """Its client is told that, once for each request; on several devices one such makes the sum unknown."""
    row = Row()
    shares = (Share("a", 3.0, "ok"), Share("b", 1.0, "error"))
    span = Span(1, 17, KIND, row, 1.0, 1.0, 1.5, 0.5, measured, shares, microjoules=4_000_000)
    other = Span(1, 18, KIND, row, 1.0, 1.0, 1.5, 0.5, 0.5, shares, microjoules=4_000_000)
    lines = b"".join(settled_line(Settled(each, (3_000_000, 1_000_000))) for each in (span, other))
    (first, second), _ = Talk().received(lines)
    assert (first.joules, *first.requests.values()) == joules
    awaited = Awaited([17, 18])
    awaited.settle(first)
    assert not awaited.future.done()
    awaited.settle(second)
    doubled = tuple(None if each is None else 2 * each for each in joules)
    final = awaited.future.result()
    assert final is not None
    assert (final.joules, *final.requests.values()) == doubled
