"""The auditor's list: every failure that a GPU, its driver, a clock or the machine may have, one function each.

Most of them strike one GPU of eight, in the real program over a driver written in C, while ``audit.py`` scrapes: no
counter goes back, energy never rises by more than power × time, nothing is shown that was not read, the seven others
count what they drew to the driver's millijoules. Failures of clocks are played with clocks that are set by hand.
"""

import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random

import pytest

from perjoule_exporter.clock import Clock
from perjoule_exporter.meters import MICRO, Device, Reading, Status
from perjoule_exporter.pace import Pace
from perjoule_exporter.sampler import Sampler
from perjoule_exporter.seat import Rules
from perjoule_exporter.track import Charges
from perjoule_exporter.view import Measured
from tests.exporter.audit import Audit, uuid
from tests.exporter.driver import GPU_IS_LOST, UNKNOWN_ERROR, FakeDriver
from tests.exporter.fakes import WALL, gpu
from tests.exporter.running import RunningExporter, Scrape, StartExporter, wait_until

GPUS = 8
BAD = 3
OTHERS = [index for index in range(GPUS) if index != BAD]
BRIDGED = 300 * 0.15
"""Joules by which a bridge may be off: what is drawn in one read interval of a busy machine."""

StartAudit = Callable[..., Audit]


@pytest.fixture
def audited(start_exporter: StartExporter, driver: FakeDriver) -> StartAudit:
    """Give a function that starts the exporter on eight GPUs, under audit."""

    def start(*flags: str, **switches: int) -> Audit:
        driver.set(gpus=GPUS, **switches)
        return Audit(started(start_exporter, driver, *flags), GPUS)

    return start


@pytest.fixture
def audit(audited: StartAudit) -> Audit:
    """Eight healthy GPUs under audit."""
    made = audited()
    made.started()
    return made


def started(start_exporter: StartExporter, driver: FakeDriver, *flags: str) -> RunningExporter:
    return start_exporter("--meter", "nvml", *flags, environment=driver.environment).ready()


def resets(scrape: Scrape, index: int = BAD) -> float | None:
    return scrape.value("gpu_energy_resets_total", uuid=uuid(index))


def outcomes(scrape: Scrape, outcome: str) -> float:
    return scrape.number("gpu_samples_total", uuid=uuid(BAD), outcome=outcome)


def test_reset(audit: Audit, driver: FakeDriver) -> None:
    """The driver's counter starts again at 0: the interval is bridged by power, and the reset is counted."""
    driver.set(**{f"reset_{BAD}": 1})
    audit.until(lambda scrape: resets(scrape) == 1, "the reset is counted")
    audit.true(within=BRIDGED, gpus=[BAD])
    audit.true(gpus=OTHERS)


def test_reset_of_all_again_and_again(audit: Audit, driver: FakeDriver) -> None:
    """Three driver reloads in a row are three bridges."""
    for number in (1, 2, 3):
        driver.set(reset=number)
        audit.until(partial(_has_reset, number), f"reset {number} is counted")
        # A counter that has hardly begun cannot be seen to begin again.
        audit.until(partial(_has_used, audit.scrape(), 100.0), "100 J are used")
    audit.true(within=3 * BRIDGED)


def _has_reset(times: int, scrape: Scrape) -> bool:
    return all(resets(scrape, index) == times for index in range(GPUS))


def _has_used(before: Scrape, joules: float, scrape: Scrape) -> bool:
    return _grown("gpu_energy_joules_total", before, scrape) > joules


def test_reset_while_lost(audit: Audit, driver: FakeDriver) -> None:
    """A GPU that falls off the bus and comes back with a new counter loses what nobody saw, and nothing more."""
    driver.set(lost_mask=1 << BAD)
    audit.down(BAD)
    driver.set(**{f"reset_{BAD}": 1})
    driver.set(lost_mask=0)
    audit.up(BAD)
    audit.until(lambda scrape: resets(scrape) == 1, "the reset is counted")
    audit.true(gpus=OTHERS)


def test_jump(audit: Audit, driver: FakeDriver) -> None:
    """A counter that shows a million kilowatt hours, and then no longer, counts for what power says."""
    driver.set(**{f"jump_mj_{BAD}": 3_600_000_000_000_000})
    audit.until(lambda scrape: resets(scrape) == 1, "the jump is no energy")
    driver.set(**{f"jump_mj_{BAD}": 0})
    audit.until(lambda scrape: resets(scrape) == 2, "nor is the way back")
    audit.true(within=2 * BRIDGED, gpus=[BAD])


def test_frozen_counter(audit: Audit, driver: FakeDriver) -> None:
    """A counter that stands still stands still here, and the integral of power beside it does not."""
    driver.set(**{f"frozen_{BAD}": 1})
    audit.moved(*OTHERS)
    before = audit.scrape()
    after = audit.until(lambda scrape: _grown("gpu_energy_integrated_joules_total", before, scrape) > 50, "∫power")
    assert _grown("gpu_energy_joules_total", before, after) == 0
    driver.set(**{f"frozen_{BAD}": 0})
    audit.true()


def _grown(name: str, before: Scrape, after: Scrape) -> float:
    return after.number(name, uuid=uuid(BAD)) - before.number(name, uuid=uuid(BAD))


@pytest.mark.parametrize("code", [GPU_IS_LOST, UNKNOWN_ERROR])
def test_lost(audit: Audit, driver: FakeDriver, code: int) -> None:
    """One GPU of eight falls off the bus: it shows that it is down, and on its return what it counted meanwhile."""
    driver.set(lost_mask=1 << BAD, lost_code=code)
    audit.down(BAD)
    audit.moved(*OTHERS)
    driver.set(lost_mask=0)
    audit.up(BAD)
    audit.true()
    assert resets(audit.scrape()) == 0


def test_taken_out(audit: Audit, driver: FakeDriver) -> None:
    """One GPU of eight is taken out of the machine: the others are read as if nothing was."""
    driver.set(**{f"gone_{BAD}": 1})
    audit.down(BAD)
    audit.true(gpus=OTHERS)


@pytest.mark.parametrize("call", ["hang", "hang_status"])
def test_hang(audit: Audit, driver: FakeDriver, call: str) -> None:
    """One call never returns: that GPU is down within about a second, and goes on by itself when it does."""
    struck = time.monotonic()
    driver.set(**{f"{call}_mask": 1 << BAD})
    audit.down(BAD)
    assert time.monotonic() - struck < 2.0
    audit.moved(*OTHERS)
    driver.set(**{f"{call}_mask": 0})
    audit.up(BAD)
    audit.true()
    assert outcomes(audit.scrape(), "hung") == 1


def test_all_hang(audit: Audit, driver: FakeDriver) -> None:
    """The whole driver hangs: nothing stale is shown, scrapes answer all the same, and all go on by themselves."""
    driver.set(hang=1)
    audit.down(*range(GPUS))
    asked = time.monotonic()
    audit.scrape()
    assert time.monotonic() - asked < 0.5
    driver.set(hang=0)
    audit.up(*range(GPUS))
    audit.true()


def test_hang_and_loss_at_once(audit: Audit, driver: FakeDriver) -> None:
    """Two GPUs fail in two ways, and six do not."""
    driver.set(hang_mask=1 << BAD, lost_mask=1 << 5)
    audit.down(BAD, 5)
    driver.set(hang_mask=0, lost_mask=0)
    audit.up(BAD, 5)
    audit.true()


def test_flapping(audit: Audit, driver: FakeDriver) -> None:
    """GPUs are lost, hang and come back in quick succession, several at once: in the end no millijoule is missing."""
    random = Random(1)  # noqa: S311 (no secret)
    for _ in range(20):
        masks = {name: _few_of(random) for name in ("lost_mask", "hang_mask", "hang_status_mask")}
        driver.set(lost_code=random.choice([GPU_IS_LOST, UNKNOWN_ERROR]), **masks)
        for _ in range(random.randrange(1, 6)):
            audit.scrape()
    driver.set(lost_mask=0, hang_mask=0, hang_status_mask=0)
    audit.up(*range(GPUS))
    audit.true()


def _few_of(random: Random) -> int:
    return random.getrandbits(GPUS) & random.getrandbits(GPUS) & random.getrandbits(GPUS)


def test_slow_driver(audit: Audit, driver: FakeDriver) -> None:
    """Every call of one GPU takes a tenth of a second: all eight are read late, and still right."""
    driver.set(**{f"slow_us_{BAD}": 100_000})
    audit.late_seconds = 1.0
    audit.moved()
    driver.set(**{f"slow_us_{BAD}": 0})
    audit.true()


def test_no_counter(audited: StartAudit) -> None:
    """One GPU of eight has no energy counter: its power is integrated, which it says."""
    audit = audited(**{f"no_counter_{BAD}": 1})
    audit.late_seconds = 0.3  # the driver's own samples are fetched ten times a second
    audit.started()
    audit.moved()
    scrape = audit.until(lambda s: s.number("gpu_energy_joules_total", uuid=uuid(BAD)) > 200, "it draws 200 J")
    assert scrape.value("gpu_info", uuid=uuid(BAD), method="integrated") == 1
    audit.true(gpus=OTHERS)
    audit.true(within=300 * 0.2, gpus=[BAD])


def test_restart_with_state(
    audited: StartAudit, start_exporter: StartExporter, driver: FakeDriver, tmp_path: Path
) -> None:
    """Killed and started again, twice, with --state.file: every counter goes on, with what was drawn meanwhile."""
    flags = ("--state.file", str(tmp_path / "state"))
    audit = audited(*flags)
    audit.started()
    for scrapes in (1, 5):
        for _ in range(scrapes):
            audit.scrape()
        audit.exporter.process.kill()
        audit.exporter.ended()
        audit.exporter = started(start_exporter, driver, *flags)
    audit.true()


def test_restart_without_state(audit: Audit, start_exporter: StartExporter, driver: FakeDriver) -> None:
    """All counters start at 0, which Prometheus takes for a reset: none of them has what was drawn before."""
    audit.exporter.stop()
    audit.forget()
    killed = time.time()
    audit.exporter = started(start_exporter, driver)
    scrape = audit.scrape()
    for index in range(GPUS):
        assert scrape.number("gpu_energy_joules_total", uuid=uuid(index)) <= 400 * (time.time() - killed)
        assert resets(scrape, index) == 0


@pytest.mark.parametrize("seconds", [0.4, 1.5])
def test_suspended(audit: Audit, seconds: float) -> None:
    """A process that was stopped for a while shows nothing stale, takes it for no hang, and loses nothing."""
    audit.exporter.process.send_signal(signal.SIGSTOP)
    stopped = time.monotonic()
    wait_until(lambda: time.monotonic() - stopped > seconds, f"{seconds} s go by")
    audit.exporter.process.send_signal(signal.SIGCONT)
    audit.up(*range(GPUS))
    audit.true()
    scrape = audit.scrape()
    assert (outcomes(scrape, "hung"), outcomes(scrape, "lost"), resets(scrape)) == (0, 0, 0)


@pytest.mark.parametrize("microseconds", [3_600_000_000, -3_600_000_000])
def test_stamps_of_another_clock(audit: Audit, driver: FakeDriver, microseconds: int) -> None:
    """The driver's clock is set by an hour while we look: energy goes on, and is not dated by that clock."""
    driver.set(**{f"stamp_offset_us_{BAD}": microseconds})
    audit.moved(BAD)  # newer than now, by our own clock ...
    scrape = audit.scrape()
    assert scrape.number("gpu_energy_timestamp_seconds", uuid=uuid(BAD)) <= time.time()  # ... and not of the future
    # Between two reads and not at a tick: right to a read interval.
    audit.true(within=BRIDGED, gpus=[BAD])
    audit.true(gpus=OTHERS)
    assert resets(scrape) == 0


DENIED = {
    "no_field_energy": set[str](),  # another call has it
    "no_field_average": {"gpu_power_average_watts"},
    "no_field_instant": set[str](),  # another call has it
    "no_total_energy": set[str](),  # the field has it
    "no_power_usage": set[str](),  # the field has it
    "no_limit": {"gpu_power_limit_watts"},
    "no_temperature": {"gpu_temperature_celsius"},
    "no_clock_graphics": set[str](),  # one domain of several
    "no_clock_sm": set[str](),
    "no_clock_memory": set[str](),
    "no_utilization": {"gpu_utilization_ratio"},
    "no_memory": {"gpu_memory_used_bytes", "gpu_memory_total_bytes"},
    "no_throttle_reasons": set[str](),  # the newer call has it
    "no_event_reasons": set[str](),  # the older call has it
    "no_samples": set[str](),  # a counter needs none
    "no_mig_mode": set[str](),  # then there are no slices
    "no_name": set[str](),  # a label of gpu_info
    "no_pci": set[str](),
}
"""The driver answers NOT_SUPPORTED to this; then this is absent."""

CLOCKS = {"no_clock_graphics": "graphics", "no_clock_sm": "sm", "no_clock_memory": "memory"}
IDENTITY = {"no_name": "name", "no_pci": "pci_bus_id"}


@pytest.fixture(scope="module")
def denied(driver_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Scrape, set[str]]:
    """One scrape of as many GPUs as there are denials, one for each, and what a GPU has that denies nothing."""
    folder = tmp_path_factory.mktemp("denied")
    driver = FakeDriver(driver_folder, folder / "control")
    # A tick that is longer than the distance of the readings is known of a counter without stamps, too.
    driver.set(gpus=len(DENIED) + 1, tick_us=100_000, **{f"{switch}_{index}": 1 for index, switch in enumerate(DENIED)})
    exporter = RunningExporter(folder / "log", "--meter", "nvml", environment=driver.environment)
    try:
        audit = Audit(exporter.ready(), len(DENIED) + 1)
        audit.started()
        tick = "gpu_energy_update_interval_seconds"
        scrape = audit.until(
            lambda s: all(s.value(tick, uuid=uuid(index)) is not None for index in audit.gpus), "all ticks are known"
        )
        audit.true(gpus=[index for index, switch in enumerate(DENIED) if switch != "no_field_energy"])
    finally:
        exporter.kill()
    return scrape, scrape.names(uuid=uuid(len(DENIED)))


@pytest.mark.parametrize("switch", DENIED)
def test_not_supported(denied: tuple[Scrape, set[str]], switch: str) -> None:
    """A GPU whose driver denies one thing lacks that thing, and nothing else."""
    scrape, all_names = denied
    found = uuid(list(DENIED).index(switch))
    assert scrape.names(uuid=found) == all_names - DENIED[switch]
    domains = {s.labels["domain"] for s in scrape.samples if s.name == "gpu_clock_hertz" and s.labels["uuid"] == found}
    assert domains == {"graphics", "sm", "memory"} - {CLOCKS.get(switch, "")}
    (info,) = (s.labels for s in scrape.samples if s.name == "gpu_info" and s.labels["uuid"] == found)
    assert {label for label in ("name", "pci_bus_id", "driver", "vendor") if not info[label]} == (
        {IDENTITY[switch]} if switch in IDENTITY else set()
    )


@pytest.mark.parametrize("switch", ["no_counter", "no_fields", "no_status"])
def test_much_is_not_supported(audited: StartAudit, switch: str) -> None:
    """Nor do whole kinds of calls cost the other GPUs anything, or bring up a value that nobody gave."""
    audit = audited(**{f"{switch}_{BAD}": 1})
    audit.late_seconds = 0.3
    audit.started()
    audit.true(gpus=OTHERS)


class SteppedClock:
    """Two clocks, one of which can be set, and a GPU at 100 W with a tick of 100 ms, stamped or not."""

    def __init__(self, *, stamps: bool) -> None:
        self.seconds = 0.0
        self.step = 0.0
        self.asleep = 0.0
        self._stamps = stamps
        self.clock = Clock(lambda: 1000.0 + self.seconds, lambda: WALL + self.seconds + self.step)
        self.sampler = Sampler([self], Rules(Pace(idle_seconds=0.025), Charges), self.clock)

    def devices(self) -> list[Device]:
        return [gpu(0)]

    def read(self, device: Device) -> Reading:  # noqa: ARG002 (there is one)
        ticks = int((self.seconds + self.asleep) / 0.1 + 1e-6)
        stamp = WALL + self.step - self.asleep + ticks / 10 if self._stamps else None
        return Reading(ticks * 10 * MICRO, stamp, 100.0)

    def status(self, device: Device) -> Status:  # noqa: ARG002 (as above)
        return Status(limit_watts=300.0)

    def close(self) -> None:
        pass

    def runs(self, seconds: float) -> Measured:
        """Let time pass and return what is shown."""
        for _ in range(round(seconds / 0.025)):
            self.sampler.sample()
            self.seconds += 0.025
        self.sampler.sample()
        (view,) = self.sampler.views()
        assert view.measured is not None
        return view.measured


@pytest.mark.parametrize("stamps", [True, False], ids=["stamped", "not stamped"])
@pytest.mark.parametrize("step", [3600.0, -3600.0, 0.04, -0.04, 1e8, -1e9])
def test_wall_clock_step(step: float, *, stamps: bool) -> None:
    """The wall clock is set, by a little or by years: joules and tick do not notice; times are of the new clock."""
    stepped = SteppedClock(stamps=stamps)
    before = stepped.runs(3.0)
    stepped.step = step
    after = stepped.runs(3.0)
    assert before.energy_joules is not None
    assert after.energy_joules == pytest.approx(before.energy_joules + 300, abs=10.001)
    assert after.integrated_joules == pytest.approx(600, abs=0.01)
    assert after.update_interval_seconds == pytest.approx(0.1, abs=0.001)
    assert after.resets == 0
    assert after.energy_time == pytest.approx(WALL + step + stepped.seconds, abs=0.125)


@pytest.mark.parametrize(("sleep", "joules", "resets"), [(3.0, 300.0, 0), (3600.0, 0.0, 1)])
def test_paused_machine(sleep: float, joules: float, resets: int) -> None:
    """No clock of a paused guest tells that time went by, only the counter: believed if a board can draw it at once.

    Else it is a jump, of which only what power says since is counted: too little, and shown as a reset.
    """
    stepped = SteppedClock(stamps=False)
    before = stepped.runs(3.0)
    stepped.asleep = sleep
    after = stepped.runs(3.0)
    assert before.energy_joules is not None
    assert after.energy_joules == pytest.approx(before.energy_joules + 300 + joules, abs=10.001)
    assert after.resets == resets
