"""Text that is told piece by piece adds up to the text, without half characters or parts of stop strings."""

from collections.abc import Iterator, Sequence
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from perjoule_server.adapters.flow import REPLACEMENT, Flow
from perjoule_server.tiny.tokenizers import text_tokenizer

PORTIONS = st.lists(st.integers(1, 4), min_size=1, max_size=5)


@cache
def tokenizer() -> PreTrainedTokenizerFast:
    """The tiny models', whose smallest tokens are single bytes."""
    return text_tokenizer(1024)


def decode(ids: Sequence[int]) -> str:
    return str(tokenizer().decode(list(ids), skip_special_tokens=True))


def as_bytes(ids: Sequence[int]) -> str:
    return bytes(ids).decode(errors="replace")


def portioned(ids: Sequence[int], portions: Sequence[int]) -> Iterator[Sequence[int]]:
    """Cut ``ids`` into portions of these sizes, over and over."""
    place = turn = 0
    while place < len(ids):
        size = portions[turn % len(portions)]
        yield ids[place : place + size]
        place, turn = place + size, turn + 1


@given(st.lists(st.integers(0, len(tokenizer()) - 1), max_size=80), PORTIONS)
def test_pieces_and_rest_are_the_text(ids: list[int], portions: list[int]) -> None:
    """Any tokens in any portions: what was told is the beginning of the text, and the rest completes it."""
    flow = Flow(decode)
    told = "".join(flow.feed(some) for some in portioned(ids, portions))
    assert told + flow.rest(decode(ids)) == decode(ids)


@given(st.text(max_size=30))
def test_no_half_characters(text: str) -> None:
    """Byte by byte, each piece is whole characters, and nothing is held back at the end."""
    flow = Flow(as_bytes)
    pieces = [flow.feed([byte]) for byte in text.encode()]
    assert "".join(pieces) == text.removesuffix(REPLACEMENT)


def test_bytes_that_are_no_character_do_not_stop_the_flow() -> None:
    """Text after bytes that never become a character is told when it comes."""
    flow = Flow(as_bytes)
    assert [flow.feed([byte]) for byte in b"a\xe2\xffbc"] == ["a", "", REPLACEMENT, REPLACEMENT + "b", "c"]


@given(st.text("abc", max_size=30), st.lists(st.text("abc", min_size=1, max_size=4), max_size=4), PORTIONS)
def test_stop_strings_are_never_told(text: str, stop: list[str], portions: list[int]) -> None:
    """Nothing of the first stop string is told, whatever the portions, and everything before it is."""
    flow = Flow(as_bytes, stop)
    told = "".join(flow.feed(some) for some in portioned(list(text.encode()), portions))
    ends = [text.index(one) + len(one) for one in stop if one in text]
    if not ends:
        assert told + flow.rest(text) == text
        assert not any(one in told for one in stop)
        return
    whole = text[: min(ends)]
    before = whole.removesuffix(max((one for one in stop if whole.endswith(one)), key=len))
    assert before.startswith(told)
    assert told + flow.rest(before) == before


def test_what_may_begin_a_stop_string_waits() -> None:
    """It is told as soon as it turns out to be none."""
    flow = Flow(as_bytes, ["###", "end"])
    assert [flow.feed(part.encode()) for part in ("a#", "#", "b", "en", "em", "x##", "#y", "z")] == [
        "a", "", "##b", "", "enem", "x", "", "",
    ]  # fmt: skip


@pytest.mark.parametrize("length", [200, 2000])
def test_long_texts_are_decoded_in_short_pieces(length: int) -> None:
    """A piece costs no more at the end of a long text than at its beginning."""
    longest = 0

    def counted(ids: Sequence[int]) -> str:
        nonlocal longest
        longest = max(longest, len(ids))
        return as_bytes(ids)

    flow = Flow(counted)
    assert "".join(flow.feed([byte]) for byte in b"word " * (length // 5)) == "word " * (length // 5)
    assert longest < 40
