"""Charging over real sampling of scripted boards: what readings tell the ledgers, and when."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from perjoule.errors import UsageError
from perjoule_exporter.charging import Charging, IdleWatts, idle_watts
from perjoule_exporter.charging.kept import go_on
from perjoule_exporter.ledger import OUTCOMES, Kind, Ledger, Owner, Share, Snapshot
from perjoule_exporter.meters import Device, DeviceKind
from perjoule_exporter.pace import Pace
from perjoule_exporter.sampler import Sampler, Saved
from perjoule_exporter.seat import Rules, Seats
from perjoule_exporter.spans import Announced, Closed, Opened
from perjoule_exporter.track import Charges, Track
from perjoule_exporter.view import DeviceView
from tests.exporter.fakes import Hands, ScriptedMeter

WORK = Kind("summarization", "bart", "decode")
OWNER = Owner(*WORK[:2])
GPU = "GPU-0"
MICRO = 1_000_000


BELOW = IdleWatts(of_gpus=40.0)


@dataclass
class Running:
    """A board of 100 W whose counter ticks every 100 ms, its sampler and its ledgers, by hand."""

    gpus: int = 1
    saved: dict[str, Saved] = field(default_factory=dict)
    idle: IdleWatts = BELOW
    hands: Hands = field(default_factory=Hands)
    utilization: float | None = 0.0
    grams_per_joule: float | None = None

    def __post_init__(self) -> None:
        self.meter = ScriptedMeter(self.hands, self.gpus, tick=0.1, utilization=self.utilization)
        seats = Seats(self._found)
        self.book = Charging(self.idle, self.hands.clock, seats.lock)
        rules = Rules(Pace(), lambda: Charges(self.grams_per_joule), self.book.attended)
        self.sampler = Sampler([self.meter], rules, self.hands.clock, self.saved, seats=seats)

    def _found(self, track: Track) -> None:
        self.book.adopt(track)

    @property
    def now(self) -> float:
        return self.hands.clock.monotonic()

    def passes(self, seconds: float) -> None:
        end = self.hands.seconds + seconds
        while self.hands.seconds < end - 1e-9:
            self.sampler.sample()
            self.hands.seconds += 0.005

    def hello(self, client: int = 1) -> None:
        self.book.take(client, [Announced((OWNER,))], self.now)

    def batch(self, seconds: float, number: int = 1, client: int = 1, outcome: str = "ok", device: str = GPU) -> None:
        self.book.take(client, [Opened(number, device, WORK, self.now)], self.now)
        self.passes(seconds)
        shares = (Share(f"r{number}", 1.0, outcome),)
        self.book.take(client, [Closed(number, device, self.now, shares, reply=True)], self.now)

    def view(self) -> DeviceView:
        view = self.sampler.views()[0]
        if view.measured is not None and view.charged is not None:
            assert view.measured.energy_joules == view.charged.ledger.counter / MICRO
        return view

    def shown(self) -> Snapshot:
        charged = self.view().charged
        assert charged is not None
        assert balance(charged.ledger) == 0
        return charged.ledger


def balance(ledger: Snapshot) -> int:
    charged = sum(charge.microjoules for row in ledger.charged.values() for charge in row.outcomes.values())
    return ledger.counter - charged - ledger.idle - sum(ledger.unattributed.values()) - ledger.open


def ok(ledger: Snapshot) -> float:
    return ledger.charged[OWNER].outcomes["ok"].microjoules / MICRO


def test_a_batch_is_charged_and_the_rest_is_idle_or_nobodys() -> None:
    """Of 100 W: all while it ran, else 40 W idle and 60 W nobody's; each edge is uncertain by a tick."""
    running = Running()
    running.hello()
    running.passes(1.0)
    running.batch(2.0)
    running.passes(1.0)
    ledger = running.shown()
    assert ok(ledger) == pytest.approx(200.0, abs=12.0)
    assert ledger.idle / MICRO == pytest.approx(80.0, abs=12.0)
    assert ledger.unattributed["no_span"] / MICRO == pytest.approx(120.0, abs=12.0)
    assert [settled.parts[0] / MICRO for settled in running.book.settled()] == [pytest.approx(200.0, abs=12.0)]
    assert running.book.settled() == ()


def test_nothing_is_shown_until_there_was_a_client() -> None:
    """And then all that the device has used is in it."""
    running = Running()
    running.passes(3.0)
    assert running.view().charged is None
    running.hello()
    ledger = running.shown()
    assert ledger.counter == pytest.approx(300 * MICRO, abs=20 * MICRO)
    outcomes = ledger.charged[OWNER].outcomes.items()
    assert {outcome: charge.microjoules for outcome, charge in outcomes} == dict.fromkeys(OUTCOMES, 0)


@pytest.mark.parametrize(("utilization", "watts"), [(0.0, 100.0), (0.5, None), (None, None)])
def test_idle_power_is_learned_before_the_first_client_comes(utilization: float | None, watts: float | None) -> None:
    """From a board that says that nothing runs; from one that works, or does not tell, never."""
    running = Running(idle=IdleWatts(), utilization=utilization)
    running.passes(4.0)
    running.hello()
    assert running.shown().idle_watts == (None if watts is None else pytest.approx(watts))


def test_ticks_are_read_closely_while_a_span_waits_for_its_energy_only() -> None:
    """Attended from its beginning until an interval has passed its end."""
    running = Running()
    device = running.sampler.seats.all[0].device
    running.hello()
    running.passes(0.5)
    assert not running.book.attended(device)
    running.batch(0.3)
    assert running.book.attended(device)
    running.passes(0.5)
    assert not running.book.attended(device)


def _lost(running: Running) -> None:
    running.meter.lost = {GPU}
    running.passes(0.5)
    running.meter.lost = set()
    running.passes(1.5)


def _suspended(running: Running) -> None:
    running.hands.seconds += 5.0
    running.passes(0.5)


def _reset(running: Running) -> None:
    running.hands.seconds += 0.01
    for seat in running.sampler.seats.all:
        seat.track.energy._raw = 10**15  # as a counter that was reset since
    running.passes(0.5)


@pytest.mark.parametrize(("happens", "reason"), [(_lost, "lost"), (_suspended, "gap"), (_reset, "reset")])
def test_energy_of_a_time_that_nobody_knows_is_nobodys(happens: Callable[[Running], None], reason: str) -> None:
    """For its reason, though a span is open; and afterwards the span gets its energy again."""
    running = Running()
    running.hello()
    running.book.take(1, [Opened(1, GPU, WORK, running.now)], running.now)
    running.passes(1.0)
    happens(running)
    left = running.shown()
    assert left.unattributed.keys() - {"no_span", "idle_unknown"} == {reason}
    running.passes(1.0)
    after = running.shown()
    assert after.unattributed == left.unattributed
    assert after.open > left.open + 90 * MICRO


def test_a_lost_device_keeps_what_was_charged() -> None:
    """What was charged stays charged, and is shown; a histogram over all devices does not go back."""
    running = Running(gpus=2)
    running.hello()
    running.batch(1.0)
    running.passes(0.5)
    before = running.shown()
    running.meter.lost = {GPU}
    running.passes(2.0)
    view = running.view()
    assert view.measured is None
    assert view.charged is not None
    assert ok(view.charged.ledger) == ok(before)


def test_a_span_elsewhere_or_late_is_refused() -> None:
    """With words for its client; a late one is taken all the same."""
    running = Running()
    running.hello()
    running.passes(1.0)
    running.view()
    told = [Opened(1, "GPU-9", WORK, running.now), Opened(2, GPU, WORK, running.now - 0.9)]
    refused = running.book.take(1, told, running.now)
    assert [(each.number, each.late) for each in refused] == [(1, False), (2, True)]
    assert "GPU-9 is not a device" in refused[0].why
    assert "late" in refused[1].why
    assert running.shown().late == 1


def test_a_client_that_is_gone_abandons_its_span_alone() -> None:
    """The other's is charged as if nothing had been."""
    running = Running()
    running.hello(1)
    running.hello(2)
    running.book.take(1, [Opened(1, GPU, WORK, running.now)], running.now)
    running.batch(0.5, client=2)
    running.book.left(1, running.now)
    running.passes(0.5)
    ledger = running.shown()
    assert ok(ledger) > 20
    assert ledger.charged[OWNER].outcomes["abandoned"].microjoules > 20 * MICRO
    assert ledger.clients == 1


def restarted(running: Running, **settings: object) -> Running:
    """Return the same machine under a new exporter, ten seconds later."""
    _, sums = running.sampler.views_and_sums()
    running.hands.seconds += 10.0
    return Running(saved=dict(sums), hands=running.hands, **settings)  # type: ignore[arg-type] # a test's shorthand


def test_no_sum_goes_back_over_a_restart() -> None:
    """What was open is abandoned or lost; a new client adds to what was charged before."""
    running = Running(grams_per_joule=1e-4)
    running.hello()
    running.batch(1.0)
    running.passes(0.5)
    running.book.take(1, [Opened(7, GPU, WORK, running.now)], running.now)
    running.passes(0.5)
    before = running.shown()
    after = restarted(running, grams_per_joule=1e-4)
    after.passes(1.0)
    ledger = after.shown()
    assert ledger.counter >= before.counter
    assert ok(ledger) == ok(before)
    assert ledger.charged[OWNER].outcomes["ok"].grams == before.charged[OWNER].outcomes["ok"].grams
    assert ledger.charged[OWNER].outcomes["abandoned"].microjoules > 0
    after.hello()
    after.batch(1.0)
    after.passes(0.5)
    assert ok(after.shown()) > ok(before) + 90


def test_emissions_start_again_where_the_devices_do() -> None:
    """Grams by another basis never go on; joules do."""
    running = Running(grams_per_joule=1e-4)
    running.hello()
    running.batch(1.0)
    running.passes(0.5)
    before = running.shown()
    _, sums = running.sampler.views_and_sums()
    energy = {**sums[GPU]["energy"], "grams": None}
    after = Running(saved={GPU: {**sums[GPU], "energy": energy}}, hands=running.hands)
    after.passes(0.2)
    ledger = after.shown()
    assert ok(ledger) == ok(before)
    assert {charge.grams for charge in ledger.charged[OWNER].outcomes.values()} == {None}


def test_what_is_not_a_ledger_starts_at_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """With a warning; the device's energy until then has no owner."""
    running = Running()
    running.hello()
    running.passes(2.0)
    _, sums = running.sampler.views_and_sums()
    after = Running(saved={GPU: {**sums[GPU], "charges": {"accounts": 7}}}, hands=running.hands)
    after.hello()
    after.passes(0.1)
    assert after.shown().unattributed["down"] == sums[GPU]["energy"]["total"]
    assert "of no use" in caplog.text


def test_a_ledger_of_more_energy_than_the_device_is_refused() -> None:
    """Such a state was never written."""
    ledger = Ledger()
    with pytest.raises(ValueError, match="cannot use"):
        go_on(ledger, {**Ledger().saved(), "accounts": {**Ledger().saved()["accounts"], "counter": 5, "idle": 5}}, 4,
              with_grams=True)  # fmt: skip


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ([], (None, None)),
        (["70"], (70.0, None)),
        (["cpu-0=20.5"], (None, 20.5)),
        (["70", "GPU-0=60", "cpu-0=20"], (60.0, 20.0)),
    ],
)
def test_idle_watts_are_of_gpus_or_of_one_device(texts: list[str], expected: tuple[float | None, float | None]) -> None:
    """As they are written."""
    gpu = Device(DeviceKind.GPU, GPU, 0, "counter", "gpu")
    cpu = Device(DeviceKind.CPU, "cpu-0", 0, "counter", "package")
    assert (idle_watts(texts).of(gpu), idle_watts(texts).of(cpu)) == expected


@pytest.mark.parametrize("texts", [["x"], ["-1"], ["nan"], ["inf"], ["GPU-0="], ["1", "2"], ["a=1", "a=2"], ["99999"]])
def test_idle_watts_that_are_none(texts: list[str]) -> None:
    """No power, or two of one device."""
    with pytest.raises(UsageError, match=r"--ledger\.idle-watts"):
        idle_watts(texts)


def test_only_gpus_and_packages_are_charged_for(tmp_path: Path) -> None:
    """Memory, and zones that overlap packages, have no ledger."""
    from tests.exporter.test_rapl import Machine

    machine = Machine(tmp_path, "server")
    book = Charging(IdleWatts(), machine.hands.clock, threading.Lock())
    Sampler([machine.meter()], Rules(Pace(), Charges), machine.hands.clock, seats=Seats(book.adopt))
    assert [(each.device, each.kind) for each in book.devices()] == [("cpu-0", "cpu"), ("cpu-1", "cpu")]
