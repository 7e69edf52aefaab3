"""Requests whose energy is not all known, and requests on several devices: observed once and whole, or not at all."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perjoule_exporter.ledger import MORE, Clients, Interval, Kind, Ledger, Owner, Settled, Share, Snapshot
from perjoule_exporter.ledger.span import MOST_UNMEASURED

A = Kind("a", "m", "p")
OWNER = Owner("a", "m")
J = 1_000_000
CLIENT = 1


def ok(name: str = "r") -> Share:
    """Return the share of a request that ends ok."""
    return Share(name, 1.0, "ok")


def more(name: str = "r") -> Share:
    """Return the share of one that goes on."""
    return Share(name, 1.0, MORE)


class Devices:
    """Devices of no idle power, with the ledgers of one program, told of energy in intervals of 100 ms from 0 on."""

    def __init__(self, *names: str) -> None:
        clients = Clients()
        self.ledgers = {name: Ledger(idle_watts=0.0, clients=clients) for name in names or ("x",)}
        self.times = dict.fromkeys(self.ledgers, 0.0)
        self.settled: list[Settled] = []
        self._number = 0

    def open(self, device: str, start: float, kind: Kind = A, client: int = CLIENT) -> int:
        """Tell of a beginning, and return the span's number."""
        self._number += 1
        assert self.ledgers[device].opened(client, self._number, kind, start, start)
        return self._number

    def close(self, device: str, number: int, end: float, *shares: Share, client: int = CLIENT) -> None:
        """Tell of an end."""
        assert self.ledgers[device].closed(client, number, end, shares, end, reply=True)

    def span(self, device: str, start: float, end: float, *shares: Share) -> None:
        """Tell of a whole span."""
        self.close(device, self.open(device, start), end, *shares)

    def use(self, device: str, joules: float, seconds: float = 0.1, **more_of_it: Any) -> None:
        """Tell of joules, and settle them."""
        start, self.times[device] = self.times[device], self.times[device] + seconds
        self.ledgers[device].used(Interval(round(joules * J), start, self.times[device], **more_of_it))
        self.settle(device, self.times[device] + 0.05)

    def settle(self, device: str, now: float) -> None:
        """Settle what can be."""
        self.settled += self.ledgers[device].settle(now)

    def outcomes(self, device: str = "x") -> dict[str, float]:
        """Return the joules that are charged on a device, by outcome, and the open ones; zeros left out."""
        shown = self.ledgers[device].snapshot()
        assert balance(shown) == 0
        outcomes = shown.charged[OWNER].outcomes.items() if OWNER in shown.charged else ()
        found = {"open": shown.open, **{outcome: charge.microjoules for outcome, charge in outcomes}}
        return {outcome: microjoules / J for outcome, microjoules in found.items() if microjoules}

    def observed(self) -> int:
        """Return how many requests were observed, on all devices."""
        return sum(sum(row.requests.buckets) for row in self._rows())

    def unmeasured(self) -> int:
        """Return how many ended ok and were not."""
        return sum(row.requests.unmeasured for row in self._rows())

    def exemplars(self) -> list[tuple[str, float]]:
        """Return names and joules of observed requests, one of each bucket."""
        found = [each for row in self._rows() for each in row.requests.exemplars if each is not None]
        return [(each.request, each.microjoules / J) for each in found]

    def _rows(self) -> list[Any]:
        return [row for ledger in self.ledgers.values() for row in ledger.snapshot().charged.values()]


def balance(shown: Snapshot) -> int:
    """Return what is missing of a device's energy."""
    charged = sum(charge.microjoules for row in shown.charged.values() for charge in row.outcomes.values())
    return shown.counter - charged - shown.idle - sum(shown.unattributed.values()) - shown.open


@pytest.mark.parametrize(
    ("what", "lost", "expected"),
    [
        ("lost", {"reason": "lost"}, {"unmeasured": 10.0}),
        ("a gap", {"reason": "gap"}, {"unmeasured": 10.0}),
        ("a reset", {"reason": "reset"}, {"unmeasured": 10.0}),
        ("down", {"reason": "down"}, {"unmeasured": 10.0}),
        ("a stall", {"seconds": 1.5}, {"unmeasured": 10.0}),
        ("a foreign process", {"foreign": 1.0}, {"ok": 10.0}),
        ("nothing", {}, {"ok": 30.0}),
    ],
)
def test_a_request_over_energy_that_is_lost(what: str, lost: Mapping[str, Any], expected: Mapping[str, float]) -> None:
    """It is no cheap request: what it was given is unmeasured's, nothing is observed, and its client is told so."""
    devices = Devices()
    number = devices.open("x", 0.0)
    devices.use("x", 10.0)
    devices.use("x", 20.0, **lost)
    devices.close("x", number, devices.times["x"], ok())
    devices.use("x", 5.0)
    assert devices.outcomes() == expected, what
    good = "ok" in expected
    assert (devices.observed(), devices.unmeasured()) == ((1, 0) if good else (0, 1))
    assert [settled.span.is_measured for settled in devices.settled] == [good]


def test_a_request_in_a_hole_of_what_was_told() -> None:
    """Energy that was never told is missing as that which was lost is."""
    devices = Devices()
    devices.use("x", 5.0)
    devices.times["x"] = 0.3
    devices.span("x", 0.2, 0.4, ok())
    devices.use("x", 10.0)
    assert devices.outcomes() == {"unmeasured": 10.0}


def test_a_device_that_is_silent() -> None:
    """A span of which no energy is ever told is not one of 0 J."""
    devices = Devices()
    devices.use("x", 5.0)
    devices.span("x", 0.1, 0.2, ok())
    devices.settle("x", 3.0)
    assert (devices.observed(), devices.unmeasured(), devices.outcomes()) == (0, 1, {})


@pytest.mark.parametrize(("ticks", "good"), [(600, True), (120, True), (100, True), (80, False), (2, False)])
def test_a_long_request_that_lost_a_tick(ticks: int, good: bool) -> None:  # noqa: FBT001 (what a table holds)
    """Up to a hundredth of its time may be missing: else every long request would be left out, which cost the most."""
    assert MOST_UNMEASURED == 0.01
    devices = Devices()
    number = devices.open("x", 0.0)
    for tick in range(ticks):
        devices.use("x", 1.0, reason="gap" if tick == 1 else None)
    devices.close("x", number, devices.times["x"], ok())
    devices.use("x", 1.0)
    assert (devices.observed(), devices.unmeasured()) == ((1, 0) if good else (0, 1))


def test_a_short_span_that_is_missing_in_a_long_request() -> None:
    """It is the request's time that counts; the span's own figure is not known all the same."""
    devices = Devices()
    devices.span("x", 0.0, 0.1, more())
    devices.use("x", 9.0, reason="gap")
    number = devices.open("x", 0.1)
    devices.use("x", 1000.0, 0.9)
    devices.close("x", number, 1.0, more())
    for second in range(2, 13):
        number = devices.open("x", second - 1.0)
        devices.use("x", 1000.0, 1.0)
        devices.close("x", number, float(second), ok() if second == 12 else more())
    devices.use("x", 1.0)
    assert (devices.observed(), devices.unmeasured()) == (1, 0)
    assert [settled.span.is_measured for settled in devices.settled] == [False] + [True] * 12


def test_an_end_that_is_told_late() -> None:
    """What it was given is of other time too: that is not known either, while its batch-mates' outcomes stay."""
    devices = Devices()
    number = devices.open("x", 0.0)
    devices.use("x", 10.0)
    devices.use("x", 10.0)
    devices.close("x", number, 0.1, ok("r"), Share("s", 3.0, "error"))
    devices.use("x", 10.0)
    assert devices.outcomes() == {"unmeasured": 5.0, "error": 15.0}


def test_other_outcomes_than_ok_stay() -> None:
    """They are sums that nobody divides by a count of requests."""
    devices = Devices()
    devices.span("x", 0.0, 0.2, Share("r", 1.0, "cancelled"))
    devices.use("x", 10.0)
    devices.use("x", 10.0, reason="gap")
    assert devices.outcomes() == {"cancelled": 10.0}
    assert (devices.observed(), devices.unmeasured()) == (0, 0)


def tensor_parallel(devices: Devices, start: float, end: float, *shares: Sequence[Share]) -> None:
    """Tell of one batch on every device, closed in the same flush with these shares."""
    numbers = {device: devices.open(device, start) for device in devices.ledgers}
    for (device, number), each in zip(numbers.items(), shares, strict=True):
        devices.close(device, number, end, *each)


@pytest.mark.parametrize(
    ("what", "shares"),
    [
        ("the same on each", ([ok()], [ok()])),
        ("its end on the last", ([more()], [ok()])),
        ("its end on the first", ([ok()], [more()])),
        ("it ends otherwise on the last", ([Share("r", 1.0, "error")], [ok()])),
    ],
)
@pytest.mark.parametrize("order", [("x", "y"), ("y", "x")])
def test_a_request_on_two_devices(what: str, shares: tuple[list[Share], list[Share]], order: tuple[str, str]) -> None:
    """It is open on both until both have settled, in whatever order, and observed once, with the sum."""
    devices = Devices("x", "y")
    tensor_parallel(devices, 0.0, 0.1, *shares)
    joules = {"x": 10.0, "y": 30.0}
    first, last = order
    devices.use(first, joules[first])
    assert devices.outcomes(first) == {"open": joules[first]}, what
    devices.use(last, joules[last])
    assert devices.outcomes("x") == {"ok": 10.0}, what
    assert devices.outcomes("y") == {"ok": 30.0}, what
    assert devices.exemplars() == [("r", 40.0)]
    assert devices.observed() == 1
    assert [sum(settled.parts) / J for settled in devices.settled] == [joules[first], joules[last]]


def test_the_second_end_comes_after_the_first_has_settled() -> None:
    """While a span that began with the first one is open, the request waits for it."""
    devices = Devices("x", "y")
    one, two = devices.open("x", 0.0), devices.open("y", 0.0)
    devices.close("x", one, 0.1, ok())
    devices.use("x", 10.0)
    assert devices.outcomes("x") == {"open": 10.0}
    devices.close("y", two, 0.1, ok())
    devices.use("y", 30.0)
    assert devices.exemplars() == [("r", 40.0)]


def test_what_is_open_elsewhere_is_not_of_the_request() -> None:
    """Once it has ended without naming it, the request is charged; one that began at another time is not waited for."""
    devices = Devices("x", "y")
    other = devices.open("y", 0.0)
    devices.open("y", 0.05)
    devices.span("x", 0.0, 0.1, ok())
    devices.use("x", 10.0)
    assert devices.outcomes("x") == {"open": 10.0}
    devices.close("y", other, 0.2, ok("s"))
    assert devices.outcomes("x") == {"ok": 10.0}


def test_phases_on_two_devices() -> None:
    """Each device's joules are its own; the request is one."""
    devices = Devices("x", "y")
    tensor_parallel(devices, 0.0, 0.1, [more()], [more()])
    tensor_parallel(devices, 0.1, 0.2, [ok()], [ok()])
    for device, joules in (("x", 1.0), ("x", 2.0), ("y", 4.0), ("y", 8.0)):
        devices.use(device, joules)
    assert devices.exemplars() == [("r", 15.0)]
    assert devices.outcomes("x") == {"ok": 3.0}
    assert devices.outcomes("y") == {"ok": 12.0}


def test_a_name_that_is_used_again() -> None:
    """What begins after a request has ended is another one, though nothing has settled meanwhile."""
    devices = Devices()
    for number in range(3):
        start = number * 0.03
        devices.span("x", start, start + 0.01, more())
        devices.span("x", start + 0.01, start + 0.02, ok())
    devices.use("x", 6.0)
    assert devices.observed() == 3
    assert devices.outcomes() == {"ok": 6.0}


def test_one_device_of_two_was_lost() -> None:
    """Half of the energy is not the request's: nothing is observed, and what is there is unmeasured's on each."""
    devices = Devices("x", "y")
    tensor_parallel(devices, 0.0, 0.1, [ok()], [ok()])
    devices.use("x", 10.0)
    devices.use("y", 30.0, reason="lost")
    assert (devices.outcomes("x"), devices.outcomes("y")) == ({"unmeasured": 10.0}, {})
    assert (devices.observed(), devices.unmeasured()) == (0, 1)


def test_a_client_that_is_lost_in_a_batch_on_two_devices() -> None:
    """What had not ended on one of them is abandoned there. Whether the request was in it nobody knows: unmeasured."""
    devices = Devices("x", "y")
    one = devices.open("x", 0.0)
    devices.open("y", 0.0)
    devices.close("x", one, 0.1, ok())
    devices.use("x", 10.0)
    devices.ledgers["y"].left(CLIENT, 0.1)
    devices.use("y", 30.0)
    assert (devices.outcomes("x"), devices.outcomes("y")) == ({"unmeasured": 10.0}, {"abandoned": 30.0})


@dataclass(frozen=True)
class Batch:
    """A request of one batch after the other, on some devices; ``last`` says on which of them it ends."""

    phases: int
    devices: tuple[str, ...]
    last: str
    seconds: float


DEVICES = ("x", "y", "z")
batches = st.builds(
    Batch,
    st.integers(1, 3),
    st.sampled_from([DEVICES[:1], DEVICES[1:], DEVICES]),
    st.sampled_from(("all", "first", "last")),
    st.sampled_from((0.004, 0.03, 0.25)),
)


def told(devices: Devices, name: str, start: float, batch: Batch) -> list[tuple[str, float, float]]:
    """Tell of a request, and return where and when its spans were."""
    spans = []
    for phase in range(batch.phases):
        begin, end = start + phase * batch.seconds, start + (phase + 1) * batch.seconds
        numbers = [devices.open(device, begin) for device in batch.devices]
        for place, (device, number) in enumerate(zip(batch.devices, numbers, strict=True)):
            final = {"all": True, "first": place == 0, "last": place == len(numbers) - 1}[batch.last]
            devices.close(device, number, end, ok(name) if final and phase == batch.phases - 1 else more(name))
            spans.append((device, begin, end))
    return spans


@settings(max_examples=150, deadline=None)
@given(
    st.lists(batches, min_size=1, max_size=8),
    st.lists(st.tuples(st.sampled_from(DEVICES), st.sampled_from((0.02, 0.1)), st.booleans()), max_size=60),
)
def test_every_request_is_observed_once_or_known_to_be_unmeasured(
    work: list[Batch], ticks: list[tuple[str, float, bool]]
) -> None:
    """On any devices, with ticks in any order, some of them lost: just those that miss nothing are observed, whole."""
    devices = Devices(*DEVICES)
    spans = [told(devices, f"r{number}", 0.05 + 0.3 * number, batch) for number, batch in enumerate(work)]
    lost: list[tuple[str, float, float]] = []
    for device, seconds, good in [*ticks, *((device, 0.9, True) for device in DEVICES * 6)]:
        if not good:
            lost.append((device, devices.times[device], devices.times[device] + seconds))
        devices.use(device, 3.0, seconds, reason=None if good else "lost")
    measured = [not missing(of_one, lost) for of_one in spans]
    assert (devices.observed(), devices.unmeasured()) == (sum(measured), len(work) - sum(measured))
    assert all(devices.outcomes(device).keys() <= {"ok", "unmeasured"} for device in DEVICES)
    names = {f"r{number}" for number, good in enumerate(measured) if good}
    assert {name for name, _ in devices.exemplars()} <= names


def missing(spans: list[tuple[str, float, float]], lost: list[tuple[str, float, float]]) -> bool:
    """Return whether more than a hundredth of these spans' time was lost."""
    seconds = sum(end - start for _, start, end in spans)
    gone = sum(max(0.0, min(end, until) - max(start, since)) for device, start, end in spans
               for lossy, since, until in lost if lossy == device)  # fmt: skip
    return gone > 0.01 * seconds + 1e-9
