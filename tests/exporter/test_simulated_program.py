"""The exporter with a simulation script: healthy, lost, hung and lying boards beside each other, as a user runs it."""

import json
import time
from pathlib import Path

from tests.exporter.running import StartExporter, wait_until

SCRIPT = """
[[gpu]]                                   # 0: healthy, a sensor that tells 2 % too much
power = { square = [100, 300], period_seconds = 0.2 }
gain = 1.02

[[gpu]]                                   # 1: lost after a second and a half, for three
power = 200
[[gpu.event]]
kind = "lost"
from_seconds = 1.5
to_seconds = 4.5

[[gpu]]                                   # 2: hangs for good
power = 200
[[gpu.event]]
kind = "hang"
from_seconds = 1.5

[[gpu]]                                   # 3: its driver is loaded anew
power = 200
start_joules = 1_000_000
[[gpu.event]]
kind = "reset"
at_seconds = 2

[[gpu]]                                   # 4: no counter
power = 200
unsupported = ["energy", "energy_time"]

[[gpu]]                                   # 5: throttled
power = 200
[[gpu.status]]
throttle_reasons = ["hw_thermal_slowdown"]
temperature_celsius = 91
"""


def test_a_script_runs_through_the_exporter(start_exporter: StartExporter, tmp_path: Path) -> None:
    """Each board shows its own trouble, and the healthy one none: its energy is the truth file's, times the gain."""
    script, truth = tmp_path / "s.toml", tmp_path / "truth.jsonl"
    script.write_text(SCRIPT)
    exporter = start_exporter(
        "--meter", "simulated", "--simulated.script", str(script), "--simulated.truth", str(truth)
    ).ready()

    def board(number: int) -> dict[str, str]:
        return {"uuid": f"GPU-simulated-{number}"}

    wait_until(lambda: exporter.scrape().number("gpu_up", **board(1)) == 0, "the lost board is down")
    wait_until(lambda: exporter.scrape().number("gpu_up", **board(2)) == 0, "the hung board is down")
    wait_until(lambda: exporter.scrape().number("gpu_energy_resets_total", **board(3)) == 1, "the reset is seen")
    wait_until(lambda: exporter.scrape().number("gpu_up", **board(1)) == 1, "the lost board is back")
    scrape = exporter.scrape()
    assert [scrape.number("gpu_up", **board(n)) for n in (0, 3, 4, 5)] == [1.0] * 4
    assert scrape.value("gpu_energy_joules_total", **board(2)) is None
    assert scrape.number("gpu_temperature_celsius", **board(5)) == 91
    assert scrape.number("gpu_throttled_seconds_total", reason="hw_thermal_slowdown", **board(5)) > 1
    elapsed = scrape.number("gpu_energy_timestamp_seconds", **board(5)) - float(
        json.loads(truth.read_text().splitlines()[0])["start_seconds"]
    )
    for number in (1, 3, 4):  # 200 W each, less at most what a reset, a loss or the first tick may cost
        assert 200 * (elapsed - 2.0) < scrape.number("gpu_energy_joules_total", **board(number)) < 200 * (elapsed + 1)
    stamp, joules = (scrape.number(f"gpu_energy_{name}", **board(0)) for name in ("timestamp_seconds", "joules_total"))
    ticks = [json.loads(line) for line in truth.read_text().splitlines()]
    (total,) = (t["total_joules"] for t in ticks if t["end_seconds"] == stamp and t["device"] == "GPU-simulated-0")
    assert round(joules * 1e6) == round(total * 1.02 * 1e6)
    asked = time.monotonic()
    assert exporter.stop() == 0
    assert time.monotonic() - asked < 2.0


def test_a_bad_script_ends_the_program_with_a_sentence(start_exporter: StartExporter, tmp_path: Path) -> None:
    """Exit code 2, the file, the place and what is allowed."""
    script = tmp_path / "s.toml"
    script.write_text("[[gpu]]\npower = 100\ntemperature = 40\n")
    exporter = start_exporter("--meter", "simulated", "--simulated.script", str(script))
    assert exporter.ended() == 2
    assert f"{script}: gpu 1: unknown key 'temperature' (allowed: " in exporter.text()
    assert "Traceback" not in exporter.text()


def test_a_bad_trace_ends_the_program_with_a_sentence(start_exporter: StartExporter, tmp_path: Path) -> None:
    """Exit code 2, the file and the line."""
    path = tmp_path / "t.jsonl"
    path.write_text("hello\n")
    exporter = start_exporter("--meter", "replay", "--replay.file", str(path))
    assert exporter.ended() == 2
    assert f"{path}: line 1: no header of a Perjoule trace" in exporter.text()
    exporter = start_exporter("--meter", "replay")
    assert exporter.ended() == 2
    assert "--meter replay and --replay.file need each other" in exporter.text()


def test_a_module_beside_its_cpu_is_warned_of(start_exporter: StartExporter, tmp_path: Path) -> None:
    """The CPU's joules are in both families then; with either alone there is nothing to say."""
    script = tmp_path / "s.toml"
    script.write_text('[[gpu]]\npower = 200\nscope = "module"\n')
    flags = ("--meter", "simulated", "--simulated.script", str(script))
    warning = "never add the joules of CPU and GPU up"
    assert warning in start_exporter(*flags, "--meter", "estimate").ready().text()
    assert warning not in start_exporter(*flags).ready().text()
