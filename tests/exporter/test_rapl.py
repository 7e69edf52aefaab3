"""RAPL on trees of files that are laid out as Linux does."""

import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from perjoule.errors import DeviceLostError, NoMeterError
from perjoule_exporter.meters import MICRO, Device, DeviceKind
from perjoule_exporter.meters.rapl import RaplMeter
from tests.exporter.driver import FakeDriver
from tests.exporter.fakes import WALL, Hands
from tests.exporter.powercap import Powercap

CPU_INFO = Path(__file__).with_name("recorded") / "cpuinfo"


class Machine:
    """A machine with RAPL: ``power`` watts in the zones that work, while the meter waits at its start."""

    def __init__(self, folder: Path, machine: str, watts: float = 100.0, still: tuple[str, ...] = ()) -> None:
        self.hands = Hands()
        self.powercap = Powercap(folder / "sys", machine)
        self.watts = watts
        self.still = still
        self.cpu_info = CPU_INFO

    def passes(self, seconds: float) -> None:
        self.hands.seconds += seconds
        if working := [zone for zone in self.powercap.zones() if zone not in self.still]:
            self.powercap.use(self.watts * seconds, *working)

    def meter(self) -> RaplMeter:
        return RaplMeter(self.hands.clock, self.powercap.sysfs, self.cpu_info, self.passes)


Start = Callable[..., Machine]


@pytest.fixture
def start(tmp_path: Path) -> Start:
    """Give a function that sets a machine up."""

    def make(machine: str, watts: float = 100.0, still: tuple[str, ...] = ()) -> Machine:
        return Machine(tmp_path, machine, watts, still)

    return make


def shown(meter: RaplMeter) -> list[tuple[str, str, int, str]]:
    return [(str(d.kind), d.uuid, d.index, d.scope) for d in meter.devices()]


@pytest.mark.parametrize(
    ("machine", "expected"),
    [
        ("client", [("cpu", "cpu-0", 0, "package"), ("cpu_zone", "cpu-0-core", 0, "core"),
                    ("cpu_zone", "cpu-0-uncore", 0, "uncore")]),
        ("laptop", [("cpu", "cpu-0", 0, "package"), ("cpu_zone", "cpu-0-core", 0, "core"),
                    ("cpu_zone", "cpu-0-psys", 0, "psys"), ("cpu_zone", "cpu-0-uncore", 0, "uncore")]),
        ("mmio", [("cpu", "cpu-0", 0, "package")]),
        ("server", [("cpu", "cpu-0", 0, "package"), ("cpu", "cpu-0-dram", 0, "dram"),
                    ("cpu", "cpu-1", 1, "package"), ("cpu", "cpu-1-dram", 1, "dram")]),
        ("dies", [("cpu", "cpu-0-dram-die-0", 0, "dram-die-0"), ("cpu", "cpu-0-dram-die-1", 0, "dram-die-1"),
                  ("cpu", "cpu-0-package-die-0", 0, "package-die-0"),
                  ("cpu", "cpu-0-package-die-1", 0, "package-die-1")]),
        ("platforms", [("cpu", "cpu-0", 0, "package"), ("cpu", "cpu-1", 1, "package"),
                       ("cpu_zone", "cpu-0-accelerator", 0, "accelerator"), ("cpu_zone", "cpu-0-psys", 0, "psys"),
                       ("cpu_zone", "cpu-1-psys", 1, "psys")]),
    ],
)  # fmt: skip
def test_zones_are_devices(start: Start, machine: str, expected: list[tuple[str, str, int, str]]) -> None:
    """Each zone once, by its name and not its number; only what may be added up is of kind ``cpu``."""
    assert shown(start(machine).meter()) == expected


def test_dies_of_an_amd_package_are_one_counter(start: Start, tmp_path: Path) -> None:
    """AMD's counter is the package's, however many dies the kernel repeats it for: it is counted once."""
    machine = start("zen")
    machine.cpu_info = tmp_path / "cpuinfo"
    machine.cpu_info.write_text("processor\t: 0\nvendor_id\t: AuthenticAMD\nmodel name\t: Example EPYC\n")
    meter = machine.meter()
    assert shown(meter) == [("cpu", "cpu-0", 0, "package"), ("cpu_zone", "cpu-0-core", 0, "core")]
    assert meter.devices()[0].name == "Example EPYC"


def test_a_device_says_what_it_is(start: Start) -> None:
    """A counter that outlives the program, the processor's name, and where the counter starts again."""
    assert start("server").meter().devices()[:2] == [
        Device(DeviceKind.CPU, "cpu-0", 0, "counter", "package", "Example Xeon 8480", lasting=True,
               counter_range_microjoules=262_143_328_911),
        Device(DeviceKind.CPU, "cpu-0-dram", 0, "counter", "dram", "Example Xeon 8480", lasting=True,
               counter_range_microjoules=65_712_999_628),
    ]  # fmt: skip


@pytest.mark.parametrize("nanojoules", [61_035, 15_300, 15_258, 122_070, 976_562])
def test_the_range_is_one_step_above_the_largest_value(start: Start, nanojoules: int) -> None:
    """2**32 steps of the hardware come round; ``max_energy_range_uj`` is 2**32 - 1 of them."""
    machine = start("mmio")
    (machine.powercap.tree / "intel-rapl-mmio:0/max_energy_range_uj").write_text(f"{(2**32 - 1) * nanojoules // 1000}")
    counter_range = machine.meter().devices()[0].counter_range_microjoules
    assert counter_range == pytest.approx(2**32 * nanojoules / 1000, abs=1)


@pytest.mark.parametrize("text", ["", "0", "many"])
def test_a_range_that_nobody_tells_is_unknown(start: Start, text: str) -> None:
    """Without a range the counter is not taken to wrap."""
    machine = start("mmio")
    (machine.powercap.tree / "intel-rapl-mmio:0/max_energy_range_uj").write_text(text)
    assert machine.meter().devices()[0].counter_range_microjoules is None


def test_a_reading_is_the_counter_and_its_time(start: Start) -> None:
    """Microjoules as the kernel shows them; the time is the reading's own, once the counter was seen to move."""
    machine = start("server")
    meter = machine.meter()
    device = meter.devices()[0]
    first = meter.read(device)
    machine.passes(0.025)
    second = meter.read(device)
    assert first.energy_microjoules is not None
    assert second.energy_microjoules is not None
    assert second.energy_microjoules - first.energy_microjoules == pytest.approx(2.5 * MICRO, abs=62)
    assert (first.energy_time, second.energy_time) == (None, WALL + machine.hands.seconds)
    assert second.power_watts is None
    assert meter.status(device).limit_watts is None
    meter.close()


def test_parts_may_rest_so_that_their_time_is_not_told(start: Start) -> None:
    """A graphics core that was off may have moved its counter at any time since the last reading."""
    machine = start("client")
    meter = machine.meter()
    uncore = meter.devices()[2]
    meter.read(uncore)
    machine.passes(1.0)
    assert meter.read(uncore).energy_time is None


@pytest.mark.parametrize("wraps", [False, True])
def test_average_power_is_taken_over_a_second(start: Start, *, wraps: bool) -> None:
    """RAPL has no watts: they are energy over time, over a wrap too, and absent until a second has passed."""
    machine = start("server", watts=243.0)
    meter = machine.meter()
    device = meter.devices()[0]
    if not wraps:
        machine.powercap.show("intel-rapl:1", 1_000_000)
    meter.read(device)
    machine.passes(0.5)
    assert meter.read(device).average_power_watts is None
    machine.passes(1.0)
    assert meter.read(device).average_power_watts == pytest.approx(243.0, rel=1e-6)
    before = machine.powercap.largest("intel-rapl:1") if wraps else 2_000_000_000
    assert int(machine.powercap.counter("intel-rapl:1").read_text()) < before


def test_average_power_over_a_reset_is_unknown(start: Start) -> None:
    """A counter that restarts at 0 (a machine that slept) would look like a wrap of 70 kW: nothing is said."""
    machine = start("server")
    meter = machine.meter()
    device = next(device for device in meter.devices() if device.uuid == "cpu-1")
    meter.read(device)
    machine.powercap.show("intel-rapl:0", 0)
    machine.passes(1.0)
    assert meter.read(device).average_power_watts is None
    machine.passes(1.0)
    assert meter.read(device).average_power_watts == pytest.approx(100.0, rel=1e-6)


@pytest.mark.parametrize("machine", ["guest", "server"])
def test_counters_that_stand_still_are_no_meter(start: Start, machine: str) -> None:
    """A virtual machine that shows the tree and counts nothing has no RAPL: absent, not 0 J."""
    with pytest.raises(NoMeterError, match="stand still"):
        start(machine, watts=0.0).meter()


def test_a_zone_that_stands_still_is_absent_until_it_moves(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    """The one zone is left out and named; the next call after it has moved brings it in."""
    caplog.set_level(logging.INFO)
    machine = start("client", still=("intel-rapl:0:1",))
    meter = machine.meter()
    assert [device.uuid for device in meter.devices()] == ["cpu-0", "cpu-0-core"]
    assert caplog.messages == ["RAPL counters that stand still are absent until they move: cpu-0-uncore"]
    machine.still = ()
    machine.passes(5.0)
    assert [device.uuid for device in meter.devices()] == ["cpu-0", "cpu-0-core", "cpu-0-uncore"]


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        (lambda tree: tree.rename(tree.with_name("other")), "shows no package"),
        (lambda tree: [f.write_text("psys-nonsense\n") for f in tree.glob("*/name")], "shows no package"),
        (lambda tree: [f.unlink() for f in tree.glob("*/name")], "shows no package"),
        (lambda tree: [f.unlink() for f in tree.glob("*/energy_uj")], "shows no package"),
        (lambda tree: [f.write_text("\n") for f in tree.glob("*/energy_uj")], "shows no package"),
    ],
)
def test_without_zones_there_is_no_meter(start: Start, break_it: Callable[[Path], object], said: str) -> None:
    """No tree, no names, no counters, or counters without a number: one sentence, no traceback."""
    machine = start("server")
    break_it(machine.powercap.tree)
    with pytest.raises(NoMeterError, match=said):
        machine.meter()


def test_a_zone_that_goes_and_comes_back(start: Start) -> None:
    """Unplugged: lost, and gone from the list. Plugged in again: read again, from the new file."""
    machine = start("server")
    meter = machine.meter()
    device = next(device for device in meter.devices() if device.uuid == "cpu-1")
    meter.read(device)
    machine.powercap.counter("intel-rapl:0").unlink()
    machine.powercap.counter("intel-rapl:0").mkdir()  # what is open stays readable here, where sysfs answers ENODEV
    meter._zones["cpu-1"].counter = None
    with pytest.raises(DeviceLostError, match="cpu-1: "):
        meter.read(device)
    machine.powercap.counter("intel-rapl:0").rmdir()
    machine.powercap.remove("intel-rapl:0")
    assert "cpu-1" not in [device.uuid for device in meter.devices()]
    with pytest.raises(DeviceLostError, match="cpu-1: the RAPL zone is gone"):
        meter.read(device)
    Powercap(machine.powercap.sysfs, "server")
    meter.devices()
    machine.passes(0.1)
    assert device in meter.devices()
    assert meter.read(device).energy_microjoules is not None


@pytest.mark.parametrize("text", ["", "\n", "Input/output error\n"])
def test_a_counter_without_a_number_is_lost(start: Start, text: str) -> None:
    """What is no number is no energy; the next number is read again."""
    machine = start("mmio")
    meter = machine.meter()
    device = meter.devices()[0]
    machine.powercap.counter("intel-rapl-mmio:0").write_text(text)
    with pytest.raises(DeviceLostError, match="cpu-0: "):
        meter.read(device)
    machine.powercap.counter("intel-rapl-mmio:0").write_text("17\n")
    assert meter.read(device).energy_microjoules == 17


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_counters_are_closed(start: Start) -> None:
    """Neither a look around nor a zone that went leaves a file open, and ``close`` closes the rest."""
    machine = start("server")
    before = open_files()
    meter = machine.meter()
    for device in meter.devices():
        meter.read(device)
    assert open_files() == before + 4
    machine.powercap.remove("intel-rapl:0:0")
    meter.devices()
    assert open_files() == before + 3
    meter.close()
    assert open_files() == before


UNPRIVILEGED = """
import logging, os, sys
from pathlib import Path
from perjoule.errors import NoMeterError
from perjoule_exporter.clock import Clock
from perjoule_exporter.meters.rapl import RaplMeter
logging.basicConfig(format="%(message)s")
sysfs = Path(sys.argv[1])
microjoules = iter(range(10**6))
def pause(seconds):
    for counter in sysfs.glob("class/powercap/*/energy_uj"):
        if os.access(counter, os.W_OK):
            counter.write_text(str(next(microjoules)))
try:
    print([device.uuid for device in RaplMeter(Clock(), sysfs, pause=pause).devices()])
except NoMeterError as error:
    print(error)
"""


def unprivileged(
    machine: Machine,
    readable: tuple[str, ...] = (),
    script: str = UNPRIVILEGED,
    environment: dict[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Open the meter as somebody who may read only the named zones' counters."""
    for zone in machine.powercap.zones():
        machine.powercap.counter(zone).chmod(0o600 if zone in readable else 0)
    # Root without these two capabilities is a user like any other, who finds Python where the tests found it.
    drop = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.getuid() == 0 else []
    command = [*drop, sys.executable, "-c", script, str(machine.powercap.sysfs)]
    paths = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
        env={**os.environ, **paths, **(environment or {})},
    )


def test_without_permission_the_message_says_what_to_do(start: Start) -> None:
    """energy_uj is root's: the error names the three ways out, and not a missing processor."""
    said = unprivileged(start("server"))
    assert said.stdout.startswith("RAPL counters are there but may not be read: energy_uj is readable by root alone")
    assert all(way in said.stdout for way in ("run as root", "CAP_DAC_READ_SEARCH", "readable to its group"))
    assert said.stderr == ""


def test_with_permission_for_some_zones_the_others_are_named(start: Start) -> None:
    """A rule that opens the packages and forgets their memory gives the packages, and one warning."""
    said = unprivileged(start("server"), readable=("intel-rapl:0", "intel-rapl:1"))
    assert said.stdout.strip() == "['cpu-0', 'cpu-1']"
    assert said.stderr.startswith("RAPL zones that may not be read are left out: cpu-0-dram, cpu-1-dram; energy_uj is")
    assert len(said.stderr.splitlines()) == 1


AUTO = """
import logging, sys
from perjoule_exporter.clock import Clock
from perjoule_exporter.config import parse
from perjoule_exporter.registry import open_meters
logging.basicConfig(level=logging.WARNING, format="%(message)s")
meters = open_meters(parse(["--path.sysfs", sys.argv[1]]), Clock())
print([device.uuid for meter in meters for device in meter.devices()])
"""


def test_auto_has_the_gpus_alone_where_rapl_may_not_be_read(start: Start, driver: FakeDriver) -> None:
    """The GPUs are measured, no CPU is estimated beside them, and one warning says what would add the CPUs."""
    said = unprivileged(start("server"), script=AUTO, environment=driver.environment)
    assert said.stdout.strip() == "['GPU-fake-0']"
    assert said.stderr.startswith("RAPL counters are there but may not be read")
    assert len(said.stderr.splitlines()) == 1


def test_auto_is_silent_about_what_is_not_there(tmp_path: Path, start: Start, driver: FakeDriver) -> None:
    """A machine with GPUs and without RAPL has nothing to be told."""
    machine = start("server")
    machine.powercap.tree.rename(tmp_path / "elsewhere")
    said = unprivileged(machine, script=AUTO, environment=driver.environment)
    assert (said.stdout.strip(), said.stderr) == ("['GPU-fake-0']", "")
