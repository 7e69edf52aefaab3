"""Server-sent events as they come: how they are split, and what they tell."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perjoule_loadgen.dialect import Answer, Dialect
from perjoule_loadgen.openai import Chat, Completions
from perjoule_loadgen.ours import Ours
from perjoule_loadgen.streaming import Stream


def chunk(text: str | None, usage: tuple[int, int] | None = None) -> bytes:
    told = {"prompt_tokens": usage[0], "completion_tokens": usage[1]} if usage else None
    choices = [] if text is None else [{"index": 0, "text": text, "finish_reason": None}]
    return b"data: " + json.dumps({"choices": choices, "usage": told}).encode()


def fed(dialect: Dialect, data: bytes, cuts: list[int]) -> Stream:
    stream, at = Stream(dialect), 0
    for cut in [*sorted(cuts), len(data)]:
        stream.feed(data[at:cut], float(cut))
        at = cut
    return stream


@given(st.lists(st.integers(0, 400), max_size=12), st.sampled_from([b"\n", b"\r\n", b"\r"]))
def test_it_does_not_matter_where_a_stream_is_cut(cuts: list[int], end: bytes) -> None:
    """Whatever the pieces, and whatever ends a line, the same events are found."""
    events = [b": hello", chunk("a"), b"event: x" + end + chunk("b"), chunk(None, (5, 2)), b"data: [DONE]"]
    data = b"".join(event + end + end for event in events)
    stream = fed(Completions(), data, [cut for cut in cuts if cut < len(data)])
    # A CR at the very end may be half of a line's end: it waits for what never comes.
    assert stream.whole == (end != b"\r")
    assert (len(stream.gaps), stream.answer, stream.error) == (1, Answer(2, 5), None)


def test_times_are_those_of_text() -> None:
    """The first event with text is the first token; a role, the usage and the end are none."""
    stream = Stream(Chat())
    events = [({"role": "assistant", "content": ""}, 1.0), ({"content": "a"}, 2.0), ({"content": "b"}, 2.5),
              ({"reasoning_content": "c"}, 4.0), ({}, 5.0)]  # fmt: skip
    for delta, at in events:
        stream.feed(b"data: " + json.dumps({"choices": [{"delta": delta}]}).encode() + b"\n\n", at)
    assert (stream.first, stream.gaps, stream.whole) == (2.0, [0.5, 1.5], False)
    stream.feed(b"data: [DONE]\n\n", 6.0)
    assert stream.whole


def test_our_own_stream() -> None:
    """An event a token; the last has the whole text and the counts."""
    stream = Stream(Ours())
    first = {"index": 1, "token": {"id": 5, "text": "a"}, "generated_text": None, "details": None}
    last = {**first, "generated_text": "ab", "details": {"generated_tokens": 2, "input_length": 9}}
    for event, at in ((first, 1.0), (last, 1.5)):
        stream.feed(b"data: " + json.dumps(event).encode() + b"\n\n", at)
    assert (stream.whole, stream.answer, stream.first, stream.gaps) == (True, Answer(2, 9), 1.0, [0.5])


@pytest.mark.parametrize("dialect", [Ours(), Completions(), Chat()])
@pytest.mark.parametrize(
    "data",
    [b'{"error": {"message": "out of memory"}}', b"{", b"[]", b"null", b'{"choices": 1}', b'{"choices": [3]}',
     b'{"token": 1}', b"\xff", b"[" * 100_000],
)  # fmt: skip
def test_events_of_another_shape(dialect: Dialect, data: bytes) -> None:
    """Errors within a stream, and hostile events, are errors, and no crash."""
    stream = Stream(dialect)
    stream.feed(b"data: " + data + b"\n\n", 1.0)
    assert stream.error is not None
    assert not stream.whole
