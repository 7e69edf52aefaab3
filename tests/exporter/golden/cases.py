"""The machines behind the golden files: scripted devices, a clock that is set by hand, and seconds of real sampling."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from perjoule.errors import DeviceLostError
from perjoule_exporter.charging import Charging, IdleWatts
from perjoule_exporter.collector.groups import DEFAULT_GROUPS, GROUPS
from perjoule_exporter.intensity import Carbon, CarbonSettings, Factors
from perjoule_exporter.ledger import Kind as Work
from perjoule_exporter.ledger import Owner, Share
from perjoule_exporter.meters import MICRO, Device, DeviceKind, Meter, Reading, Slice, Status
from perjoule_exporter.meters.estimate import EstimateSettings
from perjoule_exporter.pace import Pace
from perjoule_exporter.price import Price
from perjoule_exporter.processes.account import Account
from perjoule_exporter.processes.owner import Kind
from perjoule_exporter.processes.owner import Owner as ProcessOwner
from perjoule_exporter.processes.shares import Look, Use
from perjoule_exporter.sampler import Sampler
from perjoule_exporter.seat import Rules, Seats
from perjoule_exporter.spans import Announced, Closed, Opened
from perjoule_exporter.track import Charges
from perjoule_exporter.view import DeviceView
from tests.exporter.fakes import WALL, Hands
from tests.exporter.test_estimate import Machine as EstimatedMachine
from tests.exporter.test_rapl import Machine as RaplMachine

STEP_SECONDS = 0.025
READ_SECONDS = 21e-6
"""What a call of NVML's field values takes at most, as measured."""

NO_ZONE = Carbon(CarbonSettings()).factors()
FRANCE = replace(Carbon(CarbonSettings(zone="FRA", pue=1.2)).factors(), price=Price(0.25, "EUR"))
QUIET = DEFAULT_GROUPS - {"runtime"}  # what a process uses is never twice the same

H100 = Device(
    DeviceKind.GPU, "GPU-c3a9fe34-9f2d-4b59-a0d8-000000000000", 0, "counter", "gpu", name="NVIDIA H100 80GB HBM3",
    vendor="NVIDIA", driver="550.54.15", pci_bus_id="00000000:18:00.0", lasting=True,
)  # fmt: skip
SECOND = replace(H100, uuid="GPU-c3a9fe34-9f2d-4b59-a0d8-000000000001", index=1, pci_bus_id="00000000:2A:00.0")
MIG = replace(
    H100,
    slices=(
        Slice("MIG-5d9e4a1c-0000-5000-8000-000000000001", "3g.40gb", 1, 0),
        Slice("MIG-5d9e4a1c-0000-5000-8000-000000000002", "1g.10gb", 9, 0),
    ),
)
MI300X = Device(
    DeviceKind.GPU, "74a1-0000-1000-80ff-000000000000", 0, "counter", "gpu", name="AMD Instinct MI300X",
    vendor="AMD", driver="6.8.5", pci_bus_id="0000:c1:00.0",
)  # fmt: skip
NVIDIA_STATUS = Status(
    limit_watts=700.0,
    utilization_ratio=0.97,
    memory_used_bytes=41 * 2**30,
    memory_total_bytes=80 * 2**30,
    temperature_celsius=61.0,
    clocks_hertz=MappingProxyType({"graphics": 1.755e9, "sm": 1.755e9, "memory": 2.619e9, "video": 1.38e9}),
    throttle_reasons=frozenset({"sw_power_cap"}),
)
MIG_STATUS = replace(NVIDIA_STATUS, utilization_ratio=None)
AMD_STATUS = Status(750.0, 0.5, 2**30, 192 * 2**30, 48.0, MappingProxyType({"graphics": 2.1e9, "memory": 1.3e9}))
BATCH = Work("summarization", "facebook/bart-large-cnn", "decode")

USES = (
    Use(ProcessOwner(Kind.PROCESS, "python3", "0f1e2d3c4b5a", "8a6b2f0c-1d3e-4f5a-9b7c-2e4d6f8a0b1c"), 0.6),
    Use(ProcessOwner(Kind.PROCESS, "ollama", unit="ollama.service"), 0.3),
)


@dataclass
class Boards:
    """GPUs that draw 150 and 450 W in turn, half a second each, and count that in ticks of 100 ms.

    ``power`` says what is told of power; ``lost`` what no longer answers.
    """

    hands: Hands
    found: tuple[Device, ...]
    status_of_all: Status = NVIDIA_STATUS
    average: bool = True
    lost: set[str] = field(default_factory=set)

    def devices(self) -> tuple[Device, ...]:
        return self.found

    def read(self, device: Device) -> Reading:
        self.hands.seconds += READ_SECONDS
        if device.uuid in self.lost:
            raise DeviceLostError(f"{device.uuid}: GPU is lost")
        ticks = int(self.hands.seconds / 0.1)
        return Reading(
            energy_microjoules=_microjoules_of(ticks),
            energy_time=WALL + ticks / 10,
            power_watts=_watts_at(self.hands.seconds),
            average_power_watts=300.0 if self.average else None,
        )

    def status(self, device: Device) -> Status:  # noqa: ARG002 (they are all alike)
        return self.status_of_all

    def close(self) -> None:
        pass


def _watts_at(seconds: float) -> float:
    return 450.0 if int(seconds * 2) % 2 else 150.0


def _microjoules_of(ticks: int) -> int:
    return sum(round(_watts_at(tick / 10 + 0.05) * MICRO / 10) for tick in range(ticks))


class Machine(NamedTuple):
    """Meters, the clock that they share, and how time passes for them."""

    hands: Hands
    meters: tuple[Meter, ...]
    passes: Callable[[float], None]


class Case(NamedTuple):
    """One golden file: a machine, in a folder of its own, sampled for so long, shown with these factors and groups."""

    machine: Callable[[Path], Machine]
    seconds: float = 3.0
    step: float = STEP_SECONDS
    factors: Factors = NO_ZONE
    groups: frozenset[str] = QUIET
    spans: bool = False

    def sampled(self, folder: Path) -> tuple[DeviceView, ...]:
        """Return what there is to show at the end."""
        hands, meters, passes = self.machine(folder)
        grams = None
        if self.factors.intensity is not None:
            grams = self.factors.intensity.grams_per_kwh * self.factors.pue / 3.6e6
        charges = Charges(grams, 1e-6 if self.factors.intensity is not None else None)
        book = _Batches(hands)
        sampler = Sampler(
            meters, Rules(Pace(idle_seconds=STEP_SECONDS), lambda: charges), hands.clock, seats=Seats(book.adopt)
        )
        owners = _Owners(sampler, hands) if "process" in self.groups else None
        end = hands.seconds + self.seconds
        sampler.sample()
        while hands.seconds < end:
            passes(self.step)
            sampler.sample()
            if self.spans:
                book.work()
            if owners is not None:
                owners.look()
        return sampler.views()


class _Batches(Charging):
    """Charging, with a client whose batches run for half of each second, on the first GPU."""

    def __init__(self, hands: Hands) -> None:
        super().__init__(IdleWatts(of_gpus=70.0), hands.clock, threading.Lock())  # all is done by one thread
        self._now = hands.clock.monotonic
        self._number = 0

    def work(self) -> None:
        """Tell what there is to be told by now."""
        now = self._now()
        busy = int(now * 2) % 2 == 1
        if not self._number:
            self.take(1, [Announced((Owner(*BATCH[:2]),))], now)
        if busy and self._number % 2 == 0:
            self._number += 1
            self.take(1, [Opened(self._number, self.devices()[0].device, BATCH, now)], now)
        elif not busy and self._number % 2 == 1:
            shares = (Share(f"request-{self._number}", 300.0, "ok"), Share("other", 100.0, "cancelled"))
            self.take(1, [Closed(self._number, self.devices()[0].device, now, shares, reply=False)], now)
            self._number += 1


class _Owners:
    """A container and a service on each GPU, looked at once a second."""

    def __init__(self, sampler: Sampler, hands: Hands) -> None:
        self._now = hands.clock.monotonic
        self._looked_at = self._now()
        self._accounts = [Account(50, 5.0) for seat in sampler.seats.all if seat.device.kind is DeviceKind.GPU]
        for seat, account in zip(sampler.seats.all, self._accounts, strict=False):
            seat.track.splitter = account

    def look(self) -> None:
        if self._now() >= self._looked_at + 1.0:
            look = Look(self._looked_at, self._now(), USES, 0.97)
            for account in self._accounts:
                account.look(look, self._now())
            self._looked_at = self._now()


def _boards(*found: Device, lost: str = "", **told: object) -> Callable[[Path], Machine]:
    def machine(_: Path) -> Machine:
        hands = Hands()
        boards = Boards(hands, found, **told)  # type: ignore[arg-type] # a test's shorthand

        def passes(seconds: float) -> None:
            hands.seconds += seconds
            if lost and hands.seconds > 1.5:
                boards.lost = {lost}

        return Machine(hands, (boards,), passes)

    return machine


def _rapl(folder: Path) -> Machine:
    machine = RaplMachine(folder, "server")
    return Machine(machine.hands, (machine.meter(),), machine.passes)


def _estimate(folder: Path) -> Machine:
    machine, hands = EstimatedMachine(folder), Hands()

    def passes(seconds: float) -> None:
        hands.seconds += seconds
        machine.show("stat-busy")

    return Machine(hands, (machine.meter(hands, EstimateSettings(10.0, 90.0)),), passes)


def _everything(folder: Path) -> Machine:
    hands, rapl, passes = _rapl(folder)
    return Machine(hands, (Boards(hands, (MIG, SECOND)), *rapl), passes)


CASES: Mapping[str, Case] = MappingProxyType(
    {
        "two-gpus": Case(_boards(H100, SECOND)),
        "one-lost-of-two": Case(_boards(H100, SECOND, lost=SECOND.uuid)),
        "mig": Case(_boards(MIG, status_of_all=MIG_STATUS)),
        "module": Case(_boards(replace(H100, scope="module", name="NVIDIA GH200 480GB"))),
        "no-counter": Case(
            _boards(replace(H100, method="integrated", name="Tesla P100", lasting=False), average=False)
        ),
        "amd": Case(_boards(MI300X, status_of_all=AMD_STATUS, average=False)),
        "rapl-server": Case(_rapl, factors=FRANCE),
        "estimate": Case(_estimate, seconds=1.0, step=1.0, factors=FRANCE),
        "dcgm": Case(_boards(MIG, SECOND, lost=SECOND.uuid), groups=QUIET | {"dcgm"}),
        "inferences": Case(_boards(H100, SECOND), factors=FRANCE, spans=True),
        "everything": Case(_everything, factors=FRANCE, groups=frozenset(GROUPS) - {"runtime"}),
    }
)
