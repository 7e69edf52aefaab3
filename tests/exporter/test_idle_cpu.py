"""What a CPU package draws without work: learned while it is nearly unused, or the estimate's own constant."""

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from perjoule_exporter.charging import Charging, IdleWatts
from perjoule_exporter.ledger import Kind, Share, Snapshot
from perjoule_exporter.meters import Device, DeviceKind, Meter
from perjoule_exporter.meters.estimate import EstimateMeter, EstimateSettings
from perjoule_exporter.meters.procstat import CpuTimes, Use
from perjoule_exporter.meters.rapl import RaplMeter
from perjoule_exporter.pace import Pace
from perjoule_exporter.sampler import Sampler
from perjoule_exporter.seat import Rules, Seats
from perjoule_exporter.spans import Announced, Closed, Opened
from perjoule_exporter.track import QUIET_CPU_RATIO, Charges, Track
from tests.exporter.fakes import Hands
from tests.exporter.powercap import Powercap
from tests.exporter.test_rapl import CPU_INFO

THREADS = 4
WORK = Kind("fill-mask", "bert", "batch")


@dataclass
class Node:
    """A node of one package of four hardware threads, by hand: 20 W, and 10 W for each busy thread."""

    folder: Path
    hands: Hands = field(default_factory=Hands)
    busy: float = 0.0

    def __post_init__(self) -> None:
        self.powercap = Powercap(self.folder / "sys", "client")
        self.seconds = 0.0
        self.stat = self.folder / "stat"
        self._write()

    def times(self) -> CpuTimes:
        return CpuTimes(self.stat, ticks_per_second=1000)

    def rapl(self) -> Meter:
        return RaplMeter(self.hands.clock, self.powercap.sysfs, CPU_INFO, lambda seconds: self.passes(seconds, 0.0),
                         self.times())  # fmt: skip

    def estimate(self) -> Meter:
        settings = EstimateSettings(idle_watts=20.0, max_watts=60.0)
        return EstimateMeter(settings, self.hands.clock, self.times(), self.folder, CPU_INFO)

    def passes(self, seconds: float, ratio: float) -> None:
        """Let time pass with a share of the threads busy."""
        self.hands.seconds += seconds
        self.seconds += seconds * ratio
        self.powercap.use((20.0 + 40.0 * ratio) * seconds, *self.powercap.zones())
        self._write()

    def _write(self) -> None:
        ticks = round(self.seconds * 1000)
        self.stat.write_text("".join(f"cpu{n} {ticks} 0 0 9 9 0 0 0\n" for n in range(THREADS)), encoding="ascii")


class Running:
    """An exporter of such a node."""

    def __init__(self, node: Node, meter: Meter) -> None:
        self.node = node
        seats = Seats(self._found)
        self.book = Charging(IdleWatts(), node.hands.clock, seats.lock)
        self.sampler = Sampler([meter], Rules(Pace(), Charges, self.book.attended), node.hands.clock, seats=seats)
        self.book.take(1, [Announced(())], node.hands.clock.monotonic())

    def _found(self, track: Track) -> None:
        self.book.adopt(track)

    def runs(self, seconds: float, ratio: float) -> Snapshot:
        """Read for a while with a share of the threads busy, and return the package's ledger."""
        for _ in range(round(seconds / 0.025)):
            self.node.passes(0.025, ratio)
            self.sampler.sample()
        charged = self.sampler.views()[0].charged
        assert charged is not None
        return charged.ledger


@pytest.mark.parametrize(
    ("ratio", "watts"), [(0.0, 20.0), (0.01, 20.4), (QUIET_CPU_RATIO, 20.8), (0.03, None), (1.0, None)]
)
def test_a_package_with_rapl_is_unused_while_nearly_nothing_runs(
    tmp_path: Path, ratio: float, watts: float | None
) -> None:
    """Up to two per cent of its threads' time; what runs in that is in the idle watts."""
    running = Running(node := Node(tmp_path), node.rapl())
    assert running.runs(6.0, ratio).idle_watts == (None if watts is None else pytest.approx(watts, rel=0.002))


def test_the_quietest_time_of_late_counts(tmp_path: Path) -> None:
    """Work that nobody tells of is not idle, and is nobody's once idle watts are known."""
    running = Running(node := Node(tmp_path), node.rapl())
    running.runs(3.0, 0.5)
    running.runs(3.0, 0.001)
    before = running.runs(0.1, 0.5)
    after = running.runs(4.0, 0.5)
    assert after.idle_watts == pytest.approx(20.0, rel=0.005)
    nobody = after.unattributed["no_span"] - before.unattributed.get("no_span", 0)
    assert nobody / 1e6 == pytest.approx(4.0 * 20.0, rel=0.05)


def test_an_estimate_has_its_own_constant(tmp_path: Path) -> None:
    """From the first moment, on a node that is never quiet: all above it in a batch's time is the batch's."""
    running = Running(node := Node(tmp_path), node.estimate())
    running.runs(2.0, 0.25)
    now = node.hands.clock.monotonic
    running.book.take(1, [Opened(1, "cpu-0", WORK, now())], now())
    running.runs(2.0, 1.0)
    running.book.take(1, [Closed(1, "cpu-0", now(), (Share("r", 1.0, "ok"),), reply=False)], now())
    shown = running.runs(4.0, 0.25)  # the last tenth of a second is not settled yet
    assert shown.idle_watts == 20.0
    assert "idle_unknown" not in {reason for reason, joules in shown.unattributed.items() if joules}
    assert shown.idle / 1e6 == pytest.approx(6.0 * 20.0, rel=0.03)
    (row,) = shown.charged.values()
    assert row.outcomes["ok"].microjoules / 1e6 == pytest.approx(2.0 * 60.0, rel=0.03)


def test_what_was_configured_goes_before_the_constant() -> None:
    """Of one device by its name; the watts of GPUs are not a package's."""
    package = Device(DeviceKind.CPU, "cpu-0", 0, "estimated", "package", idle_watts=20.0)
    assert IdleWatts().of(package) == 20.0
    assert IdleWatts(of_gpus=70.0).of(package) == 20.0
    assert IdleWatts(of_device={"cpu-0": 30.0}).of(package) == 30.0


def test_how_busy_packages_are(tmp_path: Path) -> None:
    """Between two looks, over the threads that are online at both; unknown at the first, and without a file."""
    node = Node(tmp_path)
    use = Use(node.times(), tmp_path)
    assert use.ratio(0, 0.0) is None
    node.passes(2.0, 0.25)
    assert use.ratio(0, 2.0) == pytest.approx(0.25)
    assert use.ratio(0, 2.0) is None
    assert use.ratio(7, 2.0) is None
    node.passes(1.0, 1.0)
    node.stat.write_text("\n".join(node.stat.read_text().splitlines()[:2]))
    assert use.ratio(0, 3.0) == pytest.approx(1.0)
    node.stat.write_text("cpu0 garbage\n")
    assert use.ratio(0, 4.0) is None
    assert Use(CpuTimes(tmp_path / "none")).ratio(0, 0.0) is None
