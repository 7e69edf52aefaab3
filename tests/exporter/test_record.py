"""The recorder: what it writes, how it ends, and that a recording through the real programs loses no microjoule."""

import gzip
import json
import math
import os
import re
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from perjoule.errors import PerjouleError, UsageError
from perjoule_exporter.flags import parser
from perjoule_exporter.meters import MICRO, Device, Reading
from perjoule_exporter.meters.replay import ReplayMeter, ReplaySettings
from perjoule_exporter.meters.simulated import SimulatedMeter
from perjoule_exporter.meters.simulated.script import load_script
from perjoule_exporter.record import parse
from perjoule_exporter.trace import recorder as recorder_module
from perjoule_exporter.trace.file import TraceFile
from perjoule_exporter.trace.recorder import Recorder
from tests.exporter.driver import FakeDriver, joules
from tests.exporter.fakes import WALL, Hands, ScriptedMeter
from tests.exporter.running import DEADLINE_SECONDS, Scrape, StartExporter, request, wait_until

SCRIPT = """
[[gpu]]
power = { points = [[0, 70], [1.7, 400], [2, 100]], repeat = true }
instant_seconds = 0.025
"""


def lines_of(path: Path) -> list[Any]:
    return [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]


def command(folder: Path, *flags: str, script: str = SCRIPT) -> list[str]:
    path = folder / "s.toml"
    path.write_text(script)
    program = [sys.executable, "-m", "perjoule_exporter.record", "--output", str(folder / "t.jsonl.gz")]
    return [*program, "--meter", "simulated", "--simulated.script", str(path), *flags]


@pytest.fixture
def recording(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A recorder that goes on until it is told to end."""
    with subprocess.Popen(command(tmp_path), stderr=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


def test_a_reading_that_says_the_same_is_two_numbers(tmp_path: Path) -> None:
    """The first has all values, the next ones only device and time, until something changes."""
    hands, path = Hands(), tmp_path / "t.jsonl.gz"
    script = tmp_path / "s.toml"
    script.write_text("[[gpu]]\npower = 100")
    recorder = Recorder((SimulatedMeter(load_script(script), hands.clock),), hands.clock, 0.1, TraceFile(path))
    for seconds in (0.0, 0.11, 0.21, 0.31):
        hands.seconds = seconds
        recorder.sample()
    recorder.end()
    header, *rows = lines_of(path)
    assert header["perjoule_trace"] == 1
    assert header["start_unix_us"] == WALL * 1e6
    assert header["devices"][0]["uuid"] == "GPU-simulated-0"
    assert rows == [
        [0, 0, 0, 0, None, None],
        {"status": 0, "t_us": 0, "limit_watts": 400.0},
        [0, 110_000],
        [0, 210_000],
        [0, 310_000, 10 * MICRO, 100_000, 100.0, 100.0],
        {"end": 5, "t_us": 310_000, "missed": 0},
    ]


def test_a_lost_device_is_noted_once_and_asked_again_each_second(tmp_path: Path) -> None:
    """Lost for two seconds and a half: one line, three calls, and then its readings go on."""
    hands, path = Hands(), tmp_path / "t.jsonl.gz"
    meter = ScriptedMeter(hands, gpus=2)
    recorder = Recorder((meter,), hands.clock, 0.1, TraceFile(path))
    for n in range(50):
        hands.seconds = n / 10
        meter.lost = {"GPU-1"} if 10 <= n < 35 else set()
        recorder.sample()
    recorder.end()
    rows = lines_of(path)
    assert [row for row in rows if isinstance(row, dict) and "lost" in row] == [{"lost": 1, "t_us": 1_000_000}]
    times = [row[1] for row in rows if isinstance(row, list) and row[0] == 1]
    assert [time for time in times if 900_000 <= time <= 4_100_000] == [900_000, 4_000_000, 4_100_000]


def test_a_step_of_the_wall_clock_is_noted(tmp_path: Path) -> None:
    """Set a minute on: one line says so, within the second."""
    hands, path, step = Hands(), tmp_path / "t.jsonl.gz", 0.0
    clock = type(hands.clock)(hands.clock.monotonic, lambda: WALL + hands.seconds + step)
    recorder = Recorder((ScriptedMeter(hands),), clock, 0.1, TraceFile(path))
    for n in range(40):
        hands.seconds = n / 10
        step = 60.0 if n >= 15 else 0.0
        recorder.sample()
    recorder.end()
    assert [row for row in lines_of(path) if isinstance(row, dict) and "clock" in row] == [
        {"clock": 60_000_000, "t_us": pytest.approx(2_000_000, abs=100_000)}
    ]


def test_a_full_trace_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the limit of rows nothing more is added, and what is there is whole."""
    monkeypatch.setattr(recorder_module, "MOST_ROWS", 5)
    hands, path = Hands(), tmp_path / "t.jsonl.gz"
    recorder = Recorder((ScriptedMeter(hands),), hands.clock, 0.1, TraceFile(path))
    for n in range(10):
        hands.seconds = n / 10
        recorder.sample()
    recorder.end()
    rows = lines_of(path)
    assert recorder.full
    assert (recorder.samples, rows[-1]["end"], len(rows)) == (4, 5, 7)


def test_whatever_a_driver_says_can_be_read_again(tmp_path: Path) -> None:
    """A name with control characters, one without end, watts that are no number or less than 0: the trace is good."""

    class Odd(ScriptedMeter):
        def devices(self) -> list[Device]:
            return [replace(device, name="a\x00b" + "c" * 300) for device in super().devices()]

        def read(self, device: Device) -> Reading:
            return super().read(device)._replace(power_watts=math.nan, average_power_watts=-0.5)

    hands, path = Hands(), tmp_path / "t.jsonl.gz"
    recorder = Recorder((Odd(hands),), hands.clock, 0.1, TraceFile(path))
    recorder.sample()
    hands.seconds = 1.0
    recorder.end()
    meter = ReplayMeter(ReplaySettings(path), hands.clock)
    (device,) = meter.devices()
    assert device.name == "a?b" + "c" * 197
    assert meter.read(device) == Reading(energy_microjoules=0, average_power_watts=-0.5)


def test_two_meters_that_claim_one_device_are_refused(tmp_path: Path) -> None:
    """As the exporter does."""
    hands = Hands()
    with pytest.raises(UsageError, match="two meters claim one device"):
        Recorder((ScriptedMeter(hands), ScriptedMeter(hands)), hands.clock, 0.1, TraceFile(tmp_path / "t"))


def test_a_recording_that_is_under_way_is_not_written_over(tmp_path: Path) -> None:
    """The second one is told what is there; a folder that is not there is a sentence too."""
    TraceFile(tmp_path / "t")
    with pytest.raises(UsageError, match=r"t.part is there: remove it unless another recording is writing it"):
        TraceFile(tmp_path / "t")
    with pytest.raises(UsageError, match=r"cannot write .*none/t: No such file or directory"):
        TraceFile(tmp_path / "none" / "t")
    with pytest.raises(UsageError, match=r"is a directory: name a file in it, such as .*/trace\.jsonl\.gz"):
        TraceFile(tmp_path)


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        ("", "--output is missing"),
        ("--output t --interval 0ms", "--interval '0ms' must be a time from 0.001s to 0.5s"),
        ("--output t --interval 1s", "--interval '1s' must be a time from 0.001s to 0.5s, such as 5ms"),
        ("--output t --duration soon", "--duration 'soon' must be a time from 0.005s"),
        ("--output t --meter gpu", "invalid choice: 'gpu'"),
        ("--output t --durations 3s", "unrecognized arguments: --durations"),
    ],
)
def test_bad_flags_are_refused(flags: str, sentence: str) -> None:
    """Its own, and the exporter's that it takes."""
    with pytest.raises(UsageError, match=sentence):
        parse(flags.split())


def test_the_help_names_the_exporters_flags_that_count(capsys: pytest.CaptureFixture[str]) -> None:
    """All that the meters have, and none that there is not."""
    with pytest.raises(SystemExit):
        parse(["--help"])
    text = capsys.readouterr().out
    known = {flag for action in parser()._actions for flag in action.option_strings}
    named = set(re.findall(r"--[a-z][a-z.-]*", text.split("mean the same:")[1].split("examples:")[0]))
    meters = {flag for flag in known if re.match(r"--(meter|path|estimate|simulated|replay)\b", flag)}
    assert meters < named <= known


def test_good_flags() -> None:
    """Times with their units; the meter's flags reach the exporter's settings."""
    flags = "--output t --interval 2.5ms --duration 1.5m --meter simulated --simulated.script s"
    settings = parse(flags.split())
    assert (settings.interval_seconds, settings.duration_seconds, str(settings.output)) == (0.0025, 90.0, "t")
    assert (settings.exporter.meters, str(settings.exporter.simulated_script)) == (("simulated",), "s")


def test_a_signal_ends_the_recording_in_order(recording: subprocess.Popen[str], tmp_path: Path) -> None:
    """SIGTERM: exit code 0, a whole trace with every reading so far, and one line that says how many."""
    part = tmp_path / "t.jsonl.gz.part"
    wait_until(lambda: part.exists() and part.stat().st_size > 20, "lines are written")
    recording.send_signal(signal.SIGTERM)
    _, log = recording.communicate(timeout=DEADLINE_SECONDS)
    assert recording.returncode == 0
    rows = lines_of(tmp_path / "t.jsonl.gz")
    samples = [row for row in rows if isinstance(row, list)]
    assert f"recorded {len(samples)} readings" in log
    assert rows[-1]["end"] == len(rows) - 2
    assert rows[-1]["t_us"] - samples[-1][1] < 1_000_000  # no second of buffered readings is missing
    assert not part.exists()


@pytest.mark.parametrize("pair", [(signal.SIGTERM, signal.SIGTERM), (signal.SIGINT, signal.SIGTERM)], ids=str)
def test_two_signals_at_once_end_it_as_one_does(
    recording: subprocess.Popen[str], tmp_path: Path, pair: tuple[signal.Signals, signal.Signals]
) -> None:
    """An impatient hand, or a terminal and a service manager together: exit code 0 and a whole trace."""
    part = tmp_path / "t.jsonl.gz.part"
    wait_until(lambda: part.exists() and part.stat().st_size > 20, "lines are written")
    for number in pair:
        recording.send_signal(number)
    _, log = recording.communicate(timeout=DEADLINE_SECONDS)
    assert recording.returncode == 0
    assert "Traceback" not in log
    assert "end" in lines_of(tmp_path / "t.jsonl.gz")[-1]


@pytest.mark.parametrize("duration", [(), ("--duration", "1s")], ids=["SIGTERM", "duration"])
def test_a_driver_that_hangs_does_not_cost_the_recording(duration: tuple[str, ...], tmp_path: Path) -> None:
    """The reading never returns; a signal, or the time that was asked for, still ends with all that was read before."""
    script = SCRIPT + "[[gpu]]\npower = 100\n[[gpu.event]]\nkind = 'hang'\n"
    with subprocess.Popen(command(tmp_path, *duration, script=script), stderr=subprocess.PIPE, text=True) as process:
        wait_until((tmp_path / "t.jsonl.gz.part").exists, "it records")
        if not duration:
            process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=DEADLINE_SECONDS)
    assert process.returncode == 0
    assert "a device did not answer when the recording ended" in log
    samples = [row for row in lines_of(tmp_path / "t.jsonl.gz") if isinstance(row, list)]
    assert [sample[0] for sample in samples] == [0]  # the healthy one comes first


def test_a_drivers_gpu_is_recorded_and_replayed(driver: FakeDriver, tmp_path: Path) -> None:
    """NVML at 5 ms: counter and stamps are exactly what the board drew; they and the status are said again."""
    path = tmp_path / "t.jsonl.gz"
    program = [sys.executable, "-m", "perjoule_exporter.record", "--output", str(path), "--meter", "nvml"]
    environment = {**os.environ, **driver.environment}
    assert subprocess.run([*program, "--duration", "1s"], env=environment, timeout=60, check=False).returncode == 0
    header, *lines = lines_of(path)
    rows = [row for row in lines if isinstance(row, list) and len(row) > 2 and row[3] is not None]
    pairs = {(header["start_unix_us"] + stamp) / 1e6: energy / MICRO for _, _, energy, stamp, *_ in rows}
    (start, first), *later = sorted(pairs.items())
    assert len(later) > 5
    assert [energy - first for _, energy in later] == pytest.approx(
        [joules(0, start, time) for time, _ in later], abs=0.003
    )
    hands = Hands()
    meter = ReplayMeter(ReplaySettings(path), hands.clock)
    (device,) = meter.devices()
    hands.seconds = 0.9
    assert (device.vendor, device.method) == ("NVIDIA", "replayed")
    assert (meter.read(device).energy_microjoules or 0) > first * MICRO
    assert meter.status(device).memory_total_bytes is not None


def limited() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (1500, 1500))


def test_a_full_disk_is_one_clear_error(tmp_path: Path) -> None:
    """The kernel takes no more bytes: exit code 1, one sentence, and no half of a trace is left."""
    program = command(tmp_path, "--interval", "1ms", "--duration", "60s")
    done = subprocess.run(
        program,
        preexec_fn=limited,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "t.jsonl.gz: File too large; the unfinished recording is removed" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s.toml"]


def test_a_full_disk_at_the_end_is_the_same(tmp_path: Path) -> None:
    """What is written last may be what does not fit."""
    file = TraceFile(tmp_path / "t")
    os.close(file._raw.fileno())
    with pytest.raises(PerjouleError, match=r"cannot write .*/t: Bad file descriptor"):
        file.finish()
    assert not (tmp_path / "t.part").exists()
    with pytest.raises(OSError, match="Bad file descriptor"):
        file._raw.close()


def test_too_long_a_recording_is_refused_at_start(tmp_path: Path) -> None:
    """An hour at 1 ms is more than a trace holds: said before it is recorded."""
    done = subprocess.run(
        command(tmp_path, "--interval", "1ms", "--duration", "1h"),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "3600000 readings are too many, a trace holds 1000000" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s.toml"]


def test_recorded_and_replayed_by_the_programs_no_microjoule_is_lost(
    start_exporter: StartExporter, tmp_path: Path
) -> None:
    """A scripted GPU is recorded, the exporter replays it: each (time, energy) it shows is a tick of the truth file."""
    truth = tmp_path / "truth.jsonl"
    program = command(tmp_path, "--duration", "3s", "--simulated.truth", str(truth))
    assert subprocess.run(program, timeout=60, check=False).returncode == 0
    exporter = start_exporter("--meter", "replay", "--replay.file", str(tmp_path / "t.jsonl.gz")).ready()
    pairs: dict[float, float] = {}

    def is_over() -> bool:
        scrape = exporter.scrape()
        stamp = scrape.value("gpu_energy_timestamp_seconds")
        if stamp is not None:
            pairs[stamp] = scrape.number("gpu_energy_joules_total")
        return scrape.number("gpu_up") == 0

    assert exporter.scrape().value("gpu_info", method="replayed", uuid="GPU-simulated-0") == 1
    wait_until(is_over, "the trace ends")
    ticks = [json.loads(line) for line in truth.read_text().splitlines()]
    true = {tick["tick"]: round(tick["total_joules"] * MICRO) for tick in ticks} | {0: 0}
    first = min(pairs)
    steps = {round((stamp - first) / 0.1): stamp for stamp in pairs}  # ticks since the first that was seen
    gained = {step: round(pairs[stamp] * MICRO) - round(pairs[first] * MICRO) for step, stamp in steps.items()}
    assert len(gained) > 5
    assert any(gained == {step: true.get(tick + step, 0) - energy for step in gained} for tick, energy in true.items())
    assert [stamp - first for stamp in steps.values()] == pytest.approx([step * 0.1 for step in steps], abs=0.001)
    gone(exporter.scrape())
    why = "the trace has ended"
    assert request(exporter.url + "/readyz").body.decode() == f"no device answers: GPU-simulated-0: {why}\n"
    assert f"does not answer: {why}" in request(exporter.url + "/").body.decode()
    assert exporter.text().count("REPLAYED: these joules were recorded earlier.") == 1


def gone(scrape: Scrape) -> None:
    """Nothing of a replay that is over is shown as if it was now."""
    names = scrape.names(uuid="GPU-simulated-0")
    assert "gpu_up" in names
    assert not {"gpu_energy_joules_total", "gpu_power_watts", "gpu_power_limit_watts"} & names
