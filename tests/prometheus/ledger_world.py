"""Three machines whose exporters' and servers' counters grow evenly, and what every recorded series must then be.

Machine a has a GPU with two tasks that tell spans, b a CPU with one of the same tasks, c a GPU whose server tells none.
The truth is computed here from watts and rates, by tasks and devices, without PromQL.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

END = 1_750_003_200
"""A whole hour; the series run on for a minute after it."""

DAYS = 8
GRAMS_PER_JOULE = 60.0 * 1.25 / 3.6e6
EMBODIED = 2e-5  # grams a second, of each GPU
PRICE = 0.25
JOULES_PER_KWH = 3.6e6

Labels = tuple[tuple[str, str], ...]
Rates = dict[Labels, float]


@dataclass(frozen=True)
class Device:
    """A device of constant power: what of it is idle, and what is nobody's, in watts."""

    node: str
    name: str
    watts: float
    idle: float = 0.0
    nobody: float = 0.0


@dataclass(frozen=True)
class Work:
    """A task on a device. Watts by outcome; per second: inferences settled, requests answered well, units, tokens."""

    device: Device
    task: str
    watts: dict[str, float] = field(hash=False)
    settled: float
    ok: float
    unit: str
    units: float
    tokens: float
    busy: float

    @property
    def spans(self) -> bool:
        return bool(self.watts)

    @property
    def charged(self) -> float:
        return sum(watts for outcome, watts in self.watts.items() if outcome != "unmeasured")


GPU_A = Device("a", "GPU-1", 300.0, idle=70.0, nobody=55.0)
CPU_B = Device("b", "cpu-0", 40.0, idle=16.0)
GPU_C = Device("c", "GPU-3", 200.0)
DEVICES = (GPU_A, CPU_B, GPU_C)
WORKS = (
    Work(GPU_A, "chat", {"ok": 100.0, "cancelled": 10.0}, 2.0, 2.5, "inference", 2.5, 50.0, 0.5),
    Work(GPU_A, "sum", {"ok": 60.0, "unmeasured": 5.0}, 0.5, 0.5, "output_token", 20.0, 20.0, 0.25),
    Work(CPU_B, "chat", {"ok": 24.0}, 0.2, 0.25, "inference", 0.25, 5.0, 0.5),
    Work(GPU_C, "chat", {}, 0.0, 3.0, "inference", 3.0, 60.0, 0.3),
    Work(GPU_C, "image", {}, 0.0, 0.5, "image", 1.0, 0.0, 0.1),
)


def labels(**pairs: str) -> Labels:
    """Return a label set that can be a key."""
    return tuple(sorted(pairs.items()))


def loaded(work: Work) -> float:
    """Return the watts that a task is to bear: charged and idle by use, or its share of the device by time."""
    others = [other for other in WORKS if other.device is work.device]
    if work.spans:
        return work.charged + work.device.idle * work.charged / sum(other.charged for other in others)
    return work.device.watts * work.busy / sum(other.busy for other in others)


def counted(work: Work) -> float:
    """Return the requests a second whose energy is known."""
    return work.settled if work.spans else work.ok


def embodied(work: Work) -> float:
    """Return grams of manufacture a second; the CPU states none."""
    return 0.0 if work.device is CPU_B else EMBODIED * loaded(work) / work.device.watts


def of_works(value: Callable[[Work], float], *by: str, only: Callable[[Work], bool] = lambda _: True) -> Rates:
    """Return sums of a value over the tasks of each combination of the labels ``by``."""
    sums: Rates = {}
    for work in WORKS:
        if only(work):
            every = {"cluster": "x", "node": work.device.node, "task": work.task, "model": f"m/{work.task}"}
            every |= {
                "device": work.device.name,
                "unit": work.unit,
                "currency": "EUR",
                "instance": f"{work.device.node}:1",
            }
            key = labels(**{name: every[name] for name in by})
            sums[key] = sums.get(key, 0.0) + value(work)
    return sums


def of_devices(value: Callable[[Device], float], *by: str, only: Callable[[Device], bool] = lambda _: True) -> Rates:
    """Return sums of a value over the devices of each combination of the labels ``by``."""
    sums: Rates = {}
    for device in DEVICES:
        if only(device):
            every = {"cluster": "x", "node": device.node, "device": device.name, "currency": "EUR", "reason": "no_span"}
            every["instance"] = f"{device.node}:1"
            key = labels(**{name: every[name] for name in by})
            sums[key] = sums.get(key, 0.0) + value(device)
    return sums


def over(numerator: Rates, denominator: Rates) -> Rates:
    """Return ratios where both sides are known."""
    return {key: value / denominator[key] for key, value in numerator.items() if denominator.get(key)}


def openmetrics() -> Iterator[str]:
    """Yield the series as OpenMetrics text: quarters of an hour for eight days, and 15 s for the last two hours."""
    first, fine = END - DAYS * 86400, END - 7200
    times = [*range(first, fine, 900), *range(fine, END + 61, 15)]
    for name, pairs, start, slope in _series():
        text = ",".join(f'{key}="{value}"' for key, value in sorted(pairs.items()))
        for at in times:
            yield f"{name}{{{text}}} {start + slope * (at - first)!r} {at}"


def _series() -> Iterator[tuple[str, dict[str, str], float, float]]:
    for device in DEVICES:
        yield from _of_device(device)
    for work in WORKS:
        yield from _of_server(work)
        if work.spans:
            yield from _of_ledger(work)


def _of_device(device: Device) -> Iterator[tuple[str, dict[str, str], float, float]]:
    place = {"cluster": "x", "node": device.node, "instance": f"{device.node}:1", "job": "gpu-energy-exporter"}
    kind = device.name[:3].lower()
    own = {"uuid": device.name, "gpu": "0"} if kind == "gpu" else {"package": "0", "zone": "package"}
    yield f"{kind}_energy_joules_total", place | own, 1e6, device.watts
    yield f"{kind}_emissions_grams_total", place | own, 10.0, device.watts * GRAMS_PER_JOULE
    yield f"{kind}_info", place | own | {"method": "counter"}, 1.0, 0.0
    yield "electricity_price_per_kwh", place | {"currency": "EUR"}, PRICE, 0.0
    if kind == "gpu":
        yield "gpu_energy_integrated_joules_total", place | own, 5.0, device.watts * 0.98
        yield "gpu_embodied_emissions_grams_total", place | own, 1.0, EMBODIED
    if device is not GPU_C:
        yield "inference_counter_energy_joules_total", place | {"device": device.name}, 1e6, device.watts
        yield "inference_idle_energy_joules_total", place | {"device": device.name}, 4e5, device.idle
        nobody = {"device": device.name, "reason": "no_span"}
        yield "inference_unattributed_energy_joules_total", place | nobody, 6e5, device.nobody
        yield "inference_open_energy_joules", place | {"device": device.name}, 0.0, 0.0


def _of_server(work: Work) -> Iterator[tuple[str, dict[str, str], float, float]]:
    of = {"cluster": "x", "node": work.device.node, "instance": f"{work.device.node}:2", "job": "inference-server"}
    of |= {"task": work.task, "model": f"m/{work.task}"}
    yield "inference_requests_total", of | {"outcome": "ok"}, 5.0, work.ok
    yield "inference_requests_total", of | {"outcome": "error"}, 5.0, 0.5
    yield "inference_work_units_total", of | {"unit": work.unit}, 5.0, work.units
    yield "inference_tokens_total", of | {"kind": "output"}, 5.0, work.tokens
    yield "inference_device_busy_seconds_total", of | {"device": work.device.name}, 5.0, work.busy


def _of_ledger(work: Work) -> Iterator[tuple[str, dict[str, str], float, float]]:
    of = {"cluster": "x", "node": work.device.node, "instance": f"{work.device.node}:1", "job": "gpu-energy-exporter"}
    of |= {"task": work.task, "model": f"m/{work.task}"}
    for outcome, watts in work.watts.items():
        charged = of | {"device": work.device.name, "outcome": outcome}
        yield "inference_energy_joules_total", charged, 0.0, watts
        yield "inference_emissions_grams_total", charged, 0.0, watts * GRAMS_PER_JOULE
    yield "inference_request_energy_joules_count", of, 0.0, work.settled
    yield "inference_request_energy_joules_sum", of, 0.0, work.watts["ok"]
