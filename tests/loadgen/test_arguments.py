"""The command line: what flags mean, and that what cannot be honoured is refused in one clear line."""

import csv
import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from perjoule import __version__
from perjoule.errors import PerjouleError, UsageError
from perjoule.workloads import WORKLOADS
from perjoule_loadgen import arguments, flag_values
from perjoule_loadgen.__main__ import main
from perjoule_loadgen.config import Arrival, Config, Format, Rules, Shard
from perjoule_loadgen.durations import parse_duration
from perjoule_loadgen.listing import listing


def config(*argv: str) -> Config:
    return arguments.config(arguments.parse(argv), Rules())


def test_defaults() -> None:
    """One at a time for 60 s against the usual ports."""
    made = config("--task", "summarization")
    assert made == Config(tasks=("summarization",))
    assert (made.target, made.energy) == ("http://127.0.0.1:8080", ("http://127.0.0.1:10101/metrics",))
    assert (made.window_seconds(0.1), made.concurrency, made.arrival) == (60.0, 1, Arrival.CLOSED)


@pytest.mark.parametrize(
    ("text", "seconds"), [("60", 60.0), ("60s", 60.0), ("2m", 120.0), ("500ms", 0.5), ("1.5h", 5400.0), ("0", 0.0)]
)
def test_durations(text: str, seconds: float) -> None:
    """A number of seconds, or a number with its unit."""
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "-1", "1 minute", "1d", "nan", "1e3", "inf"])
def test_what_is_no_duration(text: str) -> None:
    """Anything else is refused, not guessed."""
    with pytest.raises(UsageError, match="no duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("given", "url"),
    [("host", "http://host/metrics"), ("host:1", "http://host:1/metrics"), ("http://h:1/", "http://h:1/metrics"),
     ("https://h/other", "https://h/other"), ("http://[::1]:9", "http://[::1]:9/metrics")],
)  # fmt: skip
def test_a_bare_exporter_gets_the_path(given: str, url: str) -> None:
    """A host without a path gets ``/metrics``; a path is kept."""
    assert flag_values.energy_url(given) == url


def test_a_window_by_requests_lasts_ten_seconds_and_a_hundred_ticks() -> None:
    """``--requests`` alone: 10 s, or 100 ticks where that is longer; an explicit duration is kept as it is."""
    assert config("--task", "fill-mask", "--requests", "5").window_seconds(0.1) == 10.0
    assert config("--task", "fill-mask", "--requests", "5").window_seconds(0.5) == 50.0
    assert config("--task", "fill-mask").window_seconds(1.0) == 100.0
    assert config("--task", "fill-mask", "--duration", "3s").window_seconds(0.1) == 3.0


def test_tasks() -> None:
    """A list without repeats, or all that is served."""
    assert config("--task", "fill-mask, summarization,fill-mask").tasks == ("fill-mask", "summarization")
    assert config("--task", "all").tasks == ()


def test_an_open_loop() -> None:
    """A rate alone is constant; two exporters are two."""
    made = config("--task", "fill-mask", "--rate", "10", "--energy", "a:1", "--energy", "b:1", "--zone", "fra")
    assert (made.arrival, made.rate, made.zone) == (Arrival.CONSTANT, 10.0, "FRA")
    assert made.energy == ("http://a:1/metrics", "http://b:1/metrics")
    assert config("--task", "fill-mask", "--rate", "1", "--arrival", "poisson").arrival is Arrival.POISSON


def test_shapes_of_load(tmp_path: Path) -> None:
    """Bursts, stages, a trace and a part of a load are what their flags say."""
    (tmp_path / "t").write_text("100\n600\n")
    task = ("--task", "fill-mask")
    assert config(*task, "--rate", "9", "--burstiness", "0.5").arrival is Arrival.GAMMA
    staged = config(*task, "--stages", "1-5:10s,5:20s", "--arrival", "poisson")
    assert (staged.arrival, staged.rate, staged.window_seconds(0.1)) == (Arrival.POISSON, None, 30.0)
    traced = config(*task, "--trace", str(tmp_path / "t"), "--trace-unit", "ms")
    assert (traced.arrival, traced.trace) == (Arrival.TRACE, (0.0, 0.5))
    part = config(*task, "--concurrency", "5", "--shard", "2/3", "--start-at", "2026-01-01T00:00:00Z")
    assert (part.shard, part.shard.share(5), part.start_at) == (Shard(1, 3), 2, 1767225600.0)


def test_work_that_is_asked_for() -> None:
    """A length, or a range of it, a size and steps replace the task's own settings; a base URL of OpenAI's is one."""
    made = config("--task", "summarization", "--output-tokens", "3-9", "--url", "h:1/v1", "--api", "openai-chat")
    assert made.parameters == {"min_new_tokens": 3, "max_new_tokens": 9}
    assert (made.target, made.dialect.name) == ("http://h:1", "openai-chat")
    drawn = config("--task", "text-to-image", "--image-size", "64x32", "--steps", "4")
    assert drawn.parameters == {"width": 64, "height": 32, "num_inference_steps": 4}


def test_a_token_is_never_shown(tmp_path: Path) -> None:
    """It is read from a file, and no text of the configuration holds it; a file of more than a token is refused."""
    path = tmp_path / "token"
    path.write_text("sesame\n")
    made = config("--task", "fill-mask", "--token-file", str(path))
    assert (made.token, "sesame" in repr(made)) == ("sesame", False)
    for text in ("", "two words", "b\u00e9"):
        path.write_text(text)
        with pytest.raises(UsageError, match="--token-file"):
            config("--task", "fill-mask", "--token-file", str(path))


def test_names_that_other_load_generators_use() -> None:
    """``--url``, ``--request-rate``, ``--max-requests`` and ``--num-prompts`` are the same flags."""
    ours = config("--task", "fill-mask", "--target", "h:1", "--rate", "2", "--requests", "7")
    for name in ("--max-requests", "--num-prompts"):
        assert config("--task", "fill-mask", "--url", "h:1", "--request-rate", "2", name, "7") == ours


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        ([], "give --task"),
        (["--task", "all", "--rate", "1", "--concurrency", "2"], "give one of them"),
        (["--task", "all", "--arrival", "poisson"], "needs --rate"),
        (["--task", "all", "--inputs", "f.jsonl"], "--inputs is of one task"),
        (["--task", "all", "--dataset", "imdb"], "--dataset is of one task"),
        (["--task", "fill-mask", "--dataset", "imdb"], "fill-mask has no 'imdb'; it has bookcorpus, c4, oscar"),
        (["--task", "fill-mask", "--dataset-from", "x"], "needs --dataset"),
        (["--task", "summarization", "--inputs", "f", "--input-tokens", "9"], "each say what is sent"),
        (["--task", "fill-mask", "--input-tokens", "9"], "--input-tokens means nothing for fill-mask"),
        (["--task", "fill-mask", "--output-tokens", "9"], "--output-tokens means nothing for fill-mask"),
        (["--task", "all", "--steps", "9"], "--steps means nothing for text-classification, "),
        (["--task", "fill-mask", "--api", "openai-chat"], "--api openai-chat has no fill-mask; it has image-to-text"),
        (
            ["--task", "fill-mask", "--stream"],
            "fill-mask does not come as it is written; with perjoule text-generation",
        ),
        (["--task", "fill-mask", "--api", "tei", "--template", "f"], "give one of them"),
        (["--task", "fill-mask", "--template", "none.toml"], "none.toml: No such file"),
        (["--task", "fill-mask", "--token-file", "none.txt"], "none.txt: No such file"),
        (["--task", "all", "--rate", "1", "--stages", "1:1s"], "--rate and --stages each say how to send"),
        (["--task", "all", "--arrival", "trace"], "needs --trace FILE"),
        (["--task", "all", "--trace", "f", "--arrival", "poisson"], "without --arrival poisson"),
        (["--task", "all", "--trace", "none.txt"], "none.txt cannot be read: No such file"),
        (["--task", "all", "--rate", "1", "--arrival", "poisson", "--burstiness", "2"], "not of --arrival poisson"),
        (["--task", "all", "--burstiness", "2"], "--burstiness needs --rate"),
        (["--task", "all", "--trace-unit", "ms"], "needs --trace"),
        (["--task", "all", "--stages", "5:9s", "--duration", "9s"], "without --duration"),
        (["--task", "all", "--stages", "5:9s", "--requests", "9"], "without --requests"),
        (["--task", "all", "--shard", "1/2"], "--concurrency 1 is of all 2 shards together: give 2 at least"),
        (["--task", "all", "--start-at", "9"], "name one task"),
    ],
)
def test_flags_that_contradict_each_other(argv: list[str], says: str) -> None:
    """The message says what to change."""
    with pytest.raises(PerjouleError, match=says):
        config(*argv)


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["sweep"], "unknown command 'sweep'"),
        (["--task", "poetry"], "unknown task 'poetry'; the tasks are text-class"),
        (["--task", "sumarization"], "unknown task 'sumarization'; did you mean summarization?"),
        (["--task", ","], "name a task"),
        (["--task", "all", "--duration", "0"], "no time to measure"),
        (["--task", "all", "--duration", "soon"], "'soon' is no duration"),
        (["--task", "all", "--rate", "nan"], "not a positive number"),
        (["--task", "all", "--rate", "ten"], "'ten' is not a number"),
        (["--task", "all", "--requests", "0"], "not a positive whole number"),
        (["--task", "all", "--concurrency", "-1"], "not a positive whole number"),
        (["--task", "all", "--zone", "Frnce"], "no carbon intensity"),
        (["--task", "all", "--target", "ftp://h"], "no http URL"),
        (["--task", "all", "--energy", "http://h:99999"], "no http URL"),
        (["--task", "all", "--api", "grpc"], "invalid choice: 'grpc'"),
        (["--task", "all", "--output-tokens", "9-3"], "'9-3' is no length"),
        (["--task", "all", "--image-size", "64"], "'64' is no size: write 512x512"),
        (["--task", "all", "--extra-body", "[1]"], "'[1]' is no JSON object"),
        (["--task", "all", "--arrival", "closed"], "invalid choice: 'closed'"),
        (["--task", "all", "--burstiness", "0"], "not a positive number"),
        (["--task", "all", "--stages", "soon"], "'soon' is no stage: 10:60s holds"),
        (["--task", "all", "--shard", "3/2"], "'3/2' is no part of a load"),
        (["--task", "all", "--start-at", "noon"], "'noon' is no time"),
        (["--task", "all", "--repeats", "5"], "unrecognized arguments: --repeats"),
        (["--task", "all", "--dur", "5"], "unrecognized arguments: --dur"),
    ],
)
def test_values_that_cannot_be(argv: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2 and one line that names the flag's fault."""
    assert main(argv) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("loadgen: ")
    assert line.endswith(" (see --help)")
    assert says in line


def test_bad_inputs_are_found_before_the_server_is_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file of inputs that is not there is a usage error even without a server."""
    code = main(["--task", "fill-mask", "--inputs", str(tmp_path / "none.jsonl"), "--target", "127.0.0.1:1",
                 "--output", str(tmp_path / "out")])  # fmt: skip
    assert code == 2
    assert "none.jsonl" in capsys.readouterr().err


def test_tasks_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    """``loadgen tasks`` needs no server and names all 15."""
    assert main(["tasks"]) == 0
    out = capsys.readouterr().out
    assert all(task in out for task in WORKLOADS)


def test_tasks_are_listed_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    """``--format`` holds for the list too: objects in JSON, a row for each in CSV; no line ends in blanks."""
    assert main(["tasks", "--format", "json"]) == 0
    tasks = json.loads(capsys.readouterr().out)
    assert [task["task"] for task in tasks] == list(WORKLOADS)
    assert tasks[5]["parameters"] == {"min_new_tokens": 10, "max_new_tokens": 15}
    assert tasks[5]["study_joules_per_inference"] == pytest.approx(177, abs=1)
    assert main(["tasks", "--format", "csv"]) == 0
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert [row["task"] for row in rows] == list(WORKLOADS)
    assert rows[5]["parameters"] == "min_new_tokens=10 max_new_tokens=15"
    assert rows[-1]["study_joules_per_inference"] == ""
    assert main(["tasks"]) == 0
    assert all(line == line.rstrip() for line in capsys.readouterr().out.splitlines())


@pytest.mark.parametrize("columns", [40, 80, 120, 200])
def test_the_list_never_cuts_a_task(columns: int) -> None:
    """A narrow terminal goes without other columns, which are named below."""
    out = Console(file=io.StringIO(), force_terminal=True, width=columns, color_system=None)
    text = listing(out, Format.TABLE)
    assert [line.split()[0] for line in text.splitlines() if line.strip()][2:17] == list(WORKLOADS)
    assert ("also shows" in text) == (columns < 200)
    assert max(map(len, text.splitlines())) <= columns


def test_version_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    """Both are there; help has examples and exit codes."""
    for flag, says in (("--version", __version__), ("--help", "loadgen --task all")):
        with pytest.raises(SystemExit) as ended:
            main([flag])
        assert ended.value.code == 0
        assert says in capsys.readouterr().out
