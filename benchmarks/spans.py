"""What energy spans cost: a server's thread that tells of them, and the exporter that takes them in.

    .venv/bin/python benchmarks/spans.py            (--check: an exit code of 1 when a target is missed)

A client in a process of its own sends batches of 16 requests on a schedule, through the real socket. The exporter's
side is this process: the socket with nothing behind it, and with a ledger that also gets energy ten times a second.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

if __package__ in {None, ""}:  # called by its file name: its neighbours are found from the repository's root
    ROOT = Path(__file__).resolve().parent.parent
    sys.path[:0] = [str(ROOT), str(ROOT / "exporter")]

from benchmarks.machine import described
from benchmarks.report import Table, checks_table, plain
from benchmarks.summary import Check, digits, median, percent, quantile, scaled
from perjoule.spans import Request, Spans
from perjoule_exporter.ledger import Interval, Ledger, Settled
from perjoule_exporter.meters import MICRO
from perjoule_exporter.spans import Announced, Charged, KnownWatts, Opened, Refused, Told, start_spans

DEVICE, TASK, MODEL, PHASE = "GPU-simulated-0", "summarization", "benchmark", "decode"
REQUESTS = 16
BATCHES_A_SECOND = 1000
MOST_SHARE = 0.12
"""Of a core, for the socket and the ledger together at this rate."""

MOST_CALLER_SECONDS = 30e-6
"""Of a working thread that tells of a span: of its begin and its end."""

_BURST_SECONDS = 0.01  # the client sends what is due this often: its own flush makes no difference of less
_TICK_SECONDS = 0.1
_WATTS = 400.0


class NullBook:
    """Takes everything and keeps nothing."""

    def __init__(self) -> None:
        self.batches = 0

    def devices(self) -> Sequence[Charged]:
        """Return the one device."""
        return [Charged(DEVICE, "gpu", "simulated")]

    def watts(self) -> Sequence[KnownWatts]:
        """Nothing is known."""
        return []

    def take(self, client: int, told: Sequence[Told], now: float) -> Sequence[Refused]:
        """Count."""
        del client, now
        self.batches += sum(isinstance(each, Opened) for each in told)
        return []

    def left(self, client: int, now: float) -> None:
        """Do nothing."""

    def settled(self) -> Sequence[Settled]:
        """Nobody asked."""
        return []


class LedgerBook(NullBook):
    """Hands everything to one device's ledger, under one lock a call."""

    def __init__(self) -> None:
        super().__init__()
        self._ledger = Ledger()
        self._lock = threading.Lock()
        self._before = time.monotonic()

    def watts(self) -> Sequence[KnownWatts]:
        """Return what the ledger has learned."""
        with self._lock:
            learned = self._ledger.snapshot().learned
        return [KnownWatts(DEVICE, each.kind, each.watts) for each in learned]

    def take(self, client: int, told: Sequence[Told], now: float) -> Sequence[Refused]:
        """Tell the ledger."""
        ledger = self._ledger
        with self._lock:
            for each in told:
                if isinstance(each, Opened):
                    ledger.opened(client, each.number, each.kind, each.start, now)
                    self.batches += 1
                elif isinstance(each, Announced):
                    for owner in each.owners:
                        ledger.announced(*owner)
                else:
                    ledger.closed(client, each.number, each.end, each.shares, now, reply=each.reply)
        return []

    def left(self, client: int, now: float) -> None:
        """Tell the ledger."""
        with self._lock:
            self._ledger.left(client, now)

    def tick(self) -> None:
        """Give the ledger the energy since the last tick."""
        now = time.monotonic()
        with self._lock:
            used = round(_WATTS * (now - self._before) * MICRO)
            self._ledger.used(Interval(used, self._before, now))
            self._ledger.settle(now)
        self._before = now


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; return the exit code."""
    asked = _parser().parse_args(argv)
    if asked.client is not None:
        return _client(asked.client, asked.seconds, asked.rate)
    rows: list[tuple[str, ...]] = []
    told = {}
    medians = {}
    for name, book in (("socket alone", NullBook), ("socket and ledger", LedgerBook)):
        runs = [_run(book(), asked.seconds) for _ in range(asked.repeats)]
        shares = [share for share, _, _ in runs]
        medians[name] = median(shares)
        rate = median([rate for _, rate, _ in runs])
        rows.append(
            (name, digits(rate), percent(medians[name]), percent(max(shares)), scaled(medians[name] / rate, "s"))
        )
        told[name] = [client for _, _, client in runs]
    callers = [client for clients in told.values() for client in clients]
    print("\n".join([*(f"{key}: {value}" for key, value in described({}).items()), ""]))
    print(plain(_exporter_table(rows)))
    print(plain(_client_table(callers)))
    checks = _checks(medians["socket and ledger"], median([each["busy"] for each in callers]))
    print(plain(checks_table(checks)))
    return int(asked.check and not all(check.passed for check in checks))


def _exporter_table(rows: Sequence[Sequence[str]]) -> Table:
    headings = ("exporter's side", "batches / s", "CPU of a core", "highest run", "CPU a batch")
    return Table(f"Taking in spans of {REQUESTS} requests", headings, rows, ("Medians of the runs.",))


def _client_table(callers: Sequence[dict[str, float]]) -> Table:
    rows = [
        ("a thread that works all the time, CPU a span", _of(callers, "busy")),
        ("a thread that has slept, CPU of its first span", _of(callers, "rested")),
        ("any span by the clock, 99th percentile", _of(callers, "p99")),
        ("the process altogether, CPU a span", _of(callers, "process")),
        ("spans dropped", digits(sum(each["dropped"] for each in callers))),
    ]
    notes = ("After a sleep any Python code is slow at first, until the processor has it in its caches again.",)
    return Table(f"Telling of spans of {REQUESTS} requests", ("client's side", ""), rows, notes)


def _of(callers: Sequence[dict[str, float]], what: str) -> str:
    return scaled(median([each[what] for each in callers]), "s")


def _checks(share: float, caller: float) -> list[Check]:
    what = f"socket and ledger at {BATCHES_A_SECOND:,} batches a second"
    return [
        Check(what, percent(share), f"< {percent(MOST_SHARE)} of a core", share < MOST_SHARE),
        Check(
            "calling thread, a span",
            scaled(caller, "s"),
            f"< {scaled(MOST_CALLER_SECONDS, 's')}",
            caller < MOST_CALLER_SECONDS,
        ),
    ]


def _run(book: NullBook, seconds: float) -> tuple[float, float, dict[str, float]]:
    """Return the share of a core that this process took, batches a second, and what the client found of itself."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "spans.sock"
        server = start_spans(book, path)
        command = [
            sys.executable,
            __file__,
            "--client",
            str(path),
            "--seconds",
            str(seconds),
            "--rate",
            str(BATCHES_A_SECOND),
        ]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603 (this script)
        try:
            while book.batches == 0 and child.poll() is None:
                time.sleep(0.01)
            cpu, began, before = time.process_time(), time.monotonic(), book.batches
            while time.monotonic() - began < seconds * 0.8:
                time.sleep(_TICK_SECONDS)
                if isinstance(book, LedgerBook):
                    book.tick()
            cpu, took, batches = time.process_time() - cpu, time.monotonic() - began, book.batches - before
            found = json.loads(child.communicate(timeout=seconds + 30)[0])
        finally:
            child.kill()
            child.wait()
            if server is not None:
                server.close()
    return cpu / took, batches / took, found


def _client(path: str, seconds: float, rate: int) -> int:
    """Send batches on a schedule, and print what that cost this process."""
    with Spans("benchmark", device=DEVICE, owners=[(TASK, MODEL)], socket=path) as spans:
        while not spans.stats.connected:
            time.sleep(0.01)
        process = time.process_time()
        rested, times = _bursts(spans, seconds / 2, rate)
        process = (time.process_time() - process) / max(1, len(times))
        busy, _ = _between_work(spans, seconds / 2, rate)
        dropped = spans.stats.dropped
    found = {"busy": busy, "rested": rested, "p99": quantile(times, 0.99) * 1e-9, "process": process}
    print(json.dumps(found | {"dropped": dropped}))
    return 0


def _bursts(spans: Spans, seconds: float, rate: int) -> tuple[float, list[int]]:
    """Sleep and send what is due; return the CPU seconds of a span that comes first after a sleep, and all times."""
    requests, times = _requests(), list[int]()
    rested, sleeps = 0, 0
    began = time.monotonic()
    while (elapsed := time.monotonic() - began) < seconds:
        due = int(elapsed * rate) - len(times)
        for index in range(due):
            cpu, start = time.thread_time_ns(), time.perf_counter_ns()
            spans.span(TASK, MODEL, PHASE).close(requests)
            times.append(time.perf_counter_ns() - start)
            if index == 0:
                rested += time.thread_time_ns() - cpu
                sleeps += 1
        time.sleep(_BURST_SECONDS)
    return rested * 1e-9 / max(1, sleeps), times


def _between_work(spans: Spans, seconds: float, rate: int) -> tuple[float, int]:
    """Send one by one from a thread that is never idle; return the CPU seconds of a span, and how many there were."""
    requests = _requests()
    caller, sent = 0, 0
    began = time.monotonic()
    while (elapsed := time.monotonic() - began) < seconds:
        if sent >= elapsed * rate:
            continue
        cpu = time.thread_time_ns()
        spans.span(TASK, MODEL, PHASE).close(requests)
        caller += time.thread_time_ns() - cpu
        sent += 1
    return caller * 1e-9 / sent, sent


def _requests() -> list[Request]:
    return [Request(f"{number:032x}", 100.0 + number) for number in range(REQUESTS)]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=6.0, help="length of a run (6)")
    parser.add_argument("--repeats", type=int, default=5, help="runs of each, of which the median is taken (5)")
    parser.add_argument("--check", action="store_true", help="exit with 1 when a target is missed")
    parser.add_argument("--rate", type=int, default=BATCHES_A_SECOND, help=argparse.SUPPRESS)
    parser.add_argument("--client", help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    sys.exit(main())
