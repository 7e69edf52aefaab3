"""How large batches may be after one did not fit."""

from hypothesis import given
from hypothesis import strategies as st

from perjoule_server.room import FITTING, Room


def test_half_of_what_did_not_fit_is_allowed() -> None:
    """And half of that, if it does not fit either; a smaller batch that failed by chance raises nothing."""
    room = Room()
    assert room.within(1000) == 1000
    room.overflowed(800)
    assert room.within(1000) == 400
    room.overflowed(400)
    room.overflowed(600)
    assert (room.within(1000), room.within(100)) == (200, 100)


def test_it_recovers_slowly_by_batches_that_came_close() -> None:
    """Small batches prove nothing; in the end the limit is gone."""
    room = Room()
    room.overflowed(800)
    for _ in range(10 * FITTING):
        room.fitted(100, 1000)
    assert room.within(1000) == 400
    for _ in range(FITTING):
        room.fitted(400, 1000)
    assert room.within(1000) == 450
    for _ in range(10 * FITTING):
        room.fitted(room.within(1000), 1000)
    assert room.tokens is None


@given(st.lists(st.tuples(st.integers(1, 5000), st.booleans()), max_size=300))
def test_it_stays_within_what_is_allowed_and_above_nothing(events: list[tuple[int, bool]]) -> None:
    """Whatever fits or does not, a batch of one token is always allowed, and never more than the budget."""
    room = Room()
    for tokens, fits in events:
        if fits:
            room.fitted(tokens, 4096)
        else:
            room.overflowed(tokens)
        assert 1 <= room.within(4096) <= 4096
