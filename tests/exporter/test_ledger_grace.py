"""How long energy waits for the lines of its time: not longer than it must, and longer while lines come late."""

import pytest

from perjoule_exporter.ledger import Interval, Kind, Ledger, Share
from perjoule_exporter.ledger.grace import Grace

KIND = Kind("t", "m", "p")
LEAST, MOST = 0.08, 0.2


def test_without_late_lines_it_is_the_least() -> None:
    """Nothing was heard, or all in time: nobody waits longer than before."""
    grace = Grace(LEAST, MOST)
    assert grace.seconds(100.0) == LEAST
    for number in range(100):
        grace.heard(100.0 + number, 100.03 + number)
    assert grace.seconds(200.0) == LEAST


@pytest.mark.parametrize(
    ("took", "seconds"),
    [(0.05, LEAST), (0.1, 0.15), (0.15, MOST), (0.199, MOST), (0.25, LEAST), (600.0, LEAST), (-1.0, LEAST)],
)
def test_it_follows_the_latest_line_within_bounds(took: float, seconds: float) -> None:
    """Half as long again as the latest took; what is too late to be waited for, or from the future, changes nothing."""
    grace = Grace(LEAST, MOST)
    grace.heard(100.0, 100.0 + took)
    assert grace.seconds(101.0) == pytest.approx(seconds)


def test_it_forgets() -> None:
    """After ten to twenty seconds without late lines, and after an hour of silence, it is as before."""
    grace = Grace(LEAST, MOST)
    for late in (100.0, 5000.0):
        grace.heard(late, late + 0.1)
        assert [grace.seconds(late + after) for after in (1.0, 9.0)] == pytest.approx([0.15, 0.15])
        assert grace.seconds(late + 21.0) == LEAST
    grace.heard(9000.0, 9000.1)
    assert grace.seconds(9400.0) == LEAST


def batch(ledger: Ledger, number: int, late: float) -> None:
    """A batch of 0.1 s that begins at its number; its end is told ``late``, energy by a reading each 10 ms."""
    start, end = float(number), number + 0.1
    ledger.opened(1, number, KIND, start, start)
    told, now = False, start
    for step in range(1, 51):
        before, now = now, start + step / 50
        ledger.used(Interval(2_000_000, before, now))
        if now >= end + late and not told:
            ledger.closed(1, number, end, (Share(f"r{number}", 1.0, "ok"),), now)
            told = True
        ledger.settle(now)


def test_a_busy_machine_costs_one_request_and_not_each() -> None:
    """Ends that are told 130 ms late: the first one's request is unmeasured, and after it none is."""
    counts = {}
    for most in (LEAST, MOST):
        ledger = Ledger(idle_watts=50.0, grace=LEAST, most_grace=most)
        for number in range(1, 21):
            batch(ledger, number, late=0.13)
        (row,) = ledger.snapshot().charged.values()
        counts[most] = row.requests.unmeasured, sum(row.requests.buckets)
    assert counts == {LEAST: (20, 0), MOST: (1, 19)}
