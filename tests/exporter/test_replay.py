"""Replay: a trace is said again at its pace, shifted to now; at its end there is nothing; nonsense is refused."""

import gzip
import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from perjoule.errors import DeviceLostError, UsageError
from perjoule_exporter.clock import Clock
from perjoule_exporter.config import parse
from perjoule_exporter.meters import MICRO, Device, DeviceKind, Meter, Reading, Slice, Status
from perjoule_exporter.meters.replay import ReplayMeter, ReplaySettings
from perjoule_exporter.meters.simulated import SimulatedMeter
from perjoule_exporter.meters.simulated.script import script_of
from perjoule_exporter.trace import COLUMNS
from perjoule_exporter.trace.file import TraceFile
from perjoule_exporter.trace.recorder import Recorder
from tests.exporter.fakes import WALL, Hands

LATER = 86_400.0
"""The replay's wall clock against the recording's."""

TRACES = sorted((Path(__file__).parents[1] / "data/traces").glob("*.jsonl.gz"))


def later(hands: Hands) -> Clock:
    return Clock(lambda: 5000.0 + hands.seconds, lambda: WALL + LATER + hands.seconds)


def recorded(path: Path, meter: Meter, hands: Hands, seconds: float) -> dict[float, Reading]:
    """Record a meter every 5 ms into a trace, and return what it said by the time since the beginning."""
    start = hands.seconds
    recorder = Recorder((meter,), hands.clock, 0.005, TraceFile(path))
    said: dict[float, Reading] = {}
    for n in range(round(seconds / 0.005)):
        hands.seconds = start + n * 0.005
        recorder.sample()
        said[n * 0.005] = meter.read(meter.devices()[0])
    hands.seconds = start + seconds
    recorder.end()
    return said


def simulated(text: str, hands: Hands) -> SimulatedMeter:
    return SimulatedMeter(script_of(tomllib.loads(text), "s.toml", Path()), hands.clock)


def replayed(path: Path, *, speed: float = 1.0, loop: bool = False) -> tuple[ReplayMeter, Hands]:
    hands = Hands()
    return ReplayMeter(ReplaySettings(path, speed, loop=loop), later(hands)), hands


def joules(meter: ReplayMeter, hands: Hands, seconds: float) -> float | None:
    hands.seconds = seconds
    microjoules = meter.read(meter.devices()[0]).energy_microjoules
    return None if microjoules is None else microjoules / MICRO


DEVICE = {"kind": "gpu", "uuid": "GPU-0", "index": 0, "method": "counter", "scope": "gpu"}
FULL: list[Any] = [0, 0, 1, None, None, None]


def trace(rows: list[Any], end: int = 400_000) -> list[Any]:
    header = {"perjoule_trace": 1, "start_unix_us": 10**15, "interval_us": 5000, "columns": list(COLUMNS)}
    return [header | {"devices": [dict(DEVICE)]}, *rows, {"end": len(rows), "t_us": end, "missed": 0}]


def written(folder: Path, lines: list[Any]) -> Path:
    path = folder / "t.jsonl.gz"
    path.write_bytes(gzip.compress("".join(json.dumps(line) + "\n" for line in lines).encode()))
    return path


RAMP = "[[gpu]]\npower = { points = [[0, 70], [1.7, 400], [2, 100]], repeat = true }\ninstant_seconds = 0.025\n"


def test_what_was_recorded_is_said_again_to_the_microjoule(tmp_path: Path) -> None:
    """Every reading of ten seconds: the same energy, the same watts (to the milliwatt), the same ticks a day later."""
    hands, path = Hands(), tmp_path / "t.jsonl.gz"
    said = recorded(path, simulated(RAMP, hands), hands, 10.0)
    meter, hands = replayed(path)
    (device,) = meter.devices()
    for seconds, before in said.items():
        hands.seconds = seconds + 0.001
        now = meter.read(device)
        assert now.energy_microjoules == before.energy_microjoules
        assert now.energy_time == pytest.approx((before.energy_time or 0.0) + LATER, abs=2e-6)
        assert (now.power_watts is None) == (before.power_watts is None)
        assert (now.power_watts or 0.0, now.average_power_watts or 0.0) == (
            pytest.approx((before.power_watts or 0.0, before.average_power_watts or 0.0), abs=0.0005)
        )


def test_the_identity_is_the_recorded_one_but_for_its_method(tmp_path: Path) -> None:
    """Name, slices, scope and all; ``method="replayed"``, and no counter that goes on without this program."""
    hands, path = Hands(), tmp_path / "t.jsonl.gz"
    text = '[[gpu]]\nname = "Board"\nscope = "module"\npower = 100\n[[gpu.slice]]\nname = "MIG 1g.10gb"\n'
    meter = simulated(text, hands)
    recorded(path, meter, hands, 1.0)
    (device,) = replayed(path)[0].devices()
    (original,) = meter.devices()
    assert device.method == "replayed"
    assert not device.lasting
    for name in ("kind", "uuid", "index", "scope", "name", "vendor", "driver", "pci_bus_id", "slices"):
        assert getattr(device, name) == getattr(original, name)


def test_status_is_what_it_was(tmp_path: Path) -> None:
    """A throttled minute is throttled again, at its time."""
    hands, path = Hands(), tmp_path / "t.jsonl.gz"
    text = """
    [[gpu]]
    power = 100
    [[gpu.status]]
    temperature_celsius = 40
    throttle_reasons = []
    memory_total_bytes = 80_000_000_000
    clocks_hertz = { sm = 1e9 }
    [[gpu.status]]
    from_seconds = 3
    temperature_celsius = 91
    throttle_reasons = ["hw_thermal_slowdown"]
    """
    original = simulated(text, hands)
    recorded(path, original, hands, 6.0)
    meter, hands = replayed(path)
    (device,) = meter.devices()
    hands.seconds = 2.5
    assert meter.status(device) == Status(
        limit_watts=400.0,
        utilization_ratio=pytest.approx(30 / 330),  # type: ignore[arg-type]  # it compares as a number does
        memory_total_bytes=80_000_000_000,
        temperature_celsius=40.0,
        clocks_hertz={"sm": 1e9},
        throttle_reasons=frozenset(),
    )
    hands.seconds = 5.5
    hot = meter.status(device)
    assert hot.temperature_celsius == 91.0
    assert hot.throttle_reasons == frozenset({"hw_thermal_slowdown"})


def test_a_loss_and_a_reset_come_again(tmp_path: Path) -> None:
    """Lost for two seconds, reset once: the same at the same times."""
    hands, path = Hands(), tmp_path / "t.jsonl.gz"
    text = (
        "[[gpu]]\npower = 100\n[[gpu]]\npower = 100\n[[gpu.event]]\nkind = 'lost'\nfrom_seconds = 2\nto_seconds = 4\n"
    )
    text += "[[gpu.event]]\nkind = 'reset'\nat_seconds = 6\n"
    recorded(path, simulated(text, hands), hands, 8.0)
    meter, hands = replayed(path)
    device = meter.devices()[1]

    def energy(seconds: float) -> float | None:
        hands.seconds = seconds
        try:
            return (meter.read(device).energy_microjoules or 0) / MICRO
        except DeviceLostError:
            return None

    assert [energy(t) for t in (1.9, 2.1, 3.9, 5.253, 6.1, 6.353)] == [160.0, None, None, 500.0, 0.0, 10.0]


def test_a_device_that_appeared_appears_again(tmp_path: Path) -> None:
    """Found while recording, gone later: listed just as then."""
    hands, path = Hands(), tmp_path / "t.jsonl.gz"
    text = "[[gpu]]\npower = 100\n[[gpu]]\npower = 50\n"
    text += "[[gpu.event]]\nkind = 'absent'\nto_seconds = 3\n[[gpu.event]]\nkind = 'absent'\nfrom_seconds = 8\n"
    recorded(path, simulated(text, hands), hands, 12.0)
    meter, hands = replayed(path)
    listed = []
    for seconds in (1.0, 5.5, 10.5):
        hands.seconds = seconds
        listed.append([device.uuid for device in meter.devices()])
    both = ["GPU-simulated-0", "GPU-simulated-1"]
    assert listed == [both[:1], both, both[:1]]


def test_at_its_end_there_is_nothing_and_never_the_last_value(tmp_path: Path) -> None:
    """The devices stay listed and are lost, so that they are shown as down."""
    hands, path = Hands(), tmp_path / "t.jsonl.gz"
    recorded(path, simulated(RAMP, hands), hands, 2.0)
    meter, hands = replayed(path)
    (device,) = meter.devices()
    hands.seconds = 1.99
    meter.read(device)
    for hands.seconds in (2.001, 1000.0):
        for call in (meter.read, meter.status):
            with pytest.raises(DeviceLostError, match="the trace has ended"):
                call(device)
    assert meter.devices() == [device]


def test_a_loop_goes_on_counting(tmp_path: Path) -> None:
    """Three rounds and a half: the counter rises by the recorded energy each round, and stamps follow the clock."""
    hands, path = Hands(), tmp_path / "t.jsonl.gz"
    recorded(path, simulated("[[gpu]]\npower = 100\nstart_joules = 1000", hands), hands, 2.0)
    meter, hands = replayed(path, loop=True)
    assert joules(meter, hands, 1.999) == 1170.0
    seen = [joules(meter, hands, 2.0 + n / 100) for n in range(1, 500)]
    assert seen == sorted(seen, key=lambda value: value or 0.0)
    assert joules(meter, hands, 7.0) == 1170.0 + 170 + 170 + 80
    stamp = meter.read(meter.devices()[0]).energy_time or 0.0
    assert stamp - WALL - LATER == pytest.approx(6.8, abs=0.01)


def test_a_suspended_process_skips_whole_rounds(tmp_path: Path) -> None:
    """A day later it is a day of energy on, at once."""
    hands, path = Hands(), tmp_path / "t.jsonl.gz"
    recorded(path, simulated("[[gpu]]\npower = 100", hands), hands, 2.0)
    meter, hands = replayed(path, loop=True)
    assert joules(meter, hands, 1.0) == 80.0
    assert joules(meter, hands, 86_401.0) == 80.0 + 170 * 43_200


def test_a_counter_that_wraps_wraps_in_loops_too(tmp_path: Path) -> None:
    """A range of 1000 µJ: what is shown is always below it, and the differences are the recorded ones."""
    lines = trace(
        [[0, 0, 900, None, None, None], [0, 100_000, 100, None, None, None], [0, 200_000, 300, None, None, None]]
    )
    lines[0]["devices"][0]["range_uj"] = 1000
    meter, hands = replayed(written(tmp_path, lines), loop=True)
    (device,) = meter.devices()
    seen = []
    for hands.seconds in (0.01, 0.11, 0.21, 0.41, 0.51, 0.61):
        seen.append(meter.read(device).energy_microjoules)
    assert seen == [900, 100, 300, 300, 500, 700]


@pytest.mark.parametrize("speed", [0.5, 2.0, 10.0])
def test_speed_stretches_times_and_nothing_else(tmp_path: Path, speed: float) -> None:
    """The same joules and watts, in so much less time; ticks too are so much closer."""
    hands, path = Hands(), tmp_path / "t.jsonl.gz"
    recorded(path, simulated("[[gpu]]\npower = 100", hands), hands, 4.0)
    meter, hands = replayed(path, speed=speed)
    assert joules(meter, hands, 3.053 / speed) == 280.0
    reading = meter.read(meter.devices()[0])
    assert reading.power_watts == 100.0
    assert (reading.energy_time or 0.0) - WALL - LATER == pytest.approx(2.8 / speed, abs=1e-5)


@pytest.mark.parametrize("speed", [0.0, -1.0, 1001.0, float("nan"), float("inf")])
def test_an_impossible_speed_is_refused(speed: float) -> None:
    """0.1 to 1000."""
    with pytest.raises(UsageError, match=r"--replay.speed .* must be from 0.1 to 1000"):
        ReplaySettings(Path("t"), speed)


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        ("--meter replay", "--meter replay and --replay.file need each other"),
        ("--meter nvml --replay.file t", "--meter replay and --replay.file need each other"),
        ("--meter nvml --replay.loop", "--replay.speed and --replay.loop need --replay.file"),
        ("--meter nvml --replay.speed 2", "--replay.speed and --replay.loop need --replay.file"),
        ("--meter replay --replay.file t --replay.speed 0", "--replay.speed 0 must be from 0.1 to 1000"),
        ("--meter nvml --simulated.script s", "--simulated.script needs --meter simulated"),
    ],
)
def test_flags_that_need_each_other(flags: str, sentence: str) -> None:
    """A setting that would do nothing is refused."""
    with pytest.raises(UsageError, match=sentence):
        parse(flags.split())


def test_a_gap_of_the_recording_is_absent(tmp_path: Path) -> None:
    """Nothing was recorded for three seconds (a driver hung): after one of them there is nothing to read."""
    lines = trace([[0, 0, 1, None, None, None], [0, 500_000], [0, 3_500_000]], end=4_000_000)
    meter, hands = replayed(written(tmp_path, lines))
    (device,) = meter.devices()
    answers = []
    for hands.seconds in (0.6, 1.4, 1.6, 3.4, 3.6):
        try:
            answers.append(meter.read(device).energy_microjoules)
        except DeviceLostError:
            answers.append(None)
    assert answers == [1, 1, None, None, 1]


def test_a_step_of_the_recorders_clock_moves_no_tick(tmp_path: Path) -> None:
    """Its wall clock was set an hour on while recording: ticks stay 100 ms apart in the replay."""
    rows: list[Any] = [
        [0, 0, 0, -5, None, None],
        [0, 100_000, 7, 99_995, None, None],
        {"clock": 3_600_000_000, "t_us": 150_000},
        [0, 200_000, 14, 3_600_199_995, None, None],
    ]
    meter, hands = replayed(written(tmp_path, trace(rows)))
    stamps = []
    for hands.seconds in (0.05, 0.15, 0.25):
        stamps.append((meter.read(meter.devices()[0]).energy_time or 0.0) - WALL - LATER)
    assert stamps == pytest.approx([-5e-6, 0.099995, 0.199995], abs=1e-6)


def test_null_is_absent(tmp_path: Path) -> None:
    """A device without energy, stamp and power has none."""
    meter, hands = replayed(written(tmp_path, trace([[0, 0, None, None, None, 7]])))
    hands.seconds = 0.1
    assert meter.read(meter.devices()[0]) == Reading(average_power_watts=7.0)
    assert meter.status(meter.devices()[0]) == Status()


def test_a_trace_need_not_be_packed(tmp_path: Path) -> None:
    """The same lines without gzip."""
    packed = written(tmp_path, trace([[0, 0, 5, None, None, None]]))
    plain = tmp_path / "plain.jsonl"
    plain.write_bytes(gzip.decompress(packed.read_bytes()))
    assert joules(*replayed(plain), 0.1) == joules(*replayed(packed), 0.1)


@pytest.mark.parametrize("path", TRACES, ids=lambda path: path.name)
def test_the_example_traces_play(path: Path) -> None:
    """Each from the repository, its devices all read a second in."""
    meter, hands = replayed(path)
    hands.seconds = 1.0
    devices = meter.devices()
    assert devices
    assert all(meter.read(device).energy_microjoules for device in devices)


def test_every_shape_of_device_is_kept(tmp_path: Path) -> None:
    """A CPU zone with a range, and a GPU with slices, through a trace and back."""

    class Two:
        def devices(self) -> list[Device]:
            slices = (Slice("MIG-1", "MIG 1g.10gb", 3, 0),)
            return [
                Device(DeviceKind.CPU_ZONE, "cpu-0-core", 0, "counter", "core", counter_range_microjoules=1 << 38),
                Device(DeviceKind.GPU, "GPU-1", 1, "counter", "gpu", "n", "v", "d", "p", slices=slices, lasting=True),
            ]

        def read(self, device: Device) -> Reading:
            return Reading(energy_microjoules=device.index)

        def status(self, device: Device) -> Status:  # noqa: ARG002 (both alike)
            return Status()

        def close(self) -> None:
            pass

    hands, path = Hands(), tmp_path / "t.jsonl.gz"
    recorded(path, Two(), hands, 0.1)
    core, gpu = replayed(path)[0].devices()
    assert (core.kind, core.scope, core.counter_range_microjoules) == (DeviceKind.CPU_ZONE, "core", 1 << 38)
    assert (gpu.name, gpu.vendor, gpu.driver, gpu.pci_bus_id) == ("n", "v", "d", "p")
    assert (gpu.slices, gpu.lasting) == ((Slice("MIG-1", "MIG 1g.10gb", 3, 0),), False)
