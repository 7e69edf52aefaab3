"""Books for tests of the span socket: one that writes down what it is told, one with a real ledger behind it."""

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from perjoule.spans import Spans
from perjoule_exporter.ledger import Interval, Kind, Ledger, Settled, Snapshot
from perjoule_exporter.meters import MICRO
from perjoule_exporter.spans import (
    Announced,
    Charged,
    Closed,
    KnownWatts,
    Opened,
    Refused,
    SpanServer,
    Told,
    start_spans,
)

GPU = "GPU-simulated-0"
SUMMARY = Kind("summarization", "bart", "decode")


class WrittenBook:
    """Writes down who told what. ``known`` and ``shared`` may be replaced at any time."""

    def __init__(self) -> None:
        self.known: tuple[KnownWatts, ...] = (KnownWatts(GPU, SUMMARY, 200.0),)
        self.shared: tuple[Charged, ...] = (Charged(GPU, "gpu", "simulated"),)
        self.told: list[tuple[int, Told]] = []
        self.gone: list[int] = []
        self.faulty = False

    def devices(self) -> Sequence[Charged]:
        return self.shared

    def watts(self) -> Sequence[KnownWatts]:
        return self.known

    def take(self, client: int, told: Sequence[Told], now: float) -> Sequence[Refused]:
        del now
        if self.faulty:
            raise LookupError("a fault of the book's own")
        names = {each.device for each in self.shared}
        refused = []
        for each in told:
            if isinstance(each, Opened) and each.device not in names:
                refused.append(Refused(each.number, f"{each.device} is not a device here"))
            else:
                self.told.append((client, each))
        return refused

    def left(self, client: int, now: float) -> None:
        del now
        self.gone.append(client)

    def settled(self) -> Sequence[Settled]:
        return []

    def opened(self) -> list[Opened]:
        return [each for _, each in list(self.told) if isinstance(each, Opened)]

    def closed(self) -> list[Closed]:
        return [each for _, each in list(self.told) if isinstance(each, Closed)]


class LedgerBook(WrittenBook):
    """One device's ledger, under one lock."""

    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()
        self.ledger = Ledger(idle_watts=50.0)
        self._before = time.monotonic()
        self._settled: list[Settled] = []

    def take(self, client: int, told: Sequence[Told], now: float) -> Sequence[Refused]:
        with self.lock:
            for each in told:
                if isinstance(each, Opened):
                    self.ledger.opened(client, each.number, each.kind, each.start, now)
                elif isinstance(each, Closed):
                    self.ledger.closed(client, each.number, each.end, each.shares, now, reply=each.reply)
                elif isinstance(each, Announced):
                    for owner in each.owners:
                        self.ledger.announced(*owner)
        return super().take(client, told, now)

    def left(self, client: int, now: float) -> None:
        with self.lock:
            self.ledger.left(client, now)
        super().left(client, now)

    def settled(self) -> Sequence[Settled]:
        with self.lock:
            settled, self._settled = self._settled, []
        return settled

    def tick(self, watts: float) -> None:
        """Let the device have drawn this since the last tick."""
        with self.lock:
            now = time.monotonic()
            self.ledger.used(Interval(round(watts * (now - self._before) * MICRO), self._before, now))
            self._settled += self.ledger.settle(now)
            self._before = now

    def snapshot(self) -> Snapshot:
        with self.lock:
            return self.ledger.snapshot()


Connect = Callable[..., Spans]
"""Makes a client of the socket under test."""


def started(book: WrittenBook, path: Path) -> SpanServer:
    made = start_spans(book, path)
    assert made is not None
    return made
