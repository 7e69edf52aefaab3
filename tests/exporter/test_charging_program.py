"""The exporter as a user runs it, with real clients of its span socket: whose joules they were, in every scrape."""

import contextlib
import random
import signal
import socket
import stat
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from perjoule.metrics import ENERGY_OUTCOMES, UNATTRIBUTED_REASONS
from perjoule.spans import Quality, Spans
from perjoule_exporter.config import parse
from perjoule_exporter.ledger import BOUNDS_JOULES, OUTCOMES, REASONS
from perjoule_exporter.program import Exporter
from perjoule_exporter.view import DeviceView
from tests.exporter.driver import FakeDriver, joules
from tests.exporter.running import RunningExporter, Scrape, StartClient, StartExporter, request, wait_until

WORK = ("summarization", "bart", "decode")
ENERGY, COUNTER = "inference_energy_joules_total", "inference_counter_energy_joules_total"
REQUESTS = "inference_request_energy_joules"
MICROJOULE = 1e-6


def conserved(scrape: Scrape) -> None:
    """Hold one scrape against all that must be: parts and whole, and the device's own energy."""
    for counter in [sample for sample in scrape.samples if sample.name == COUNTER]:
        device = counter.labels["device"]

        def total(name: str, device: str = device) -> float:
            return sum(s.value for s in scrape.samples if s.name == name and s.labels["device"] == device)

        parts = [ENERGY, "inference_idle_energy_joules_total", "inference_unattributed_energy_joules_total",
                 "inference_open_energy_joules"]  # fmt: skip
        assert sum(map(total, parts)) == pytest.approx(counter.value, abs=MICROJOULE)
        assert all(s.value >= 0 for s in scrape.samples if s.name in parts)
        energy = scrape.value("gpu_energy_joules_total", uuid=device)
        assert energy in {None, counter.value}
    for found in [sample for sample in scrape.samples if sample.name == f"{REQUESTS}_sum"]:
        labels = {**found.labels, "outcome": "ok"}.items()
        ok = [s.value for s in scrape.samples if s.name == ENERGY and labels <= s.labels.items()]
        assert sum(ok) == pytest.approx(found.value, abs=MICROJOULE)


def balanced(view: DeviceView) -> None:
    """Hold one picture of a device against the same, in integers."""
    if view.charged is not None:
        ledger = view.charged.ledger
        outcomes = [charge.microjoules for row in ledger.charged.values() for charge in row.outcomes.values()]
        assert ledger.counter == sum(outcomes) + ledger.idle + sum(ledger.unattributed.values()) + ledger.open
        assert view.measured is None or view.measured.energy_joules == ledger.counter / 1e6


class Watch:
    """Scrapes that are held against each other: no counter goes back, over restarts too."""

    def __init__(self) -> None:
        self._before: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}

    def check(self, scrape: Scrape) -> Scrape:
        conserved(scrape)
        for sample in scrape.samples:
            if sample.name.startswith("inference_") and sample.name.endswith(("_total", "_sum", "_count", "_bucket")):
                key = sample.name, tuple(sorted(sample.labels.items()))
                assert sample.value >= self._before.get(key, 0.0), f"{key} went back"
                self._before[key] = sample.value
        return scrape

    def until(self, exporter: RunningExporter, met: Callable[[Scrape], object], what: str) -> Scrape:
        def checked() -> Scrape | None:
            scrape = self.check(exporter.scrape())
            return scrape if met(scrape) else None

        return wait_until(checked, what)


def charged(scrape: Scrape, model: str, outcome: str = "ok") -> float:
    return scrape.value(ENERGY, model=model, outcome=outcome) or 0.0


def test_a_server_that_is_killed_in_a_batch_harms_nobody(
    start_exporter: StartExporter, driver: FakeDriver, start_client: StartClient
) -> None:
    """Its batch is abandoned; the other server's are charged as before, and all adds up in every scrape."""
    exporter = start_exporter("--meter", "nvml", environment=driver.environment).ready()
    start_client(exporter.socket, "GPU-fake-0", "well", 0.03)
    killed = start_client(exporter.socket, "GPU-fake-0", "killed", 30.0)
    watch = Watch()
    before = watch.until(exporter, lambda s: charged(s, "well") > 20, "the well one is charged")
    assert before.number("inference_span_clients", device="GPU-fake-0") == 2
    killed.send_signal(signal.SIGKILL)
    after = watch.until(exporter, lambda s: charged(s, "killed", "abandoned") > 0, "the other's batch is abandoned")
    lost = charged(after, "killed", "abandoned")
    later = watch.until(exporter, lambda s: charged(s, "well") > charged(after, "well") + 50, "the well one goes on")
    assert charged(later, "killed", "abandoned") == pytest.approx(lost, abs=20)
    assert charged(later, "killed") == 0
    assert later.number("inference_span_clients", device="GPU-fake-0") == 1


def test_no_inference_counter_goes_back_over_a_kill(
    start_exporter: StartExporter, driver: FakeDriver, start_client: StartClient, tmp_path: Path
) -> None:
    """With a state file, SIGKILL and a start on the same socket: the client comes back by itself."""
    flags = ("--meter", "nvml", "--carbon.zone", "FRA", "--state.file", str(tmp_path / "state"),
             "--span.socket", str(tmp_path / "s.sock"))  # fmt: skip
    exporter = start_exporter(*flags, environment=driver.environment).ready()
    start_client(tmp_path / "s.sock", "GPU-fake-0", "bart", 0.03)
    watch = Watch()
    before = watch.until(exporter, lambda s: charged(s, "bart") > 50, "it is charged")
    exporter.process.send_signal(signal.SIGKILL)
    exporter.ended()
    exporter = start_exporter(*flags, environment=driver.environment).ready()
    first = watch.check(exporter.scrape())
    assert charged(first, "bart") >= charged(before, "bart")
    assert first.number("inference_unattributed_energy_joules_total", reason="down") > 0
    watch.until(exporter, lambda s: charged(s, "bart") > charged(before, "bart") + 50, "it is charged again")


BOARDS = """
[[gpu]]
tick_seconds = 0.02
delay_seconds = 0
power = { points = [[0, 70], [0.5, 300], [1, 70], [1, 400]], repeat = true }
[[gpu.event]]
kind = "reset"
at_seconds = 2
[[gpu]]
count = 2
power = { points = [[0, 60], [1, 250]], repeat = true }
[[gpu.event]]
kind = "lost"
from_seconds = 3
to_seconds = 5
[[gpu]]
power = 200
[[gpu.event]]
kind = "frozen"
from_seconds = 2
to_seconds = 4
catch_up = true
"""


def test_a_thousand_pictures_under_load_add_up(tmp_path: Path) -> None:
    """With a switch of threads every 10 µs, four boards (reset, lost for a while, standing still), and two clients.

    To the microjoule, and in some whole scrapes too.
    """
    script = tmp_path / "boards.toml"
    script.write_text(BOARDS)
    path = tmp_path / "s.sock"
    config = parse(
        ["--meter", "simulated", "--simulated.script", str(script), "--span.socket", str(path),
         "--web.listen-address", "127.0.0.1:0", "--carbon.zone", "FRA", "--state.file", str(tmp_path / "state")]
    )  # fmt: skip
    before = sys.getswitchinterval()
    exporter = Exporter(config)
    done = threading.Event()
    clients = [threading.Thread(target=_load, args=(path, number, done)) for number in range(2)]
    watch = Watch()
    try:
        for client in clients:
            client.start()
        sys.setswitchinterval(1e-5)
        for number in range(1000):
            for view in exporter.views:
                balanced(view)
            time.sleep(0.005)  # six seconds in all: time for the boards to be lost and come back
            if number % 50 == 0:
                scrape = watch.check(Scrape(request(f"{exporter.url}/metrics").body.decode()))
    finally:
        sys.setswitchinterval(before)
        done.set()
        for client in clients:
            client.join()
        exporter.close()
    assert all(scrape.number(f"{REQUESTS}_count", model=f"model-{number}") > 100 for number in range(2))
    reasons = {s.labels["reason"] for s in scrape.samples if s.labels.get("reason") in UNATTRIBUTED_REASONS and s.value}
    assert {"lost", "reset", "stall"} <= reasons


def _load(path: Path, number: int, done: threading.Event) -> None:
    chance = random.Random(number)  # noqa: S311 (a load, no secret)
    with Spans(f"load/{number}", socket=path, owners=[("summarization", f"model-{number}")]) as spans:
        batch = 0
        while not done.is_set():
            devices = [f"GPU-simulated-{board}" for board in chance.sample(range(4), chance.choice([1, 1, 2]))]
            outcome = chance.choice(["ok", "ok", "more", "error"])
            requests = [(f"r{batch // 2}-{place}", chance.random() * 100, outcome) for place in range(16)]
            with spans.span("summarization", f"model-{number}", "decode", device=devices, requests=requests):
                done.wait(chance.random() * 0.02)
            batch += 1


def test_nonsense_on_the_socket_costs_no_scrape(
    start_exporter: StartExporter, driver: FakeDriver, start_client: StartClient
) -> None:
    """Random bytes, lines that never end, wrong types, connections that come and go: an honest client is charged."""
    exporter = start_exporter("--meter", "nvml", environment=driver.environment).ready()
    start_client(exporter.socket, "GPU-fake-0", "honest", 0.03)
    chance = random.Random(4)  # noqa: S311 (nonsense, no secret)
    watch = Watch()
    watch.until(exporter, lambda s: charged(s, "honest") > 0, "the honest one is charged")
    for round_ in range(200):
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as rude:
            rude.connect(str(exporter.socket))
            rude.settimeout(0.1)
            rude.sendall(chance.choice(NONSENSE) + chance.randbytes(chance.randrange(1, 2000)) + b"\n")
        if round_ % 20 == 0:
            watch.check(exporter.scrape())
    before = watch.check(exporter.scrape())
    watch.until(exporter, lambda s: charged(s, "honest") > charged(before, "honest") + 20, "it goes on")
    assert "Traceback" not in exporter.text()


HELLO = b'{"hello":1,"client":"x","owners":[]}\n'
NONSENSE = [
    b"",
    b"\0" * 100_000,
    b"[" * 10_000,
    HELLO,
    HELLO + b'{"open":1,"device":"GPU-fake-0","task":"t","model":"m","phase":"p","start_ns":-5}\n',
    HELLO + b'{"open":1,"device":"nowhere","task":"t","model":"m","phase":"p","start_ns":1}\n',
    HELLO + b'{"close":1,"end_ns":"now","requests":7}\n',
    b'{"hello":99}\n',
]


def test_the_socket_is_the_owners_and_the_groups(start_exporter: StartExporter) -> None:
    """Mode 0660; it goes with the exporter."""
    exporter = start_exporter("--meter", "simulated").ready()
    assert stat.S_IMODE(exporter.socket.stat().st_mode) == 0o660
    assert exporter.stop() == 0
    assert not exporter.socket.exists()


def test_a_named_socket_in_use(start_exporter: StartExporter, tmp_path: Path) -> None:
    """Ends the second program, and costs the first nothing."""
    named = tmp_path / "named.sock"
    first = start_exporter("--meter", "simulated", "--span.socket", str(named)).ready()
    second = start_exporter("--meter", "simulated", "--span.socket", str(named))
    assert second.ended() == 1
    assert "another program listens there" in second.text()
    assert "Traceback" not in second.text()
    assert first.scrape().number("gpu_up") == 1


def test_a_group_that_does_not_exist(start_exporter: StartExporter) -> None:
    """Is a setting that cannot be honoured."""
    exporter = start_exporter("--meter", "simulated", "--span.group", "no-such-group")
    assert exporter.ended() == 2
    assert "there is no group" in exporter.text()


def test_without_the_group_of_families_there_is_no_socket(start_exporter: StartExporter) -> None:
    """Nor a thread for it."""
    exporter = start_exporter("--meter", "simulated", "--collector.disable", "inference").ready()
    assert not exporter.socket.exists()
    assert exporter.scrape().value("gpu_exporter_collector_success", collector="inference") is None


def test_exemplars_carry_the_request_id(start_exporter: StartExporter, driver: FakeDriver) -> None:
    """In OpenMetrics, for whoever looks from a bucket to a request; plain text has none."""
    exporter = start_exporter("--meter", "nvml", environment=driver.environment).ready()
    with Spans("test", device="GPU-fake-0", socket=exporter.socket, owners=[WORK[:2]]) as spans:
        wait_until(lambda: spans.stats.connected, "the client is connected")
        with spans.span(*WORK, requests=[("request-77", 1)]):
            time.sleep(0.1)
        wait_until(lambda: exporter.scrape().value(f"{REQUESTS}_count") == 1, "it is settled")
    reply = request(f"{exporter.url}/metrics", Accept="application/openmetrics-text; version=1.0.0").body.decode()
    (line,) = [line for line in reply.splitlines() if "request-77" in line]
    assert line.startswith(f"{REQUESTS}_bucket")
    assert ' # {request_id="request-77"} ' in line
    assert float(line.rpartition(" ")[2]) == pytest.approx(time.time(), abs=10)
    assert "request-77" not in exporter.scrape().text


def test_the_catalogue_has_the_ledgers_values() -> None:
    """Outcomes, reasons and buckets are written in both, for the catalogue knows no exporter."""
    from perjoule.metrics import CATALOGUE

    assert (ENERGY_OUTCOMES, UNATTRIBUTED_REASONS) == (OUTCOMES, REASONS)
    assert CATALOGUE[REQUESTS].buckets == BOUNDS_JOULES


def test_a_client_is_told_what_its_requests_were_charged(start_exporter: StartExporter, driver: FakeDriver) -> None:
    """Settled joules are those of the exporter's counters; what the board drew meanwhile is in them."""
    exporter = start_exporter("--meter", "nvml", "--ledger.idle-watts", "0", environment=driver.environment).ready()
    with Spans("test", device="GPU-fake-0", socket=exporter.socket, owners=[WORK[:2]]) as spans:
        wait_until(lambda: spans.stats.connected, "the client is connected")
        started = time.time()
        with spans.span(*WORK) as span:
            time.sleep(0.5)
            span.close([("a", 3), ("b", 1)], reply=True)
        drawn = joules(0, started, time.time())
        settled = span.wait(5.0)
        assert settled.quality is Quality.SETTLED
        assert settled.joules is not None
        assert settled.joules == pytest.approx(drawn, abs=12), "each edge is uncertain by a tick of 20 ms"
        assert span.energy_of("a").joules == pytest.approx(0.75 * settled.joules, abs=MICROJOULE)
        assert charged(exporter.scrape(), "bart") == pytest.approx(settled.joules, abs=MICROJOULE)


def test_a_request_on_two_boards_is_one(start_exporter: StartExporter, driver: FakeDriver) -> None:
    """Each board is charged with what it gave, and there is one observation, of the sum that its client is told."""
    driver.set(gpus=2)
    exporter = start_exporter("--meter", "nvml", "--ledger.idle-watts", "0", environment=driver.environment).ready()
    boards = ["GPU-fake-0", "GPU-fake-1"]
    watch = Watch()
    with Spans("test", device=boards, socket=exporter.socket, owners=[WORK[:2]]) as spans:
        wait_until(lambda: spans.stats.connected, "the client is connected")
        given: list[float] = []
        late = 0  # a busy machine may tell some after their time, and whoever waits is told so
        while len(given) < 5:
            assert late < 10
            number = len(given) + late
            with spans.span(*WORK) as span:
                time.sleep(0.1)
                span.close([(f"a{number}", 3), (f"b{number}", 1)], reply=True)
            joules = span.wait(5.0).joules
            late += joules is None
            given += [] if joules is None else [joules]
        scrape = watch.until(exporter, lambda s: s.number(f"{REQUESTS}_count") >= 10, "all are settled")
    assert scrape.number(f"{REQUESTS}_count") == 10
    assert scrape.number(f"{REQUESTS}_sum") == pytest.approx(sum(given), abs=20 * MICROJOULE)
    assert all(scrape.number(ENERGY, outcome="ok", device=board) > 10 for board in boards)
    assert scrape.number("inference_unmeasured_requests_total") == 2 * late


def test_a_cpu_package_is_charged_for(start_exporter: StartExporter) -> None:
    """By its estimate, with idle watts that were told instead of its own."""
    exporter = start_exporter("--meter", "estimate", "--ledger.idle-watts", "cpu-0=1").ready()
    watch = Watch()
    with Spans("test", socket=exporter.socket, owners=[WORK[:2]]) as spans:
        wait_until(lambda: spans.stats.connected, "the client is connected")
        with spans.span(*WORK, requests=[("a", 1)]):
            time.sleep(0.3)
        scrape = watch.until(exporter, lambda s: s.number(f"{REQUESTS}_count") == 1, "it is settled")
    assert scrape.number(ENERGY, outcome="ok", device="cpu-0") > 0.1
    assert scrape.number("inference_idle_watts", device="cpu-0") == 1.0
    assert scrape.number(COUNTER, device="cpu-0") == scrape.number("cpu_energy_joules_total", package="0")
