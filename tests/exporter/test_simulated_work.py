"""The simulated board does what spans say, and its truth file tells what each of them drew."""

import json
import random
import threading
import time
from collections import defaultdict
from pathlib import Path

import pytest

from perjoule.spans import Spans
from perjoule_exporter.meters import FollowsWork, Work
from perjoule_exporter.meters.simulated import DEFAULT, SimulatedMeter, TruthFile
from perjoule_exporter.meters.simulated.work import MOST_SPANS, Drawn, WorkLoad, share_of
from tests.exporter.fakes import Hands
from tests.exporter.running import StartExporter, wait_until
from tests.exporter.test_charging_program import ENERGY, Watch

DECODE, SCORE = Work("summarization", "bart", "decode"), Work("fill-mask", "bert", "score")
IDLE, RANGE = 70.0, 330.0


def load(done: list[Drawn] | None = None, node: float = 0.7) -> WorkLoad:
    return WorkLoad(lambda _start, _end: node, IDLE, RANGE, (done if done is not None else []).append)


def test_the_node_drives_it_until_there_is_a_span() -> None:
    """And from then on spans alone."""
    driven = load()
    assert driven(0.0, 1.0) == 0.7
    driven.opened((1, 1), DECODE, 1.5)
    assert driven(1.0, 2.0) == pytest.approx(0.5 * share_of(DECODE))
    driven.closed((1, 1), 2.25)
    assert driven(2.0, 3.0) == pytest.approx(0.25 * share_of(DECODE))
    assert driven(3.0, 4.0) == 0


def test_a_span_is_told_what_was_drawn_for_it() -> None:
    """Its own watts and its part of the idle power, up to full load; together, all that the board drew meanwhile."""
    done: list[Drawn] = []
    driven = load(done)
    for number in range(5):
        driven.opened((1, number), DECODE, 0.0)
    driven.opened((2, 0), SCORE, 0.0)
    mean = driven(0.0, 1.0)
    assert mean == min(1.0, 5 * share_of(DECODE) + share_of(SCORE)) == 1.0
    driven.left(1, 1.0)
    driven.closed((2, 0), 2.0)
    mean += driven(1.0, 2.0)
    assert len(done) == 6
    assert sum(drawn.joules for drawn in done) == pytest.approx(2 * IDLE + RANGE * mean)


def test_a_flood_of_spans_does_not_hold_up_the_board() -> None:
    """What is over the limit is not drawn."""
    done: list[Drawn] = []
    driven = load(done)
    for number in range(10_000):
        driven.opened((1, number), DECODE, number * 1e-4)
    began = time.monotonic()
    assert driven(0.0, 1.0) <= 1.0
    assert time.monotonic() - began < 5.0
    driven.left(1, 1.0)
    driven(1.0, 2.0)
    assert len(done) == MOST_SPANS


def test_kinds_of_work_differ() -> None:
    """By task and phase, whatever the model."""
    assert share_of(DECODE) != share_of(SCORE)
    assert share_of(DECODE) == share_of(DECODE._replace(model="t5"))


def test_lines_that_come_in_time_are_in(tmp_path: Path) -> None:
    """A span that is told 100 ms late is in its own tick, which is readable 200 ms after it as ever."""
    hands, truth = Hands(), tmp_path / "truth.jsonl"
    meter = SimulatedMeter(DEFAULT, hands.clock, lambda _start, _end: 0.0, TruthFile(truth), work=True)
    assert isinstance(meter, FollowsWork)
    (device,) = meter.devices()
    now = hands.clock.monotonic()
    for step in range(60):
        hands.seconds = step * 0.02
        if step == 25:  # at 0.5 s
            meter.work_opened(device.uuid, (1, 1), DECODE, now + 0.4)
            meter.work_closed(device.uuid, (1, 1), now + 0.5)
        reading = meter.read(device)
    assert reading.energy_microjoules == round((IDLE * 0.9 + RANGE * share_of(DECODE) * 0.1) * 1e6)
    (span,) = [line for line in map(json.loads, truth.read_text().splitlines()) if "span_joules" in line]
    assert span["span_joules"] == pytest.approx(0.1 * (IDLE + RANGE * share_of(DECODE)))
    assert (span["task"], span["phase"], span["device"]) == ("summarization", "decode", device.uuid)


def test_two_workloads_at_once_are_charged_what_they_drew(start_exporter: StartExporter, tmp_path: Path) -> None:
    """Within 5 % of the truth file, each, with the real program and two real clients at the same time."""
    truth = tmp_path / "truth.jsonl"
    exporter = start_exporter("--meter", "simulated", "--simulated.truth", str(truth)).ready()
    done = threading.Event()
    clients = [
        threading.Thread(target=_batches, args=(exporter.socket, DECODE, 0.08, done)),
        threading.Thread(target=_batches, args=(exporter.socket, SCORE, 0.05, done)),
    ]
    for client in clients:
        client.start()
    watch, end = Watch(), time.monotonic() + 15.0
    while time.monotonic() < end:
        watch.check(exporter.scrape())
        time.sleep(0.2)
    done.set()
    for client in clients:
        client.join()
    quiet = time.monotonic() + 2.5
    wait_until(lambda: time.monotonic() > quiet, "all is settled")
    scrape = watch.check(exporter.scrape())
    drawn: dict[str, float] = defaultdict(float)
    for line in map(json.loads, truth.read_text().splitlines()):
        drawn[line.get("task", "")] += line.get("span_joules", 0.0)
    for work in (DECODE, SCORE):
        charged = scrape.number(ENERGY, task=work.task, outcome="ok")
        assert charged == pytest.approx(drawn[work.task], rel=0.05), work.task


def _batches(path: Path, work: Work, seconds: float, done: threading.Event) -> None:
    chance = random.Random(work.task)  # noqa: S311 (a load, no secret)
    with Spans("load", socket=path, owners=[work[:2]]) as spans:
        number = 0
        wait_until(lambda: spans.stats.connected, "the client is connected")
        time.sleep(1.0)
        while not done.is_set():
            with spans.span(*work, requests=[(f"{work.task}-{number}", 1)]):
                time.sleep(seconds * chance.uniform(0.5, 1.5))
            time.sleep(seconds * chance.uniform(0.2, 2.0))
            number += 1
