"""One GPU: what it is, what its energy is made of, and how it is read.

What a board was found to be when it was first seen (counted or integrated, the GPU's or the module's) it stays as long
as the exporter runs, for its joules must not change their meaning under way. Which calls answer may change with each
session of NVML. A board whose counter stays at 0 while power is drawn has no counter.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass

from perjoule.errors import DeviceLostError
from perjoule_exporter.clock import Clock
from perjoule_exporter.meters import Device, DeviceKind, ProcessUse, Reading, Slice, Status
from perjoule_exporter.meters.integral import PowerIntegral
from perjoule_exporter.meters.nvml.driver import Fields, Handle
from perjoule_exporter.meters.nvml.mig import slices_of
from perjoule_exporter.meters.nvml.power import (
    AVERAGE_POWER,
    ENERGY,
    GPU_SCOPE,
    INSTANT_POWER,
    MODULE_SCOPE,
    TOTAL_POWER_SAMPLES,
    SampledPower,
    TickStamps,
    is_module,
    watts_of,
)
from perjoule_exporter.meters.nvml.processes import ProcessWatch
from perjoule_exporter.meters.nvml.status import status_of

COUNTER, INTEGRATED = "counter", "integrated"

LOST, FOUND = 0, -1
"""In place of a session: a board without a handle that did not answer, or that NVML lists again."""

_SLICES_EVERY = 5.0  # seconds


@dataclass(slots=True)
class Identity:
    """What labels show of a board."""

    uuid: str
    index: int
    driver: str
    name: str = ""
    pci_bus_id: str = ""


class Board:
    """One GPU over all sessions of NVML."""

    def __init__(self, identity: Identity, clock: Clock, turn: threading.Lock) -> None:
        """Begin with a board that has no handle yet; ``turn`` is its own way into the driver (``Gate.turn``)."""
        self.identity = identity
        self.turn = turn
        self.session = LOST  # the one that its handle is of
        self.method = ""  # until it is known
        self.at_a_glance = False  # whether a reading takes one call only
        self.slices: tuple[Slice, ...] = ()
        self._clock = clock
        self._integral = PowerIntegral()
        self._sampled = SampledPower(self._power_samples, self._integral)
        self._scope: int | None = None  # until it is known
        self._processes = ProcessWatch()
        self._slices_read_at = float("-inf")

    @property
    def lost(self) -> bool:
        """Whether it did not answer when it was last asked."""
        return self.session == LOST

    def attach(self, handle: Handle, session: int) -> None:
        """Take over the handle of a session, and find out what answers in it.

        Raises:
            DeviceLostError: the GPU does not answer.
        """
        self._handle = handle
        if self._scope is None:
            self._scope = MODULE_SCOPE if all(self._seems_module() for _ in range(3)) else GPU_SCOPE
        self.fields = Fields(handle, [(ENERGY, 0), (AVERAGE_POWER, self._scope), (INSTANT_POWER, self._scope)])
        self._stamps = TickStamps()
        self._sampled.useful = self._scope == GPU_SCOPE  # the driver's samples are the GPU's own
        self._read_slices()
        for _ in range(3):  # a tick may fall between two of them, hardly between all
            energy = self.fields.read()[0]
            if energy is not None:
                self._stamps.moved_at(*energy, wall=0.0)
        self.session = session

    def found(self, index: int, driver: str) -> None:
        """Note that NVML lists the board in a new session. Its handle is looked up by whoever reads it."""
        self.identity.index, self.identity.driver = index, driver
        if self.lost:
            self.session = FOUND

    def settled(self) -> bool:
        """Find out whether the board counts its energy; False while nobody can tell, because the counter is at 0.

        A board that is lost meanwhile keeps no method, and is settled: with a new one nothing can be begun.
        """
        try:
            energy, _, instant = self.fields.read()
            millijoules = energy[0] if energy else self._handle.ask("nvmlDeviceGetTotalEnergyConsumption", vital=True)
            milliwatts = instant[0] if instant else self._handle.ask("nvmlDeviceGetPowerUsage", vital=True)
        except DeviceLostError:
            return True
        if millijoules == 0 and milliwatts:
            return False
        self.method = INTEGRATED if millijoules is None else COUNTER
        return True

    def device(self) -> Device:
        """Return what labels show."""
        return Device(
            kind=DeviceKind.GPU,
            uuid=self.identity.uuid,
            index=self.identity.index,
            method=self.method,
            scope="module" if self._scope == MODULE_SCOPE else "gpu",
            name=self.identity.name,
            vendor="NVIDIA",
            driver=self.identity.driver,
            pci_bus_id=self.identity.pci_bus_id,
            slices=self.slices,
            lasting=self.method == COUNTER,
        )

    def read(self) -> Reading:
        """Read energy and power.

        Raises:
            DeviceLostError: the GPU does not answer.
        """
        words = self.fields.words()
        self.at_a_glance = self.method == COUNTER and bool(words) and self.fields.last_usual()
        return self._reading(words, self._clock.wall())

    def glimpsed(self, raw: bytes, wall: float) -> Reading | None:
        """Return the reading of what a look at ``fields`` gave, at the Unix time ``wall``; None where that is none."""
        self.at_a_glance = self.fields.usual(raw)
        return self._reading(self.fields.unpacked(raw), wall) if self.at_a_glance else None

    def _reading(self, words: tuple[int, ...], wall: float) -> Reading:
        energy, average, instant = self.fields.answers(words)
        milliwatts = instant[0] if instant else self._handle.ask("nvmlDeviceGetPowerUsage", vital=True)
        watts = watts_of(milliwatts)
        if self.method == COUNTER:
            microjoules, moved_at = self._counted(energy, wall)
        else:
            microjoules, moved_at = self._integrated(watts)
        return Reading(microjoules, moved_at, watts, watts_of(average[0]) if average else None)

    def status(self) -> Status:
        """Read the slow values, and the MIG slices more slowly still.

        Raises:
            DeviceLostError: the GPU does not answer.
        """
        if self._clock.monotonic() - self._slices_read_at >= _SLICES_EVERY:
            self._read_slices()
        return status_of(self._handle)

    def processes(self) -> tuple[ProcessUse, ...] | None:
        """Read who uses the board.

        Raises:
            DeviceLostError: the GPU does not answer.
        """
        return self._processes.read(self._handle)

    def _read_slices(self) -> None:
        slices = slices_of(self._handle)
        if bool(slices) != bool(self.slices):
            self._handle.forget()  # under MIG other calls answer than without
        self.slices, self._slices_read_at = slices, self._clock.monotonic()

    def _counted(self, energy: tuple[int, int] | None, wall: float) -> tuple[int | None, float | None]:
        if energy is not None:
            return energy[0] * 1000, self._stamps.moved_at(*energy, wall=wall)
        millijoules = self._handle.ask("nvmlDeviceGetTotalEnergyConsumption", vital=True)
        return None if millijoules is None else millijoules * 1000, None

    def _integrated(self, watts: float | None) -> tuple[int | None, float | None]:
        now, wall = self._clock.monotonic(), self._clock.wall()
        if self._sampled.advance(now, wall):
            return self._integral.microjoules, self._integral.time
        if watts is None:
            self._integral.break_off()
            return None, None
        self._integral.add(now, watts)
        return self._integral.microjoules, wall

    def _power_samples(self, since: int) -> Sequence[tuple[int, int]]:
        return self._handle.samples(TOTAL_POWER_SAMPLES, since)

    def _seems_module(self) -> bool:
        """Whether power says that energy is the module's. A change of load between two answers may deceive it once."""
        scoped = [(field, scope) for scope in (GPU_SCOPE, MODULE_SCOPE) for field in (AVERAGE_POWER, INSTANT_POWER)]
        power = [answer and answer[0] for answer in Fields(self._handle, scoped).read()]
        return is_module(power, self._handle.ask("nvmlDeviceGetPowerUsage", vital=True))
