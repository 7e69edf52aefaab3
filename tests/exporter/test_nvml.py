"""NVML from end to end: the real program, the real binding, and a driver written in C behind them."""

from pathlib import Path

import pytest

from perjoule_exporter.meters.presence import amd_gpu_present
from tests.exporter.driver import (
    GPU_IS_LOST,
    LIB_RM_VERSION_MISMATCH,
    RESET_REQUIRED,
    UNKNOWN_ERROR,
    FakeDriver,
    joules,
)
from tests.exporter.running import RunningExporter, Scrape, StartExporter, wait_until

GPU_0, GPU_1 = "GPU-fake-0", "GPU-fake-1"
HEALTH = {
    "gpu_up",
    "gpu_info",
    "gpu_sample_age_seconds",
    "gpu_samples_total",
    "gpu_read_duration_seconds_bucket",
    "gpu_read_duration_seconds_count",
    "gpu_read_duration_seconds_sum",
}
"""What is still said of a GPU that does not answer: who it is, and that it does not."""


def started(start_exporter: StartExporter, driver: FakeDriver, *flags: str) -> RunningExporter:
    return start_exporter("--meter", "nvml", *flags, environment=driver.environment).ready()


def pair(exporter: RunningExporter, uuid: str) -> tuple[float, float]:
    """Return (energy, time) of one scrape, once the counter was seen to move."""

    def scraped() -> tuple[float, float] | None:
        scrape = exporter.scrape()
        time = scrape.value("gpu_energy_timestamp_seconds", uuid=uuid)
        return None if time is None else (scrape.number("gpu_energy_joules_total", uuid=uuid), time)

    return wait_until(scraped, f"an energy pair of {uuid}")


def after(exporter: RunningExporter, uuid: str, joules_more: float) -> Scrape:
    """Return the first scrape by which the GPU's counter has risen by so much."""
    target = exporter.scrape().number("gpu_energy_joules_total", uuid=uuid) + joules_more

    def risen() -> Scrape | None:
        scrape = exporter.scrape()
        return scrape if (scrape.value("gpu_energy_joules_total", uuid=uuid) or 0.0) > target else None

    return wait_until(risen, f"{joules_more} J of {uuid}")


def test_energy_equals_what_the_board_drew(start_exporter: StartExporter, driver: FakeDriver) -> None:
    """Two (energy, time) pairs differ by the exact integral of the power between their times, for every GPU."""
    driver.set(gpus=2)
    exporter = started(start_exporter, driver)
    first = [pair(exporter, uuid) for uuid in (GPU_0, GPU_1)]
    after(exporter, GPU_0, 150.0)
    last = [pair(exporter, uuid) for uuid in (GPU_0, GPU_1)]
    for gpu, (begin, end) in enumerate(zip(first, last, strict=True)):
        assert end[0] - begin[0] == pytest.approx(joules(gpu, begin[1], end[1]), abs=0.003)


def test_stamps_of_the_call_are_not_taken_for_ticks(start_exporter: StartExporter, driver: FakeDriver) -> None:
    """Where the driver stamps the call, the tick is put between the two reads around it: right to half an interval."""
    driver.set(call_stamps=1, tick_us=100_000)
    exporter = started(start_exporter, driver, "--sampling.interval", "5ms")
    energy, time = pair(exporter, GPU_0)
    after(exporter, GPU_0, 100.0)
    later_energy, later_time = pair(exporter, GPU_0)
    # Two edges, each wrong by at most half a read interval (oversleeping included) at 300 W.
    assert later_energy - energy == pytest.approx(joules(0, time, later_time), abs=2 * 300 * 0.025)


def test_every_value_of_a_healthy_gpu_in_base_units(start_exporter: StartExporter, driver: FakeDriver) -> None:
    """Watts, bytes, hertz, degrees and ratios are those of the driver, and the video clock it has not got is absent."""
    driver.set(tick_us=100_000)
    scrape = after(started(start_exporter, driver, "--carbon.zone", "FRA", "--carbon.pue", "1.5"), GPU_0, 100.0)
    expected = {
        "gpu_up": 1,
        "gpu_power_average_watts": 200,
        "gpu_power_max_watts": 300,
        "gpu_power_min_watts": 100,
        "gpu_power_limit_watts": 700,
        "gpu_utilization_ratio": 0.5,
        "gpu_memory_used_bytes": 2**30,
        "gpu_memory_total_bytes": 80 * 2**30,
        "gpu_temperature_celsius": 41,
        "gpu_energy_resets_total": 0,
    }
    assert {name: scrape.value(name, gpu="0", uuid=GPU_0) for name in expected} == expected
    assert scrape.value("gpu_power_watts", uuid=GPU_0) in {100.0, 300.0}
    clocks = {s.labels["domain"]: s.value for s in scrape.samples if s.name == "gpu_clock_hertz"}
    assert clocks == {"graphics": 1.0e9, "sm": 1.1e9, "memory": 1.2e9}
    assert scrape.number("gpu_throttled_seconds_total", reason="sw_power_cap") > 0
    assert scrape.number("gpu_throttled_seconds_total", reason="hw_slowdown") == 0
    assert scrape.number("gpu_energy_update_interval_seconds") == pytest.approx(0.1, abs=0.03)
    grams = scrape.number("gpu_energy_joules_total") * 56.039 * 1.5 / 3.6e6
    assert scrape.number("gpu_emissions_grams_total") == pytest.approx(grams, rel=1e-9)
    identity = {"vendor": "NVIDIA", "driver": "550.54.15", "method": "counter"}
    assert scrape.value("gpu_info", pci_bus_id="00000000:01:00.0", scope="gpu", **identity) == 1
    assert r'name="Fake \"H100\" 80GB"' in scrape.text


def test_without_field_values_the_older_calls_answer(start_exporter: StartExporter, driver: FakeDriver) -> None:
    """Energy and power still come, from a call each; average power has no older call and is absent."""
    driver.set(no_fields_mask=1)
    scrape = after(started(start_exporter, driver), GPU_0, 50.0)
    assert scrape.number("gpu_power_watts") in {100.0, 300.0}
    assert scrape.value("gpu_power_average_watts") is None
    assert scrape.value("gpu_info", method="counter") == 1


@pytest.mark.parametrize("samples", [True, False], ids=["the driver's samples", "polled"])
def test_a_gpu_without_a_counter_integrates_its_power(
    start_exporter: StartExporter, driver: FakeDriver, *, samples: bool
) -> None:
    """Its energy is what it drew, from the driver's own samples or from polls, and says that it is integrated."""
    driver.set(no_counter=1, no_samples=int(not samples))
    exporter = started(start_exporter, driver)
    energy, time = pair(exporter, GPU_0)
    scrape = after(exporter, GPU_0, 300.0)
    later_energy, later_time = pair(exporter, GPU_0)
    assert scrape.value("gpu_info", method="integrated") == 1
    # The load changes by 200 W four times a second: each change is seen late or early by half an interval at most.
    changes = 4 * (later_time - time) + 2
    interval = 0.020 if samples else 0.100  # 25 ms, or more while little changes, oversleeping included
    assert later_energy - energy == pytest.approx(joules(0, time, later_time), abs=changes * 200 * interval / 2)


def test_unsupported_values_are_absent(start_exporter: StartExporter, driver: FakeDriver) -> None:
    """A driver without limits, clocks, memory and the rest still gives energy, and nothing is made up."""
    driver.set(no_status_mask=1)
    scrape = after(started(start_exporter, driver), GPU_0, 50.0)
    assert scrape.number("gpu_up") == 1
    unknown = {"limit_watts", "utilization_ratio", "memory_used_bytes", "memory_total_bytes", "temperature_celsius"}
    assert not {f"gpu_{name}" for name in unknown} & scrape.names()
    assert not {"gpu_power_limit_watts", "gpu_clock_hertz", "gpu_throttled_seconds_total"} & scrape.names()


@pytest.mark.parametrize("code", [GPU_IS_LOST, RESET_REQUIRED, UNKNOWN_ERROR])
def test_a_lost_gpu_disappears_and_comes_back(start_exporter: StartExporter, driver: FakeDriver, code: int) -> None:
    """gpu_up turns 0 and its series go; the other GPU goes on; back again, the counter goes on from where it was."""
    driver.set(gpus=2, lost_code=code)
    exporter = started(start_exporter, driver)
    before = after(exporter, GPU_0, 20.0).number("gpu_energy_joules_total", uuid=GPU_0)
    driver.set(lost_mask=0b01)
    wait_until(lambda: exporter.scrape().value("gpu_up", uuid=GPU_0) == 0, "gpu_up turns 0")
    scrape = after(exporter, GPU_1, 20.0)
    assert scrape.names(uuid=GPU_0) == HEALTH
    assert scrape.number("gpu_samples_total", uuid=GPU_0, outcome="lost") >= 1
    assert scrape.number("gpu_up", uuid=GPU_1) == 1
    driver.set(lost_mask=0)
    wait_until(lambda: exporter.scrape().value("gpu_up", uuid=GPU_0) == 1, "gpu_up turns 1")
    scrape = after(exporter, GPU_0, 20.0)
    assert scrape.number("gpu_energy_joules_total", uuid=GPU_0) > before + 20
    assert scrape.number("gpu_energy_resets_total", uuid=GPU_0) == 0
    assert exporter.text().count("lost a device") == 1  # said once, however often it was asked
    assert exporter.text().count("is back") == 1


def test_a_gpu_lost_before_the_start_costs_only_itself(start_exporter: StartExporter, driver: FakeDriver) -> None:
    """The others are published, and one line names the one that is left out."""
    driver.set(gpus=2, lost_mask=0b01)
    exporter = started(start_exporter, driver)
    assert {s.labels["uuid"] for s in exporter.scrape().samples if s.name == "gpu_up"} == {GPU_1}
    assert exporter.text().count("a GPU does not answer and is left out: GPU 0: GPU is lost") == 1


def test_a_gpu_that_appears_is_published(start_exporter: StartExporter, driver: FakeDriver) -> None:
    """Without a restart, from 0 on, and the GPU that was there sees no reset."""
    exporter = started(start_exporter, driver)
    before = after(exporter, GPU_0, 10.0).number("gpu_energy_joules_total", uuid=GPU_0)
    driver.set(gpus=2)
    wait_until(lambda: exporter.scrape().value("gpu_up", uuid=GPU_1), "the second GPU is found")
    scrape = after(exporter, GPU_1, 10.0)
    assert scrape.number("gpu_energy_joules_total", uuid=GPU_1) < 320 * 2
    assert scrape.number("gpu_energy_joules_total", uuid=GPU_0) > before
    assert scrape.number("gpu_energy_resets_total", uuid=GPU_0) == 0


def test_a_board_under_mig_counts_once(start_exporter: StartExporter, driver: FakeDriver) -> None:
    """Its joules are published for the board and for no slice, exact as ever; its utilisation is absent."""
    driver.set(mig=7)
    exporter = started(start_exporter, driver)
    energy, time = pair(exporter, GPU_0)
    scrape = after(exporter, GPU_0, 50.0)
    later_energy, later_time = pair(exporter, GPU_0)
    assert len([s for s in scrape.samples if s.name == "gpu_energy_joules_total"]) == 1
    assert scrape.value("gpu_utilization_ratio") is None
    assert later_energy - energy == pytest.approx(joules(0, time, later_time), abs=0.003)


def test_a_superchips_joules_and_watts_are_its_modules(start_exporter: StartExporter, driver: FakeDriver) -> None:
    """GPU and CPU together, in the counter and in every power family, and gpu_info says so."""
    driver.set(module=1)
    exporter = started(start_exporter, driver)
    energy, time = pair(exporter, GPU_0)
    scrape = after(exporter, GPU_0, 50.0)
    later_energy, later_time = pair(exporter, GPU_0)
    assert scrape.value("gpu_info", scope="module", method="counter") == 1
    assert scrape.number("gpu_power_average_watts") == 280
    assert scrape.number("gpu_power_watts") in {180.0, 380.0}
    assert later_energy - energy == pytest.approx(joules(0, time, later_time, module=True), abs=0.003)


def test_a_reset_counter_never_goes_back(start_exporter: StartExporter, driver: FakeDriver) -> None:
    """The driver's counter restarts at 0: ours goes on, without a jump, and the reset is counted."""
    exporter = started(start_exporter, driver)
    energy, time = pair(exporter, GPU_0)
    after(exporter, GPU_0, 50.0)
    driver.set(reset=1)
    seen = [exporter.scrape()]
    while seen[-1].number("gpu_energy_resets_total") == 0:
        seen.append(exporter.scrape())
    seen.append(after(exporter, GPU_0, 50.0))
    later_energy, later_time = pair(exporter, GPU_0)
    energies = [scrape.number("gpu_energy_joules_total") for scrape in seen]
    assert energies == sorted(energies)
    assert seen[-1].number("gpu_energy_resets_total") == 1
    # Bridged by power over one read interval: wrong by no more than a few intervals at 300 W.
    assert later_energy - energy == pytest.approx(joules(0, time, later_time), abs=300 * 0.1)


@pytest.mark.parametrize("call", ["hang", "hang_status"])
def test_a_driver_that_hangs_serves_nothing_stale(start_exporter: StartExporter, driver: FakeDriver, call: str) -> None:
    """A second into the hang the series are gone and the scrape still answers; afterwards it goes on by itself."""
    exporter = started(start_exporter, driver)
    after(exporter, GPU_0, 20.0)
    driver.set(**{call: 1})
    wait_until(lambda: exporter.scrape().value("gpu_up") == 0, "gpu_up turns 0", seconds=5.0)
    scrape = exporter.scrape()
    assert scrape.names(uuid=GPU_0) == HEALTH
    assert scrape.number("gpu_sample_age_seconds") > 0.5
    driver.set(**{call: 0})
    wait_until(lambda: exporter.scrape().value("gpu_up") == 1, "gpu_up turns 1")
    # What was used meanwhile, most of a second at 200 W and more, was counted by the driver.
    wait_until(lambda: (exporter.scrape().value("gpu_energy_joules_total") or 0) > 100, "what was used meanwhile")
    assert exporter.scrape().number("gpu_energy_resets_total") == 0


def test_a_hanging_driver_does_not_keep_the_program(start_exporter: StartExporter, driver: FakeDriver) -> None:
    """SIGTERM ends it within a second or so, hang or not."""
    exporter = started(start_exporter, driver)
    driver.set(hang_mask=1)
    wait_until(lambda: exporter.scrape().value("gpu_up") == 0, "gpu_up turns 0", seconds=5.0)
    assert exporter.stop() == 0


def test_without_a_driver_one_line_and_exit_code_1(start_exporter: StartExporter) -> None:
    """``--meter nvml`` on a machine without a driver says what is missing, and what else there is."""
    exporter = start_exporter("--meter", "nvml")
    assert exporter.ended() == 1
    assert exporter.text() == (
        "gpu-energy-exporter: no NVIDIA driver: libnvidia-ml.so.1 was not found "
        "(named by --meter nvml: leave it out, or use --meter auto)\n"
    )


def test_without_a_driver_auto_estimates_and_says_so(start_exporter: StartExporter, tmp_path: Path) -> None:
    """``--meter auto`` falls to the estimate with one short warning and the reasons beside it; every series says so."""
    exporter = start_exporter("--path.sysfs", str(tmp_path)).ready()  # without RAPL
    lines = exporter.text().splitlines()
    (fallen,) = [line for line in lines if "level=warning" in line]
    assert "no hardware meter here: CPU energy is an ESTIMATE from utilisation" in fallen
    assert [sum(why in line for line in lines) for why in ("libnvidia-ml.so.1 was not found", "no RAPL", "amd")] == [
        1, 1, 0,
    ]  # fmt: skip
    scrape = exporter.scrape()
    assert scrape.value("cpu_info", package="0", zone="package", method="estimated") == 1
    assert not {name for name in scrape.names() if name.startswith("gpu_") and not name.startswith("gpu_exporter_")}


def test_amds_library_is_missed_only_where_there_is_an_amd_gpu(start_exporter: StartExporter, tmp_path: Path) -> None:
    """A card of that vendor, and no amdsmi: then the pip line is worth a line."""
    (tmp_path / "amdsmi.py").write_text("raise ModuleNotFoundError(\"No module named 'amdsmi'\", name='amdsmi')\n")
    card = tmp_path / "sys/class/drm/card1/device"
    card.mkdir(parents=True)
    (card / "vendor").write_text("0x1002\n")
    flags = ("--path.sysfs", str(tmp_path / "sys"))
    exporter = start_exporter(*flags, environment={"PYTHONPATH": str(tmp_path)}).ready()
    assert "no amdsmi: pip install 'perjoule[amd]'" in exporter.text()


@pytest.mark.parametrize(
    ("vendor", "kfd", "there"),
    [(b"0x1002\n", False, True), (b"0x8086\n", False, False), (b"\xff", False, False), (None, False, False),
     (None, True, True)],
)  # fmt: skip
def test_whether_there_is_an_amd_gpu(tmp_path: Path, vendor: bytes | None, *, kfd: bool, there: bool) -> None:
    """By what the kernel says of graphics cards, or by the device of the compute driver."""
    card = tmp_path / "class/drm/card0/device"
    card.mkdir(parents=True)
    if vendor is not None:
        (card / "vendor").write_bytes(vendor)
    if kfd:
        (tmp_path / "kfd").touch()
    assert amd_gpu_present(tmp_path, tmp_path / "kfd") is there


def test_auto_takes_the_gpus_of_a_driver(start_exporter: StartExporter, driver: FakeDriver, tmp_path: Path) -> None:
    """With a driver, ``auto`` reads it and estimates nothing."""
    flags = ("--path.sysfs", str(tmp_path))  # without RAPL
    scrape = start_exporter(*flags, environment=driver.environment).ready().scrape()
    assert scrape.value("gpu_info", method="counter") == 1
    assert scrape.value("cpu_info") is None


@pytest.mark.parametrize(
    ("switch", "sentence"),
    [
        ({"init": LIB_RM_VERSION_MISMATCH}, "the NVIDIA driver does not answer: RM has detected an NVML/RM version"),
        ({"gpus": 0}, "the NVIDIA driver is loaded but lists no GPU that answers"),
        ({"lost_mask": 1}, "the NVIDIA driver is loaded but lists no GPU that answers"),
    ],
)
def test_a_driver_without_gpus_is_no_meter(
    start_exporter: StartExporter, driver: FakeDriver, switch: dict[str, int], sentence: str
) -> None:
    """A driver of another version, without GPUs, or with lost ones only: one line, exit code 1."""
    driver.set(**switch)
    exporter = start_exporter("--meter", "nvml", environment=driver.environment)
    assert exporter.ended() == 1
    assert sentence in exporter.text()
    assert "Traceback" not in exporter.text()
