"""What an exporter's ``/metrics`` says about energy, as values: counters with their times, methods, factors.

Parses with prometheus_client, only the lines of interest. A series that is absent or not finite stays absent here.
Knows nothing of polling, edges or HTTP.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from perjoule.errors import MeasurementError

SIMULATED = "simulated"
METHOD_WORDS: Mapping[str, str] = {
    "counter": "the hardware's own energy counter",
    "integrated": "integral of power samples: the device has no energy counter",
    "estimated": "CPU idle + utilisation × range, whole machine; a model, not a measurement",
    SIMULATED: "no hardware was measured; the figures show the method and nothing else",
    "replayed": "a recorded trace of another time",
}
"""What each method is, for a person."""

_PREFIXES = (
    "gpu_energy_joules_total", "gpu_energy_timestamp_seconds", "gpu_energy_update_interval_seconds",
    "gpu_energy_resets_total", "gpu_power_watts", "gpu_info", "gpu_up", "cpu_energy_joules_total",
    "cpu_energy_timestamp_seconds", "cpu_info", "grid_carbon_intensity_grams_per_kwh", "datacenter_pue_ratio",
    "process_start_time_seconds", "electricity_price_per_kwh",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Pair:
    """An energy counter in joules and the Unix time at which it had that value."""

    joules: float
    at: float


@dataclass(frozen=True, slots=True)
class Device:
    """A device whose energy is counted.

    Attributes:
        id: the GPU's uuid; ``cpu-<package>``, with ``-<zone>`` for zones other than the package.
        kind: ``gpu`` or ``cpu``.
        name: the product's name, None where unknown.
        method: how its joules come about, a key of ``METHOD_WORDS``.
        exporter: URL that it was read from.
        package: the package's label for a CPU, else empty.
        zone: the zone's label for a CPU, else empty.
    """

    id: str
    kind: str
    name: str | None
    method: str
    exporter: str
    package: str = ""
    zone: str = ""

    @property
    def base(self) -> str:
        """The name that a server calls the device by: zones of one package are one device."""
        return f"cpu-{self.package}" if self.kind == "cpu" else self.id


@dataclass(frozen=True, slots=True)
class Reading:
    """One device in one scrape.

    Attributes:
        device: which.
        pair: its energy counter.
        resets: resets that the exporter has bridged; None where it does not count them.
        tick: the counter's update interval in seconds; None where the exporter does not say.
        watts: instant power; None where there is none.
    """

    device: Device
    pair: Pair
    resets: float | None
    tick: float | None
    watts: float | None


@dataclass(frozen=True, slots=True)
class Factor:
    """A carbon intensity as the exporter gives it."""

    zone: str
    provider: str
    basis: str
    grams_per_kwh: float


@dataclass(frozen=True, slots=True)
class Price:
    """What a kWh costs, as stated to the exporter."""

    per_kwh: float
    currency: str


@dataclass(frozen=True, slots=True)
class Exposition:
    """What one exporter said at one time.

    Attributes:
        readings: by device id.
        factors: carbon intensities; empty when the exporter was given no zone.
        pue: None where the exporter does not say.
        started: Unix time at which the exporter started, None where it does not say.
        price: None where nobody stated one.
    """

    readings: Mapping[str, Reading]
    factors: tuple[Factor, ...]
    pue: float | None
    started: float | None
    price: Price | None = None


def samples(text: str, prefixes: tuple[str, ...] = _PREFIXES) -> Mapping[str, list[Sample]]:
    """Return the samples of ``text`` whose lines start with one of ``prefixes``, by name; values not finite left out.

    Raises:
        MeasurementError: the text is no exposition.
    """
    found: defaultdict[str, list[Sample]] = defaultdict(list)
    # Parsing the lines of interest only takes a tenth of the time, and this runs beside the load.
    lines = "\n".join(line for line in text.splitlines() if line.startswith(prefixes))
    try:
        for family in text_string_to_metric_families(lines + "\n"):
            for sample in family.samples:
                if math.isfinite(sample.value):
                    found[sample.name].append(sample)
    except (ValueError, KeyError, IndexError) as error:
        raise MeasurementError(f"not a Prometheus exposition: {error}") from error
    return found


def exposition(text: str, exporter: str) -> Exposition:
    """Read an exporter's answer.

    Raises:
        MeasurementError: the text is no exposition.
    """
    found = samples(text)
    readings = [*_gpus(found, exporter), *_cpus(found, exporter)]
    factors = tuple(
        Factor(s.labels.get("zone", ""), s.labels.get("provider", ""), s.labels.get("basis", ""), s.value)
        for s in found.get("grid_carbon_intensity_grams_per_kwh", ())
        if s.value >= 0
    )
    started = max((s.value for s in found.get("process_start_time_seconds", ())), default=None)
    pue = next((s.value for s in found.get("datacenter_pue_ratio", ()) if s.value >= 1), None)  # less is impossible
    prices = [Price(s.value, s.labels.get("currency", "")) for s in found.get("electricity_price_per_kwh", ())]
    price = prices[0] if prices else None
    return Exposition({reading.device.id: reading for reading in readings}, factors, pue, started, price)


def _gpus(found: Mapping[str, list[Sample]], exporter: str) -> Iterable[Reading]:
    value = _lookup(found, lambda s: s.labels.get("uuid", ""))
    info = {s.labels.get("uuid", ""): s.labels for s in found.get("gpu_info", ())}
    for uuid, joules in value("gpu_energy_joules_total").items():
        at = value("gpu_energy_timestamp_seconds").get(uuid)
        if at is None:  # without its time a counter brackets nothing
            continue
        labels = info.get(uuid, {})
        device = Device(uuid, "gpu", labels.get("name") or None, labels.get("method", "unknown"), exporter)
        yield Reading(
            device,
            Pair(joules, at),
            value("gpu_energy_resets_total").get(uuid),
            value("gpu_energy_update_interval_seconds").get(uuid),
            value("gpu_power_watts").get(uuid),
        )


def _cpus(found: Mapping[str, list[Sample]], exporter: str) -> Iterable[Reading]:
    value = _lookup(found, lambda s: _cpu_id(s.labels))
    info = {_cpu_id(s.labels): s.labels for s in found.get("cpu_info", ())}
    labels_of = {_cpu_id(s.labels): s.labels for s in found.get("cpu_energy_joules_total", ())}
    for id_, joules in value("cpu_energy_joules_total").items():
        at = value("cpu_energy_timestamp_seconds").get(id_)
        if at is None:
            continue
        labels = labels_of[id_]
        method = info.get(id_, {}).get("method", "unknown")
        device = Device(id_, "cpu", None, method, exporter, labels.get("package", ""), labels.get("zone", ""))
        yield Reading(device, Pair(joules, at), None, None, None)


def _cpu_id(labels: Mapping[str, str]) -> str:
    zone = labels.get("zone", "package")
    return f"cpu-{labels.get('package', '')}" + ("" if zone == "package" else f"-{zone}")


def _lookup(found: Mapping[str, list[Sample]], key: Callable[[Sample], str]) -> Callable[[str], Mapping[str, float]]:
    # max: exporters may repeat a board (one series for each MIG slice), and never with less than its energy
    def value(name: str) -> Mapping[str, float]:
        values: dict[str, float] = {}
        for sample in found.get(name, ()):
            values[key(sample)] = max(sample.value, values.get(key(sample), -math.inf))
        return values

    return value
