"""The CPU estimate on recorded kernel files."""

from pathlib import Path

import pytest

from perjoule.errors import DeviceLostError, NoMeterError, UsageError
from perjoule_exporter.meters import MICRO
from perjoule_exporter.meters.estimate import EstimateMeter, EstimateSettings
from perjoule_exporter.meters.procstat import CpuTimes, packages
from perjoule_exporter.meters.simulated import NodeLoad
from tests.exporter.fakes import WALL, Hands

RECORDED = Path(__file__).with_name("recorded")
"""``stat-idle`` and ``stat-busy``: /proc/stat of a two-socket machine with four threads, one second of work apart."""


class Machine:
    """A folder of kernel files that a test changes as the kernel would."""

    def __init__(self, folder: Path, sockets: dict[int, str] | None = None) -> None:
        self.stat = folder / "stat"
        self.cpus = folder / "cpu"
        self.info = RECORDED / "cpuinfo"
        for cpu, package in (sockets or {0: "0", 1: "0", 2: "1", 3: "1"}).items():
            topology = self.cpus / f"cpu{cpu}/topology"
            topology.mkdir(parents=True)
            (topology / "physical_package_id").write_text(f"{package}\n")
        self.show("stat-idle")

    def show(self, recording: str) -> None:
        self.stat.write_bytes((RECORDED / recording).read_bytes())

    def times(self) -> CpuTimes:
        return CpuTimes(self.stat, ticks_per_second=100)

    def meter(self, hands: Hands, settings: EstimateSettings | None = None) -> EstimateMeter:
        return EstimateMeter(settings or EstimateSettings(), hands.clock, self.times(), self.cpus, self.info)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_busy_time_is_user_nice_system_and_interrupts(machine: Machine) -> None:
    """Idle, waiting and stolen time are not busy, and guests are in user time already."""
    assert dict(machine.times().busy_seconds()) == {0: 133.0, 1: 100.0, 2: 100.0, 3: 100.0}


def test_packages_are_devices_that_say_estimated(machine: Machine) -> None:
    """One device for each socket, named as everywhere, with the processor's name."""
    devices = machine.meter(Hands()).devices()
    assert [(d.uuid, d.index, d.method, d.scope, d.name) for d in devices] == [
        ("cpu-0", 0, "estimated", "package", "Example Xeon 8480"),
        ("cpu-1", 1, "estimated", "package", "Example Xeon 8480"),
    ]


def test_energy_is_idle_times_time_plus_range_times_busy_seconds(machine: Machine) -> None:
    """With 40 W idle and 240 W at most over 4 threads, a busy second costs 50 J beside 20 W of idle a socket."""
    hands = Hands()
    meter = machine.meter(hands, EstimateSettings(idle_watts=40.0, max_watts=240.0))
    hands.seconds = 1.0
    machine.show("stat-busy")
    first, second = (meter.read(device) for device in meter.devices())
    assert first.energy_microjoules == round((20.0 + 50.0 * (1.0 + 0.5)) * MICRO)
    assert second.energy_microjoules == 20 * MICRO
    assert (first.energy_time, first.average_power_watts) == (WALL + 1.0, None)


def test_average_power_and_utilisation_are_over_a_second(machine: Machine) -> None:
    """Shorter intervals jump with the kernel's 10 ms ticks, so nothing is said before a second has passed."""
    hands = Hands()
    meter = machine.meter(hands, EstimateSettings(idle_watts=40.0, max_watts=240.0))
    device = meter.devices()[0]
    meter.read(device)
    assert meter.status(device).utilization_ratio is None
    machine.show("stat-busy")
    hands.seconds = 1.0
    assert meter.read(device).average_power_watts == pytest.approx(95.0)
    assert meter.status(device).utilization_ratio == pytest.approx(0.75)


def test_defaults_are_per_hardware_thread(machine: Machine) -> None:
    """0.74 W and 3.5 W for each of four threads."""
    assert machine.meter(Hands()).watts == pytest.approx((2.96, 14.0))


def test_a_cpu_that_goes_offline_adds_nothing_and_takes_nothing(machine: Machine) -> None:
    """Its line disappears from the file and comes back later; energy never goes back."""
    hands = Hands()
    meter = machine.meter(hands, EstimateSettings(0.0, 4.0))
    device = meter.devices()[0]
    machine.show("stat-busy")
    with_all = meter.read(device).energy_microjoules
    machine.stat.write_bytes(b"\n".join(line for line in machine.stat.read_bytes().split(b"\n") if line[:4] != b"cpu1"))
    assert meter.read(device).energy_microjoules == with_all
    machine.show("stat-busy")
    assert meter.read(device).energy_microjoules == with_all


def test_unknown_packages_are_one(tmp_path: Path) -> None:
    """Without topology files, or with -1 in them as some virtual machines have, all CPUs are package 0."""
    machine = Machine(tmp_path, {0: "-1", 1: "x"})
    assert dict(packages(machine.times(), machine.cpus)) == {0: (0, 1, 2, 3)}


@pytest.mark.parametrize("content", [b"cpu0 what\n", b"cpu0 1 2\n", b"cpux 1 2 3 4 5 6 7\n"])
def test_a_file_that_is_no_proc_stat_is_a_lost_device(machine: Machine, content: bytes) -> None:
    """Garbage is not a reading of 0."""
    meter = machine.meter(Hands())
    machine.stat.write_bytes(content)
    with pytest.raises(DeviceLostError, match="cannot read CPU times from"):
        meter.read(meter.devices()[0])


def test_without_cpu_times_there_is_no_meter(tmp_path: Path) -> None:
    """A system without /proc/stat, or with an empty one, has no estimate."""
    with pytest.raises(NoMeterError, match="No such file"):
        EstimateMeter(EstimateSettings(), Hands().clock, CpuTimes(tmp_path / "none"))
    (tmp_path / "empty").touch()
    with pytest.raises(NoMeterError, match="lists no CPU"):
        EstimateMeter(EstimateSettings(), Hands().clock, CpuTimes(tmp_path / "empty"))


@pytest.mark.parametrize(
    ("idle", "most"), [(-1.0, 5.0), (6.0, 5.0), (None, 1.0), (float("nan"), 5.0), (1.0, float("inf"))]
)
def test_impossible_watts_are_refused(idle: float | None, most: float | None) -> None:
    """Negative, endless, or idle above the highest: a usage error that names both flags."""
    with pytest.raises(UsageError, match=r"--estimate\.idle-watts and --estimate\.max-watts"):
        EstimateSettings(idle, most).resolved(threads=4)


def test_node_load_is_the_mean_over_all_cpus(machine: Machine) -> None:
    """1.5 busy seconds of four CPUs in one second are 37.5 %; without time passed there is none."""
    load = NodeLoad(machine.times())
    machine.show("stat-busy")
    assert load(5.0, 6.0) == pytest.approx(1.5 / 4)
    assert load(6.0, 6.0) == 0.0
