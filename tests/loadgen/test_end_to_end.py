"""``loadgen`` against a stub server and a stub exporter whose truth is known."""

import asyncio
import csv
import json
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from perjoule_loadgen.__main__ import main
from perjoule_loadgen.transport import why
from tests.loadgen.conftest import SHORT, Bench
from tests.loadgen.stubs import BUSY_WATTS, IDLE_WATTS, Answer, Power, Server, Site, server_app, status, truncated

KEYS = [
    "schema", "verdict", "reasons", "task", "model", "weights", "target", "load", "window", "requests",
    "latency_seconds", "throughput_per_second", "devices", "excluded_devices", "lengths", "joules_per_inference",
    "joules_per_unit", "grams_per_inference", "sci_grams_per_inference", "carbon", "crosscheck", "reference", "host",
]  # fmt: skip
"""The contract of ``perjoule.run/1``."""


def test_gross_and_active_joules_are_the_truth(bench: Bench) -> None:
    """The bracket holds exactly the energy between its edges, and idle power is taken out of the active figure."""
    code, run = bench.run()
    assert (code, run["verdict"], run["reasons"]) == (0, "valid", [])
    start, end = run["window"]["start"], run["window"]["end"]
    truth = bench.exporter.power.joules(end) - bench.exporter.power.joules(start)
    ok = run["requests"]["ok"]
    gross, active = run["joules_per_inference"]["gross"], run["joules_per_inference"]["active"]
    assert gross["value"] * ok == pytest.approx(truth, rel=1e-6)
    assert run["devices"][0]["idle_watts"] == pytest.approx(IDLE_WATTS, rel=1e-3)
    assert active["value"] * ok == pytest.approx(truth - IDLE_WATTS * (end - start), rel=1e-3)
    assert gross["low"] < gross["value"] < gross["high"]


def test_window_begins_and_ends_in_quiet(bench: Bench) -> None:
    """No request straddles an edge: at both edges the board drew idle power only, and all work lies between."""
    _, run = bench.run()
    start, end = run["window"]["start"], run["window"]["end"]
    busy = [at for at, watts in bench.exporter.power.steps if watts > IDLE_WATTS]
    inside = [at for at in busy if start < at < end]
    assert len(inside) == run["requests"]["ok"]
    assert [bench.exporter.power.watts(at) for at in (start, end)] == [IDLE_WATTS, IDLE_WATTS]
    assert start - max(at for at in busy if at < start) > 2 * bench.exporter.tick
    assert run["window"]["seconds"] == pytest.approx(end - start)


def test_run_json_keeps_the_contract(bench: Bench) -> None:
    """Every key of ``perjoule.run/1`` is there, in order, with what the stubs are known to be."""
    bench.exporter.neighbour = 30.0
    _, run = bench.run("--seed", "3")
    assert [key for key in run if key in KEYS] == KEYS
    assert run["schema"] == "perjoule.run/1"
    assert (run["model"], run["weights"], run["lengths"]) == ("tiny/summarization", "tiny", "checked")
    assert run["load"]["arrival"] == "closed"
    assert (run["load"]["concurrency"], run["load"]["rate"], run["load"]["seed"]) == (1, None, 3)
    assert set(run["requests"]["failed"]) == {"connect", "timeout", "4xx", "429", "5xx", "truncated", "wrong_shape"}
    assert run["requests"]["sent"] == run["requests"]["ok"] > 20
    assert run["joules_per_inference"]["attributed"] is None
    assert run["joules_per_unit"]["unit"] == "output_token"
    gross = run["joules_per_inference"]["gross"]["value"]
    assert run["joules_per_unit"]["value"] == pytest.approx(gross / 12)
    assert run["grams_per_inference"]["value"] == pytest.approx(gross * 44.18 * 1.2 / 3.6e6)
    assert run["carbon"]["zone"] == "FRA"
    assert run["carbon"]["pue"] == 1.2
    assert run["reference"][0]["joules_per_inference"] == pytest.approx(177, abs=1)
    assert run["host"]["idle"][0]["drift_ratio"] == pytest.approx(0.0, abs=0.01)
    assert [device["device"] for device in run["devices"]] == ["GPU-a"]


def test_a_neighbour_is_not_charged(bench: Bench) -> None:
    """The server's own device pays; every other device that the exporter shows is listed apart with its joules."""
    bench.exporter.neighbour = 30.0
    _, run = bench.run()
    (excluded,) = run["excluded_devices"]
    assert excluded["device"] == "GPU-b"
    assert excluded["joules"] == pytest.approx(30.0 * run["window"]["seconds"], rel=0.1)
    start, end = run["window"]["start"], run["window"]["end"]
    own = bench.exporter.power.joules(end) - bench.exporter.power.joules(start)
    assert run["devices"][0]["joules"] == pytest.approx(own, rel=1e-6)


def test_files_of_a_run(bench: Bench) -> None:
    """Every request and every counter update of the window is in the files, with the method beside it."""
    bench.exporter.method = "simulated"
    _, run = bench.run()
    with (bench.folder / "out" / "requests.csv").open() as lines:
        requests = list(csv.DictReader(lines))
    steady = [row for row in requests if row["phase"] == "steady"]
    assert len(steady) == run["requests"]["sent"]
    assert {row["method"] for row in requests} == {"simulated"}
    assert all(float(row["latency_seconds"]) > 0 for row in steady)
    with (bench.folder / "out" / "power.csv").open() as lines:
        power = list(csv.DictReader(lines))
    window = [row for row in power if row["phase"] == "window"]
    assert {row["phase"] for row in power} >= {"idle", "warm-up", "window"}
    assert sum(IDLE_WATTS - 1 < float(row["mean_watts"]) < IDLE_WATTS + BUSY_WATTS + 1 for row in window) == len(window)
    joules = float(window[-1]["joules_total"]) - float(window[0]["joules_total"])
    assert 0 < joules <= run["devices"][0]["joules"]


def test_simulated_is_on_every_output(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    """A simulated board is bannered in table, progress, JSON and CSV."""
    bench.exporter.method = "simulated"
    _, run = bench.run()
    shown = capsys.readouterr()
    assert "SIMULATED" in shown.out
    assert "SIMULATED" in shown.err
    assert run["simulated"] is True
    assert "SIMULATED" in run["banner"]
    bench.run("--format", "csv", *IN_WINDOW)
    assert "SIMULATED" in capsys.readouterr().out


def test_table_is_not_cut_where_stdout_is_no_terminal(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a terminal every column is whole, no escape code is printed, and progress is not on stdout."""
    bench.loadgen("--task", "all", "--duration", "0.6s")
    out, err = capsys.readouterr()
    header, row = (next(line for line in out.splitlines() if word in line) for word in (" ±", "summarization  "))
    for title in ("J/inference", "±", "active", "gCO2e", "inf/s", "latency", "verdict", "study [1]"):
        assert title in out
    assert row.split()[-1] == "VALID"
    assert "177 J" in row
    assert "…" not in header + row
    assert "\x1b" not in out + err
    assert "warm-up" in err
    assert "warm-up" not in out
    assert "seven idle" in out  # the study's boundary


def test_several_tasks_share_two_baselines(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    """``--task all`` runs what the server serves, writes a folder for each, and prints a list as JSON."""
    assert bench.loadgen("--task", "all", "--duration", "0.6s", "--format", "json") == 0
    runs = json.loads(capsys.readouterr().out)
    assert [run["task"] for run in runs] == ["text-classification", "summarization"]
    for run in runs:
        assert json.loads((bench.folder / "out" / run["task"] / "run.json").read_text()) == run
    assert runs[0]["lengths"] == "checked"  # no length is asked for


@pytest.mark.parametrize("arrival", ["constant", "poisson"])
def test_open_loop_keeps_its_schedule(bench: Bench, arrival: str) -> None:
    """An open loop sends what the schedule holds however slow the answers are; latency counts from intention."""
    bench.server.service = 0.03
    _, run = bench.run("--rate", "50", "--arrival", arrival, *IN_WINDOW)
    assert run["requests"]["sent"] == run["requests"]["scheduled"]
    assert run["requests"]["sent"] == 30 or arrival == "poisson"
    # 50/s asked of a server that does 33/s: the queue grows, and latency with it
    assert run["latency_seconds"]["mean"] > 0.05


def test_requests_are_a_minimum(bench: Bench) -> None:
    """``--requests`` alone lasts until they are sent, and at least as long as the rules ask."""
    code = bench.loadgen("--task", "summarization", "--requests", "5")
    run = json.loads((bench.folder / "out" / "run.json").read_text())
    assert code == 0
    assert run["requests"]["sent"] > 5
    assert run["window"]["seconds"] >= SHORT.min_window_seconds


def test_seed_decides_the_order_of_inputs(bench: Bench) -> None:
    """The same seed sends the same inputs in the same order."""

    def texts(seed: str) -> list[object]:
        bench.server.bodies.clear()
        bench.run("--seed", seed, *IN_WINDOW)
        return [body["inputs"] for body in bench.server.bodies[:8]]

    assert texts("1") == texts("1") != texts("2")


# --- Planted faults


def every(step: int, odd: Answer) -> Callable[[int], Answer | None]:
    return lambda number: odd if number % step == 0 else None


async def too_many(_: int, __: web.Request) -> web.StreamResponse:
    return await status(429)


async def broken(_: int, __: web.Request) -> web.StreamResponse:
    return await status(500)


async def refused(_: int, __: web.Request) -> web.StreamResponse:
    return await status(422)


async def slow(_: int, __: web.Request) -> web.StreamResponse:
    await asyncio.sleep(0.5)
    return await status(200)


async def endless(_: int, request: web.Request) -> web.StreamResponse:
    """Send a body until the client has had enough."""
    reply = web.StreamResponse()
    await reply.prepare(request)
    for _ in range(2**10):
        await reply.write(bytes(2**20))
    raise AssertionError("the client read a gigabyte")


async def escape(_: int, __: web.Request) -> web.StreamResponse:
    return web.Response(status=500, text="\x1b[31mred")


async def another_shape(_: int, __: web.Request) -> web.StreamResponse:
    return web.json_response({"summary": "s"})


@pytest.mark.parametrize(
    ("answer", "name"),
    [(too_many, "429"), (broken, "5xx"), (refused, "4xx"), (truncated, "truncated"), (another_shape, "wrong_shape"),
     (slow, "timeout")],
)  # fmt: skip
def test_errors_are_classed_and_counted(bench: Bench, answer: Answer, name: str) -> None:
    """Each kind of failure has its class, is no latency, and voids the run above one percent."""
    bench.server.odd = every(4, answer)
    code, run = bench.run("--timeout", "200ms", *IN_WINDOW)
    failed = {key: number for key, number in run["requests"]["failed"].items() if number}
    assert code == 3
    assert list(failed) == [name]
    assert run["requests"]["ok"] + failed[name] == run["requests"]["sent"]
    assert len(run["reasons"]) == 1
    assert f"{failed[name]} {name}" in run["reasons"][0]


def test_an_answer_without_end_is_not_kept(bench: Bench) -> None:
    """A body that never ends is cut off at a size that no answer has, and counted as a failure."""
    bench.server.odd = lambda number: endless if number == 3 else None
    _, run = bench.run("--timeout", "10s", *IN_WINDOW)
    assert run["requests"]["failed"]["truncated"] == 1


def test_an_exporter_without_end_is_not_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Metrics that never end are cut off at a size that no exporter has, and said to be that."""

    async def metrics(request: web.Request) -> web.StreamResponse:
        return await endless(0, request)

    app = web.Application()
    app.router.add_get("/metrics", metrics)
    power = Power()
    target, energy = Site(server_app(Server(power))), Site(app)
    urls = ["--target", target.url, "--energy", energy.url, "--output", str(tmp_path / "out")]
    assert main([*urls, "--task", "summarization"], SHORT) == 2
    target.close()
    energy.close()
    assert "the answer has more than 16 MiB" in capsys.readouterr().err


def test_a_failure_cannot_steer_the_terminal(bench: Bench) -> None:
    """What a server says is shown without control characters."""
    bench.server.odd = every(2, escape)
    _, run = bench.run(*IN_WINDOW)
    assert "500 \ufffd[31mred" in only_reason(run)


def at_request(bench: Bench, number: int, do: Callable[[], object]) -> None:
    """Do something once the server has got so many requests; without a warm-up that is within the window."""

    def odd(at: int) -> Answer | None:
        if at == number:
            threading.Thread(target=do).start()
        return None

    bench.server.odd = odd


IN_WINDOW = ("--warmup", "0", "--idle", "0")


def only_reason(run: dict[str, list[str]]) -> str:
    assert len(run["reasons"]) == 1, run["reasons"]
    return run["reasons"][0]


def test_a_dead_server_ends_the_run(bench: Bench) -> None:
    """A server that dies in the window is one reason; the errors are counted, and nothing hangs."""
    at_request(bench, 10, bench.target.close)
    began = time.monotonic()
    code, run = bench.run("--duration", "20s", *IN_WINDOW)
    assert code == 3
    assert "the server accepted no connection" in only_reason(run)
    assert run["requests"]["failed"]["connect"] > 0
    assert time.monotonic() - began < 8


def test_a_dead_server_ends_an_open_loop(bench: Bench) -> None:
    """The same with a schedule: what was not sent is not sent."""
    at_request(bench, 10, bench.target.close)
    code, run = bench.run("--duration", "20s", "--rate", "40", *IN_WINDOW)
    assert (code, run["requests"]["sent"] < run["requests"]["scheduled"]) == (3, True)
    assert "the server accepted no connection" in only_reason(run)


def test_a_dead_exporter_leaves_no_energy_figure(bench: Bench) -> None:
    """An exporter that dies in the window: latency stands, energy is absent, the run is invalid, nothing hangs."""
    at_request(bench, 10, bench.energy.close)
    code, run = bench.run(*IN_WINDOW)
    assert code == 3
    assert "the exporter stopped answering" in only_reason(run)
    assert run["joules_per_inference"]["gross"] is None
    assert run["devices"] == []
    assert run["latency_seconds"]["p50"] > 0


def test_a_lost_board_leaves_no_energy_figure(bench: Bench) -> None:
    """A board whose series disappear is never 0 joules."""
    at_request(bench, 10, lambda: setattr(bench.exporter, "present", False))
    _, run = bench.run(*IN_WINDOW)
    assert "GPU-a is gone from the exporter" in only_reason(run)
    assert run["joules_per_inference"]["gross"] is None


@pytest.mark.parametrize("kind", ["back", "bridged", "restarted"])
def test_a_reset_voids_the_run(bench: Bench, kind: str) -> None:
    """A counter that goes back, one that was bridged, and an exporter that restarted: no figure."""

    def plant() -> None:
        if kind == "back":
            bench.exporter.reset_at = time.time()
        elif kind == "bridged":
            bench.exporter.bridged_at = time.time()
        else:
            bench.exporter.started += 1

    at_request(bench, 10, plant)
    code, run = bench.run(*IN_WINDOW)
    assert code == 3
    assert "was reset within the window" in only_reason(run)
    assert run["joules_per_inference"]["gross"] is None


@pytest.mark.parametrize(
    ("fault", "told"),
    [({"lead": 3.0}, "s ahead of this machine's"), ({"lead": 3600.0}, "s ahead of this machine's"),
     ({"jump": 1e6}, "no device uses so much"), ({"frozen": 5000.0}, "has not moved")],
)  # fmt: skip
def test_a_counter_that_lies_gives_no_figure(bench: Bench, fault: dict[str, float], told: str) -> None:
    """A clock that is set forward, joules out of nothing, and time without joules: each is found out."""

    def lie() -> None:
        for name, value in fault.items():
            setattr(bench.exporter, name, value)

    at_request(bench, 10, lie)
    code, run = bench.run(*IN_WINDOW)
    assert (code, told in only_reason(run)) == (3, True)
    assert run["joules_per_inference"]["gross"] is None


def test_a_clock_that_is_behind(bench: Bench) -> None:
    """Edges by this machine's clock would hold other work: no figure."""
    bench.exporter.lead = -0.8
    code, run = bench.run(*IN_WINDOW)
    assert (code, "the exporter's clock is behind" in only_reason(run)) == (3, True)


def test_a_request_that_hangs_voids_the_run(bench: Bench) -> None:
    """One failure among many, that took a third of the window: not within five percent."""
    bench.server.odd = lambda number: slow if number == 3 else None
    rules = replace(SHORT, max_error_ratio=0.05)
    code, run = bench.run("--timeout", "300ms", "--duration", "1s", *IN_WINDOW, rules=rules)
    assert (code, run["requests"]["failed"]["timeout"]) == (3, 1)
    assert "of the time that requests took went to those that failed" in only_reason(run)


def test_wrong_lengths_void_the_run(bench: Bench) -> None:
    """Answers shorter than asked are not the work that was asked for."""
    bench.server.tokens = 9
    code, run = bench.run(*IN_WINDOW)
    assert (code, run["lengths"]) == (3, "checked")
    assert "9 output tokens instead of 10 to 15" in only_reason(run)


def test_lengths_are_unknown_where_the_answer_does_not_tell(bench: Bench) -> None:
    """No header: lengths are unknown, and there is no energy per token."""
    bench.server.tokens = None
    code, run = bench.run(*IN_WINDOW)
    assert (code, run["lengths"], run["joules_per_unit"]["value"]) == (0, "unknown", None)


def test_a_window_that_was_asked_for_too_short(bench: Bench) -> None:
    """An explicit ``--duration`` is kept, and the verdict says that it is too short."""
    code, run = bench.run(rules=replace(SHORT, min_window_seconds=5.0))
    assert code == 3
    assert "less than 5 s" in only_reason(run)


def test_a_slow_counter_needs_a_longer_window(bench: Bench) -> None:
    """A counter of which the window held too few updates cannot be bracketed."""
    bench.exporter.tick = 0.2
    code, run = bench.run()
    assert code == 3
    assert "moves every 200 ms" in only_reason(run)


# --- At the start


def test_without_a_server(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    """No server: one line that says how to start one, exit code 2, and no folder left behind."""
    bench.target.close()
    assert bench.loadgen("--task", "summarization") == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("loadgen:")]
    assert len(lines) == 1
    assert lines[0].endswith("start one with: inference-server --models tiny")
    assert not (bench.folder / "out").exists()


def test_without_an_exporter(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    """No exporter: the same, with its own line."""
    bench.energy.close()
    assert bench.loadgen("--task", "summarization") == 2
    assert "start one with: gpu-energy-exporter" in capsys.readouterr().err
    assert bench.server.served == 0


def test_a_target_that_is_no_inference_server(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    """An exporter, and a page of another shape: exit code 2 at once, with what was answered."""
    assert bench.loadgen("--task", "summarization", "--target", bench.energy.url) == 2
    says = f"no inference server at {bench.energy.url}: /v1/tasks answers 404; start one with: inference-server"
    assert says in capsys.readouterr().err
    bench.server.tasks = ()
    assert bench.loadgen("--task", "all") == 2
    assert "/v1/tasks lists no tasks; start one with" in capsys.readouterr().err
    assert not (bench.folder / "out").exists()


@pytest.mark.parametrize(
    ("failure", "words"),
    [(TimeoutError(), "no answer in time"), (ConnectionResetError(104, "x"), "connection reset by peer"),
     (aiohttp.ServerDisconnectedError(), "the connection was closed before an answer"),
     (aiohttp.ClientPayloadError("x"), "the answer broke off"), (socket.gaierror(-2, "x"), "no such host"),
     (OSError("odd"), "odd"), (aiohttp.ClientConnectionError(), "ClientConnectionError")],
)  # fmt: skip
def test_words_for_failures(failure: BaseException, words: str) -> None:
    """Every way in which an answer can fail to come has its words, and none is empty."""
    assert why(failure) == words


def test_connection_errors_are_told_in_words(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    """No text of a library: the reason as a person would say it."""
    bench.energy.close()
    assert bench.loadgen("--task", "summarization") == 2
    assert f"no exporter answers ({bench.energy.url}/metrics does not answer: connection refused)" in (
        capsys.readouterr().err
    )


@pytest.mark.parametrize("idle", ["0", "100ms"])
def test_progress_tells_of_every_task(bench: Bench, idle: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each task has its line on stderr, the last one too when no baseline follows it."""
    bench.loadgen("--task", "all", "--duration", "0.6s", "--idle", idle)
    lines = [line for line in capsys.readouterr().err.splitlines() if "/inference gross" in line]
    assert [line.split(":")[0].strip() for line in lines] == ["text-classification", "summarization"]


def test_a_task_that_is_not_served(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    """A task that the server does not have is found before anything is sent."""
    assert bench.loadgen("--task", "fill-mask") == 2
    assert "does not serve fill-mask; it serves summarization" in capsys.readouterr().err


def test_a_model_that_is_not_served(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    """So is a model."""
    assert bench.loadgen("--task", "summarization", "--model", "bart") == 2
    assert "does not serve summarization with bart" in capsys.readouterr().err


def test_a_server_that_does_not_say_where_it_runs(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    """With one device that one pays; with several one must be named."""
    bench.server.device = ""
    code, run = bench.run()
    assert (code, run["devices"][0]["device"], run["model"]) == (0, "GPU-a", "tiny/summarization")
    bench.exporter.neighbour = 30.0
    assert bench.loadgen("--task", "summarization") == 2
    assert "name one with --device: GPU-a, GPU-b" in capsys.readouterr().err
    code, run = bench.run("--device", "GPU-b")
    assert run["devices"][0]["device"] == "GPU-b"


def test_a_device_that_the_exporter_does_not_show(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    """The server's device must be among the exporter's: another board's energy is not taken instead."""
    bench.server.device = "GPU-elsewhere"
    assert bench.loadgen("--task", "summarization") == 2
    assert "GPU-elsewhere" in capsys.readouterr().err


def test_a_clock_that_is_ahead(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    """Edges cannot be placed with an exporter whose clock is ahead."""
    bench.exporter.lead = 3.0
    assert bench.loadgen("--task", "summarization") == 1
    assert "s ahead of this machine's: synchronise them" in capsys.readouterr().err


def test_an_exporter_without_energy(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    """An exporter that shows no device is no source of energy."""
    bench.exporter.present = False
    assert bench.loadgen("--task", "summarization") == 1
    assert "no energy counter" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written(bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is found at the start, before any request."""
    (tmp_path / "file").write_text("")
    assert bench.loadgen("--task", "summarization", "--output", str(tmp_path / "file" / "out")) == 2
    assert "cannot be written" in capsys.readouterr().err
    assert bench.server.served == 0


def test_a_run_is_not_overwritten(bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder that holds a run already is refused at the start, whichever layout it has, and left as it is."""
    alone, several = tmp_path / "alone", tmp_path / "several"
    for folder in (alone, several / "summarization"):
        folder.mkdir(parents=True)
        (folder / "run.json").write_text("kept")
    refused_ = [
        ("summarization", alone),
        ("all", alone),
        ("all", several),
        ("summarization,text-classification", several),
    ]
    for task, folder in refused_:
        assert bench.loadgen("--task", task, "--output", str(folder)) == 2
        assert f"holds a run already; name another folder: --output {folder}-2" in capsys.readouterr().err
    assert bench.server.served == 0
    assert (alone / "run.json").read_text() == (several / "summarization" / "run.json").read_text() == "kept"
    assert sorted(path.name for path in tmp_path.rglob("*")) == [
        "alone",
        "run.json",
        "run.json",
        "several",
        "summarization",
    ]


def test_a_window_that_will_be_too_short_is_told_before(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    """A line on stderr at the start, not only the verdict at the end."""
    bench.run("--idle", "0", rules=replace(SHORT, min_window_seconds=5.0))
    first = capsys.readouterr().err.splitlines()[0]
    assert first == "loadgen: --duration 0.6s: a window shorter than 5 s makes the run INVALID"
    bench.run("--idle", "0")
    assert "makes the run INVALID" not in capsys.readouterr().err


def test_a_server_that_refuses_everything(bench: Bench) -> None:
    """When no request of the warm-up succeeds the window is not run, and the answer is in the reason."""
    bench.server.odd = every(1, refused)
    code, run = bench.run("--duration", "20s")
    assert code == 3
    assert "no request of the warm-up succeeded" in only_reason(run)
    assert "422" in run["reasons"][0]
