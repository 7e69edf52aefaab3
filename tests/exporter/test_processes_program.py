"""The exporter with --collector.enable process, as a user runs it: whose joules they were, and in every scrape all."""

import itertools
import signal
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.exporter.driver import FakeDriver
from tests.exporter.running import RunningExporter, Scrape, StartExporter, wait_until

FLAGS = ("--collector.enable", "process", "--process.interval", "500ms")
FAMILY = "gpu_process_energy_joules_total"
CONTAINER = "0123456789abcdef" * 4
UID = "0f6c1a2b-3c4d-4e5f-8a9b-0c1d2e3f4a5b"

Rows = Mapping[tuple[tuple[str, str], ...], float]


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    root = tmp_path / "proc"
    places = {
        100: ("python", f"0::/system.slice/docker-{CONTAINER}.scope"),
        101: ("vllm", f"0::/kubepods/pod{UID}/{CONTAINER}"),
        200: ("ollama", "0::/system.slice/ollama.service"),
    }
    for pid, (name, cgroup) in places.items():
        folder = root / str(pid)
        folder.mkdir(parents=True)
        (folder / "stat").write_text(f"{pid} ({name}) S " + "1 " * 40)
        (folder / "cgroup").write_text(cgroup)
    return root


class Auditor:
    """Looks at scrape after scrape: of each board that shows joules the rows are all of them, and none goes back."""

    def __init__(self) -> None:
        self._before: dict[tuple[tuple[str, str], ...], float] = {}
        self.scrapes = 0

    def check(self, scrape: Scrape) -> Scrape:
        boards = {s.labels["uuid"]: s.value for s in scrape.samples if s.name == "gpu_energy_joules_total"}
        rows = {tuple(sorted(s.labels.items())): s.value for s in scrape.samples if s.name == FAMILY}
        sums = dict.fromkeys(boards, 0.0)
        for labels, joules in rows.items():
            assert joules >= self._before.get(labels, 0.0), f"{labels} went back"
            sums[dict(labels)["uuid"]] += joules
        assert {uuid: round(joules, 6) for uuid, joules in sums.items()} == boards
        for labels in self._before.keys() - rows.keys():
            assert dict(labels)["uuid"] not in boards, f"{labels} has gone"
        self._before.update(rows)
        self.scrapes += 1
        return scrape

    def watch(self, exporter: RunningExporter, seconds: float) -> Scrape:
        """Scrape as often as possible."""
        end = time.monotonic() + seconds
        while True:
            scrape = self.check(exporter.scrape())
            if time.monotonic() > end:
                return scrape


def test_each_scrape_holds_all_joules(start_exporter: StartExporter, driver: FakeDriver, proc: Path) -> None:
    """While sampling runs; the driver's shares are the rows' shares, and names, containers and pods are there."""
    driver.set(gpus=2, processes_0=3, first_pid_0=100, processes_1=1, first_pid_1=200, no_process_utilization_1=1)
    flags = ("--meter", "nvml", *FLAGS, "--process.procfs", str(proc))
    exporter = start_exporter(*flags, environment=driver.environment).ready()
    auditor = Auditor()
    scrape = auditor.watch(exporter, 4.0)
    assert auditor.scrapes > 20
    found = {"container": CONTAINER[:12], "uuid": "GPU-fake-0", "kind": "process"}
    python = scrape.number(FAMILY, command="python", pod_uid="", unit="", **found)
    vllm = scrape.number(FAMILY, command="vllm", pod_uid=UID, unit="", **found)
    unknown = scrape.number(FAMILY, uuid="GPU-fake-0", kind="unknown")
    assert python > 20
    assert vllm == pytest.approx(2 * python, rel=0.3), "10 % and 20 % of the SMs, five more and five less in turn"
    assert unknown > 2.5 * python, "who has 30 % is in no /proc"
    alone = scrape.number(FAMILY, uuid="GPU-fake-1", kind="process", command="ollama", unit="ollama.service")
    assert alone > 3 * (scrape.value(FAMILY, uuid="GPU-fake-1", kind="unknown") or 0.0)


SCRIPT = """
[[gpu]]                                   # 0: works from the second second on
power = { points = [[0, 60], [2, 60], [2.001, 360], [3600, 360]] }
[[gpu.process]]
pid = "self"
utilization_ratio = 0.5
from_seconds = 2

[[gpu]]                                   # 1: lost for a while
power = 200
[[gpu.process]]
pid = "self"
utilization_ratio = 0.5
[[gpu.event]]
kind = "lost"
from_seconds = 1.5
to_seconds = 2.5

[[gpu]]                                   # 2: hangs for a while
power = 200
[[gpu.process]]
pid = "self"
utilization_ratio = 0.5
[[gpu.event]]
kind = "hang"
from_seconds = 1.5
to_seconds = 3

[[gpu]]                                   # 3: reset
power = 200
start_joules = 1000
[[gpu.process]]
pid = "self"
utilization_ratio = 0.5
[[gpu.event]]
kind = "reset"
at_seconds = 2

[[gpu]]                                   # 4: under MIG, two of them
power = 200
unsupported = ["utilization_ratio"]
[[gpu.process]]
pid = "self"
[[gpu.process]]
pid = 4194304

[[gpu]]                                   # 5: does not tell
power = 200
"""


def test_whatever_happens_to_a_board_its_rows_add_up(start_exporter: StartExporter, tmp_path: Path) -> None:
    """Lost, hung, reset, silent: every scrape of six seconds."""
    script = tmp_path / "s.toml"
    script.write_text(SCRIPT)
    exporter = start_exporter("--meter", "simulated", "--simulated.script", str(script), *FLAGS).ready()
    silent = "GPU-simulated-5"
    auditor, end = Auditor(), time.monotonic() + 6.0
    while time.monotonic() < end:
        scrape = exporter.scrape()
        assert scrape.value(FAMILY, uuid=silent, kind="unknown") is None
        scrape.samples = [sample for sample in scrape.samples if sample.labels.get("uuid") != silent]
        auditor.check(scrape)

    def row(number: int, kind: str) -> float:
        return scrape.value(FAMILY, uuid=f"GPU-simulated-{number}", kind=kind) or 0.0

    assert 100 < row(0, "idle") < 60 * 8, "what it draws at rest, all of the time"
    assert row(0, "process") > 600
    for number in (1, 2, 3):
        assert row(number, "process") > 200, number
    assert row(1, "unknown") > 50
    assert row(2, "unknown") > 50
    assert row(4, "process") == 0
    assert row(4, "unknown") > 500


def test_rows_outlive_the_exporter(
    start_exporter: StartExporter, driver: FakeDriver, proc: Path, tmp_path: Path
) -> None:
    """Killed and started again with a state file no row goes back; what was used meanwhile is unknown's."""
    driver.set(processes=1, first_pid=100)
    flags = ("--meter", "nvml", *FLAGS, "--process.procfs", str(proc), "--state.file", str(tmp_path / "state"))
    exporter = start_exporter(*flags, environment=driver.environment).ready()
    auditor = Auditor()
    before = auditor.watch(exporter, 2.5)
    exporter.process.send_signal(signal.SIGKILL)
    exporter.ended()
    killed = time.monotonic()
    wait_until(lambda: time.monotonic() > killed + 2.5, "more energy is used than may be waiting for an owner")
    exporter = start_exporter(*flags, environment=driver.environment).ready()
    auditor.watch(exporter, 1.0)
    after = auditor.watch(exporter, 1.5)
    assert before.number(FAMILY, kind="process") > 100
    assert after.number(FAMILY, kind="process") > before.number(FAMILY, kind="process") + 20
    assert after.number(FAMILY, kind="unknown") > (before.value(FAMILY, kind="unknown") or 0.0) + 200


def test_a_limit_of_series(start_exporter: StartExporter, driver: FakeDriver, proc: Path) -> None:
    """The rest is other's."""
    driver.set(processes=2, first_pid=100)
    flags = ("--meter", "nvml", *FLAGS, "--process.procfs", str(proc), "--process.max-series", "1")
    exporter = start_exporter(*flags, environment=driver.environment).ready()
    scrape = Auditor().watch(exporter, 2.5)
    assert {s.labels["command"] for s in scrape.samples if s.labels.get("kind") == "process"} == {"vllm"}
    assert scrape.number(FAMILY, kind="other") > 20


def threads(exporter: RunningExporter) -> int:
    return len(list(Path(f"/proc/{exporter.process.pid}/task").iterdir()))


def test_it_costs_nothing_until_it_is_enabled_and_comes_and_goes(
    start_exporter: StartExporter, driver: FakeDriver, proc: Path, tmp_path: Path
) -> None:
    """On SIGHUP: no thread and no question of the driver without it, all joules of before unknown's with it."""
    driver.set(processes=1, first_pid=100)
    settings = tmp_path / "settings.toml"
    lines = f'process.interval = "500ms"\nprocess.procfs = "{proc}"\n'
    settings.write_text(lines)
    exporter = start_exporter("--meter", "nvml", "--config.file", str(settings), environment=driver.environment).ready()
    quiet = threads(exporter)
    assert exporter.scrape().value(FAMILY, kind="open") is None
    auditor = Auditor()
    for round_ in itertools.count():
        settings.write_text(lines + 'collector.enable = ["process"]\n')
        exporter.process.send_signal(signal.SIGHUP)
        wait_until(lambda: exporter.scrape().value(FAMILY, kind="open") is not None, "rows come")
        auditor.watch(exporter, 1.5)
        wait_until(lambda: threads(exporter) == quiet + 2, "one thread for the board and one for those to come")
        settings.write_text(lines)
        exporter.process.send_signal(signal.SIGHUP)
        wait_until(lambda: exporter.scrape().value(FAMILY, kind="open") is None, "rows go")
        wait_until(lambda: threads(exporter) == quiet, "the threads end")
        if round_ == 1:
            break


@pytest.mark.parametrize("meter", ["simulated", "estimate"])
def test_devices_that_tell_no_processes_are_said_once(start_exporter: StartExporter, meter: str) -> None:
    """A machine without GPUs, or a simulated board without processes: one line says why nobody is named."""
    exporter = start_exporter("--meter", meter, "--collector.enable", "process").ready()
    assert exporter.text().count("process energy was asked for, but no device here tells its processes") == 1


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--process.interval", "100ms"), "--process.interval '100ms' must be a time from 500ms to 10s"),
        (("--process.interval", "soon"), "--process.interval 'soon' must be a time"),
        (("--process.max-series", "0"), "--process.max-series 0 must be 1 or more"),
    ],
)
def test_settings_that_cannot_be_honoured(start_exporter: StartExporter, flags: tuple[str, ...], said: str) -> None:
    """End the program with one line."""
    exporter = start_exporter(*FLAGS[:2], *flags)
    assert exporter.ended() == 2
    assert said in exporter.text()
