"""A made-up fleet whose joules per inference are known, as series that a real Prometheus can be filled with.

Two machines. Every counter grows evenly, so that what PromQL must give is arithmetic: watts × share ÷ rate.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

END = 1_750_003_200
"""When the evaluation stands still (Unix seconds, a whole minute); the series run on for a minute after it."""

HOURS = 2
STEP = 15
ZONE = "FRA"
GRAMS_PER_KWH = 60.0
PUE = 1.25


@dataclass(frozen=True)
class Device:
    """A device that draws constant power."""

    node: str
    name: str
    watts: float
    method: str


@dataclass(frozen=True)
class Load:
    """What one task does to one device: its model, seconds of device and requests answered well, both per second."""

    device: Device
    task: str
    busy: float
    rate: float

    @property
    def model(self) -> str:
        return f"tiny/{self.task}"


GPU = Device("a", "GPU-11111111-2222-3333-4444-555555555555", 412.0, "counter")
CPU_A = Device("a", "cpu-0", 38.0, "estimated")
CPU_B = Device("b", "cpu-0", 57.0, "estimated")
DEVICES = (GPU, CPU_A, CPU_B)
LOADS = (
    Load(GPU, "text-classification", 0.02, 8.0),
    Load(GPU, "token-classification", 0.03, 7.5),
    Load(GPU, "question-answering", 0.025, 6.0),
    Load(GPU, "fill-mask", 0.02, 5.0),
    Load(GPU, "text-generation", 0.15, 2.0),
    Load(GPU, "summarization", 0.12, 2.5),
    Load(GPU, "image-classification", 0.04, 4.0),
    Load(GPU, "object-detection", 0.08, 1.5),
    Load(GPU, "image-to-text", 0.1, 1.0),
    Load(GPU, "text-to-image", 0.3, 0.125),
    Load(GPU, "zero-shot-summarization", 0.06, 0.5),
    Load(CPU_B, "text-classification", 0.125, 4.0),
    Load(CPU_B, "feature-extraction", 0.375, 9.0),
)
FAILURES = 0.25
"""Failed requests for each one that was answered well."""

Labels = tuple[tuple[str, str], ...]


def labels(**pairs: str) -> Labels:
    """Return a label set that can be a key."""
    return tuple(sorted(pairs.items()))


def share(load: Load) -> float:
    """Return the load's share of its device's busy time."""
    return load.busy / sum(other.busy for other in LOADS if other.device == load.device)


def watts_by(*names: str) -> Mapping[Labels, float]:
    """Return the watts that go into each task, grouped by the attributes ``names`` of a load."""
    return _grouped(names, {load: load.device.watts * share(load) for load in LOADS})


def joules_per_inference(*names: str) -> Mapping[Labels, float]:
    """Return joules per inference, grouped: a ratio of sums."""
    rates = _grouped(names, {load: load.rate for load in LOADS})
    return {key: watts / rates[key] for key, watts in watts_by(*names).items()}


def grams_per_inference(*names: str) -> Mapping[Labels, float]:
    """Return grams of CO2e per inference, grouped."""
    return {key: joules * PUE * GRAMS_PER_KWH / 3.6e6 for key, joules in joules_per_inference(*names).items()}


def rates_by(*names: str) -> Mapping[Labels, float]:
    """Return requests answered well per second, grouped."""
    return _grouped(names, {load: load.rate for load in LOADS})


def _grouped(names: tuple[str, ...], values: Mapping[Load, float]) -> dict[Labels, float]:
    sums: dict[Labels, float] = {}
    for load, value in values.items():
        key = labels(**{name: load.device.node if name == "node" else getattr(load, name) for name in names})
        sums[key] = sums.get(key, 0.0) + value
    return sums


def openmetrics() -> Iterator[str]:
    """Yield the lines of the fleet's series in OpenMetrics text."""
    for name, pairs, start, slope in _series():
        text = ",".join(f'{key}="{value}"' for key, value in pairs.items())
        for at in range(END - HOURS * 3600, END + 60 + 1, STEP):
            yield f"{name}{{{text}}} {start + slope * (at - END + HOURS * 3600)!r} {at}"
    yield "# EOF"


def _series() -> Iterator[tuple[str, dict[str, str], float, float]]:
    """Yield name, labels, first value, and growth per second."""
    for device in DEVICES:
        yield from _device_series(device)
    for node in ("a", "b"):
        factor = {"job": "gpu-energy-exporter", "node": node}
        zone = {**factor, "zone": ZONE, "provider": "static", "basis": "average"}
        yield "grid_carbon_intensity_grams_per_kwh", zone, GRAMS_PER_KWH, 0.0
        yield "datacenter_pue_ratio", factor, PUE, 0.0
    for load in LOADS:
        of = {"job": "inference-server", "node": load.device.node, "task": load.task, "model": load.model}
        yield "inference_device_busy_seconds_total", {**of, "device": load.device.name}, 3.0, load.busy
        yield "inference_requests_total", {**of, "outcome": "ok"}, 10.0, load.rate
        yield "inference_requests_total", {**of, "outcome": "error"}, 0.0, load.rate * FAILURES


def _device_series(device: Device) -> Iterator[tuple[str, dict[str, str], float, float]]:
    of = {"job": "gpu-energy-exporter", "node": device.node}
    grams = device.watts * PUE * GRAMS_PER_KWH / 3.6e6
    if device.name.startswith("cpu-"):
        of |= {"package": device.name.removeprefix("cpu-"), "zone": "package"}
        yield "cpu_energy_joules_total", of, 1000.0, device.watts
        yield "cpu_emissions_grams_total", of, 0.0, grams
        yield "cpu_info", {**of, "method": device.method}, 1.0, 0.0
        return
    of |= {"gpu": "0", "uuid": device.name}
    yield "gpu_energy_joules_total", of, 1e6, device.watts
    yield "gpu_emissions_grams_total", of, 0.0, grams
    identity = {"name": "NVIDIA H200", "vendor": "nvidia", "driver": "580.1", "pci_bus_id": "0", "scope": "gpu"}
    yield "gpu_info", {**of, **identity, "method": device.method}, 1.0, 0.0
