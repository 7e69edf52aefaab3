"""What NVML tells of processes, where it tells nothing of who rests: shares of time over all sampling periods."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from perjoule_exporter.meters.nvml.processes import ProcessWatch

PERIOD = 166_667


@dataclass
class Sample:
    pid: int
    timeStamp: int  # noqa: N815 (NVML's name)
    smUtil: int  # noqa: N815 (as above)


@dataclass
class Driver:
    """A driver's handle that has samples and nothing else."""

    samples: Sequence[Sample]

    def ask(self, call: str, since: int = 0) -> Any:
        if call == "nvmlDeviceGetProcessUtilization":
            return [sample for sample in self.samples if sample.timeStamp > since]
        return None

    def has(self, call: str) -> bool:
        return call == "nvmlDeviceGetProcessUtilization"


@pytest.mark.parametrize(
    ("periods", "ratios"),
    [
        ({1: [60, 60, 60]}, {1: 0.6}),
        ({1: [60, 60, 60, 60, 60, 60], 2: [None, None, 60, None, None, None]}, {1: 0.6, 2: 0.1}),
        ({1: [80, 80, None, None], 2: [None, None, 40, None]}, {1: 0.8, 2: 0.2}),
        ({}, {}),
    ],
)
def test_a_burst_counts_for_its_time(periods: dict[int, list[int | None]], ratios: dict[int, float]) -> None:
    """Who ran in one period of six has a sixth: NVML gives a sample only to who did something."""
    samples = [
        Sample(pid, (place + 1) * PERIOD, percent)
        for pid, percents in periods.items()
        for place, percent in enumerate(percents)
        if percent is not None
    ]
    driver: Any = Driver(samples)
    uses = ProcessWatch().read(driver)
    assert uses is not None
    assert {use.pid: use.utilization_ratio for use in uses} == pytest.approx(ratios)
