"""Whose joules they were, over the real programs: several workloads, servers and their deaths on one board at once."""

import json
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.exporter.running import Scrape, wait_until
from tests.integration.stack import DEVICE, Ledgered

pytestmark = pytest.mark.slow

SHORT, LONG = "text-classification", "summarization"
TEXTS = {SHORT: "A quiet and well made film.", LONG: "The river rose in the night. By noon the bridge was closed. " * 4}


def figure(run: dict[str, Any]) -> float:
    """Return the attributed joules of a run, which must be there."""
    found = run["joules_per_inference"]["attributed"]
    assert found is not None, run["attribution"]["reason"]
    return float(found["value"])


def ended(loadgen: subprocess.Popen[str], *codes: int) -> str:
    """Wait for a loadgen and return its table."""
    out, err = loadgen.communicate(timeout=60)
    assert loadgen.returncode in codes, out + err
    return out


def show(line: str) -> None:
    """Tell a figure to whoever reads the test's output."""
    sys.stdout.write(f"{line}\n")


@dataclass
class Client:
    """Asks a server one request after the other, and counts how they were answered and what was said of energy."""

    url: str
    task: str
    answers: Counter[str] = field(default_factory=Counter)
    qualities: list[str] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def ask(self) -> None:
        """Ask until it is over, or nobody is there."""
        body = json.dumps({"inputs": TEXTS[self.task]}).encode()
        request = urllib.request.Request(f"{self.url}/v1/tasks/{self.task}", body, {"content-type": "application/json"})
        while not self.over.is_set():
            try:
                with urllib.request.urlopen(request, timeout=20) as reply:
                    reply.read()
                    self.answers[str(reply.status)] += 1
                    self.qualities.append(reply.headers.get("x-energy-quality"))
            except urllib.error.HTTPError as refused:
                self.answers[str(refused.code)] += 1
            except OSError:
                self.answers["gone"] += 1
                return


@contextmanager
def asking(url: str, task: str, clients: int) -> Iterator[Client]:
    """Keep a server busy meanwhile."""
    client = Client(url, task)
    threads = [threading.Thread(target=client.ask) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield client
    finally:
        client.over.set()
        for thread in threads:
            thread.join(30)


@contextmanager
def watching(stack: Ledgered) -> Iterator[list[Scrape]]:
    """Scrape twice a second meanwhile; each scrape must add up."""
    seen: list[Scrape] = []
    failures: list[BaseException] = []
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.5):
            try:
                seen.append(stack.scrape())
            except AssertionError as broken:
                failures.append(broken)
            except OSError:  # the exporter is being restarted
                continue

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join(10)
    assert seen
    assert not failures, failures[0]


def test_two_workloads_at_once_get_what_each_of_them_drew(ledgered: Ledgered) -> None:
    """Attributed joules of both are within 5 % of the board's truth of the same run; alone they are shown beside."""
    server = ledgered.start_server(f"{SHORT},{LONG}")
    alone = {}
    for task in (SHORT, LONG):  # too short for a verdict, long enough for a figure to be shown
        ended(ledgered.loadgen(server, task, f"alone-{task}", "--duration", "3s", "--warmup", "1s", "--idle", "0"), 3)
        alone[task] = ledgered.run(f"alone-{task}")
    with watching(ledgered):
        flags = ("--duration", "10s", "--warmup", "2s", "--idle", "0")
        for process in [ledgered.loadgen(server, task, f"both-{task}", *flags) for task in (SHORT, LONG)]:
            ended(process, 0)
    for task in (SHORT, LONG):
        run = ledgered.run(f"both-{task}")
        truth, gross = ledgered.drawn(run), run["joules_per_inference"]["gross"]["value"]
        alone_joules, alone_truth = figure(alone[task]), ledgered.drawn(alone[task])
        show(f"{task}: at once {figure(run):.4g} J attributed, {truth:.4g} J drawn, {gross:.4g} J gross")
        show(f"{task}: alone {alone_joules:.4g} J attributed, {alone_truth:.4g} J drawn")
        assert run["verdict"] == "valid"
        assert run["attribution"]["requests"] == run["requests"]["ok"]
        assert figure(run) == pytest.approx(truth, rel=0.05)
        assert alone_joules == pytest.approx(alone_truth, rel=0.05)
        assert any("was charged to other work" in warning for warning in run["warnings"])
    scrape = ledgered.scrape()
    for task in (SHORT, LONG):
        ok = scrape.number("inference_energy_joules_total", task=task, outcome="ok")
        assert scrape.number("inference_request_energy_joules_sum", task=task) == pytest.approx(ok, abs=1e-6)
        answered = sum(ledgered.run(f"{how}-{task}")["requests"]["ok"] for how in ("alone", "both"))
        assert scrape.number("inference_request_energy_joules_count", task=task) >= answered


def test_a_server_that_is_killed_in_a_batch_harms_no_other(ledgered: Ledgered) -> None:
    """Its span is abandoned; the other server's figures are the truth's, and every scrape adds up."""
    survivor, victim = ledgered.start_server(SHORT), ledgered.start_server(LONG)
    with watching(ledgered), asking(victim, LONG, clients=4) as client:
        loadgen = ledgered.loadgen(survivor, SHORT, "out", "--duration", "10s", "--warmup", "2s", "--idle", "0")
        time.sleep(6.0)  # into the window
        before = ledgered.scrape()
        ledgered.servers[victim].kill()
        table = ended(loadgen, 0)
    assert client.answers["gone"] == 4
    run = ledgered.run("out")
    assert run["requests"]["ok"] == run["requests"]["sent"] == run["attribution"]["requests"], table
    assert figure(run) == pytest.approx(ledgered.drawn(run), rel=0.05)
    assert before.number("inference_energy_joules_total", task=LONG, outcome="abandoned") == 0
    scrape = ledgered.scrape()
    abandoned = scrape.number("inference_energy_joules_total", task=LONG, outcome="abandoned")
    names = [f"inference_request_energy_joules_{what}" for what in ("sum", "count")]
    joules, count = (scrape.number(name, task=LONG) for name in names)
    mean = joules / count
    show(f"abandoned: {abandoned:.3g} J of one batch of up to 4; an answered request took {mean:.3g} J")
    assert 0 < abandoned < 10 * mean
    assert scrape.number("inference_energy_joules_total", task=SHORT, outcome="abandoned") == 0
    assert scrape.number("inference_span_clients", device=DEVICE) == 1
    assert scrape.number("inference_open_energy_joules", device=DEVICE) < 70  # nothing of it stays open


def test_an_exporter_that_is_restarted_costs_no_answer(ledgered: Ledgered) -> None:
    """Every request is answered, its energy is unknown in the gap and known again after it; every scrape adds up."""
    server = ledgered.start_server(SHORT)
    with watching(ledgered) as seen, asking(server, SHORT, clients=1) as client:
        wait_until(lambda: "estimated" in client.qualities, "energy is estimated", 15)
        time.sleep(2.0)
        before = ledgered.scrape()
        assert ledgered.exporter is not None
        ledgered.exporter.terminate()
        assert ledgered.exporter.wait(10) == 0
        down, watched = len(client.qualities), len(seen)
        wait_until(lambda: len(client.qualities) > down + 20, "requests are answered without an exporter", 15)
        gap = client.qualities[down + 5 : down + 20]
        ledgered.start_exporter()
        up = len(client.qualities)
        wait_until(lambda: "estimated" in client.qualities[up:], "energy is estimated again", 20)
        wait_until(lambda: len(seen) > watched + 3, "scrapes after the restart", 10)
    assert set(gap) == {"unknown"}
    assert set(client.answers) == {"200"}
    after = ledgered.scrape()
    for outcome in ("ok", "abandoned"):
        names = {"task": SHORT, "outcome": outcome}
        now, then = (s.number("inference_energy_joules_total", **names) for s in (after, before))
        assert now >= then  # the state file's sums go on
    counts = [s.number("inference_request_energy_joules_count", task=SHORT) for s in (before, after)]
    assert counts[0] < counts[1] < client.answers["200"]  # those of the gap are charged to nobody
