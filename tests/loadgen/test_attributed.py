"""Attributed joules with the real exporter: a small server tells it of its requests, loadgen reads what they cost."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from perjoule.spans import Spans
from perjoule_loadgen.__main__ import main
from tests.exporter.running import RunningExporter, wait_until
from tests.loadgen.conftest import SHORT
from tests.loadgen.stubs import Power, Server, Site, server_app, status

DEVICE = "GPU-simulated-0"
TASK, MODEL = "summarization", "tiny/summarization"
FLAGS = ("--meter", "simulated", "--ledger.idle-watts", "70", "--carbon.zone", "FRA")
EMBODIED = ("--embodied.kg", "164", "--embodied.years", "4")


@dataclass
class Charging:
    """The real exporter with a simulated board, and a server that tells it of each request."""

    folder: Path
    exporter: RunningExporter
    server: Server
    target: Site
    threads: list[threading.Thread] = field(default_factory=list)

    @property
    def truth(self) -> list[dict[str, Any]]:
        """What each span of the window's task drew."""
        lines = (json.loads(line) for line in (self.folder / "truth.jsonl").read_text().splitlines())
        return [line for line in lines if line.get("task") == TASK]

    def run(self, *arguments: str, settlement: float = 3.0) -> tuple[int, dict[str, Any]]:
        """Measure for two seconds; return exit code and ``run.json``."""
        urls = ["--target", self.target.url, "--energy", f"{self.exporter.url}/metrics"]
        short = ["--duration", "2s", "--warmup", "0.5s", "--idle", "0", "--output", str(self.folder / "out")]
        rules = replace(SHORT, settlement_seconds=settlement)
        code = main([*urls, *short, "--task", TASK, *arguments], rules)
        return code, json.loads((self.folder / "out" / "run.json").read_text())

    def in_window(self, do: Callable[[], object]) -> None:
        """Do something in the middle of the window."""

        def later() -> None:
            time.sleep(1.7)
            do()

        self.threads.append(threading.Thread(target=later))
        self.threads[-1].start()


@pytest.fixture
def charging(tmp_path: Path) -> Iterator[Charging]:
    """Exporter and server, running and connected."""
    flags = (*FLAGS, *EMBODIED, "--simulated.truth", str(tmp_path / "truth.jsonl"))
    exporter = RunningExporter(tmp_path / "exporter.log", *flags).ready()
    spans = Spans("stub/1", device=DEVICE, owners=[(TASK, MODEL)], socket=exporter.socket, retry_seconds=(0.05, 0.1))
    wait_until(lambda: spans.stats.connected, "the server has found the exporter")
    server = Server(Power(), service=0.02, device=DEVICE, spans=spans)
    made = Charging(tmp_path, exporter, server, Site(server_app(server)))
    yield made
    for thread in made.threads:
        thread.join()
    made.target.close()
    spans.close()
    made.exporter.kill()


def attributed(run: dict[str, Any]) -> dict[str, float]:
    """Return the figure, which must be there."""
    found: dict[str, float] | None = run["joules_per_inference"]["attributed"]
    assert found is not None, run["attribution"]["reason"]
    return found


def test_attributed_joules_are_the_truth(charging: Charging, capsys: pytest.CaptureFixture[str]) -> None:
    """What the ledger charged to the window's requests is what the board drew for them, within two per cent."""
    code, run = charging.run()
    assert (code, run["reasons"]) == (0, [])
    ok, start, end = run["requests"]["ok"], run["window"]["start"], run["window"]["end"]
    figure, behind = attributed(run), run["attribution"]
    assert behind["reason"] is None
    assert behind["requests"] == ok
    assert figure["low"] < figure["value"] < figure["high"]
    inside = [line["span_joules"] for line in charging.truth if start < line["start_seconds"] < end]
    assert len(inside) == ok
    assert figure["value"] * ok == pytest.approx(sum(inside), rel=0.02)
    assert figure["value"] < run["joules_per_inference"]["gross"]["value"]
    parts = [*behind["charged_joules"].values(), behind["others_joules"], behind["idle_joules"], behind["open_joules"]]
    assert sum(parts) + sum(behind["unattributed_joules"].values()) == pytest.approx(behind["counter_joules"], abs=1e-5)
    table = capsys.readouterr().out
    assert "attributed" in table
    assert "what the exporter's ledger charged" in table


def test_grams_and_manufacture_of_a_real_exporter(charging: Charging) -> None:
    """Attributed grams are its emissions counter's, and SCI is the gross grams with the board's manufacture."""
    _, run = charging.run()
    factor = run["carbon"]["grams_per_kwh"] * run["carbon"]["pue"] / 3.6e6
    grams = run["attribution"]["grams_per_inference"]
    assert grams["value"] == pytest.approx(attributed(run)["value"] * factor, rel=1e-6)
    score = run["sci_grams_per_inference"]
    second = 164_000 / (4 * 365.25 * 86_400)
    assert score["embodied"] * run["requests"]["ok"] == pytest.approx(second * run["window"]["seconds"], rel=0.02)
    assert score["value"] == pytest.approx(run["grams_per_inference"]["value"] + score["embodied"])


def test_waste_is_told_apart(charging: Charging, capsys: pytest.CaptureFixture[str]) -> None:
    """Requests that ended otherwise have their own joules, and are in neither side of the figure."""
    charging.server.outcome = lambda number: "cancelled" if number % 150 == 60 else "ok"

    async def given_up(_: int, __: web.Request) -> web.StreamResponse:
        return await status(499)

    charging.server.odd = lambda number: given_up if number % 150 == 60 else None
    _, run = charging.run()
    assert run["requests"]["ok"] == run["attribution"]["requests"] == run["requests"]["sent"] - 1
    cancelled = run["attribution"]["charged_joules"]["cancelled"]
    assert cancelled == pytest.approx(attributed(run)["value"], rel=0.5)
    assert f"  waste {TASK}:" in capsys.readouterr().out


def test_spans_that_are_lost_leave_no_figure(charging: Charging) -> None:
    """A tenth of the requests was never told: their energy is elsewhere, both counts are said, the run stays valid."""
    charging.server.outcome = lambda number: None if number % 10 == 0 else "ok"
    code, run = charging.run(settlement=0.5)
    assert (code, run["joules_per_inference"]["attributed"]) == (0, None)
    ok = run["requests"]["ok"]
    assert f"charged {run['attribution']['requests']} requests" in run["attribution"]["reason"]
    assert f"{ok} were answered: spans were lost" in run["attribution"]["reason"]
    assert run["joules_per_inference"]["gross"] is not None


def test_a_second_user_of_the_model_voids_the_run(charging: Charging) -> None:
    """His requests are charged too, and his joules are in every figure: INVALID, with both counts."""
    assert charging.server.spans is not None
    other = charging.server.spans

    def use() -> None:
        for number in range(20):
            with other.span(TASK, MODEL, requests=[(f"other-{number}", 1)]):
                time.sleep(0.01)

    charging.in_window(use)
    code, run = charging.run()
    assert (code, run["joules_per_inference"]["attributed"]) == (3, None)
    (reason,) = run["reasons"]
    assert f"charged {run['attribution']['requests']} requests of {TASK} by {MODEL}" in reason
    assert f"this run sent {run['requests']['sent']}: others use it too" in reason


def test_other_work_on_the_board_is_not_attributed(charging: Charging) -> None:
    """Half of the board's work is another model's: a warning says whose figure it is in, and attributed stays right."""
    assert charging.server.spans is not None
    other, over = charging.server.spans, threading.Event()

    def use() -> None:
        number = 0
        while not over.wait(0.013):
            with other.span("fill-mask", "tiny/fill-mask", requests=[(f"other-{(number := number + 1)}", 1)]):
                time.sleep(0.017)

    thread = threading.Thread(target=use)
    thread.start()
    code, run = charging.run()
    over.set()
    thread.join()
    assert (code, run["attribution"]["reason"]) == (0, None)
    assert any("was charged to other work: it is in gross and active" in warning for warning in run["warnings"])
    start, end = run["window"]["start"], run["window"]["end"]
    inside = [line["span_joules"] for line in charging.truth if start < line["start_seconds"] < end]
    assert attributed(run)["value"] * run["requests"]["ok"] == pytest.approx(sum(inside), rel=0.05)
    assert attributed(run)["value"] < 0.7 * run["joules_per_inference"]["gross"]["value"]


def test_an_exporter_that_restarts_leaves_no_figure(charging: Charging) -> None:
    """Its counters begin anew: the run is void, and the reason of the missing figure is said with it."""

    def restart() -> None:
        charging.exporter.kill()
        port = charging.exporter.url.rpartition(":")[2]
        flags = (*FLAGS, "--web.listen-address", f"127.0.0.1:{port}")
        charging.exporter = RunningExporter(charging.folder / "exporter.log", *flags)

    charging.in_window(restart)
    code, run = charging.run()
    assert (code, run["joules_per_inference"]["attributed"]) == (3, None)
    assert run["attribution"]["reason"] == "there is no energy of the window to be charged"


def test_a_server_that_tells_nobody(charging: Charging, capsys: pytest.CaptureFixture[str]) -> None:
    """Gross and active stand, the column is empty, and the note says what would fill it; nothing is waited for."""
    charging.server.spans = None
    code, run = charging.run(settlement=0.5)
    assert (code, run["joules_per_inference"]["attributed"]) == (0, None)
    assert "none of the" in run["attribution"]["reason"]
    assert "attributed — none of the" in capsys.readouterr().out
