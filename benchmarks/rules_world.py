"""A fleet of equal machines as series: what exporters and servers of ``n`` GPUs show of all that the rules read.

A machine has eight GPUs and two models, each on four of them behind one server a GPU. As the exporter does, it shows
the charged joules of every model on every device, those of nothing as 0. Values grow evenly; what they mean does not
matter here, but which of them are 0 does: the rules leave those out.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from perjoule.metrics import ENERGY_OUTCOMES, REQUEST_OUTCOMES

GPUS = 8
MODELS = (("chat", "large"), ("summarization", "small"))
REASONS = ("down", "reset", "stall", "lost", "gap", "foreign", "no_span", "idle_unknown")
NODE = "node0"
"""The name of the first machine: whoever has its series has those of every other one by ``of_node``."""

_SPENT = ("ok", "cancelled", "overhead")  # outcomes that occur, of the energy and of requests
_ANSWERED = ("ok", "cancelled", "invalid")
_NOBODYS = ("no_span",)


@dataclass(frozen=True, slots=True)
class Series:
    """A series as Prometheus writes it (name and labels), its first value, and its growth a second."""

    text: str
    start: float
    slope: float

    def of_node(self, number: int) -> "Series":
        """Return the same series of another machine."""
        return Series(of_node(self.text, number), self.start, self.slope)


def of_node(text: str, number: int) -> str:
    """Return a series of the first machine as that of machine ``number``: its name, its addresses, its GPUs."""
    return text.replace(NODE, f"node{number}")


def fleet(gpus: int, origin: int) -> list[Series]:
    """Return the series of a fleet of so many GPUs, a multiple of eight, whose counters began at a Unix time."""
    first = node(origin)
    return [series.of_node(number) for number in range(gpus // GPUS) for series in first]


def node(origin: int) -> list[Series]:
    """Return the series of the first machine."""
    found = [*_machine(origin)]
    for gpu in range(GPUS):
        found += [*_gpu(gpu), *_charged(gpu), *_server(gpu)]
    return found


def values(series: Sequence[Series], origin: int, at: int) -> Iterator[str]:
    """Yield each series with its value at a Unix time."""
    age = at - origin
    for each in series:
        yield f"{each.text} {each.start + each.slope * age:.12g}"


def lines(series: Sequence[Series], origin: int, times: Sequence[int]) -> Iterator[str]:
    """Yield OpenMetrics text with time stamps, one piece for each of the (Unix) times."""
    for at in times:
        yield "".join([f"{line} {at}\n" for line in values(series, origin, at)])


def _series(name: str, labels: dict[str, str], slope: float, start: float = 0.0) -> Series:
    pairs = ",".join(f'{key}="{value}"' for key, value in labels.items())
    return Series(f"{name}{{{pairs}}}", start, slope)


def _place(port: int, job: str) -> dict[str, str]:
    return {"cluster": "x", "node": NODE, "instance": f"{NODE}:{port}", "job": job}


def _exporter() -> dict[str, str]:
    return _place(10101, "gpu-energy-exporter")


def _device(gpu: int) -> str:
    return f"GPU-{NODE}-{gpu}"


def _machine(origin: int) -> Iterator[Series]:
    at = _exporter()
    yield _series("up", at, 0.0, 1.0)
    yield _series("electricity_price_per_kwh", at | {"currency": "EUR"}, 0.0, 0.25)
    live = at | {"zone": "FRA", "provider": "electricitymaps", "basis": "average"}
    yield _series("grid_carbon_intensity_timestamp_seconds", live, 1.0, origin)
    yield _series("grid_carbon_provider_up", at | {"provider": "electricitymaps"}, 0.0, 1.0)
    for task, model in MODELS:
        of = at | {"task": task, "model": model}
        yield _series("inference_request_energy_joules_sum", of, 400.0)
        yield _series("inference_request_energy_joules_count", of, 4.0)


def _gpu(gpu: int) -> Iterator[Series]:
    at, device = _exporter() | {"gpu": str(gpu), "uuid": _device(gpu)}, {"device": _device(gpu)}
    for name, slope in (
        ("gpu_energy_joules_total", 200.0),
        ("gpu_energy_integrated_joules_total", 199.0),
        ("gpu_emissions_grams_total", 0.003),
        ("gpu_embodied_emissions_grams_total", 0.001),
    ):
        yield _series(name, at, slope)
    for name, value in (("gpu_power_watts", 200.0), ("gpu_power_limit_watts", 700.0), ("gpu_up", 1.0)):
        yield _series(name, at, 0.0, value)
    yield _series("gpu_info", at | {"name": "NVIDIA H100 80GB HBM3", "method": "counter"}, 0.0, 1.0)
    yield _series("gpu_throttled_seconds_total", at | {"reason": "sw_power_cap"}, 0.01)
    yield _series("inference_counter_energy_joules_total", _exporter() | device, 200.0)
    yield _series("inference_idle_energy_joules_total", _exporter() | device, 60.0)
    yield _series("inference_open_energy_joules", _exporter() | device, 0.0)
    for reason in REASONS:
        nobodys = _exporter() | device | {"reason": reason}
        yield _series("inference_unattributed_energy_joules_total", nobodys, 20.0 * (reason in _NOBODYS))


def _charged(gpu: int) -> Iterator[Series]:
    """Yield what the exporter charged on a device, by every model that it knows."""
    for number, (task, model) in enumerate(MODELS):
        for outcome in ENERGY_OUTCOMES:
            here = number == gpu % len(MODELS) and outcome in _SPENT
            of = _exporter() | {"task": task, "model": model, "device": _device(gpu), "outcome": outcome}
            yield _series("inference_energy_joules_total", of, 40.0 * here)
            yield _series("inference_emissions_grams_total", of, 0.0006 * here)


def _server(gpu: int) -> Iterator[Series]:
    """Yield what the server of a device shows."""
    task, model = MODELS[gpu % len(MODELS)]
    of = _place(8080 + gpu, "inference-server") | {"task": task, "model": model}
    for outcome in REQUEST_OUTCOMES:
        yield _series("inference_requests_total", of | {"outcome": outcome}, 1.0 * (outcome in _ANSWERED))
    for kind in ("input", "output", "padding"):
        yield _series("inference_tokens_total", of | {"kind": kind}, 50.0)
    yield _series("inference_work_units_total", of | {"unit": "output_token"}, 50.0)
    yield _series("inference_device_busy_seconds_total", of | {"device": _device(gpu)}, 0.5)
    yield _series("inference_spans_dropped_total", of, 0.0)
