"""Counters over restarts: the state file alone, and the real program killed and started again."""

import json
import logging
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from perjoule.errors import PerjouleError, UsageError
from perjoule_exporter.state import BOOT_ID, StateFile
from tests.exporter.driver import FakeDriver, joules
from tests.exporter.running import RunningExporter, Scrape, StartExporter, wait_until

COUNTERS = ("gpu_energy_joules_total", "gpu_energy_integrated_joules_total", "gpu_emissions_grams_total")


@pytest.fixture
def boot(tmp_path: Path) -> Path:
    """A file that holds a boot id."""
    file = tmp_path / "boot_id"
    file.write_text("first\n", encoding="ascii")
    return file


def reopened(path: Path, boot: Path) -> dict[str, object]:
    state = StateFile(path, boot)
    try:
        return dict(state.load())
    finally:
        state.close()


def test_what_was_written_is_read(tmp_path: Path, boot: Path) -> None:
    """In the same boot; after another one there is nothing."""
    path = tmp_path / "state"
    state = StateFile(path, boot)
    assert state.load() == {}
    state.write({"GPU-a": {"total": 2**63}})
    state.close()
    assert reopened(path, boot) == {"GPU-a": {"total": 2**63}}
    boot.write_text("second\n", encoding="ascii")
    assert reopened(path, boot) == {}


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\0" * 5000, b'{"format": 2}', b'{"format": 1}', b'{"format": 1, "boot_id": "first", "devices": 7}',
     b'{"format": \xff\xfe', b'{"format": ' + b"[" * 100_000, b'{"format": 1, "boot_id": "first", "devices": [1]}',
     b'{"format": 1, "boot_id": "first", "devices": {"GPU-a": 7}}'],
)  # fmt: skip
def test_a_corrupt_file_is_set_aside(
    tmp_path: Path, boot: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """With one warning, never fatal, and still there for who wants to look."""
    path = tmp_path / "state"
    path.write_bytes(content)
    assert reopened(path, boot) == {}
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert (tmp_path / "state.corrupt").read_bytes() == content
    assert not path.exists()


def test_a_second_exporter_on_the_same_file_is_refused(tmp_path: Path, boot: Path) -> None:
    """Two would overwrite each other's counters."""
    first = StateFile(tmp_path / "state", boot)
    with pytest.raises(PerjouleError, match="held by another exporter"):
        StateFile(tmp_path / "state", boot)
    first.close()
    StateFile(tmp_path / "state", boot).close()


def test_a_place_that_cannot_be_written_is_refused_at_the_start(tmp_path: Path, boot: Path) -> None:
    """Rather than at the first scrape."""
    with pytest.raises(UsageError, match="cannot be written: No such file or directory"):
        StateFile(tmp_path / "none" / "state", boot)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("folder", r"folder is a directory: name a file in it, such as .*folder/counters\.json"),
        ("pipe", "pipe is no file but a device, a pipe or a socket"),
        ("notes.txt", r"notes\.txt is there and is no state file of this exporter: remove it, or name another"),
        ("list.json", "list.json is there and is no state file"),
        ("a\0b", "cannot be written"),
    ],
)
def test_what_is_not_ours_is_refused_and_left_alone(tmp_path: Path, boot: Path, name: str, sentence: str) -> None:
    """A folder, a pipe or somebody's file is never set aside as if it were a state of no use."""
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "notes.txt").write_text("milk, bread")
    (tmp_path / "list.json").write_text('[{"format": 1}]')
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(UsageError, match=sentence):
        StateFile(tmp_path / name, boot)
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert (tmp_path / "notes.txt").read_text() == "milk, bread"


def test_no_name_is_the_folder_that_one_is_in(boot: Path) -> None:
    """An empty --state.file moves nothing."""
    with pytest.raises(UsageError, match=r"--state\.file \. is a directory"):
        StateFile(Path(), boot)


def test_a_write_that_fails_removes_the_file(tmp_path: Path, boot: Path, caplog: pytest.LogCaptureFixture) -> None:
    """An old file would make counters go back; it is said once, and once more when it works again."""
    path = tmp_path / "state"
    state = StateFile(path, boot)
    state.write({"GPU-a": {}})
    obstacle = tmp_path / "state.new"
    obstacle.mkdir()
    for _ in range(3):
        state.write({"GPU-a": {}})
    assert not path.exists()
    obstacle.rmdir()
    state.write({"GPU-a": {}})
    state.close()
    assert json.loads(path.read_text(encoding="utf-8"))["devices"] == {"GPU-a": {}}
    assert [record.getMessage().split("(")[0] for record in caplog.records] == [
        f"the state file {path} cannot be written ",
        f"the state file {path} is written again",
    ]


def test_an_old_file_that_cannot_be_removed_is_not_called_removed(
    tmp_path: Path, boot: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Then counters would go back at a restart, and the one warning says so."""
    path = tmp_path / "state"
    state = StateFile(path, boot)
    (path / "obstacle").mkdir(parents=True)
    for _ in range(2):
        state.write({"GPU-a": {}})
    state.close()
    (record,) = caplog.records
    assert "nor removed: remove it, or a restart takes sums back" in record.getMessage()


def started(start_exporter: StartExporter, driver: FakeDriver, path: Path) -> RunningExporter:
    flags = ("--meter", "nvml", "--carbon.zone", "FRA", "--state.file", str(path))
    return start_exporter(*flags, environment=driver.environment).ready()


def grown(exporter: RunningExporter, joules_more: float) -> Scrape:
    start = exporter.scrape().number("gpu_energy_joules_total")

    def enough() -> Scrape | None:
        scrape = exporter.scrape()
        return scrape if scrape.number("gpu_energy_joules_total") > start + joules_more else None

    return wait_until(enough, f"{joules_more} J more")


def pair(scrape: Scrape) -> tuple[float, float]:
    return scrape.number("gpu_energy_joules_total"), scrape.number("gpu_energy_timestamp_seconds")


def test_no_counter_goes_back_over_sigkill(start_exporter: StartExporter, driver: FakeDriver, tmp_path: Path) -> None:
    """Killed and started again, every counter goes on; energy used meanwhile is in it, to the exact integral."""
    path = tmp_path / "state"
    exporter = started(start_exporter, driver, path)
    before = grown(exporter, 30.0)
    exporter.process.send_signal(signal.SIGKILL)
    assert exporter.ended() == -signal.SIGKILL
    killed_at = time.monotonic()
    wait_until(lambda: time.monotonic() > killed_at + 0.7, "energy is used while nobody looks")
    again = started(start_exporter, driver, path)
    first = again.scrape()
    for name in COUNTERS:
        assert first.number(name) >= before.number(name), name
    assert first.number("gpu_samples_total", outcome="ok") > before.number("gpu_samples_total", outcome="ok")
    after = grown(again, 10.0)
    (start, start_at), (end, end_at) = pair(before), pair(after)
    assert end - start == pytest.approx(joules(0, start_at, end_at), abs=0.003)
    assert after.number("gpu_energy_resets_total") == 0
    grams = after.number("gpu_energy_joules_total") * 56.039 / 3.6e6
    assert after.number("gpu_emissions_grams_total") == pytest.approx(grams, rel=1e-9)


def test_without_a_state_file_counters_start_at_0(start_exporter: StartExporter, driver: FakeDriver) -> None:
    """A clean reset, which Prometheus understands."""
    exporter = start_exporter("--meter", "nvml", environment=driver.environment).ready()
    assert grown(exporter, 30.0).number("gpu_energy_joules_total") > 30.0
    exporter.stop()
    again = start_exporter("--meter", "nvml", environment=driver.environment).ready()
    assert again.scrape().number("gpu_energy_joules_total") < 30.0


def test_a_reset_while_nobody_looks_is_counted(
    start_exporter: StartExporter, driver: FakeDriver, tmp_path: Path
) -> None:
    """The counter is lower than it was: what it shows since then is added, and no more."""
    path = tmp_path / "state"
    exporter = started(start_exporter, driver, path)
    before = grown(exporter, 30.0)
    exporter.stop()
    driver.set(reset=1)
    first = started(start_exporter, driver, path).scrape()
    assert first.number("gpu_energy_resets_total") == 1
    more = first.number("gpu_energy_joules_total") - before.number("gpu_energy_joules_total")
    assert 0 <= more < 300 * 15.0


def test_a_second_program_on_the_same_file_exits(
    start_exporter: StartExporter, driver: FakeDriver, tmp_path: Path
) -> None:
    """With exit code 1 and a sentence."""
    path = tmp_path / "state"
    started(start_exporter, driver, path)
    second = start_exporter("--meter", "nvml", "--state.file", str(path), environment=driver.environment)
    assert second.ended() == 1
    assert f"gpu-energy-exporter: --state.file {path} is held by another exporter" in second.text()


@pytest.mark.parametrize(
    "garbage",
    [
        "{",
        '{"format": 1, "boot_id": "%s", "devices": {"GPU-fake-0": {"method": 1}}}',
        '{"format": 1, "boot_id": "%s", "devices": {"GPU-fake-0": {"basis": []}}}',
        '{"format": 1, "boot_id": "%s", "devices": {"GPU-gone": 7}}',
    ],
)
def test_a_corrupt_file_is_not_fatal(
    start_exporter: StartExporter, driver: FakeDriver, tmp_path: Path, garbage: str
) -> None:
    """The program starts at 0 and says why, whether the file or what is in it is of no use."""
    path = tmp_path / "state"
    path.write_text(garbage.replace("%s", BOOT_ID.read_text(encoding="ascii").strip()), encoding="utf-8")
    exporter = started(start_exporter, driver, path)
    assert exporter.scrape().value("gpu_up") == 1
    assert exporter.text().count("of no use") == 1


def test_concurrent_scrapes_never_leave_an_older_state(
    start_exporter: StartExporter, driver: FakeDriver, tmp_path: Path
) -> None:
    """After many scrapes at once the file holds at least what any of them showed."""
    path = tmp_path / "state"
    exporter = started(start_exporter, driver, path)
    with ThreadPoolExecutor(8) as pool:
        shown = list(pool.map(lambda _: exporter.scrape().number("gpu_energy_joules_total"), range(40)))
    saved = json.loads(path.read_text(encoding="utf-8"))["devices"]["GPU-fake-0"]["energy"]["total"]
    assert saved / 1e6 >= max(shown)
