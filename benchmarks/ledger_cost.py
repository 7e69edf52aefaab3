"""What the ledger itself costs: the CPU of a batch of 16 requests, ten batches an interval.

Lines are made before the clock starts: parsing them is the socket's. It knows nothing of accuracy.
"""

import time
from statistics import median

from perjoule_exporter.ledger import Interval, Kind, Ledger, Share
from perjoule_exporter.meters import MICRO

TARGET_SECONDS = 20e-6
REQUESTS, BATCHES_AN_INTERVAL = 16, 10
INTERVAL_SECONDS, WATTS = 0.1, 400.0
REPEATS = 5

_KINDS = tuple(Kind("summarization", "model", phase) for phase in ("prefill", "decode", "batch"))


def batch_seconds(intervals: int) -> float:
    """Return the CPU seconds of a batch, from opening to its charge: the median of five runs."""
    return median(_run(intervals) for _ in range(REPEATS))


def _run(intervals: int) -> float:
    ledger = Ledger(idle_watts=70.0)
    lines = [
        tuple(Share(f"request-{number}-{request}", 312 + request, "ok") for request in range(REQUESTS))
        for number in range(intervals * BATCHES_AN_INTERVAL)
    ]
    length = INTERVAL_SECONDS / BATCHES_AN_INTERVAL
    microjoules = round(WATTS * INTERVAL_SECONDS * MICRO)
    began = time.process_time()
    for interval in range(intervals):
        start = interval * INTERVAL_SECONDS
        end = start + INTERVAL_SECONDS
        for place in range(BATCHES_AN_INTERVAL):
            number = interval * BATCHES_AN_INTERVAL + place
            at = start + place * length
            ledger.opened(1, number, _KINDS[number % len(_KINDS)], at, at)
            ledger.closed(1, number, at + length, lines[number], at + length)
        ledger.used(Interval(microjoules, start, end, grams_per_joule=1e-4))
        ledger.settle(end)
    ledger.settle(intervals * INTERVAL_SECONDS + 1.0)
    return (time.process_time() - began) / len(lines)
