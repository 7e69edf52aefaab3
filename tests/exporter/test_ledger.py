"""The ledger's rules, one by one: who is charged what, when, and what is nobody's."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from perjoule_exporter.energy import Used
from perjoule_exporter.ledger import (
    BOUNDS_JOULES,
    MORE,
    OUTCOMES,
    Interval,
    Kind,
    Ledger,
    Owner,
    Owners,
    Share,
    Snapshot,
)

A, B = Kind("a", "m", "p"), Kind("b", "m", "p")
IDLE = 50.0
J = 1_000_000


class Book:
    """A ledger that is told of energy in intervals of 100 ms from time 0 on, and settled long enough after each."""

    def __init__(self, idle_watts: float | None = IDLE, ledger: Ledger | None = None) -> None:
        self.ledger = ledger or Ledger(idle_watts=idle_watts)
        self.time = 0.0
        self.settled: list[tuple[int, tuple[int, ...]]] = []

    def span(self, kind: Kind, start: float, end: float, *shares: Share, **client: Any) -> None:
        """Tell of a whole span, at its end."""
        number = client.get("number", 1)
        self.ledger.opened(client.get("client", 1), number, kind, start, end)
        self.ledger.closed(client.get("client", 1), number, end, shares, end, reply=True)

    def use(self, *joules: float, **more: Any) -> None:
        """Tell of so many joules, an interval each."""
        for amount in joules:
            start, self.time = self.time, self.time + more.get("seconds", 0.1)
            known = {key: value for key, value in more.items() if key != "seconds"}
            self.ledger.used(Interval(round(amount * J), start, self.time, **known))
            self.settle(self.time + 0.05)

    def settle(self, now: float) -> None:
        """Settle, and keep what was asked for."""
        self.settled += [(settled.span.number, settled.parts) for settled in self.ledger.settle(now)]

    def shown(self) -> dict[str, float]:
        """Return joules by where they are; zeros left out."""
        return flat(self.ledger.snapshot())


def flat(snapshot: Snapshot) -> dict[str, float]:
    """Return joules by where they are; zeros left out."""
    rows = {f"{owner.task} {outcome}": charge.microjoules for owner, row in snapshot.charged.items()
            for outcome, charge in row.outcomes.items()}  # fmt: skip
    places = {"idle": snapshot.idle, "open": snapshot.open, **snapshot.unattributed, **rows}
    assert snapshot.counter == sum(places.values())
    return {place: microjoules / J for place, microjoules in places.items() if microjoules}


def ok(name: str = "r", weight: float = 1.0) -> Share:
    """Return the share of a request that ends ok."""
    return Share(name, weight, "ok")


@pytest.mark.parametrize(
    ("what", "interval", "expected"),
    [
        ("a device at rest", {}, {"idle": 5.0, "no_span": 3.0}),
        ("a reset", {"reason": "reset"}, {"reset": 8.0}),
        ("the exporter was down", {"reason": "down"}, {"down": 8.0}),
        ("somebody else's work", {"foreign": 1.0}, {"idle": 5.0, "foreign": 3.0}),
        ("somebody else's in part", {"foreign": 0.5}, {"idle": 5.0, "foreign": 1.5, "no_span": 1.5}),
        ("more than all of it", {"foreign": 1.1}, {"idle": 5.0, "foreign": 3.0}),
        ("less than none of it", {"foreign": -0.1}, {"idle": 5.0, "no_span": 3.0}),
    ],
)
def test_without_spans(what: str, interval: Mapping[str, Any], expected: Mapping[str, float]) -> None:
    """Energy in which no span lies is idle's, and for the rest nobody's, with the reason."""
    book = Book()
    book.use(8.0, **interval)
    assert book.shown() == expected, what


@pytest.mark.parametrize(
    ("what", "interval", "expected"),
    [
        ("alone", {}, {"idle": 2.5, "a ok": 27.5}),
        ("beside a foreign process", {"foreign": 0.2}, {"idle": 2.5, "foreign": 5.5, "a ok": 22.0}),
        ("over a reset", {"reason": "reset"}, {"reset": 30.0}),
        ("while the device was lost", {"reason": "lost"}, {"lost": 30.0}),
        ("in a gap of the readings", {"reason": "gap"}, {"gap": 30.0}),
        ("while the counter stood still", {"seconds": 1.5}, {"stall": 30.0}),
    ],
)
def test_with_a_span(what: str, interval: Mapping[str, Any], expected: Mapping[str, float]) -> None:
    """A span of half of the interval gets what is above the idle power of the other half, of ordinary ones only."""
    book = Book()
    book.span(A, 0.02, 0.07, ok())
    book.use(30.0, **interval)
    assert book.shown() == expected, what


def test_idle_is_never_more_than_there_is() -> None:
    """A device that drew less than its idle power has nothing left for anybody."""
    book = Book()
    book.span(A, 0.0, 0.01, ok())
    book.use(2.0)
    assert book.shown() == {"idle": 2.0}


def test_nobody_knows_idle() -> None:
    """Until idle watts are known, energy without spans is idle_unknown's, and a device that is never idle is split."""
    book = Book(idle_watts=None)
    book.use(5.0)
    book.span(A, 0.1, 0.2, ok())
    book.use(30.0)
    assert book.shown() == {"idle_unknown": 5.0, "a ok": 30.0}
    assert book.ledger.snapshot().idle_watts is None


def test_idle_is_learned_where_nobody_uses_the_device() -> None:
    """From intervals that the device calls idle, without foreign processes, and not from any other."""
    book = Book(idle_watts=None)
    book.use(5.0)  # the first interval may have begun before
    book.use(*[1.0] * 10)
    book.use(*[1.0] * 10, idle=True, foreign=0.1)
    assert book.ledger.snapshot().idle_watts is None
    book.use(*[5.0] * 10, idle=True)
    assert book.ledger.snapshot().idle_watts == pytest.approx(50.0)
    assert "idle" not in book.shown() or book.shown()["idle"] < 50.0


@pytest.mark.parametrize("outcome", ["ok", "cancelled", "expired", "error"])
def test_each_request_has_its_own_outcome(outcome: str) -> None:
    """Batch-mates are charged by weight, each to how it ended; parts sum to the span."""
    book = Book()
    book.span(A, 0.0, 0.1, ok("r", 3), Share("s", 1, outcome))
    book.use(20.0)
    assert book.shown() == ({"a ok": 20.0} if outcome == "ok" else {"a ok": 15.0, f"a {outcome}": 5.0})
    assert book.settled == [(1, (15 * J, 5 * J))]


@pytest.mark.parametrize(
    ("weights", "parts"),
    [
        ((0.0, 0.0), (5, 5)),
        ((float("nan"), 1.0), (0, 10)),
        ((float("inf"), 1.0), (0, 10)),
        ((-4.0, 1.0), (0, 10)),
        ((1e308, 1e308), (5, 5)),
        ((1, 3), (3, 7)),
    ],
)
def test_weights_of_any_kind(weights: Sequence[float], parts: Sequence[int]) -> None:
    """What is no weight counts as 0, and where nothing has weight all are alike."""
    book = Book()
    book.span(A, 0.0, 0.1, *(ok(str(number), weight) for number, weight in enumerate(weights)))
    book.use(10e-6)
    assert book.settled == [(1, tuple(parts))]


def test_work_without_requests_is_overhead() -> None:
    """Loading and warming up are charged to their owner all the same."""
    book = Book()
    book.span(A, 0.0, 0.1)
    book.use(20.0)
    assert book.shown() == {"a overhead": 20.0}


def test_a_request_of_several_spans() -> None:
    """It is open until its last span has settled, and then charged as a whole, to one observation."""
    book = Book()
    book.span(A, 0.0, 0.1, Share("r", 1, MORE))
    book.use(20.0)
    assert book.shown() == {"open": 20.0}
    book.span(A._replace(phase="decode"), 0.1, 0.2, ok("r"))
    book.use(30.0)
    assert book.shown() == {"a ok": 50.0}
    requests = book.ledger.snapshot().charged[Owner("a", "m")].requests
    assert sum(requests.buckets) == 1
    (exemplar,) = filter(None, requests.exemplars)
    assert exemplar[:2] == ("r", 50 * J)


def test_requests_of_one_name_on_two_connections() -> None:
    """They are two requests."""
    book = Book()
    book.span(A, 0.0, 0.1, Share("r", 1, MORE), client=1)
    book.span(A, 0.0, 0.1, ok("r"), client=2)
    book.use(20.0)
    assert book.shown() == {"open": 10.0, "a ok": 10.0}


def test_a_lost_client_is_abandoned() -> None:
    """Its open spans and unfinished requests are, also those not settled yet; what it had ended keeps its outcome."""
    book = Book()
    book.span(A, 0.0, 0.1, Share("r", 1, MORE))
    book.use(10.0)
    book.span(A, 0.1, 0.15, Share("s", 1, MORE))
    book.span(A, 0.15, 0.2, ok("t"))
    book.ledger.opened(1, 7, B, 0.1, 0.1)
    book.ledger.opened(2, 7, B, 0.1, 0.1)
    book.ledger.left(1, 0.2)
    assert not book.ledger.opened(1, 8, A, 0.2, 0.2)
    book.use(30.0)
    book.settle(3.0)
    shown = book.shown()
    assert shown.keys() == {"a abandoned", "a ok", "b abandoned", "open"}
    assert shown["b abandoned"] == pytest.approx(10.0)
    assert shown["open"] == pytest.approx(10.0), "the other client's"
    assert shown["a ok"] == pytest.approx(5.0)


def test_a_client_that_stalls_is_abandoned() -> None:
    """Ten minutes without an end: the span, and a request whose last entry never comes. An end after that is none."""
    book = Book()
    book.span(A, 0.0, 0.1, Share("r", 1, MORE))
    book.ledger.opened(1, 9, B, 0.1, 0.1)
    book.use(10.0, 10.0)
    assert book.shown() == {"open": 20.0}
    book.settle(599.0)
    assert book.shown() == {"open": 20.0}
    book.settle(602.0)
    book.settle(606.0)
    assert book.shown() == {"a abandoned": 10.0, "b abandoned": 10.0}
    assert not book.ledger.closed(1, 9, 606.0, (ok(),), 606.0)


def test_a_request_that_goes_on_is_not_abandoned() -> None:
    """The ten minutes count from its last span."""
    book = Book()
    for minute in (0, 9, 18):
        book.use(0.0, seconds=540.0)
        book.span(A, book.time, book.time + 0.1, Share("r", 1, MORE))
        book.use(10.0)
        assert book.shown()["open"] == pytest.approx(10.0 * (minute / 9 + 1))
    book.settle(book.time + 602.0)
    assert "open" not in book.shown()


def test_every_request_is_observed_once() -> None:
    """Batch-mates of one bucket and of several, in the bucket that their energy is in."""
    book = Book()
    book.span(A, 0.0, 0.1, *(ok(str(number)) for number in range(4)))
    book.span(A, 0.1, 0.2, ok("small", 1), ok("large", 39))
    book.use(20.0, 20.0)
    requests = book.ledger.snapshot().charged[Owner("a", "m")].requests
    counts = dict(zip(BOUNDS_JOULES, requests.buckets, strict=False))
    assert {bound: count for bound, count in counts.items() if count} == {1.0: 1, 10.0: 4, 30.0: 1}


def test_watts_are_learned_beside_foreign_work() -> None:
    """From what is left of the energy without the foreign part."""
    book = Book()
    book.use(5.0)
    for _ in range(20):
        book.span(A, book.time, book.time + 0.1, ok())
        book.use(40.0, foreign=0.5)
    assert book.ledger.snapshot().learned[0].watts == pytest.approx(50.0 + (400.0 - 50.0) / 2, rel=0.05)


def test_a_client_that_never_ends_its_requests() -> None:
    """What it has open is bounded: the oldest ones are abandoned, and nothing is lost."""
    book = Book()
    for number in range(3):
        names = (f"{number}-{request}" for request in range(4000))
        book.span(A, 0.0, 0.1, *(Share(name, 1, MORE) for name in names), number=number)
    book.use(12.0)
    assert book.shown() == {"open": 10.0, "a abandoned": 2.0}


def test_a_device_that_tells_no_more_energy() -> None:
    """Spans that ended while it was silent are charged what they had, and do not pile up."""
    book = Book()
    book.use(5.0)
    for number in range(100):
        book.span(A, 1.0, 1.1, ok(), number=number)
    book.settle(2.0)
    assert book.settled == []
    book.settle(4.0)
    assert len(book.settled) == 100


def test_an_owner_that_nobody_announced_is_there_at_0_with_its_first_span() -> None:
    """Each of its outcomes: an increase from nothing is none to who reads the counters. So after a restart."""
    book = Book()
    book.ledger.opened(1, 1, A, 0.0, 0.0)
    (row,) = book.ledger.snapshot().charged.values()
    assert {outcome: charge.microjoules for outcome, charge in row.outcomes.items()} == dict.fromkeys(OUTCOMES, 0)
    saved = book.ledger.saved()
    saved["accounts"]["rows"][0][2]["charges"] = {}  # as it was written before
    again = Ledger(idle_watts=IDLE)
    again.restore(saved)
    again.opened(1, 1, A, 0.0, 0.0)
    assert set(again.snapshot().charged[Owner("a", "m")].outcomes) == set(OUTCOMES)


def test_lines_wait_for_a_grace() -> None:
    """An interval is open until lines of its time have had 50 ms to come."""
    book = Book()
    book.ledger.used(Interval(20 * J, 0.0, 0.1))
    book.settle(0.14)
    assert book.shown() == {"open": 20.0}
    book.span(A, 0.0, 0.1, ok())
    book.settle(0.16)
    assert book.shown() == {"a ok": 20.0}
    assert book.ledger.snapshot().delay_seconds == pytest.approx(0.06)
    assert book.ledger.snapshot().late == 0


def test_new_kinds_of_work_wait_for_their_watts() -> None:
    """At most two seconds from when they first ran together, and not where there is nothing to share."""
    book = Book()
    book.span(A, 0.0, 0.1, ok())
    book.use(20.0)
    assert book.shown() == {"a ok": 20.0}
    book.span(A, 0.1, 0.15, ok())
    book.span(B, 0.1, 0.15, ok())
    book.use(20.0)
    assert book.shown()["open"] == 20.0
    book.settle(2.19)
    assert book.shown()["open"] == 20.0
    book.settle(2.21)
    assert "open" not in book.shown()


@pytest.mark.parametrize(
    ("what", "start", "end", "late", "expected"),
    [
        ("late for the first of two intervals", 0.0, 0.2, 1, 20.0),
        ("late for both", 0.0, 0.05, 2, 0.0),
        ("an end before the start", 0.15, 0.12, 0, 0.0),
        ("from the far past", -1e9, 0.2, 1, 20.0),
        ("from ever", float("-inf"), 0.2, 1, 20.0),
        ("from the future", 1e9, 2e9, 0, 0.0),
        ("no times at all", float("nan"), float("nan"), 2, 0.0),
    ],
)
def test_lies_about_time(what: str, start: float, end: float, late: int, expected: float) -> None:
    """They are counted, clipped to what is not given away, harm nobody, and are no measured request of 0 J."""
    book = Book(idle_watts=0.0)
    book.use(20.0)
    book.ledger.opened(1, 1, A, start, 0.2)
    book.ledger.closed(1, 1, end, (ok(),), 0.2)
    book.use(20.0, 20.0)
    assert book.shown().get("a unmeasured", 0.0) == pytest.approx(expected), what
    assert not any(book.ledger.snapshot().charged[Owner("a", "m")].requests.buckets)
    assert book.ledger.snapshot().charged[Owner("a", "m")].requests.unmeasured == 1
    assert book.ledger.snapshot().late == late, what


def test_repeated_ids() -> None:
    """A number that is open is refused, and free again once it was closed; closing nothing is refused."""
    book = Book()
    assert book.ledger.opened(1, 1, A, 0.0, 0.0)
    assert not book.ledger.opened(1, 1, B, 0.0, 0.0)
    assert book.ledger.opened(2, 1, B, 0.0, 0.0)
    assert book.ledger.closed(1, 1, 0.05, (ok(),), 0.05)
    assert not book.ledger.closed(1, 1, 0.05, (ok(),), 0.05)
    assert not book.ledger.closed(3, 1, 0.05, (ok(),), 0.05)
    assert book.ledger.opened(1, 1, A, 0.05, 0.05)


def test_energy_of_no_time_goes_with_the_next() -> None:
    """Two moves at one stamp are one; a reset's is nobody's at once."""
    book = Book()
    book.span(A, 0.0, 0.1, ok())
    book.use(7.0, seconds=0.0)
    assert book.shown() == {"open": 7.0}
    book.use(13.0)
    book.use(2.0, seconds=0.0, reason="reset")
    assert book.shown() == {"a ok": 20.0, "reset": 2.0}


def test_an_interval_of_a_counter() -> None:
    """It is ordinary unless the counter was reset or the teller knows better."""
    used = Used(5, 1.0, 2.0, counted=True)
    assert Interval.of(used) == Interval(5, 1.0, 2.0)
    assert Interval.of(used._replace(counted=False)).reason == "reset"
    assert Interval.of(used._replace(counted=False), "down").reason == "down"


def test_energy_is_not_negative() -> None:
    """Who says so is wrong about its counter."""
    with pytest.raises(ValueError, match="cannot use -1"):
        Ledger().used(Interval(-1, 0.0, 0.1))


def test_grams_follow_the_joules() -> None:
    """By the factor of the time of use: a later one rewrites nothing, and without any there are none."""
    book = Book(idle_watts=0.0)
    book.ledger.announced("a", "m")
    book.span(A, 0.0, 0.2, ok("r", 3), Share("s", 1, "error"))
    book.use(10.0)
    outcomes = book.ledger.snapshot().charged[Owner("a", "m")].outcomes
    assert [charge.grams for charge in outcomes.values()] == [None] * len(OUTCOMES)
    book.use(20.0, grams_per_joule=1e-3)
    outcomes = book.ledger.snapshot().charged[Owner("a", "m")].outcomes
    assert outcomes["ok"].grams == pytest.approx(0.015)
    assert outcomes["error"].grams == pytest.approx(0.005)


def test_at_most_so_many_owners() -> None:
    """Later models are other ones of their task, later tasks other ones, on all devices together; phases are few."""
    owners = Owners(most=2)
    first, second = Ledger(owners, idle_watts=0.0), Ledger(owners, idle_watts=0.0)
    book = Book(ledger=first)
    for number, (task, model) in enumerate([("a", "1"), ("a", "2"), ("a", "3"), ("c", "1"), ("a", "1")]):
        book.span(Kind(task, model, "p"), 0.0, 0.1, ok(), number=number)
    book.use(10.0)
    expected = [("a", "1"), ("a", "2"), ("a", "other"), ("other", "other")]
    assert sorted(first.snapshot().charged) == expected
    other = Book(ledger=second)
    other.span(Kind("d", "1", "p"), 0.0, 0.1, ok())
    other.use(10.0)
    assert list(second.snapshot().charged) == [("other", "other")]
    assert {owners.kind(Kind("a", "1", str(phase))).phase for phase in range(20)} >= {"0", "other"}
    assert len({owners.kind(Kind("a", "1", str(phase))).phase for phase in range(1000)}) <= 9


def test_sums_survive_a_restart() -> None:
    """All that was charged, the histograms, idle and learned watts; what was open is abandoned, or lost meanwhile."""
    book = Book(idle_watts=None)
    book.use(*[5.0] * 20, idle=True)
    for number in range(20):
        start = book.time
        book.span(A, start, start + 0.1, ok(str(number)))
        book.use(20.0, grams_per_joule=1e-4)
    book.span(A, 0.0, 0.1, ok())  # far too late
    book.span(B, book.time, book.time + 0.1, Share("s", 1, MORE))
    book.use(30.0)
    book.ledger.used(Interval(4 * J, book.time, book.time + 0.1))
    before = book.ledger.snapshot()
    ledger = Ledger()
    ledger.restore(json.loads(json.dumps(book.ledger.saved())))
    after = ledger.snapshot()
    assert flat(after) == {**{k: v for k, v in flat(before).items() if k != "open"}, "b abandoned": 30.0, "down": 4.0}
    assert after.idle_watts == pytest.approx(50.0)
    assert after.charged[Owner("a", "m")].requests.buckets == before.charged[Owner("a", "m")].requests.buckets
    assert after.charged[Owner("a", "m")].requests.unmeasured == 1
    assert after.charged[Owner("a", "m")].outcomes == before.charged[Owner("a", "m")].outcomes
    assert {learned.kind: learned.watts for learned in after.learned}[A] == pytest.approx(200.0, rel=0.05)


@pytest.mark.parametrize(
    "change",
    [
        {"unshared": -1},
        {"unshared": 1},
        {"idle_watts": float("nan")},
        {"accounts": {}},
        {"given": [["a", "m", 5, None]]},
        {"watts": [[["a"], 1.0, 1.0]]},
        {"late": True},
    ],
)
def test_what_was_not_saved_is_not_restored(change: Mapping[str, Any]) -> None:
    """Nothing is taken over then."""
    book = Book()
    book.span(A, 0.0, 0.1, ok())
    book.use(20.0)
    ledger = Ledger()
    with pytest.raises((KeyError, TypeError, ValueError, AttributeError)):
        ledger.restore({**book.ledger.saved(), **change})
    assert ledger.snapshot().counter == 0


def test_announced_owners_start_at_nothing() -> None:
    """All series of an owner are there before its first request, so that a first delta is not lost."""
    ledger = Ledger()
    ledger.announced("a", "m")
    outcomes = ledger.snapshot().charged[Owner("a", "m")].outcomes
    assert {outcome: charge.microjoules for outcome, charge in outcomes.items()} == dict.fromkeys(OUTCOMES, 0)
