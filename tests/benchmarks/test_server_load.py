import json
from itertools import pairwise

import pytest

from benchmarks.server_client import ClientError, Reply, Window
from benchmarks.server_load import LENGTHS, Load, agree, answer, arrivals, batches, middle, texts


def reply(place: int, size: int = 0, seconds: str = "0", body: bytes = b"") -> Reply:
    headers = {b"x-batch-size": str(size).encode(), b"x-inference-time": seconds.encode()} if size else {}
    return Reply(place, 200, 0.01, headers, body)


@pytest.mark.parametrize("task", LENGTHS)
def test_texts_are_the_same_each_time_and_of_many_lengths(task: str) -> None:
    """A seed gives one sequence; every length lies within its task's bounds, from end to end."""
    found = texts(task, 500, 7)
    assert found == texts(task, 500, 7)
    assert found != texts(task, 500, 8)
    lengths = {len(text.split()) for text in found}
    low, high = LENGTHS[task]
    assert lengths <= set(range(low, high + 1))
    assert min(lengths) == low
    assert max(lengths) >= 0.9 * high


def test_arrivals() -> None:
    """Poisson arrivals ascend, come at their rate, and are spread as an exponential's gaps are."""
    times = arrivals(50.0, 5000, 1)
    gaps = [after - before for before, after in pairwise(times)]
    assert min(gaps) >= 0
    assert len(times) / times[-1] == pytest.approx(50.0, rel=0.05)
    assert sum(gap > 1 / 50 for gap in gaps) / len(gaps) == pytest.approx(0.368, abs=0.03)


def test_batches_are_told_by_size_and_time() -> None:
    """Answers that tell the same size and device time are one batch; what a window's edge cut off is none."""
    seen = [reply(0, 2, "0.1"), reply(1, 1, "0.1"), reply(2, 2, "0.1"), reply(3, 3, "0.2"), reply(4, 3, "0.2")]
    assert batches(seen) == [[1], [0, 2]]


def test_two_batches_of_one_size_and_time_stay_two() -> None:
    """A batch is full with its size: what follows with the same time begins another."""
    assert batches([reply(place, 2, "0.1") for place in range(4)]) == [[0, 1], [2, 3]]


def test_answers_without_our_headers_are_no_batches() -> None:
    """A peer's answers and a failed request's tell no batch."""
    assert batches([reply(0), Reply(1, 0, 0.1, {}, b"")]) == []


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (json.dumps([[{"label": "A", "score": 0.75}]]).encode(), {"A": 0.75}),
        (b'[{"generated_text": "so"}]', "so"),
        (b'{"choices": [{"text": "so"}]}', "so"),
        (b"\x89PNG\r\n\x1a\nrest", "an image"),
    ],
)
def test_answers_of_all_schemas(body: bytes, expected: object) -> None:
    """Hugging Face's and OpenAI's schemas and images come down to what can be compared."""
    assert answer(reply(0, body=body)) == expected


@pytest.mark.parametrize(
    ("other", "expected"),
    [({"A": 0.75000001}, True), ({"A": 0.76}, False), ({"B": 0.75}, False), ("A", False)],
)
def test_agreement(other: object, expected: bool) -> None:  # noqa: FBT001 (a table's column)
    """Scores agree within rounding, labels exactly."""
    assert agree({"A": 0.75}, other) is expected
    assert agree("so", "so")
    assert not agree("so", "other")


def window(*statuses: int) -> Window:
    replies = [Reply(place, status, 0.01 * (place + 1), {}, b"") for place, status in enumerate(statuses)]
    return Window(replies, 2.0, (1.0, 1.5), 0.1)


def test_a_load_counts_answers_and_charges_for_errors() -> None:
    """Rate and latencies are of answers; the CPU of what failed is divided over all that was asked."""
    load = Load.of(window(200, 200, 503, 0), with_cpu=True)
    assert (load.rate, load.errors, load.cpu_seconds) == (1.0, 2, 0.125)
    assert load.p50 == pytest.approx(0.015)


def test_a_window_of_errors_is_no_load() -> None:
    """A server that answers nothing has no latency, and is told with what it did."""
    with pytest.raises(ClientError, match="2 errors"):
        Load.of(window(500, 0), with_cpu=False)


def test_middle_of_rounds() -> None:
    """Each figure is the median of its own rounds; errors of all rounds count."""
    rounds = [Load(10.0, 0.1, 0.3, 1, 0.004), Load(30.0, 0.3, 0.1, 0, 0.002), Load(20.0, 0.2, 0.2, 2, 0.003)]
    assert middle(rounds) == Load(20.0, 0.2, 0.2, 3, 0.003)
    assert middle([Load(10.0, 0.1, 0.3, 0)]).cpu_seconds is None
