"""What clients are told of their joules, with the real exporter beside the server: the program, on a simulated GPU."""

import itertools
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from perjoule.spans import Quality
from perjoule_server.accounting import SETTLED_SECONDS
from tests.exporter.running import RunningExporter
from tests.exporter.span_books import GPU, started
from tests.server.energy_fakes import MODEL, TASK, ToldBook, WritingTask, telling
from tests.server.fakes import Reply, Running, eventually, running, spec

OK = {"task": TASK, "model": MODEL, "outcome": "ok", "device": GPU}
QUICK = 0.005  # seconds of a phase or step


@pytest.fixture
def start_exporter(tmp_path: Path) -> Iterator[Callable[[], RunningExporter]]:
    """Give a function that starts the program on one socket, whenever it is called."""
    made: list[RunningExporter] = []

    def start() -> RunningExporter:
        log = tmp_path / f"exporter-{len(made)}.log"
        flags = ("--meter", "simulated", "--carbon.zone", "FRA", "--span.socket", str(tmp_path / "s.sock"))
        made.append(RunningExporter(log, *flags).ready())
        return made[-1]

    yield start
    for each in made:
        each.kill()


@contextmanager
def serving(path: Path, task: WritingTask | None = None) -> Iterator[Running]:
    writing = task or WritingTask(seconds=QUICK)
    with running([spec(TASK)], lambda _: writing, telling(path), device=None) as server:
        yield server


def connected(server: Running) -> None:
    eventually(lambda: server.get("/v1/models").json["data"][0]["device"] == GPU)


def quality(reply: Reply) -> str:
    """Return an answer's quality, held against what else it tells."""
    assert reply.status == 200
    told = reply.headers["x-energy-quality"]
    assert ("x-energy-joules" in reply.headers) == (told != "unknown")
    return told


def learned(server: Running) -> Reply:
    """Send requests until there is an estimate, and return the answer that has it."""
    for _ in range(2000):
        reply = server.infer(TASK, "one two three")
        if quality(reply) == "estimated":
            return reply
    raise AssertionError("nothing is learned")


def cost(server: Running, name: str) -> dict[str, Any]:
    """Return what a request cost once that has settled."""
    path = f"/v1/requests/{name}/energy"
    eventually(lambda: bool(server.get(path).json["quality"] == "settled"))
    told: dict[str, Any] = server.get(path).json
    assert told["joules"] == pytest.approx(sum(phase["joules"] for phase in told["phases"]), abs=1e-6)
    return told


def test_what_requests_cost_adds_up_to_what_the_exporter_charged(
    start_exporter: Callable[[], RunningExporter], tmp_path: Path
) -> None:
    """Each request's joules are its own, to the microjoule: their sum is the counter's and the histogram's."""
    exporter = start_exporter()
    with serving(tmp_path / "s.sock") as server:
        connected(server)
        names = [f"r{number}" for number in range(40)]
        with ThreadPoolExecutor(8) as pool:
            sent = pool.map(lambda name: server.infer(TASK, "w " * (1 + len(name)), x_request_id=name), names)
            sizes = {reply.headers["x-batch-size"] for reply in sent}
        told = sum(cost(server, name)["joules"] for name in names)
        count = {"name": "inference_request_energy_joules_count", "task": TASK, "model": MODEL}
        eventually(lambda: exporter.scrape().value(**count) == len(names))
        scrape = exporter.scrape()
    assert sizes != {"1"}
    assert scrape.number("inference_energy_joules_total", **OK) == pytest.approx(told, abs=1e-6)
    assert scrape.number("inference_request_energy_joules_sum", task=TASK, model=MODEL) == pytest.approx(told, abs=1e-6)
    assert told > 1


def test_an_estimate_is_there_at_once_and_the_settled_figure_for_who_waits(
    start_exporter: Callable[[], RunningExporter], tmp_path: Path
) -> None:
    """Answers have the estimate, the route has it phase by phase, and a client that asks gets what was charged."""
    start_exporter()
    with serving(tmp_path / "s.sock") as server:
        connected(server)
        reply = learned(server)
        told = cost(server, reply.headers["x-request-id"])
        waited = server.infer(TASK, "one two three", x_energy="settled", x_request_id="waited")
        assert quality(waited) == "settled"
        assert float(waited.headers["x-energy-joules"]) == cost(server, "waited")["joules"] > 0
    assert float(reply.headers["x-energy-joules"]) == pytest.approx(told["joules"], rel=0.5)
    assert {name: told[name] for name in ("task", "model", "outcome", "device", "method")} == {
        "task": TASK, "model": MODEL, "outcome": "ok", "device": GPU, "method": "simulated",
    }  # fmt: skip
    kept = [{key: phase[key] for key in ("phase", "weight", "share", "batch_size")} for phase in told["phases"]]
    assert kept == [
        {"phase": "prefill", "weight": 3, "share": 1.0, "batch_size": 1},
        {"phase": "decode", "weight": 3, "share": 1.0, "batch_size": 1},
    ]


def test_an_answer_made_late_is_charged_as_ok(start_exporter: Callable[[], RunningExporter], tmp_path: Path) -> None:
    """The entry of no length that ends it costs it nothing of its energy, nor its place among the ok ones."""
    exporter, writing = start_exporter(), WritingTask(seconds=QUICK)
    with serving(tmp_path / "s.sock", writing) as server:
        connected(server)
        writing.finishing.clear()
        call = server.start(TASK, "slow finish", x_request_id="slow")
        eventually(lambda: len(writing.batches) == 2)
        pause = threading.Event()
        pause.wait(0.5)  # its spans are told, and their time is shared out
        writing.finishing.set()
        assert call.reply().status == 200
        told = cost(server, "slow")["joules"]
        eventually(lambda: exporter.scrape().value("inference_request_energy_joules_count", model=MODEL) == 1)
        assert exporter.scrape().number("inference_energy_joules_total", **OK) == pytest.approx(told, abs=1e-6)
    assert told > 0


def test_without_an_exporter_energy_is_unknown_and_all_is_served(tmp_path: Path) -> None:
    """Nothing waits, nobody is told a figure, and what the exporter should have been told is counted."""
    with serving(tmp_path / "absent.sock") as server:
        reply = server.infer(TASK, "one two", x_request_id="mine", x_energy="settled")
        assert quality(reply) == "unknown"
        told = server.get("/v1/requests/mine/energy").json
        assert (told["joules"], told["quality"], told["method"], told["device"]) == (None, "unknown", None, "cpu-0")
        assert [phase["joules"] for phase in told["phases"]] == [None, None]
        eventually(lambda: server.metric("inference_spans_dropped_total") == 4)  # load, warm-up, two phases
        assert server.metric("inference_model_info", device="cpu-0") == 1


def test_an_exporter_that_comes_later_names_the_device(
    start_exporter: Callable[[], RunningExporter], tmp_path: Path
) -> None:
    """The server's metrics and its list of models then have the exporter's name, and each model has one device."""
    with serving(tmp_path / "s.sock") as server:
        server.infer(TASK, "before")
        before = server.metric("inference_device_busy_seconds_total", device="cpu-0")
        start_exporter()
        connected(server)
        assert server.metric("inference_model_info") == 1
        assert server.metric("inference_device_busy_seconds_total", device=GPU) == 0
        server.infer(TASK, "after")
        assert server.metric("inference_device_busy_seconds_total", device=GPU) > 0
        assert server.metric("inference_device_busy_seconds_total", device="cpu-0") == before > 0
        assert server.get("/v1/models").json["data"][0]["device"] == GPU


def test_an_exporter_restarted_under_load_costs_no_answer(
    start_exporter: Callable[[], RunningExporter], tmp_path: Path
) -> None:
    """Every request is answered meanwhile; their energy is unknown in the gap, and comes back by itself."""
    exporter = start_exporter()
    with serving(tmp_path / "s.sock") as server:
        connected(server)
        learned(server)
        seen: list[str] = []
        stop, faults = threading.Event(), list[BaseException]()

        def load() -> None:
            try:
                while not stop.is_set():
                    seen.append(quality(server.infer(TASK, "one two three")))
            except BaseException as error:  # noqa: BLE001 (shown by the test's own thread)
                faults.append(error)

        threads = [threading.Thread(target=load) for _ in range(3)]
        for thread in threads:
            thread.start()
        eventually(lambda: "estimated" in seen)
        exporter.kill()
        gap = len(seen)
        eventually(lambda: seen[gap:].count("unknown") > 20)
        start_exporter()
        eventually(lambda: seen[-1:] == ["estimated"])
        stop.set()
        for thread in threads:
            thread.join()
        assert not faults
        assert quality(server.infer(TASK, "one", x_energy="settled")) == "settled"
    qualities = [each for each, _ in itertools.groupby(seen)]
    assert set(qualities) == {"estimated", "unknown"}


def test_a_settlement_that_does_not_come_is_not_waited_for_long(tmp_path: Path) -> None:
    """An exporter that never says: the answer comes after two ticks, with what is known."""
    book = ToldBook()
    made = started(book, tmp_path / "s.sock")
    try:
        with serving(tmp_path / "s.sock") as server:
            connected(server)
            call = server.start(TASK, "one", x_energy="settled")
            assert server.get("/healthz").status == 200
            assert quality(call.reply()) == Quality.UNKNOWN
            assert SETTLED_SECONDS < 1
            assert server.infer(TASK, "one", x_energy="soon").code == "invalid_input"
    finally:
        made.close()
