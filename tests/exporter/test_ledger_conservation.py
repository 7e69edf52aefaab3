"""Whatever happens, in whatever order: counter = charged + idle + unattributed + open, to the microjoule."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from perjoule_exporter.ledger import Clients, Interval, Kind, Ledger, Settled, Share, Snapshot

CLIENTS, NUMBERS, DEVICES = (1, 2, 3), (1, 2, 3, 4), (0, 1)
KINDS = (Kind("a", "m", "prefill"), Kind("a", "m", "decode"), Kind("b", "m", "batch"))

times = st.one_of(st.floats(-3, 3), st.sampled_from((0.0, 1e9, -1e9, float("inf"), float("-inf"), float("nan"))))
weights = st.one_of(st.floats(0, 1e3), st.sampled_from((0.0, -1.0, 1e308, 5e-324, float("inf"), float("nan"))))
shares = st.lists(
    st.builds(Share, st.sampled_from("rstuv"), weights, st.sampled_from(("ok", "more", "error", "expired"))), max_size=5
)
Call = Callable[["Run"], None]


@dataclass
class Run:
    """The ledgers of two devices on their way through time."""

    ledgers: tuple[Ledger, ...] = ()
    now: float = 100.0
    until: list[float] = field(default_factory=lambda: [100.0, 100.0])
    counters: list[int] = field(default_factory=lambda: [0, 0])
    settled: list[Settled] = field(default_factory=list)

    def __post_init__(self) -> None:
        clients = Clients()
        self.ledgers = tuple(Ledger(clients=clients) for _ in DEVICES)

    def settle(self) -> None:
        for ledger in self.ledgers:
            self.settled += ledger.settle(self.now)

    def restart(self) -> None:
        saved = [json.loads(json.dumps(ledger.saved())) for ledger in self.ledgers]
        clients = Clients()
        self.ledgers = tuple(Ledger(clients=clients) for _ in DEVICES)
        for ledger, sums in zip(self.ledgers, saved, strict=True):
            ledger.restore(sums)


def opened(client: int, number: int, device: int, kind: Kind, start: float) -> Call:
    def call(run: Run) -> None:
        run.ledgers[device].opened(client, number, kind, run.now + start, run.now)

    return call


def closed(client: int, number: int, end: float, told: list[Share]) -> Call:
    def call(run: Run) -> None:
        run.ledgers[0].closed(client, number, run.now + end, tuple(told), run.now, reply=True)

    return call


def left(client: int) -> Call:
    return lambda run: run.ledgers[0].left(client, run.now)


def used(device: int, microjoules: int, length: float, hole: float, interval: Interval) -> Call:
    def call(run: Run) -> None:
        start, end = run.until[device] + hole, run.until[device] + hole + length
        run.until[device], run.now = end, max(run.now, end)
        run.counters[device] += microjoules
        run.ledgers[device].used(interval._replace(microjoules=microjoules, start=start, end=end))

    return call


def waited(seconds: float) -> Call:
    def call(run: Run) -> None:
        run.now += seconds
        run.settle()

    return call


intervals = st.builds(
    Interval,
    st.just(0),
    st.just(0.0),
    st.just(0.0),
    reason=st.sampled_from((None, None, None, "reset", "lost", "gap", "down")),
    foreign=st.sampled_from((0.0, 0.0, 0.3, 1.0)),
    idle=st.booleans(),
    grams_per_joule=st.sampled_from((None, 1e-4)),
)
lengths = st.sampled_from((0.0, 1e-12, 0.02, 0.1, 0.7, 1.5))
energies = st.one_of(st.integers(0, 10**8), st.sampled_from((0, 1, 10**13)))
calls = st.one_of(
    st.builds(
        opened,
        st.sampled_from(CLIENTS),
        st.sampled_from(NUMBERS),
        st.sampled_from(DEVICES),
        st.sampled_from(KINDS),
        times,
    ),
    st.builds(closed, st.sampled_from(CLIENTS), st.sampled_from(NUMBERS), times, shares),
    st.builds(left, st.sampled_from(CLIENTS)),
    st.builds(used, st.sampled_from(DEVICES), energies, lengths, st.sampled_from((0.0, 0.0, 0.0, 0.2)), intervals),
    st.builds(waited, st.sampled_from((0.0, 0.06, 0.06, 0.5, 5.0, 700.0))),
    st.just(Run.restart),
)


def sums(snapshot: Snapshot) -> dict[object, int]:
    """Return everything that may only grow."""
    kept: dict[object, int] = {"idle": snapshot.idle}
    kept.update(snapshot.unattributed)
    for owner, row in snapshot.charged.items():
        kept.update({(owner, outcome): charge.microjoules for outcome, charge in row.outcomes.items()})
    return kept


@settings(max_examples=400, deadline=None)
@given(st.lists(calls, max_size=60))
def test_energy_is_conserved(schedule: list[Call]) -> None:
    """After every call; nothing is negative, nothing that is somebody's is taken back, over restarts too."""
    run, before = Run(), [dict[object, int](), dict[object, int]()]
    last = [used(device, 7, 0.1, 0.0, Interval(0, 0.0, 0.0)) for device in DEVICES]
    for call in [*schedule, *last, *map(left, CLIENTS), waited(3.0), waited(3.0)]:
        call(run)
        for device, ledger in enumerate(run.ledgers):
            snapshot = ledger.snapshot()
            shown = sums(snapshot)
            assert snapshot.counter == run.counters[device] == sum(shown.values()) + snapshot.open
            assert snapshot.open >= 0
            assert all(value >= before[device].get(key, 0) for key, value in shown.items())
            before[device] = shown
    assert all(ledger.snapshot().open == 0 for ledger in run.ledgers)
    assert all(ledger.snapshot().clients == 0 for ledger in run.ledgers)


@settings(max_examples=200, deadline=None)
@given(st.lists(calls, max_size=60))
def test_parts_of_a_span_sum_to_it(schedule: list[Call]) -> None:
    """None is negative, and requests that ended ok are what their histogram counted."""
    run = Run()
    for call in schedule:
        call(run)
    for settled in run.settled:
        assert all(part >= 0 for part in settled.parts)
        assert sum(settled.parts) == (settled.span.microjoules if settled.span.shares else 0)
        assert len(settled.parts) == len(settled.span.shares)
    rows = [row for ledger in run.ledgers for row in ledger.snapshot().charged.values()]
    for outcome, counted in (("ok", [sum(row.requests.buckets) for row in rows]),
                             ("unmeasured", [row.requests.unmeasured for row in rows])):  # fmt: skip
        assert any(counted) or not any(row.outcomes[outcome].microjoules for row in rows)
