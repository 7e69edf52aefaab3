"""The arithmetic of shares: parts that add up, rows that never go back, whatever comes in which order."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perjoule_exporter.division import divided
from perjoule_exporter.energy import Used
from perjoule_exporter.meters import MICRO
from perjoule_exporter.processes.account import Account
from perjoule_exporter.processes.owner import IDLE, OPEN, OTHER, UNKNOWN, Kind, Owner
from perjoule_exporter.processes.rows import Rows
from perjoule_exporter.processes.shares import Look, Use, shared

A, B, C = (Owner(Kind.PROCESS, name) for name in "abc")


@given(st.integers(0, 10**15), st.lists(st.integers(0, 10**7), min_size=1, max_size=20).filter(any))
def test_parts_add_up_and_are_due(total: int, weights: list[int]) -> None:
    """To the microjoule; none is below 0 or off by more than one."""
    parts = divided(total, weights)
    assert sum(parts) == total
    assert all(part >= 0 for part in parts)
    assert all(abs(part * sum(weights) - total * w) <= sum(weights) for part, w in zip(parts, weights, strict=True))


@pytest.mark.parametrize(
    ("what", "uses", "board", "expected"),
    [
        ("above idle by utilisation", [(A, 0.6), (B, 0.2)], 0.8, {IDLE: 20, A: 60, B: 20}),
        ("processes of one owner together", [(A, 0.2), (A, 0.2), (B, 0.4)], 0.8, {IDLE: 20, A: 40, B: 40}),
        ("memory alone costs nothing", [(A, 0.5), (B, 0.0), (C, None)], 0.5, {IDLE: 20, A: 80}),
        ("one that nobody knows", [(A, 0.5), (UNKNOWN, 0.5)], 1.0, {IDLE: 20, A: 40, UNKNOWN: 40}),
        ("nobody on the board", [], 0.0, {IDLE: 100}),
        ("nobody on the board, which does not tell", [], None, {IDLE: 100}),
        ("nobody to be seen, but it works", [], 0.5, {IDLE: 20, UNKNOWN: 80}),
        ("contexts that rest", [(A, 0.0), (B, None)], None, {IDLE: 100}),
        ("contexts that do not tell, on a board that rests", [(A, None), (B, None)], 0.0, {IDLE: 100}),
        ("none is told to have run, but something did", [(A, 0.0)], 0.3, {IDLE: 20, UNKNOWN: 80}),
        ("not told, alone", [(A, None)], None, {IDLE: 20, A: 80}),
        ("not told, alone on a board that works", [(A, None)], 0.9, {IDLE: 20, A: 80}),
        ("not told of two", [(A, None), (B, None)], None, {IDLE: 20, UNKNOWN: 80}),
        ("the driver does not tell at all", None, 0.9, {IDLE: 0, UNKNOWN: 100}),
    ],
)
def test_who_gets_what(
    what: str, uses: list[tuple[Owner, float | None]] | None, board: float | None, expected: dict[Owner, int]
) -> None:
    """Of 100 µJ, 20 of which the board would have used anyway."""
    told = None if uses is None else tuple(Use(*use) for use in uses)
    assert shared(100, 20, Look(0.0, 1.0, told, board)) == expected, what


def test_idle_is_never_more_than_there_is() -> None:
    """A board that draws less than its idle power gives nothing to processes."""
    assert shared(5, 20, Look(0.0, 1.0, (Use(A, 1.0),))) == {IDLE: 5, A: 0}


def test_what_is_known_at_once_is_never_open() -> None:
    """A night's energy that nobody can tell the owner of does not keep the others waiting."""
    book = account()
    book.begin(10**12, None)
    looked(book, 0.0, 0.0)
    book.used(Used(10**13, 0.0, 10000.0, counted=True), now=10000.0)
    assert joules(book) == {UNKNOWN: pytest.approx(10**6 + 10**7 * 0.9997), OPEN: pytest.approx(3000)}


def test_what_is_not_shared_out_yet_is_open() -> None:
    """Open stays at its most, and later energy pays first what was found to be somebody's, the oldest first."""
    rows = Rows(most=10)
    rows.receive(100)
    assert rows.shown() == {OPEN: 100}
    rows.share({A: 60, B: 30})
    assert rows.shown() == {A: 0, B: 0, OPEN: 100}
    rows.receive(70)
    assert rows.shown() == {A: 60, B: 10, OPEN: 100}
    rows.receive(40)
    assert rows.shown() == {A: 60, B: 30, OPEN: 120}
    assert rows.unshared == 120


def test_processes_beyond_the_limit_are_other() -> None:
    """Who has a row keeps it; of those that come at once the largest get one; the rest of a board needs none."""
    rows = Rows(most=2)
    rows.receive(100)
    rows.share({A: 10, B: 30, C: 20})
    rows.receive(60)
    rows.share({A: 20, C: 20, IDLE: 0, UNKNOWN: 60})
    rows.receive(100)
    assert rows.shown() == {B: 30, C: 40, OTHER: 30, UNKNOWN: 60, OPEN: 100}


PARTS = st.dictionaries(st.sampled_from([A, B, C, IDLE, UNKNOWN]), st.integers(0, 10**6), max_size=5)


@given(st.lists(st.tuples(st.integers(0, 10**6), PARTS, st.booleans()), max_size=60))
def test_rows_never_go_back_and_always_add_up(steps: list[tuple[int, dict[Owner, int], bool]]) -> None:
    """Over restarts too, of which there may be one at any time; what was open then is paid to unknown."""
    rows, total, before = Rows(most=2), 0, dict[Owner, int]()
    for microjoules, parts, restart in steps:
        rows.receive(microjoules)
        total += microjoules
        rows.share({owner: part for owner, part in parts.items() if part * 5 <= rows.unshared})
        if restart:
            saved, rows = json.loads(json.dumps(rows.saved())), Rows(most=2)
            rows.restore(saved)
            rows.share({UNKNOWN: rows.unshared})
        shown = dict(rows.shown())
        assert sum(shown.values()) == total == rows.total
        assert all(shown[owner] >= value for owner, value in before.items())
        assert sum(owner.kind is Kind.PROCESS for owner in shown) <= 2
        before = shown


def test_debts_are_bounded() -> None:
    """Owners that take turns while hardly any energy comes leave no list without end."""
    rows = Rows(most=10)
    rows.receive(10**9)
    for turn in range(5000):
        rows.share({A if turn % 2 else B: 100})
    assert len(rows.saved()["debts"]) <= 1026
    rows.receive(500_000)
    assert rows.shown() == {A: 250_000, B: 250_000, OPEN: 10**9}


def steady(account: Account, watts: float, start: float, end: float, *, counted: bool = True) -> None:
    """Draw power for some seconds, told every 100 ms."""
    for tick in range(round((end - start) * 10)):
        at = start + tick / 10
        account.used(Used(round(watts * MICRO / 10), at, at + 0.1, counted), now=at + 0.1)


def joules(account: Account) -> dict[Owner, float]:
    shown = account.shown()
    assert shown is not None
    return {owner: value / MICRO for owner, value in shown.items()}


def account() -> Account:
    made = Account(50, patience=3.0)
    made.begin(0, None)
    return made


def looked(book: Account, start: float, end: float, *uses: tuple[Owner, float | None], board: float | None = 1) -> None:
    book.look(Look(start, end, tuple(Use(*use) for use in uses), board), now=end)


def test_energy_meets_those_of_its_time() -> None:
    """Whose second it was gets it, not whose second it is told in; what was open is paid as more is used."""
    book = account()
    looked(book, 0.0, 0.0)
    steady(book, 300.0, 0.0, 1.0)
    looked(book, 0.0, 1.0, (A, 0.5))
    steady(book, 100.0, 1.0, 2.0)
    looked(book, 1.0, 2.0, (B, 0.5))
    steady(book, 300.0, 2.0, 3.0)
    assert joules(book) == {A: pytest.approx(300), B: pytest.approx(100), OPEN: pytest.approx(300)}


def test_a_late_counter_is_waited_for() -> None:
    """Energy of the first second that is told in the next one still meets the look of the first."""
    book = account()
    book.used(Used(30 * MICRO, 0.0, 0.8, counted=True), now=0.9)
    looked(book, 0.0, 1.0, (A, 0.5))
    book.used(Used(20 * MICRO, 0.8, 1.2, counted=True), now=1.3)
    looked(book, 1.0, 2.0, (B, 0.5))
    book.used(Used(60 * MICRO, 1.2, 2.4, counted=True), now=2.5)
    book.used(Used(60 * MICRO, 2.4, 2.5, counted=True), now=2.6)
    shown = joules(book)
    assert shown[A] == pytest.approx(30 + 20 / 2)
    assert shown[B] == pytest.approx(20 / 2 + 60 * 0.8 / 1.2)


def test_idle_power_is_the_lowest_while_nothing_ran() -> None:
    """It is learned from whole looks of rest only, and then taken out of what processes get."""
    book = account()
    looked(book, 0.0, 0.0)
    steady(book, 90.0, 0.0, 1.0)
    looked(book, 0.0, 1.0, (A, 0.0), board=0)
    assert book.idle_watts == pytest.approx(90)
    steady(book, 60.0, 1.0, 2.0)
    looked(book, 1.0, 2.0, board=0)
    steady(book, 10.0, 2.0, 2.3)  # and then the counter stood still: that was no rest at 3 W
    looked(book, 2.0, 3.0, board=0)
    steady(book, 20.0, 3.0, 4.0, counted=False)  # nor is what a reset left
    looked(book, 3.0, 4.0, board=0)
    assert book.idle_watts == pytest.approx(60)
    before = joules(book)
    steady(book, 360.0, 4.0, 5.0)
    looked(book, 4.0, 5.0, (A, 0.5), (B, 0.1), (C, None))
    steady(book, 0.0, 5.0, 9.0)
    steady(book, 1000.0, 9.0, 10.0)
    after = joules(book)
    assert after[A] == pytest.approx(250)
    assert after[B] == pytest.approx(50)
    assert C not in after
    assert after[IDLE] - before[IDLE] >= 60


@pytest.mark.parametrize("seconds", [4.0, 60.0])
def test_what_nobody_was_seen_to_use_is_unknowns(seconds: float) -> None:
    """While the driver does not answer for its processes, and while the board itself was silent."""
    book = account()
    looked(book, 0.0, 0.0, (A, 1.0))
    steady(book, 100.0, 0.0, seconds)
    shown = joules(book)
    assert shown[UNKNOWN] + shown[OPEN] == pytest.approx(100 * seconds)
    assert shown[OPEN] == pytest.approx(300, abs=11), "what may still be told of is as much as is waited for"
    looked(book, seconds, seconds, (A, 1.0))  # it answers again, and says from when on
    steady(book, 100.0, seconds, seconds + 1)
    assert A not in joules(book)


def test_a_frozen_counter_holds_nothing_up() -> None:
    """Looks that wait for energy are over after a while, and what comes later for that time is unknown's."""
    book = account()
    for second in range(20):
        looked(book, float(second), second + 1.0, (A, 1.0))
    assert len(book._looks) <= 4
    book.used(Used(10 * MICRO, 0.0, 10.0, counted=True), now=20.0)
    book.used(Used(100 * MICRO, 10.0, 20.1, counted=True), now=20.1)
    shown = joules(book)
    assert shown[UNKNOWN] + shown[OPEN] + shown.get(A, 0.0) == pytest.approx(110)


def test_a_driver_that_never_tells_has_no_rows() -> None:
    """Its family is absent; from the first word on all energy before is unknown's."""
    book = account()
    book.look(Look(0.0, 1.0, None), now=1.0)
    steady(book, 100.0, 1.0, 3.0)
    assert book.shown() is None
    book.look(Look(1.0, 3.0, None), now=3.0)
    looked(book, 3.0, 3.0)
    assert sum(joules(book).values()) == pytest.approx(200)


def restarted(book: Account, total: int) -> Account:
    after = Account(50, patience=3.0)
    after.begin(total, json.loads(json.dumps(book.saved())))
    return after


def test_over_a_restart_rows_go_on() -> None:
    """Used while the exporter was down: unknown's. Idle power is still known."""
    book = account()
    looked(book, 0.0, 0.0)
    steady(book, 50.0, 0.0, 1.0)
    looked(book, 0.0, 1.0, board=0)
    steady(book, 100.0, 1.0, 2.0)
    looked(book, 1.0, 2.0, (A, 1.0))
    steady(book, 100.0, 2.0, 2.5)
    before = joules(book)
    after = restarted(book, 200 * MICRO)
    assert joules(after) == {**before, UNKNOWN: 0}
    assert after.idle_watts == pytest.approx(50)
    after.used(Used(1000 * MICRO, 2.5, 60.0, counted=True), now=60.0)
    looked(after, 60.0, 60.0, (A, 1.0))
    steady(after, 100.0, 60.0, 61.0)
    looked(after, 60.0, 61.0, (A, 1.0))
    steady(after, 100.0, 61.0, 70.0)
    shown = joules(after)
    assert sum(shown.values()) == pytest.approx(200 + 1000 + 1000)
    assert all(shown[owner] >= value for owner, value in before.items())
    assert shown[UNKNOWN] >= 1000
    assert shown[A] == pytest.approx(50 + 50)


def test_a_board_that_was_read_without_shares_before_starts_with_unknown() -> None:
    """What it has used until then has no other owner; with what was saved, only what is more."""
    book = Account(50, 3.0)
    book.begin(7 * MICRO, None)
    looked(book, 0.0, 0.0)
    assert sum(joules(book).values()) == 7
    after = restarted(book, 9 * MICRO)
    assert sum(joules(after).values()) == 9


GARBAGE: list[Any] = [
    7,
    {},
    {"rows": {}, "told": True, "idle_watts": None},
    {"rows": {"rows": [["nobody", "", "", "", "", 1]], "debts": [], "open": 0}, "told": True, "idle_watts": None},
    {"rows": {"rows": [["idle", "", "", "", "", -1]], "debts": [], "open": 0}, "told": True, "idle_watts": None},
    {"rows": {"rows": [["idle", "", "", "", "", 1.5]], "debts": [], "open": 0}, "told": True, "idle_watts": None},
    {"rows": {"rows": [["open", "", "", "", "", 1]], "debts": [], "open": 0}, "told": True, "idle_watts": None},
    {"rows": {"rows": [], "debts": [[0, 1]], "open": 1}, "told": True, "idle_watts": None},
    {"rows": {"rows": [["idle", "", "", "", "", 1]], "debts": [[0, 2]], "open": 1}, "told": True, "idle_watts": None},
    {"rows": {"rows": [["idle", "", "", "", "", 9]], "debts": [], "open": 9}, "told": True, "idle_watts": None},
    {"rows": {"rows": [], "debts": [], "open": 1}, "told": True, "idle_watts": "warm"},
    {"rows": {"rows": [], "debts": [], "open": 1}, "told": True, "idle_watts": float("nan")},
]


@pytest.mark.parametrize("saved", GARBAGE)
def test_saved_shares_that_are_garbage_are_refused(saved: Any) -> None:
    """Never half of them."""
    book = Account(50, 3.0)
    with pytest.raises((KeyError, TypeError, ValueError, IndexError)):
        book.begin(10, saved)
    book.begin(10, None)
    assert book.saved()["rows"]["rows"] == [["unknown", "", "", "", "", 10]]


EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("used"), st.floats(0.001, 5.0), st.integers(0, 10**9), st.booleans()),
        st.tuples(
            st.just("look"),
            st.floats(0.0, 5.0),
            st.one_of(
                st.none(),
                st.lists(
                    st.tuples(st.sampled_from([A, B, C, UNKNOWN]), st.one_of(st.none(), st.floats(0, 1))), max_size=4
                ),
            ),
            st.one_of(st.none(), st.floats(0, 1)),
        ),
        st.tuples(st.just("restart"), st.floats(0.0, 100.0), st.none(), st.none()),
    ),
    max_size=80,
)


@given(EVENTS)
def test_the_rows_of_any_history_add_up_and_never_go_back(events: list[tuple[str, float, Any, Any]]) -> None:
    """Late counters, resets, drivers that do not tell, restarts at any time: the sum is the board's at each step."""
    book, total, now, since, looked_at = account(), 0, 0.0, 0.0, 0.0
    before: dict[Owner, int] = {}
    for what, wait, value, more in events:
        now += wait
        if what == "used":
            end = max(since, now - wait / 2)
            book.used(Used(value, since, end, more), now)
            total, since = total + value, end
        elif what == "look":
            uses = None if value is None else tuple(Use(*use) for use in value)
            book.look(Look(looked_at, now, uses, more), now)
            looked_at = now
        else:
            book = restarted(book, total)
        shown = book.shown()
        if shown is None:
            assert not before
            continue
        assert sum(shown.values()) == total
        assert all(shown[owner] >= microjoules for owner, microjoules in before.items())
        before = dict(shown)
    assert len(book._pending) <= sum(what == "used" for what, *_ in events) + 1
