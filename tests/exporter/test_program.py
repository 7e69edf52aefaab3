"""The program as a user meets it: start, answers, refusals and end."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.exporter.driver import FakeDriver
from tests.exporter.running import DEADLINE_SECONDS, StartExporter, request, wait_until


def test_the_simulated_gpu_is_exposed_with_its_banner(start_exporter: StartExporter) -> None:
    """Its method is in gpu_info, a banner is in the log and on the page, and all of its figures are there."""
    exporter = start_exporter("--meter", "simulated", "--carbon.zone", "FRA").ready()
    scrape = wait_until(
        lambda: s if (s := exporter.scrape()).value("gpu_emissions_grams_total") else None, "the first tick is readable"
    )
    gpu = {"gpu": "0", "uuid": "GPU-simulated-0"}
    assert scrape.value("gpu_info", method="simulated", **gpu) == 1
    assert 70 <= scrape.number("gpu_power_watts", **gpu) <= 400
    assert "SIMULATED" in exporter.text()
    assert b"SIMULATED" in request(exporter.url + "/").body
    assert request(exporter.url + "/healthz").body == b"ok\n"


def test_published_energy_is_the_truth_file_to_the_microjoule(start_exporter: StartExporter, tmp_path: Path) -> None:
    """Every (energy, time) pair of a scrape is a line of the truth file."""
    path = tmp_path / "truth.jsonl"
    exporter = start_exporter("--meter", "simulated", "--simulated.truth", str(path)).ready()
    pairs = set()
    end = time.monotonic() + 1.5
    while time.monotonic() < end:
        scrape = exporter.scrape()
        pairs.add((scrape.number("gpu_energy_timestamp_seconds"), scrape.number("gpu_energy_joules_total")))
    assert exporter.stop() == 0
    ticks = [json.loads(line) for line in path.read_text().splitlines()]
    truth = {ticks[0]["start_seconds"]: 0.0} | {tick["end_seconds"]: tick["total_joules"] for tick in ticks}
    assert len(pairs) > 5
    assert pairs <= set(truth.items())


def test_the_estimate_moves_with_its_timestamp(start_exporter: StartExporter) -> None:
    """CPU energy rises within idle and maximal power, its time is that of a reading, and emissions follow it."""
    exporter = start_exporter(
        "--meter", "estimate", "--carbon.zone", "FRA", "--estimate.idle-watts", "10", "--estimate.max-watts", "30"
    ).ready()
    first = exporter.scrape()
    start = first.number("cpu_energy_timestamp_seconds", package="0", zone="package")
    last = wait_until(
        lambda: s if (s := exporter.scrape()).number("cpu_energy_timestamp_seconds") > start + 1 else None, "a second"
    )
    energy = [sum(x.value for x in s.samples if x.name == "cpu_energy_joules_total") for s in (first, last)]
    seconds = last.number("cpu_energy_timestamp_seconds") - start
    assert 10 * seconds * 0.99 <= energy[1] - energy[0] <= 30 * seconds + 20 * 0.02  # and the kernel's coarse ticks
    assert last.number("cpu_emissions_grams_total") == pytest.approx(energy[1] * 56.039 / 3.6e6)
    assert exporter.text().count("CPU energy is estimated: 10 W idle to 30 W at full load") == 1


def test_without_a_zone_there_are_no_emissions_and_one_line_says_so(start_exporter: StartExporter) -> None:
    """No factor is assumed."""
    exporter = start_exporter("--meter", "simulated").ready()
    names = exporter.scrape().names()
    assert not {name for name in names if "emissions" in name or "carbon" in name}
    assert exporter.text().count("no --carbon.zone") == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_within_a_second(start_exporter: StartExporter, number: signal.Signals) -> None:
    """Exit code 0, nothing but log lines behind it."""
    exporter = start_exporter("--meter", "simulated").ready()
    asked = time.monotonic()
    exporter.process.send_signal(number)
    assert exporter.ended() == 0
    assert time.monotonic() - asked < 1.0
    assert "Traceback" not in exporter.text()


def test_a_signal_ends_it_while_a_driver_hangs_at_its_start(start_exporter: StartExporter, driver: FakeDriver) -> None:
    """Exit code 0 within a second, though the exporter never came to listen."""
    driver.set(init_us=60_000_000)
    exporter = start_exporter("--meter", "nvml", environment=driver.environment)
    wait_until(lambda: driver.inits, "the driver is being initialised")
    asked = time.monotonic()
    exporter.process.send_signal(signal.SIGTERM)
    assert exporter.ended() == 0
    assert time.monotonic() - asked < 1.0
    assert exporter.text() == ""


def test_a_storm_of_sighup_holds_up_no_end(start_exporter: StartExporter) -> None:
    """A thousand of them are a few reloads, and the SIGTERM behind them is followed within a second."""
    exporter = start_exporter("--meter", "simulated").ready()
    for _ in range(1000):
        exporter.process.send_signal(signal.SIGHUP)
    asked = time.monotonic()
    exporter.process.send_signal(signal.SIGTERM)
    assert exporter.ended() == 0
    assert time.monotonic() - asked < 1.0


def test_a_taken_port_is_a_sentence(start_exporter: StartExporter) -> None:
    """Exit code 1."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        exporter = start_exporter("--meter", "simulated", "--web.listen-address", f"127.0.0.1:{port}")
        assert exporter.ended() == 1
    line = (
        f"gpu-energy-exporter: cannot listen on 127.0.0.1:{port}: Address already in use "
        "(is another exporter running? choose another --web.listen-address)"
    )
    assert exporter.text().splitlines()[-1] == line


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        ("--carbon.zone Frankreich", "no carbon intensity for zone 'Frankreich'"),
        ("--meter simulated --simulated.truth /proc/none/truth", "cannot write the truth file /proc/none/truth"),
        ("--meter estimate --estimate.idle-watts 9000", "estimated power cannot go from 9000 W idle to"),
    ],
)
def test_settings_that_cannot_be_honoured_exit_2(start_exporter: StartExporter, flags: str, line: str) -> None:
    """One line on stderr."""
    exporter = start_exporter(*flags.split())
    assert exporter.ended() == 2
    assert exporter.text().startswith(f"gpu-energy-exporter: {line}")
    assert exporter.text().count("\n") == 1


@pytest.mark.parametrize(
    ("flag", "text"),
    [
        ("--help", "--carbon.zone FRA --carbon.pue 1.2"),
        ("--help", "usage: gpu-energy-exporter [flags]\n\nReads the joules"),
        ("--help", "exit codes: 0 "),
        ("--carbon.zones", "FRA        56.0 g/kWh (2023)  France\n"),
        ("--version", "gpu-energy-exporter "),
    ],
)
def test_help_and_version(start_exporter: StartExporter, flag: str, text: str) -> None:
    """Exit code 0; the help has examples."""
    exporter = start_exporter(flag)
    assert exporter.ended() == 0
    assert text in exporter.text()


def test_the_console_script_is_installed() -> None:
    """``gpu-energy-exporter`` is on the path of its environment and passes the exit code on."""
    script = Path(sys.executable).with_name("gpu-energy-exporter")
    if not script.exists():
        pytest.skip("perjoule is not installed into this environment")
    ended = subprocess.run([script, "--carbon.pue", "0"], capture_output=True, check=False, timeout=DEADLINE_SECONDS)
    assert ended.returncode == 2


def test_an_exporter_does_not_import_what_it_does_not_use() -> None:
    """A base install is two small packages: no torch, no web framework, and no driver's binding without its meter."""
    code = (
        "import sys\n"
        "from perjoule_exporter.config import parse\n"
        "from perjoule_exporter.program import Exporter\n"
        "Exporter(parse('--meter simulated --web.listen-address 127.0.0.1:0'.split())).close()\n"
        "print(sorted({'torch', 'numpy', 'aiohttp', 'fastapi', 'pynvml'} & set(sys.modules)))"
    )
    paths = os.pathsep.join(path for path in sys.path if path)
    ended = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        check=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        env={**os.environ, "PYTHONPATH": paths},
    )
    assert ended.stdout == "[]\n"


def test_file_descriptors_and_threads_do_not_grow(start_exporter: StartExporter) -> None:
    """Three hundred scrapes over new connections leave what there was."""
    exporter = start_exporter("--meter", "simulated").ready()

    def held() -> tuple[int, int]:
        process = Path(f"/proc/{exporter.process.pid}")
        return len(list((process / "fd").iterdir())), len(list((process / "task").iterdir()))

    exporter.scrape()
    wait_until(lambda: held()[1] == 6, "threads: main, reader, watchdog, discovery, spans, web")
    before = held()
    for _ in range(300):
        request(exporter.url + "/metrics")
    wait_until(lambda: held() == before, f"descriptors and threads are {before} again")
