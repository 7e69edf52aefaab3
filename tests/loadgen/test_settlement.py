"""When an exporter's ledgers are taken for settled, by a clock that only its answers move."""

import asyncio
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest

from perjoule_loadgen.clock import Clock
from perjoule_loadgen.config import Rules
from perjoule_loadgen.settlement import Settlement

URL, DEVICE, IDLE_WATTS, TICK = "http://exporter/metrics", "GPU-1", 70.0, 0.02
ANSWER_SECONDS = 0.05


@dataclass
class Exporter:
    """Says how many joules are open by now; each answer takes 50 ms."""

    open_joules: float
    seconds: float = 0.0
    asked: list[float] = field(default_factory=list)

    async def text(self, url: str) -> str:
        assert url == URL
        self.asked.append(self.seconds)
        self.seconds += ANSWER_SECONDS
        return (
            f'inference_open_energy_joules{{device="{DEVICE}"}} {self.open_joules}\n'
            f'inference_idle_watts{{device="{DEVICE}"}} {IDLE_WATTS}\n'
            'inference_request_energy_joules_count{task="t",model="m"} 3\n'
            'inference_request_energy_joules_sum{task="t",model="m"} 9\n'
        )


def waited(exporter: Exporter) -> float:
    """Return for how long the edge at a window's start waits."""
    track = SimpleNamespace(device=SimpleNamespace(exporter=URL, base=DEVICE), tick=TICK)
    plan = SimpleNamespace(devices=(DEVICE,), work=("t", "m"))
    meter = SimpleNamespace(tracks={DEVICE: track})
    clock = Clock(lambda: exporter.seconds, 0.0)
    rules = Rules(edge_poll_seconds=0.0, settlement_seconds=3.0)
    made = Settlement(cast("Any", exporter), cast("Any", meter), clock, rules)
    edge = asyncio.run(made.edge(cast("Any", plan)))
    assert edge.failure is None
    return exporter.seconds


@pytest.mark.parametrize(
    ("open_seconds", "seconds"),
    [(0.1, ANSWER_SECONDS), (0.27, 0.25), (1.0, 3.0)],
    ids=["what an idle device draws meanwhile", "the same, where lines have longer to come", "work"],
)
def test_an_edge_waits_for_work_and_not_for_idle_power(open_seconds: float, seconds: float) -> None:
    """More may be open where an exporter waits longer for lines: but only after so much quiet that it is no work."""
    assert waited(Exporter(open_seconds * IDLE_WATTS)) == pytest.approx(seconds, abs=ANSWER_SECONDS * 1.5)
