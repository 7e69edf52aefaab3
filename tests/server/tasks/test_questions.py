"""Extractive question answering over windows: nothing of a long context is left out, and short ones are one window."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from perjoule.errors import InvalidInputError
from perjoule_server.tasks.base import SilentWork, Task, TaskRequest
from perjoule_server.tasks.questions import MOST_WINDOWS, _answers, _split
from tests.server.tasks.material import TEXT

Load = Callable[[str], Task]
QUESTION = "Who moved to Paris?"


def asked(load: Load, context: str = TEXT, question: str = QUESTION, **parameters: Any) -> Any:
    """Return the prepared request."""
    request = TaskRequest({"question": question, "context": context}, parameters)
    return load("question-answering").prepare(request)


def answered(load: Load, *requests: Any) -> list[Any]:
    """Return the outputs of requests that share a batch."""
    task = load("question-answering")
    outputs = task.run(requests, SilentWork())
    return [task.finish(one, raw).output for one, raw in zip(requests, outputs, strict=True)]


@pytest.mark.parametrize(
    ("context", "most", "stride"), [(10, 20, 4), (17, 20, 0), (40, 20, 4), (41, 20, 16), (500, 40, 1)]
)
def test_windows_cover_the_context(context: int, most: int, stride: int) -> None:
    """Every token is in one, neighbours share the stride, none is longer than allowed, none is inside another."""
    sequences = [None, 0, *[1] * context, None]
    windows = _split(sequences, most, stride)
    inside = [[place for place in window if sequences[place] == 1] for window in windows]
    assert sorted({place for window in inside for place in window}) == list(range(2, 2 + context))
    for window, places in zip(windows, inside, strict=True):
        assert (window[:2], window[-1]) == ((0, 1), len(sequences) - 1)
        assert places == list(range(places[0], places[-1] + 1))
        assert len(window) <= most
    shared = [len(set(one) & set(two)) for one, two in pairwise(inside)]
    assert shared == [stride] * (len(windows) - 1)
    assert all(set(two) - set(one) for one, two in pairwise(inside))


def test_a_long_context_is_read_to_its_end(load: Load) -> None:
    """Answers come from all of its windows and are stretches of it; a context that fits is one window."""
    long = " ".join([TEXT] * 40)
    one = asked(load, long, top_k=100, max_answer_len=2, max_seq_len=64, doc_stride=16)
    assert len(one.payload.windows) > 10
    assert len(asked(load).payload.windows) == 1
    (found,) = answered(load, one)
    assert [each["answer"] for each in found] == [long[each["start"] : each["end"]] for each in found]
    places = {each["start"] // len(TEXT) for each in found}
    assert max(places) > 30
    assert min(places) < 10
    assert len({(each["start"], each["end"]) for each in found}) == len(found)


def test_windows_are_work(load: Load) -> None:
    """The tokens of all windows count, what they share twice; a batch with others answers as each alone does."""
    long = asked(load, " ".join([TEXT] * 10), max_seq_len=64, doc_stride=32)
    assert long.input_tokens == long.length == sum(map(len, long.payload.windows)) > len(long.payload.encoded)
    short = asked(load)
    (together, beside), (alone,), (single,) = answered(load, long, short), answered(load, long), answered(load, short)
    assert (together["answer"], beside["answer"]) == (alone["answer"], single["answer"])
    assert together["score"] == pytest.approx(alone["score"], rel=1e-4)
    assert beside["score"] == pytest.approx(single["score"], rel=1e-4)


def test_the_window_that_knows_wins(load: Load) -> None:
    """A stretch that lies in two windows has the better score, and no answer is only as likely as all of them say."""
    payload = asked(
        load, TEXT, top_k=100, max_answer_len=1, max_seq_len=20, doc_stride=6, handle_impossible_answer=True
    ).payload
    sure = payload.windows[1][len(payload.windows[1]) // 2]

    def logits(window: Sequence[int]) -> tuple[Any, Any]:
        values = np.array(
            [9.0 if place == sure else 5.0 if number == 0 else 0.0 for number, place in enumerate(window)]
        )
        return values, values

    found = _answers(payload, [logits(window) for window in payload.windows])
    start, end = payload.encoded.detail.offsets[sure]
    assert found[0]["start"] <= start < end <= found[0]["end"]
    (none,) = [each for each in found if not each["answer"]]
    assert none["score"] < 0.01


def test_a_long_question_is_cut_only_when_asked(load: Load) -> None:
    """As Hugging Face's clients may ask; by itself the server changes no question."""
    question = " ".join(["Who moved to Paris on Thursday?"] * 6)
    whole, cut = asked(load, question=question), asked(load, question=question, max_question_len=5)
    assert len(whole.payload.encoded) > len(cut.payload.encoded)
    assert cut.payload.encoded.detail.sequence_ids.count(0) == 5
    assert asked(load, max_question_len=500).payload.encoded.row == asked(load).payload.encoded.row


@pytest.mark.parametrize(
    ("parameters", "question", "context", "says"),
    [
        ({"max_seq_len": 10, "doc_stride": 5}, QUESTION * 3, TEXT, "shorten it, or set parameters.max_seq_len"),
        ({"max_seq_len": 100_000}, QUESTION, TEXT, "max_seq_len"),
        ({"doc_stride": -1}, QUESTION, TEXT, "doc_stride"),
        ({"max_question_len": 0}, QUESTION, TEXT, "max_question_len"),
        ({"max_seq_len": 32, "doc_stride": 8}, QUESTION, TEXT * 400, "at most"),
        ({}, QUESTION, "river " * 2_000_000, "the rest was not counted"),
        ({}, QUESTION * 100_000, TEXT, "tokens"),
    ],
)
def test_what_no_window_holds_is_refused(
    load: Load, parameters: dict[str, Any], question: str, context: str, says: str
) -> None:
    """With the numbers and what to do about it, before anything is computed."""
    with pytest.raises(InvalidInputError, match=says):
        asked(load, context, question, **parameters)
    assert MOST_WINDOWS > 1
