"""Results in a file: what goes in comes out, whatever their number, and a full disk loses none."""

import os
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perjoule_loadgen import records
from perjoule_loadgen.load import Load
from perjoule_loadgen.records import ERRORS, Result, Results

counts = st.none() | st.integers(0, 2**31 - 1)
times = st.floats(0, 1e9)


def result(number: int, error: str = "") -> Result:
    return Result(number / 8, number / 8, number / 8 + 0.5, 200, error, error and f"told {number}", 12, number % 7)


@given(
    st.lists(
        st.builds(
            Result, times, times, times, st.integers(0, 999), st.sampled_from(("", *ERRORS)), st.text(max_size=5),
            counts, st.integers(0, 2**31 - 1), counts, st.none() | times,
            st.none() | st.tuples(st.integers(1, 65535), st.integers(1, 65535)), st.just(()),
        ),
        max_size=20,
    )
)  # fmt: skip
def test_what_goes_in_comes_out(given_: list[Result]) -> None:
    """Every field of every result but the gaps, which ``Load`` counts."""
    found = Results()
    for one in given_:
        found.append(one)
    assert list(found) == given_
    assert len(found) == len(given_)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Records go to the file after a few hundred bytes."""
    monkeypatch.setattr(records, "_HELD_BYTES", 500)


@pytest.mark.usefixtures("small")
def test_it_is_a_sequence_across_file_and_memory() -> None:
    """Places, slices and repeated reading are those of a list."""
    found, plain = Results(), [result(number, "5xx" if number % 3 == 0 else "") for number in range(100)]
    for one in plain:
        found.append(one)
    assert list(found) == list(found) == plain
    assert [found[0], found[-1], found[50]] == [plain[0], plain[-1], plain[50]]
    assert (found[5:9], found[-3:], found[::40], found[90:3]) == (plain[5:9], plain[-3:], plain[::40], [])
    with pytest.raises(IndexError):
        found[100]


@pytest.mark.usefixtures("small")
def test_reading_while_it_grows() -> None:
    """A reader sees what there was when it began, and the writer is not disturbed."""
    found = Results()
    for number in range(20):
        found.append(result(number))
    reader = iter(found)
    seen = [next(reader)]
    for number in range(20, 60):
        found.append(result(number))
    seen += reader
    assert [one.intended * 8 for one in seen] == list(range(20))
    assert len(list(found)) == 60


@pytest.mark.usefixtures("small")
def test_a_full_disk_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """When a write fails, half done, what was measured stays in memory and is all there."""
    found, left = Results(), [2]
    write = os.pwrite

    def full(handle: int, data: Any, at: int) -> int:
        if not left[0]:
            write(handle, bytes(data)[:10], at)
            raise OSError(28, "No space left on device")
        left[0] -= 1
        return write(handle, data, at)

    monkeypatch.setattr(os, "pwrite", full)
    for number in range(200):
        found.append(result(number))
    assert list(found) == [result(number) for number in range(200)]


def test_details_are_of_the_last_thousand_failures() -> None:
    """A run in which everything fails keeps what the last ones said."""
    found = Results()
    for number in range(1500):
        found.append(result(number, "5xx"))
    assert (found[0].detail, found[499].detail, found[500].detail) == ("", "", "told 500")
    assert found[-1].detail == "told 1499"


def test_memory_is_flat() -> None:
    """A hundred thousand results take no more memory than ten thousand: under 3 MB, recent times included."""
    load = Load()
    tracemalloc.start()
    try:
        for number in range(60_000):
            load.add(result(number))
        early = tracemalloc.get_traced_memory()[0]
        for number in range(60_000, 160_000):
            load.add(result(number))
        late = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert late - early < 1.5 * 2**20
    assert (len(load.results), load.ok) == (160_000, 160_000)
