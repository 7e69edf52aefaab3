"""A ledger that has seen some work, for those that show one."""

from perjoule_exporter.ledger import Interval, Kind, Ledger, Share
from perjoule_exporter.meters import MICRO
from perjoule_exporter.view import Charged

CLIENT = 1
DECODE, SCORE = Kind("summarization", "bart", "decode"), Kind("fill-mask", "bert", "score")
WALL_OFFSET = 1.7e9
GRAMS_PER_JOULE = 1e-5


def some_ledger() -> Ledger:
    """Return one of four seconds: 70 W idle, and in turns a batch at 300 W and one at 200 W."""
    ledger = Ledger(idle_watts=70.0)
    ledger.announced(DECODE.task, DECODE.model)
    for number in range(20):
        start = 100.0 + 0.2 * number
        kind, watts = ((DECODE, 300.0), (SCORE, 200.0))[number % 2]
        ledger.opened(CLIENT, number, kind, start, start)
        ledger.closed(CLIENT, number, start + 0.1, _shares(number), start + 0.1)
        ledger.used(Interval(round(watts * 0.1 * MICRO), start, start + 0.1, grams_per_joule=GRAMS_PER_JOULE))
        ledger.used(Interval(7 * MICRO, start + 0.1, start + 0.2))
        ledger.settle(start + 0.2)
    return ledger


def some_charged() -> Charged:
    """Return it as a view holds it."""
    return Charged(some_ledger().snapshot(), WALL_OFFSET, emissions=True)


def _shares(number: int) -> tuple[Share, ...]:
    if number % 2:
        return (Share(f"fill-{number}", 1.0, "ok"),)
    return (Share(f"sum-{number}", 300.0, "ok"), Share(f"more-{number}", 100.0, "cancelled"))
