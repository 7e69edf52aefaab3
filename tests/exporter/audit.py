"""The auditor: scrapes a running exporter and holds every scrape against the last one and against what GPUs truly drew.

Three things must hold in every scrape, whatever fails meanwhile. No counter goes back. Energy never rises by more than
the board's highest power times the time since it rose before. And nothing is shown that was not read: a GPU that
is down shows its health and no more, a reading that is shown is fresh, and every value is one that the driver gave.
"""

import time
from collections.abc import Callable, Collection

import pytest
from prometheus_client.samples import Sample

from tests.exporter.driver import joules
from tests.exporter.running import RunningExporter, Scrape, wait_until

HEALTH = {
    "gpu_up",
    "gpu_info",
    "gpu_sample_age_seconds",
    "gpu_samples_total",
    "gpu_read_duration_seconds_bucket",
    "gpu_read_duration_seconds_count",
    "gpu_read_duration_seconds_sum",
}
"""What is still said of a GPU that does not answer."""

FRESH_SECONDS = 1.0
_COUNTERS = ("_total", "_bucket", "_count", "_sum")
_TICK_SECONDS = 0.02
_LATE_SECONDS = 0.1
"""A reading is of the tick before it, and a busy machine reads late."""

Series = tuple[str, tuple[tuple[str, str], ...]]


def uuid(gpu: int) -> str:
    return f"GPU-fake-{gpu}"


class Audit:
    """Watches ``gpus`` GPUs of the fake driver through one exporter after the other (``exporter`` may be changed)."""

    def __init__(self, exporter: RunningExporter, gpus: int) -> None:
        self.exporter = exporter
        self.gpus = range(gpus)
        self.late_seconds = _LATE_SECONDS
        self._counters: dict[Series, float] = {}
        self._energies: dict[int, tuple[float, float]] = {}  # joules, and the Unix time before which they were used
        self._pairs: dict[int, tuple[float, float]] = {}

    def scrape(self) -> Scrape:
        """Scrape, and hold it against all that must be."""
        asked = time.time()
        scrape = self.exporter.scrape()
        answered = time.time()
        for sample in scrape.samples:
            if sample.name.startswith("gpu_") and sample.name.endswith(_COUNTERS):
                self._never_back(sample)
        for gpu in self.gpus:
            of = [sample for sample in scrape.samples if sample.labels.get("uuid") == uuid(gpu)]
            if of:
                self._only_what_was_read(gpu, of)
                self._no_jump(gpu, of, asked, answered)
        return scrape

    def until(self, condition: Callable[[Scrape], object], what: str) -> Scrape:
        """Scrape until ``condition`` holds, and return that scrape."""

        def met() -> Scrape | None:
            scrape = self.scrape()
            return scrape if condition(scrape) else None

        return wait_until(met, what)

    def moved(self, *gpus: int) -> None:
        """Wait until these GPUs (all if none is named) have (energy, time) pairs newer than now."""
        now = time.time()

        def newer(scrape: Scrape) -> bool:
            times = [scrape.value("gpu_energy_timestamp_seconds", uuid=uuid(gpu)) for gpu in gpus or self.gpus]
            return all((moved or 0.0) > now for moved in times)

        self.until(newer, "the counters move")

    def down(self, *gpus: int) -> None:
        """Wait until these GPUs are down."""
        self.until(lambda s: all(s.value("gpu_up", uuid=uuid(gpu)) == 0 for gpu in gpus), f"{gpus} are down")

    def up(self, *gpus: int) -> None:
        """Wait until these GPUs are up."""
        self.until(lambda s: all(s.value("gpu_up", uuid=uuid(gpu)) == 1 for gpu in gpus), f"{gpus} are up")

    def true(self, within: float = 0.003, gpus: Collection[int] | None = None) -> None:
        """Hold the energy between first and last pair of each GPU against what it drew, to the driver's millijoules."""
        self.moved(*(gpus or self.gpus))
        scrape = self.scrape()
        for gpu in gpus or self.gpus:
            energy, moved = _pair(scrape, gpu)
            first_energy, first_moved = self._pairs[gpu]
            assert energy - first_energy == pytest.approx(joules(gpu, first_moved, moved), abs=within), uuid(gpu)

    def started(self) -> None:
        """Wait until each GPU has a pair, and take these as the first ones."""
        self.moved()
        scrape = self.scrape()
        self._pairs = {gpu: _pair(scrape, gpu) for gpu in self.gpus}

    def forget(self) -> None:
        """Take note of a restart that starts all counters at 0."""
        self._counters.clear()
        self._energies.clear()

    def _never_back(self, sample: Sample) -> None:
        series = sample.name, tuple(sorted(sample.labels.items()))
        assert sample.value >= self._counters.get(series, 0.0), f"{series} went back"
        self._counters[series] = sample.value

    def _no_jump(self, gpu: int, samples: list[Sample], asked: float, answered: float) -> None:
        shown = {sample.name: sample.value for sample in samples}
        energy, age = shown.get("gpu_energy_joules_total"), shown.get("gpu_sample_age_seconds", 0.0)
        if energy is None:
            return
        if gpu in self._energies:
            before, since = self._energies[gpu]
            assert energy - before <= _most_watts(gpu) * (answered - since), f"the energy of {uuid(gpu)} jumps"
            if energy == before:  # it counts from when it last moved
                return
        self._energies[gpu] = energy, asked - age - _TICK_SECONDS - self.late_seconds

    def _only_what_was_read(self, gpu: int, samples: list[Sample]) -> None:
        names = {sample.name for sample in samples}
        shown = {sample.name: sample.value for sample in samples}
        if not shown["gpu_up"]:
            assert names == HEALTH, uuid(gpu)
            return
        assert shown["gpu_sample_age_seconds"] <= FRESH_SECONDS, f"a stale reading of {uuid(gpu)} is shown"
        for sample in samples:
            if sample.name in (known := _given(gpu)):
                assert sample.value in known[sample.name], f"the driver never gave {sample.name} {sample.value}"


def _pair(scrape: Scrape, gpu: int) -> tuple[float, float]:
    return (
        scrape.number("gpu_energy_joules_total", uuid=uuid(gpu)),
        scrape.number("gpu_energy_timestamp_seconds", uuid=uuid(gpu)),
    )


def _most_watts(gpu: int) -> float:
    return 300.0 + 10 * gpu


def _given(gpu: int) -> dict[str, set[float]]:
    """Return all values that the fake driver gives, in base units."""
    low, high = 100.0 + 10 * gpu, _most_watts(gpu)
    average = (low + high) / 2
    watts = {low, high, average}  # without an instant field the older call answers, with an average
    return {
        "gpu_power_watts": watts,
        "gpu_power_max_watts": watts,
        "gpu_power_min_watts": watts,
        "gpu_power_average_watts": {average},
        "gpu_power_limit_watts": {700.0},
        "gpu_utilization_ratio": {0.5},
        "gpu_memory_used_bytes": {2.0**30},
        "gpu_memory_total_bytes": {80 * 2.0**30},
        "gpu_temperature_celsius": {41.0},
        "gpu_clock_hertz": {1.0e9, 1.1e9, 1.2e9, 1.3e9},
    }
