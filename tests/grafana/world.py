"""A made-up fleet whose joules per inference are known, as series that a real Prometheus can be filled with.

Two machines in a cluster: a has two GPUs whose server tells spans and a CPU at rest, b a CPU whose server tells none.
Counters grow evenly, so that what PromQL must give is arithmetic; for pictures the load may vary with time instead.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from perjoule_grafana.thresholds import CARBON_BUDGET

END = 1_750_003_200
"""When the evaluation stands still (Unix seconds, a whole hour); the series run on for a minute after it."""

HOURS = 2
STEP = 15
CLUSTER, ZONE, CURRENCY = "eu-1", "FRA", "EUR"
GRAMS_PER_KWH, PUE, PRICE = 60.0, 1.25, 0.25
GRAMS_PER_JOULE = GRAMS_PER_KWH * PUE / 3.6e6
EMBODIED = 2e-5  # grams a second, of each GPU
FAILURES = 0.005
"""Failed requests for each one that was answered well."""

UNMEASURED = 0.01
"""Share of the requests answered well whose energy the exporter does not know."""

CANCELLED = 0.03
"""Joules charged to cancelled requests, over those charged to requests that ended well."""

LATENCIES = {"0.1": 0.5, "0.5": 0.9, "1.0": 1.0, "+Inf": 1.0}
"""Share of the answers within so many seconds."""

INTEGRAL = 0.992
"""Integral of a GPU's power over its energy counter."""

THROTTLED = 0.04
BUDGET = 40_000.0  # grams in 30 days
Growth = Callable[[str, float], float]
"""Seconds' worth of load of a task since the beginning, by task and seconds."""


@dataclass(frozen=True)
class Device:
    """A device: what of its power is idle and what is nobody's, in watts; and whether its server tells spans."""

    node: str
    name: str
    method: str
    idle: float
    nobody: float
    spans: bool = True
    product: str = ""
    limit: float = 0.0

    @property
    def watts(self) -> float:
        """Mean power."""
        return self.idle + self.nobody + sum(load.watts for load in LOADS if load.device is self and self.spans)


@dataclass(frozen=True)
class Load:
    """What a task does to a device. Per second: requests answered well, seconds that it holds the device."""

    device: Device
    task: str
    rate: float
    joules: float
    busy: float
    tokens: float = 0.0
    unit: str = "inference"

    @property
    def model(self) -> str:
        return MODELS.get(self.task, f"example/{self.task}")

    @property
    def ok(self) -> float:
        """Watts charged to requests that ended well and whose energy is known."""
        return self.settled * self.joules

    @property
    def settled(self) -> float:
        return self.rate * (1 - UNMEASURED)

    @property
    def outcomes(self) -> dict[str, float]:
        """Charged watts by outcome."""
        return {"ok": self.ok, "cancelled": self.ok * CANCELLED, "unmeasured": self.rate * UNMEASURED * self.joules}

    @property
    def watts(self) -> float:
        return sum(self.outcomes.values())


MODELS = {
    "text-classification": "distilbert-sst2",
    "text-generation": "gpt2-large",
    "summarization": "bart-large-cnn",
    "text-to-image": "stable-diffusion-v1-5",
    "image-to-text": "blip-base",
    "automatic-speech-recognition": "whisper-base",
}
GPU_0 = Device(
    "a", "GPU-8f2c11aa-31d4-9b0e-55c7-2a6f0e91d3b4", "counter", 72.0, 9.0, product="NVIDIA H100", limit=350.0
)
GPU_1 = Device(
    "a", "GPU-c07e5b29-8d16-4f3a-a1e2-7b94d05c6e18", "counter", 74.0, 0.0, product="NVIDIA H100", limit=350.0
)
CPU_A = Device("a", "cpu-0", "estimated", 30.0, 8.0)
CPU_B = Device("b", "cpu-0", "estimated", 20.0, 37.0, spans=False)
DEVICES = (GPU_0, GPU_1, CPU_A, CPU_B)
LOADS = (
    Load(GPU_0, "text-classification", 40.0, 0.35, 0.06),
    Load(GPU_0, "token-classification", 20.0, 0.5, 0.04),
    Load(GPU_0, "question-answering", 15.0, 0.7, 0.04),
    Load(GPU_0, "fill-mask", 12.0, 0.4, 0.02),
    Load(GPU_0, "text-generation", 1.5, 27.0, 0.15, 15.0, "output_token"),
    Load(GPU_0, "summarization", 1.0, 22.0, 0.09, 12.0, "output_token"),
    Load(GPU_0, "image-classification", 10.0, 1.1, 0.04, 0.0, "image"),
    Load(GPU_0, "object-detection", 2.0, 7.0, 0.05, 0.0, "image"),
    Load(GPU_0, "image-to-text", 0.8, 30.0, 0.1, 8.0, "image"),
    Load(GPU_0, "zero-shot-text-classification", 1.0, 14.0, 0.05, 1.0, "output_token"),
    Load(GPU_0, "zero-shot-question-answering", 0.5, 33.0, 0.06, 15.0, "output_token"),
    Load(GPU_0, "zero-shot-summarization", 0.25, 80.0, 0.07, 3.75, "output_token"),
    Load(GPU_0, "automatic-speech-recognition", 0.5, 40.0, 0.08, 6.0, "audio_second"),
    Load(GPU_1, "text-to-image", 0.125, 1400.0, 0.6, 0.0, "image"),
    Load(CPU_B, "text-classification", 4.0, 0.0, 0.125),
    Load(CPU_B, "feature-extraction", 9.0, 0.0, 0.375),
)
Labels = tuple[tuple[str, str], ...]
Value = Callable[[float], float]
"""A value by the seconds since the series began."""

Series = tuple[str, dict[str, str], Value]


def labels(**pairs: str) -> Labels:
    """Return a label set that can be a key."""
    return tuple(sorted(pairs.items()))


def evenly(_task: str, elapsed: float) -> float:
    """Let every load be the same at all times."""
    return elapsed


def steady(_elapsed: float) -> float:
    """Let the carbon intensity be the same at all times."""
    return GRAMS_PER_KWH


def openmetrics(hours: int = HOURS, growth: Growth = evenly, intensity: Value = steady) -> Iterator[str]:
    """Yield the fleet's series as OpenMetrics text; ``intensity`` is g/kWh by seconds since the start."""
    start = END - hours * 3600
    for name, pairs, value in _series(growth, intensity, start):
        text = ",".join(f'{key}="{label}"' for key, label in pairs.items())
        for at in range(start, END + 61, STEP):
            yield f"{name}{{{text}}} {value(at - start)!r} {at}"
    yield "# EOF"


def _series(growth: Growth, intensity: Value, start: int) -> Iterator[Series]:
    for device in DEVICES:
        yield from _meter(device, growth, intensity, start)
        yield from _ledger(device, growth)
    for node in ("a", "b"):
        yield from _exporter(node, intensity)
        yield from _server_program(node)
    for load in LOADS:
        yield from _server(load, growth)
        if load.device.spans:
            yield from _charged(load, growth, intensity)
    yield "prometheus_rule_evaluation_failures_total", {"job": "prometheus", "rule_group": "energy"}, _flat(0.0)
    yield CARBON_BUDGET, {"cluster": CLUSTER}, _flat(BUDGET)


def _flat(value: float) -> Value:
    return lambda _elapsed: value


def _even(slope: float, start: float = 0.0) -> Value:
    return lambda elapsed: start + slope * elapsed


def _times(growth: Growth, load: Load, slope: float) -> Value:
    return lambda elapsed: slope * growth(load.task, elapsed)


def _joules(device: Device, growth: Growth, factor: float = 1.0) -> Value:
    """Return the energy of a device: idle and nobody's evenly, work as it comes."""
    works = [load for load in LOADS if load.device is device and device.spans]

    def counted(elapsed: float) -> float:
        work = sum(load.watts * growth(load.task, elapsed) for load in works)
        return factor * ((device.idle + device.nobody) * elapsed + work)

    return counted


def _grams(joules: Value, intensity: Value) -> Value:
    """Return grams of joules, each at the intensity of its time; to be asked in the order of time, step by step."""
    passed = [0.0, 0.0]  # seconds, grams

    def emitted(elapsed: float) -> float:
        new = joules(elapsed) - joules(passed[0])
        passed[:] = elapsed, passed[1] + new * intensity(elapsed) * PUE / 3.6e6
        return passed[1]

    return emitted


def _of(node: str, job: str = "gpu-energy-exporter") -> dict[str, str]:
    port = {"gpu-energy-exporter": 10101, "inference-server": 8080}[job]
    return {"cluster": CLUSTER, "node": node, "instance": f"{node}:{port}", "job": job}


def _meter(device: Device, growth: Growth, intensity: Value, start: int) -> Iterator[Series]:
    gpu = device.name.startswith("GPU")
    kind = "gpu" if gpu else "cpu"
    own = {"gpu": str(DEVICES.index(device)), "uuid": device.name} if gpu else {"package": "0", "zone": "package"}
    of = _of(device.node) | own
    yield f"{kind}_energy_joules_total", of, _joules(device, growth)
    yield f"{kind}_emissions_grams_total", of, _grams(_joules(device, growth), intensity)
    yield f"{kind}_energy_timestamp_seconds", of, _even(1.0, start - 0.05)
    if not gpu:
        yield "cpu_info", of | {"method": device.method}, _flat(1.0)
        return
    identity = {"name": device.product, "vendor": "nvidia", "driver": "580.1", "pci_bus_id": "0", "scope": "gpu"}
    yield "gpu_info", of | identity | {"method": device.method}, _flat(1.0)
    yield "gpu_energy_integrated_joules_total", of, _joules(device, growth, INTEGRAL)
    yield "gpu_embodied_emissions_grams_total", of, _even(EMBODIED)
    yield "gpu_energy_resets_total", of, _flat(0.0)
    yield "gpu_throttled_seconds_total", of | {"reason": "sw_power_cap"}, _even(THROTTLED)
    yield "gpu_samples_total", of | {"outcome": "ok"}, _even(40.0)
    yield "gpu_samples_total", of | {"outcome": "error"}, _flat(0.0)
    gauges = {
        "gpu_power_limit_watts": device.limit,
        "gpu_temperature_celsius": 61.0,
        "gpu_memory_used_bytes": 3.1e10,
        "gpu_sample_age_seconds": 0.012,
        "gpu_energy_update_interval_seconds": 0.1,
    }
    for name, value in gauges.items():
        yield name, of, _flat(value)


def _ledger(device: Device, growth: Growth) -> Iterator[Series]:
    of = _of(device.node) | {"device": device.name}
    yield "inference_counter_energy_joules_total", of, _joules(device, growth)
    yield "inference_idle_energy_joules_total", of, _even(device.idle)
    yield "inference_unattributed_energy_joules_total", of | {"reason": "no_span"}, _even(device.nobody)
    yield "inference_open_energy_joules", of, _flat(0.0)
    yield "inference_idle_watts", of, _flat(device.idle)
    yield "inference_settlement_delay_seconds", of, _flat(0.085)
    yield "inference_spans_late_total", of, _flat(0.0)
    yield "inference_span_clients", of, _flat(1.0 if device.spans else 0.0)


def _exporter(node: str, intensity: Value) -> Iterator[Series]:
    of = _of(node)
    zone = of | {"zone": ZONE, "provider": "static", "basis": "average"}
    yield "grid_carbon_intensity_grams_per_kwh", zone, intensity
    yield "grid_carbon_intensity_timestamp_seconds", zone, _flat(END - 86_400.0)
    yield "datacenter_pue_ratio", of, _flat(PUE)
    yield "electricity_price_per_kwh", of | {"currency": CURRENCY}, _flat(PRICE)
    yield "process_start_time_seconds", of, _flat(END - 1e6)
    yield "up", of, _flat(1.0)
    yield "scrape_duration_seconds", of, _flat(0.006)


def _server_program(node: str) -> Iterator[Series]:
    of = _of(node, "inference-server")
    yield "inference_spans_dropped_total", of, _flat(0.0)
    yield "process_start_time_seconds", of, _flat(END - 1e6)
    yield "up", of, _flat(1.0)
    yield "scrape_duration_seconds", of, _flat(0.004)


def _server(load: Load, growth: Growth) -> Iterator[Series]:
    of = _of(load.device.node, "inference-server") | {"task": load.task, "model": load.model}
    counters = {
        "inference_requests_total": ({"outcome": "ok"}, load.rate),
        "inference_device_busy_seconds_total": ({"device": load.device.name}, load.busy),
        "inference_tokens_total": ({"kind": "output"}, load.tokens),
        "inference_work_units_total": ({"unit": load.unit}, load.tokens or load.rate),
        "inference_request_seconds_sum": ({}, load.rate * 0.21),
        "inference_request_seconds_count": ({}, load.rate),
    }
    for name, (more, slope) in counters.items():
        yield name, of | more, _times(growth, load, slope)
    for bound, share in LATENCIES.items():
        yield "inference_request_seconds_bucket", of | {"le": bound}, _times(growth, load, load.rate * share)
    yield "inference_requests_total", of | {"outcome": "error"}, _times(growth, load, load.rate * FAILURES)
    yield "inference_queue_depth", of, _flat(0.0)


def _charged(load: Load, growth: Growth, intensity: Value) -> Iterator[Series]:
    of = _of(load.device.node) | {"task": load.task, "model": load.model}
    for outcome, watts in load.outcomes.items():
        charged = of | {"device": load.device.name, "outcome": outcome}
        yield "inference_energy_joules_total", charged, _times(growth, load, watts)
        yield "inference_emissions_grams_total", charged, _grams(_times(growth, load, watts), intensity)
    yield "inference_request_energy_joules_sum", of, _times(growth, load, load.ok)
    yield "inference_request_energy_joules_count", of, _times(growth, load, load.settled)
    yield "inference_unmeasured_requests_total", of, _times(growth, load, load.rate * UNMEASURED)
