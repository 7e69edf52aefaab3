"""Foreign processes on a board: what is theirs is nobody's, and nothing is where that cannot be told."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from perjoule_exporter.charging.foreign import Foreign, foreign_share
from perjoule_exporter.meters import Device, ProcessUse
from perjoule_exporter.processes.procfs import parent
from tests.exporter.driver import FakeDriver
from tests.exporter.running import StartClient, StartExporter, wait_until
from tests.exporter.test_charging import MICRO, OWNER, Running
from tests.exporter.test_charging_program import COUNTER, ENERGY, Watch

UNATTRIBUTED = "inference_unattributed_energy_joules_total"


def use(pid: int, ratio: float | None) -> ProcessUse:
    return ProcessUse(pid, ratio, None)


@pytest.mark.parametrize(
    ("uses", "own", "share"),
    [
        ([use(1, 0.6), use(2, 0.2)], {1}, 0.25),
        ([use(1, 0.6), use(2, 0.2)], {1, 2}, 0.0),
        ([use(1, 0.6), use(2, None)], {1}, 0.0),
        ([use(1, None), use(2, 0.5)], {1}, 1.0),
        ([use(1, None), use(2, None)], {1}, 0.0),
        ([use(1, 0.6), use(2, 0.2)], set(), 0.0),
        ([], {1}, 0.0),
    ],
)
def test_shares(uses: Sequence[ProcessUse], own: set[int], share: float) -> None:
    """By utilisation; nothing where no process on the board is a client's, or no use is told."""
    assert foreign_share(uses, frozenset(own)) == pytest.approx(share)


class Told(Running):
    """A board whose driver tells who uses it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.uses: tuple[ProcessUse, ...] | None = None
        self.clients: tuple[int, ...] = ()
        self.asked = 0
        self.meter.processes = self._processes  # type: ignore[attr-defined] # so it is one that sees processes
        self.foreign = Foreign(self.sampler.seats, lambda: self.clients, self.hands.clock, Path("/proc"))

    def _processes(self, device: Device) -> tuple[ProcessUse, ...] | None:
        del device
        self.asked += 1
        return self.uses

    def works(self, seconds: float) -> None:
        """Let one batch run, and look once a second."""
        self.hello()
        self.foreign.look()
        self.passes(1.0)
        self.foreign.look()
        self.batch(seconds)
        self.passes(0.5)

    def left(self) -> float:
        return self.shown().unattributed.get("foreign", 0) / MICRO


def test_a_foreign_process_takes_its_part() -> None:
    """Half of what is above idle while both are as busy."""
    told = Told()
    told.clients = (os.getpid(),)
    told.uses = (use(os.getpid(), 0.4), use(1, 0.4))
    told.works(1.0)
    assert told.left() > 40
    charged = told.shown().charged[OWNER].outcomes["ok"].microjoules / MICRO
    assert charged == pytest.approx(50.0, abs=8.0)


@pytest.mark.parametrize("clients", [(0,), (), (0, os.getpid())])
def test_nothing_is_foreign_where_clients_cannot_be_seen(clients: tuple[int, ...]) -> None:
    """Of another namespace, or gone: a guess would take all from them."""
    told = Told()
    told.clients = clients
    told.uses = (use(os.getpid(), 0.4), use(1, 0.4))
    told.works(1.0)
    assert told.left() == 0


def test_an_old_answer_counts_no_more() -> None:
    """A driver that tells nothing any more says nothing of now."""
    told = Told()
    told.clients = (os.getpid(),)
    told.uses = (use(os.getpid(), 0.4), use(1, 0.4))
    told.works(1.0)
    told.passes(3.0)
    before = told.left()
    told.batch(1.0, number=2)
    told.passes(0.5)
    assert told.left() == before


def test_a_board_that_process_accounts_ask_about_is_not_asked_again() -> None:
    """Drivers tell each sample once: both would have half."""
    told = Told()
    told.clients = (os.getpid(),)
    track = told.sampler.seats.all[0].track
    track.heard = told.now, (use(os.getpid(), 0.1), use(1, 0.3))
    told.hello()
    told.foreign.look()
    told.batch(1.0)
    told.passes(0.5)
    assert told.asked == 0
    assert told.left() > 40


def test_a_child_is_its_parents() -> None:
    """As of servers whose workers do the work."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        assert parent(Path("/proc"), child.pid) == os.getpid()
        told = Told()
        told.clients = (os.getpid(),)
        told.uses = (use(child.pid, 0.4), use(1, 0.4))
        told.works(1.0)
        assert told.left() > 40
        child.kill()
    assert parent(Path("/proc"), child.pid) is None


def test_a_neighbour_on_the_board(start_exporter: StartExporter, driver: FakeDriver, start_client: StartClient) -> None:
    """With the real program: what the other process used is foreign, and all adds up in every scrape."""
    exporter = start_exporter("--meter", "nvml", "--ledger.idle-watts", "50", environment=driver.environment).ready()
    client = start_client(exporter.socket, "GPU-fake-0", "bart", 0.03)
    driver.set(processes=2, first_pid=client.pid)
    watch = Watch()
    scrape = watch.until(exporter, lambda s: (s.value(UNATTRIBUTED, reason="foreign") or 0.0) > 50, "some is foreign")
    assert scrape.number(COUNTER) > 0
    assert wait_until(lambda: (watch.check(exporter.scrape()).value(ENERGY, outcome="ok") or 0) > 50, "some is charged")
