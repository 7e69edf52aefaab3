"""Long crowds against servers in processes of their own, with the exporter beside them.

``CROWD`` says how large: 0.1, the default, is a tenth of what ``make soak`` runs.
"""

import asyncio
import os
import random
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import pytest

from perjoule.metrics import REQUEST_OUTCOMES
from tests.exporter.running import RunningExporter, Scrape
from tests.server.fakes import eventually
from tests.server.soak.crowd import TASK, Served, Told, ask, slow_server, tiny_server

CROWD = float(os.environ.get("CROWD", "0.1"))
REQUESTS = round(10_000 * CROWD)
OVERLOAD_SECONDS = max(8.0, 60 * CROWD)
AT_ONCE = 48
SECONDS, QUEUE = 0.05, 20
DEADLINE_SECONDS = 3.0
MICROJOULES = 2e-5
"""What the printed sums of integer microjoules may differ by."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120 + 600 * CROWD)]


@pytest.fixture
def exporter(tmp_path: Path) -> Iterator[RunningExporter]:
    """The exporter, on a simulated GPU."""
    flags = ("--meter", "simulated", "--span.socket", str(tmp_path / "s.sock"))
    made = RunningExporter(tmp_path / "exporter.log", *flags).ready()
    yield made
    made.kill()


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[Served]:
    """A server that needs 50 ms for each request."""
    made = slow_server(tmp_path, SECONDS, QUEUE)
    yield made
    made.kill()


def outcomes(served: Served) -> dict[str, float]:
    """Return how many requests ended how."""
    return {
        each: served.server.metric("inference_requests_total", task=TASK, outcome=each) for each in REQUEST_OUTCOMES
    }


def conserved(exporter: RunningExporter) -> bool:
    """Tell whether one scrape's joules add up: the counter is what was charged, idle, unattributed and open."""
    scrape = exporter.scrape()
    parts = ("energy", "idle_energy", "unattributed_energy")
    whole = total(scrape, "inference_counter_energy_joules_total")
    told = sum(total(scrape, f"inference_{part}_joules_total") for part in parts)
    return whole > 0 and abs(whole - told - total(scrape, "inference_open_energy_joules")) < MICROJOULES


def total(scrape: Scrape, name: str) -> float:
    """Return the sum of all samples of a name."""
    return float(sum(sample.value for sample in scrape.samples if sample.name == name))


async def crowd(port: int, count: int, seed: int) -> list[Told]:
    """Send requests, ``AT_ONCE`` at a time; every third client leaves within 30 ms."""
    chance, places = random.Random(seed), asyncio.Semaphore(AT_ONCE)  # noqa: S311 (no secret)

    async def one(number: int) -> Told:
        leave = chance.uniform(0.0, 0.03) if number % 3 == 0 else None
        async with places:
            return await ask(port, f"visitor {number} " * chance.randint(1, 12), leave_after=leave)

    return await asyncio.gather(*(one(number) for number in range(count)))


def test_a_third_of_ten_thousand_clients_leaves_early(tmp_path: Path, exporter: RunningExporter) -> None:
    """All who stay are answered, each request has exactly one outcome, all places come back, and joules add up."""
    served = tiny_server(tmp_path, "server", "--port", "0", "--queue", "64", "--span.socket", str(tmp_path / "s.sock"))
    try:
        told = asyncio.run(crowd(served.port, REQUESTS, 7))
        stayed = [each.status for number, each in enumerate(told) if number % 3]
        assert stayed == [200] * len(stayed)
        eventually(lambda: served.server.metric("inference_in_flight") == 0)
        eventually(lambda: sum(outcomes(served).values()) == REQUESTS)
        found = outcomes(served)
        assert found["ok"] + found["cancelled"] == REQUESTS
        assert found["ok"] >= len(stayed)
        assert found["cancelled"] > 0
        assert served.server.metric("inference_queue_depth") == 0
        assert served.server.metric("inference_request_seconds_count", task=TASK) == found["ok"]
        assert served.server.metric("inference_spans_dropped_total") == 0
        assert conserved(exporter)
        eventually(lambda: charged(exporter) == found["ok"])
        assert conserved(exporter)
        assert served.terminate() == 0
    finally:
        served.kill()


def charged(exporter: RunningExporter) -> float:
    """Return how many requests that ended ok the exporter has settled."""
    scrape = exporter.scrape()
    return total(scrape, "inference_request_energy_joules_count")


async def overload(port: int, rate: float, seconds: float) -> list[Told]:
    """Send requests in an open loop, whatever becomes of them."""
    loop = asyncio.get_running_loop()
    began, tasks = loop.time(), []
    for number in range(round(rate * seconds)):
        await asyncio.sleep(max(0.0, began + number / rate - loop.time()))
        tasks.append(asyncio.create_task(ask(port, f"r{number}", timeout_ms=round(DEADLINE_SECONDS * 1000))))
    return await asyncio.gather(*tasks)


def test_overload_at_five_times_the_capacity(slow: Served) -> None:
    """Goodput stays above nine tenths of the capacity, who is accepted is answered in time, and memory is flat."""
    rate = 5 / SECONDS
    asyncio.run(overload(slow.port, rate, 2.0))
    before, memory = outcomes(slow)["ok"], slow.rss_bytes()
    told = asyncio.run(overload(slow.port, rate, OVERLOAD_SECONDS))
    answered = [each for each in told if each.status == 200]
    assert {each.status for each in told} == {200, 429}
    assert len(answered) >= 0.9 * OVERLOAD_SECONDS / SECONDS
    assert max(each.seconds for each in answered) <= DEADLINE_SECONDS
    later = [each.retry_after for each in told if each.retry_after is not None]
    # Whole seconds, of the time that the queue really took for those who were in it.
    assert abs(median(later) - median(each.seconds for each in answered)) <= 1.0
    assert outcomes(slow)["ok"] - before == len(answered)
    assert slow.rss_bytes() - memory < 8_000_000


async def cut_short(served: Served) -> tuple[list[Told], list[Told]]:
    """Fill the queue, ask the server to end, and let more clients come; return who was accepted, and who was late."""
    accepted = [asyncio.create_task(ask(served.port, f"early {number}")) for number in range(QUEUE)]
    loop = asyncio.get_running_loop()
    await loop.run_in_executor(None, eventually, lambda: served.server.metric("inference_in_flight") == QUEUE)
    served.process.terminate()
    late = []
    while served.process.poll() is None:
        late.append(await ask(served.port, "late"))
        await asyncio.sleep(0.02)
    return await asyncio.gather(*accepted), late


def test_sigterm_under_load_loses_no_accepted_request(tmp_path: Path) -> None:
    """Who was accepted is answered, who comes later is refused, and the exit code is 0."""
    served = slow_server(tmp_path, 0.1, QUEUE)
    try:
        accepted, late = asyncio.run(cut_short(served))
        assert [each.status for each in accepted] == [200] * QUEUE
        # Until the signal is noticed one or two may still be accepted, or be refused by the full queue.
        assert {each.status for each in late} <= {200, 429, 503, 0}
        assert 503 in {each.status for each in late}
        assert served.process.wait(20) == 0
        assert "Traceback" not in served.log.read_text()
    finally:
        served.kill()


def test_after_sigkill_a_new_process_starts_from_nothing(tmp_path: Path, exporter: RunningExporter) -> None:
    """It is ready on the same address, its counters begin at 0, and the exporter's joules add up all the same."""
    flags = ("--span.socket", str(tmp_path / "s.sock"))
    served = tiny_server(tmp_path, "first", "--port", "0", *flags)
    port = served.port

    async def killed() -> list[Told]:
        under_way = asyncio.create_task(crowd(port, 300, 3))
        await asyncio.sleep(0.3)
        served.process.kill()
        return await under_way

    told = asyncio.run(killed())
    served.kill()
    assert 0 in {each.status for number, each in enumerate(told) if number % 3}
    assert conserved(exporter)
    again = tiny_server(tmp_path, "second", "--port", str(port), *flags)
    try:
        assert sum(outcomes(again).values()) == 0
        assert [each.status for each in asyncio.run(crowd(port, 60, 4))][1::3] == [200] * 20
        eventually(lambda: sum(outcomes(again).values()) == 60)
        assert conserved(exporter)
        assert again.terminate() == 0
    finally:
        again.kill()
