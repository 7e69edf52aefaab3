"""Simulation scripts: the examples load, every key reaches the board, and what cannot be is refused with a place."""

import os
import tomllib
from pathlib import Path

import pytest

from perjoule.errors import UsageError
from perjoule_exporter.meters.simulated import DEFAULT, Script, load_script
from perjoule_exporter.meters.simulated.script import script_of

EXAMPLES = sorted((Path(__file__).parents[1] / "data/traces").glob("*.toml"))


def script(text: str, folder: Path = Path()) -> Script:
    return script_of(tomllib.loads(text), "s.toml", folder)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_examples_load(path: Path) -> None:
    """Each has boards with uuids of their own, and says in its first line what it is for."""
    gpus = load_script(path).gpus
    assert len({gpu.device.uuid for gpu in gpus}) == len(gpus) > 0
    assert path.read_text(encoding="utf-8").startswith("# ")


def test_the_documentation_names_every_example() -> None:
    """docs/simulation.md has a line for each."""
    text = (Path(__file__).parents[2] / "docs/simulation.md").read_text(encoding="utf-8")
    assert EXAMPLES
    assert [path.name for path in EXAMPLES if path.name not in text] == []


def test_an_empty_gpu_is_the_one_without_a_script() -> None:
    """Defaults are one thing, wherever they come from (a curve must be named: the node's load is the default's)."""
    assert script('[[gpu]]\npower = "node"') == DEFAULT


def test_every_key_reaches_the_board() -> None:
    """One of each, read back."""
    text = """
    [[gpu]]
    uuid = "GPU-x"
    name = "Board"
    scope = "module"
    idle_watts = 50
    max_watts = 700
    power = { points = [[0, 100], [1, 200]], steps = true, repeat = true }
    cpu_power = 80
    tick_seconds = 0.02
    delay_seconds = 0.0
    instant_seconds = 0.005
    average_seconds = 0.5
    gain = 1.05
    start_joules = 1000
    status_period_seconds = 60
    unsupported = ["average_power", "temperature_celsius"]

    [[gpu.status]]
    limit_watts = 650
    utilization_ratio = 0.5
    memory_used_bytes = 1
    memory_total_bytes = 2
    temperature_celsius = 60
    clocks_hertz = { sm = 1e9 }
    throttle_reasons = ["sw_power_cap"]

    [[gpu.slice]]
    name = "MIG 3g.40gb"
    gpu_instance = 2

    [[gpu.process]]
    pid = 7
    utilization_ratio = 0.5
    memory_bytes = 100

    [[gpu.process]]
    pid = "self"
    from_seconds = 3

    [[gpu.event]]
    kind = "reset"
    at_seconds = 3
    every_seconds = 60

    [[gpu.event]]
    kind = "hang"
    from_seconds = 3
    to_seconds = 4
    """
    (gpu,) = script(text).gpus
    assert (gpu.device.uuid, gpu.device.name, gpu.device.scope, gpu.device.method) == (
        "GPU-x",
        "Board",
        "module",
        "simulated",
    )
    assert (gpu.idle_watts, gpu.max_watts, gpu.status_period) == (50.0, 700.0, 60.0)
    assert gpu.power is not None
    assert gpu.power.joules(2.0) == pytest.approx(200.0)
    assert gpu.cpu_power is not None
    assert gpu.cpu_power.joules(1.0) == 80.0
    sensor = gpu.sensor
    assert (sensor.tick_seconds, sensor.delay_seconds, sensor.instant_seconds) == (0.02, 0.0, 0.005)
    assert (sensor.average_seconds, sensor.gain, sensor.start_joules) == (0.5, 1.05, 1000.0)
    assert gpu.unsupported == {"average_power", "temperature_celsius"}
    ((start, values),) = gpu.statuses
    assert (start, values["throttle_reasons"], values["clocks_hertz"]) == (0.0, {"sw_power_cap"}, {"sm": 1e9})
    assert [(s.name, s.uuid, s.gpu_instance) for s in gpu.device.slices] == [("MIG 3g.40gb", "MIG-simulated-0-0", 2)]
    assert gpu.processes is not None
    assert [process.pid for process in gpu.processes] == [7, os.getpid()]
    assert [(at.time, at.every) for at in gpu.events.resets] == [(3.0, 60.0)]
    assert [(window.start, window.stop) for window in gpu.events.hangs] == [(3.0, 4.0)]


def test_one_table_can_stand_for_many_boards() -> None:
    """``count = 8``: eight alike, with numbers and uuids of their own."""
    gpus = script("[[gpu]]\npower = 100\n[[gpu]]\ncount = 8\npower = 200").gpus
    assert [gpu.device.uuid for gpu in gpus] == [f"GPU-simulated-{n}" for n in range(9)]
    assert [gpu.device.index for gpu in gpus] == list(range(9))
    assert gpus[8].power == gpus[1].power


def test_power_from_a_file(tmp_path: Path) -> None:
    """Two columns of a CSV beside the script, by their names."""
    (tmp_path / "p.csv").write_text("t,w\n0,100\n1,200\n")
    text = '[[gpu]]\npower = { csv = "p.csv", time = "t", column = "w" }'
    (gpu,) = script(text, tmp_path).gpus
    assert gpu.power is not None
    assert gpu.power.joules(2.0) == pytest.approx(350.0)


GPU = '[[gpu]]\npower = "node"\n'


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", r"s.toml: a script has 1 to 256 GPUs, each in a table \[\[gpu\]\]; this one has 0"),
        ("gpus = 3", r"s.toml: unknown key 'gpus' \(allowed: gpu\)"),
        ("gpu = 3", r"s.toml: gpu = 3 must be at most 256 tables"),
        (GPU + "powr = 3", r"s.toml: gpu 1: unknown key 'powr' \(allowed: .*power"),
        (GPU + 'uuid = ""', "gpu 1: uuid = '' must be a text"),
        (GPU + 'name = "a\\nb"', "must be a text of 1 to 200 printable characters"),
        (GPU + "idle_watts = 500", "idle_watts = 500 must be a number from 0 to 400"),
        (GPU + "idle_watts = true", "idle_watts = True must be a number"),
        (GPU + "max_watts = nan", "max_watts = nan must be a number from 1 to 100000"),
        (GPU + "tick_seconds = 0", "tick_seconds = 0 must be a number from 0.001 to 10"),
        (GPU + "instant_seconds = 0.2", "instant_seconds = 0.2 must be a number from 0.0001 to 0.1"),
        (GPU + "gain = 1" + "0" * 400, "gain = 10+... must be a number from 0.01 to 100"),
        (GPU + 'unsupported = ["energy"]\nstart_joules = 5', "need a counter, and energy is unsupported"),
        (GPU + "unsupported = ['energy']\n[[gpu.event]]\nkind = 'reset'\nat_seconds = 1", "reset, .* need a counter"),
        (GPU + "[[gpu.slice]]\nuuid = 'x'\n[[gpu.slice]]\nuuid = 'x'", "two GPUs or slices have the uuid 'x'"),
        (GPU + "gain = -1", "gain = -1 must be a number from 0.01 to 100"),
        (GPU + 'scope = "rack"', "scope = 'rack' must be one of gpu, module"),
        (GPU + "cpu_power = 80", 'cpu_power needs scope = "module"'),
        (GPU + 'scope = "module"\ncpu_power = "node"', "cpu_power = 'node' must be a curve of the script"),
        (GPU + 'unsupported = ["all"]', "unsupported = .* must be a list of energy, energy_time"),
        (
            GPU + GPU.replace("power", 'uuid = "GPU-simulated-0"\npower'),
            "two GPUs or slices have the uuid 'GPU-simulated-0'",
        ),
        (GPU + 'count = 2\nuuid = "x"', "count = 2 makes several GPUs, and uuid and slice belong to one"),
        (GPU + "count = 999", "count = 999 must be a whole number from 1 to 256"),
        ("[[gpu]]\ncount = 200\npower = 70\n" * 2, "this one has 400"),
        ("[[gpu]]", r'power is missing: a number of watts, "node", or one of'),
        ("[[gpu]]\npower = -1", "power = -1 must be a number of watts"),
        ("[[gpu]]\npower = 401", "power = 401 must be .* from 0 to 400 W"),
        ("[[gpu]]\npower = { square = [70, 90], csv = 'x' }", "must be a number of watts"),
        ("[[gpu]]\npower = { square = [70, 90] }", "gpu 1: power: period_seconds is missing"),
        ("[[gpu]]\npower = { square = [70, 500], period_seconds = 1 }", "500 W at 0 s is impossible: .* 0 to 400 W"),
        ("[[gpu]]\npower = { square = 70, period_seconds = 1 }", r"square = 70 must be \[low watts, high watts\]"),
        ("[[gpu]]\npower = { square = [1, 2], period_seconds = 1, duty = 1 }", "duty = 1 must be a number"),
        ("[[gpu]]\npower = { points = [] }", r"points = \[\] must be a list of \[seconds, watts\]"),
        ("[[gpu]]\npower = { points = [[0, 'a']] }", r"must be a list of \[seconds, watts\]"),
        ("[[gpu]]\npower = { points = [[0, 1], [-1, 1]] }", "at -1 s is impossible"),
        ("[[gpu]]\npower = { points = [[2, 1], [1, 1]] }", "1 s after 2 s: times must rise"),
        ("[[gpu]]\npower = { points = [[0, 1]], repeat = true }", "what repeats must last at least 0.001 s"),
        ("[[gpu]]\npower = { points = [[0, 1]], repeats = true }", "unknown key 'repeats'"),
        ("[[gpu]]\npower = { points = [[0, 1]], repeat = 1 }", "repeat = 1 must be true or false"),
        ("[[gpu]]\npower = { csv = 'none.csv' }", "cannot read .*none.csv"),
        (GPU + "[[gpu.event]]\nkind = 'melt'", "gpu 1: event 1: kind = 'melt' must be one of reset, jump"),
        (GPU + "[[gpu.event]]\nat_seconds = 1", "event 1: kind is missing"),
        (GPU + "[[gpu.event]]\nkind = 'reset'", "event 1: at_seconds is missing"),
        (GPU + "[[gpu.event]]\nkind = 'reset'\nat_seconds = 1\njoules = 3", "unknown key 'joules'"),
        (GPU + "[[gpu.event]]\nkind = 'jump'\nat_seconds = 1", "event 1: joules is missing"),
        (GPU + "[[gpu.event]]\nkind = 'lost'\nfrom_seconds = 5\nto_seconds = 5", "to_seconds = 5 must be over from"),
        (GPU + "[[gpu.event]]\nkind = 'lost'\nto_seconds = 9\nevery_seconds = 5", "every_seconds = 5 must be at least"),
        (GPU + "[[gpu.event]]\nkind = 'hang'\nevery_seconds = 5", "which must both be there"),
        (GPU + "[[gpu.event]]\nkind = 'frozen'\nto_seconds = 1\nevery_seconds = 5", "unknown key 'every_seconds'"),
        (GPU + "[[gpu.event]]\nkind = 'frozen'\n" * 1 + "[[gpu.event]]\nkind = 'frozen'", "two events freeze"),
        (GPU + "[[gpu.status]]\nutilization_ratio = 2", "status 1: utilization_ratio = 2 must be a number from 0 to 1"),
        (GPU + "[[gpu.status]]\nmemory_used_bytes = 1.5", "must be a whole number"),
        (GPU + "[[gpu.status]]\nthrottle_reasons = ['hot']", "must be a list of applications_clocks_setting"),
        (GPU + "[[gpu.status]]\nclocks_hertz = { gpu = 1 }", "must be a table of graphics, sm, memory, video"),
        (GPU + "[[gpu.status]]\nwatts = 1", "status 1: unknown key 'watts'"),
        (GPU + "[[gpu.process]]\npid = 0", "pid = 0 must be a whole number from 1"),
        (GPU + "[[gpu.process]]", "pid is missing"),
        (GPU + "[[gpu.slice]]\ngpu_instance = -1", "slice 1: gpu_instance = -1 must be"),
    ],
)
def test_what_cannot_be_is_refused_with_its_place(text: str, sentence: str) -> None:
    """The sentence names the file, the board, the key, and what is allowed."""
    with pytest.raises(UsageError, match=sentence) as refused:
        script(text)
    assert refused.value.exit_code == 2


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"[[gpu", "is no TOML file"),
        (b"\xff\xfe", "is no TOML file"),
        (b"a = 1" + b"0" * 5000, "is no TOML file"),
        (b"a = " + b"[" * 100_000, "is no TOML file|nest"),
        (b"#" * (1 << 20) + b"#", "a script is at most 1048576 bytes"),
        (None, "cannot read the script .*: No such file"),
    ],
)
def test_a_file_that_is_no_script_is_refused(content: bytes | None, sentence: str, tmp_path: Path) -> None:
    """Broken, binary, bottomless, huge or missing: one sentence each."""
    path = tmp_path / "s.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=sentence):
        load_script(path)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", "no column 'seconds'"),
        ("seconds,w\n0,1\n", r"no column 'watts' \(there are: seconds, w\)"),
        ("seconds,watts\n", "has no rows"),
        ("seconds,watts\n0,1\n1\n", "line 3 has no number in seconds and watts"),
        ("seconds,watts\n0,nan\n", "nan W at 0 s is impossible"),
        ("seconds,watts\n" + "0,1\n" * 200_001, "more than 200000 points"),
    ],
)
def test_a_bad_csv_is_refused(content: str, sentence: str, tmp_path: Path) -> None:
    """With its name and, where there is one, the line."""
    (tmp_path / "p.csv").write_text(content)
    with pytest.raises(UsageError, match=sentence):
        script('[[gpu]]\npower = { csv = "p.csv" }', tmp_path)
