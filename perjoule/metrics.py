"""The catalogue of every metric that Perjoule's programs expose: one row each, and the only place a name is written.

Conventions: base units, ``_total`` on counters, labels are identity only, a value that is unknown is absent (never 0,
never the last one), model names and driver versions on ``_info``. ``docs/metrics.md`` is generated from these rows, and
a test holds them against what the programs really expose. The catalogue does not know how a value comes about.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType


class Kind(StrEnum):
    """Prometheus metric type."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Program(StrEnum):
    """Which program exposes a metric."""

    EXPORTER = "gpu-energy-exporter"
    SERVER = "inference-server"
    BOTH = "both"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric family: full exposed name (``_total`` included), type, label names, help text, who exposes it.

    ``buckets`` are the upper bounds of a histogram, without ``+Inf``.
    """

    name: str
    kind: Kind
    labels: tuple[str, ...]
    help: str
    program: Program
    buckets: tuple[float, ...] = ()


_GPU = ("gpu", "uuid")
_CPU = ("package", "zone")
_TASK = ("task", "model")
_READ_BUCKETS = (1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
_LATENCY_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
_REQUEST_JOULES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0, 10000.0)
_BATCH_BUCKETS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0)


def _exporter(name: str, kind: Kind, labels: tuple[str, ...], text: str, buckets: tuple[float, ...] = ()) -> Metric:
    return Metric(name, kind, labels, text, Program.EXPORTER, buckets)


def _server(name: str, kind: Kind, labels: tuple[str, ...], text: str, buckets: tuple[float, ...] = ()) -> Metric:
    return Metric(name, kind, labels, text, Program.SERVER, buckets)


_CATALOGUE = (
    # The board's energy and power.
    _exporter("gpu_energy_joules_total", Kind.COUNTER, _GPU,
              "Energy of the board (or module) since first seen, in joules, monotone over driver resets;"
              " gpu_info{method} says how it comes about."),
    _exporter("gpu_energy_timestamp_seconds", Kind.GAUGE, _GPU,
              "Unix time at which the energy counter last moved, so that (energy, time) pairs are exact."),
    _exporter("gpu_energy_integrated_joules_total", Kind.COUNTER, _GPU,
              "The same energy as the integral of power samples, to hold against the counter: compare increases, not"
              " totals, for it starts later and leaves out gaps of over 1 s."),
    _exporter("gpu_energy_update_interval_seconds", Kind.GAUGE, _GPU,
              "Inferred interval between two updates of the energy counter; absent while the readings"
              " cannot tell."),
    _exporter("gpu_energy_resets_total", Kind.COUNTER, _GPU,
              "Times the driver's energy counter went backwards, or forwards by more than a board can draw."),
    _exporter("gpu_power_watts", Kind.GAUGE, _GPU,
              "Latest power reading, in watts: the instant field where there is one (a 25 ms mean on A100 and H100),"
              " else the driver's average."),
    _exporter("gpu_power_average_watts", Kind.GAUGE, _GPU, "Power as the driver averages it (about 1 s), in watts."),
    _exporter("gpu_power_max_watts", Kind.GAUGE, _GPU,
              "Highest power of the last 15 s, in watts; instant power where the driver tells it."),
    _exporter("gpu_power_min_watts", Kind.GAUGE, _GPU,
              "Lowest power of the last 15 s, in watts; instant power where the driver tells it."),
    _exporter("gpu_power_limit_watts", Kind.GAUGE, _GPU, "Enforced power limit, in watts."),
    _exporter("gpu_utilization_ratio", Kind.GAUGE, _GPU, "Share of time in which a kernel ran, 0 to 1."),
    _exporter("gpu_memory_used_bytes", Kind.GAUGE, _GPU, "Device memory in use, in bytes."),
    _exporter("gpu_memory_total_bytes", Kind.GAUGE, _GPU, "Device memory, in bytes."),
    _exporter("gpu_temperature_celsius", Kind.GAUGE, _GPU, "Temperature of the GPU, in degrees Celsius."),
    _exporter("gpu_clock_hertz", Kind.GAUGE, (*_GPU, "domain"), "Current clock of the domain, in hertz."),
    _exporter("gpu_throttled_seconds_total", Kind.COUNTER, (*_GPU, "reason"),
              "Time in which the clocks were held down for this reason, in seconds."),
    _exporter("gpu_info", Kind.GAUGE, (*_GPU, "name", "vendor", "driver", "pci_bus_id", "method", "scope"),
              "Identity of the GPU and how its energy comes about; always 1."),
    _exporter("gpu_emissions_grams_total", Kind.COUNTER, _GPU,
              "CO2e of the board's energy at the intensity and PUE of the time of use, in grams."),
    _exporter("gpu_embodied_emissions_grams_total", Kind.COUNTER, _GPU,
              "CO2e of the GPU's manufacture, spread evenly over the stated lifetime, since first seen, in grams."),
    _exporter("gpu_mig_info", Kind.GAUGE, (*_GPU, "mig_uuid", "profile", "gpu_instance", "compute_instance"),
              "A MIG slice of the GPU, which has no energy of its own; always 1."),
    # Health of the reading itself.
    _exporter("gpu_up", Kind.GAUGE, _GPU, "1 if the last reading of the GPU succeeded and is fresh, else 0."),
    _exporter("gpu_read_duration_seconds", Kind.HISTOGRAM, _GPU, "Time that one reading took.", _READ_BUCKETS),
    _exporter("gpu_sample_age_seconds", Kind.GAUGE, _GPU, "Age of the last reading of the GPU, in seconds."),
    _exporter("gpu_samples_total", Kind.COUNTER, (*_GPU, "outcome"), "Readings of the GPU by outcome."),
    _exporter("gpu_exporter_collector_success", Kind.GAUGE, ("collector",),
              "1 if this group of families could be made for this scrape, 0 if the exporter has a fault there."),
    _exporter("gpu_process_energy_joules_total", Kind.COUNTER,
              (*_GPU, "kind", "command", "container", "pod_uid", "unit"),
              "The board's energy by who used it, in joules: shares by SM utilisation, not measured; the rows of a"
              " board add up to gpu_energy_joules_total."),
    # CPU packages.
    _exporter("cpu_energy_joules_total", Kind.COUNTER, _CPU,
              "Energy of the CPU package or its memory since first seen, in joules, measured or estimated:"
              " cpu_info{method} says which. Its rate() is the power."),
    _exporter("cpu_energy_timestamp_seconds", Kind.GAUGE, _CPU,
              "Unix time of the reading behind the energy, so that (energy, time) pairs are exact."),
    _exporter("cpu_zone_energy_joules_total", Kind.COUNTER, _CPU,
              "Energy of a zone that overlaps others (core, uncore, psys), in joules; never add it to them."),
    _exporter("cpu_info", Kind.GAUGE, (*_CPU, "method"), "How the package's energy comes about; always 1."),
    _exporter("cpu_emissions_grams_total", Kind.COUNTER, _CPU,
              "CO2e of the package's energy at the intensity and PUE of the time of use, in grams."),
    # Factors.
    _exporter("grid_carbon_intensity_grams_per_kwh", Kind.GAUGE, ("zone", "provider", "basis"),
              "Carbon intensity of electricity in use, in gCO2e per kWh; provider static is a yearly average of the"
              " table that Perjoule carries."),
    _exporter("grid_carbon_intensity_timestamp_seconds", Kind.GAUGE, ("zone", "provider", "basis"),
              "Unix time that the carbon intensity is of; for a past month's or year's average, the end of that."),
    _exporter("grid_carbon_provider_up", Kind.GAUGE, ("provider",),
              "1 if the live carbon provider answered with a usable value when last asked, else 0."),
    _exporter("datacenter_pue_ratio", Kind.GAUGE, (), "Power usage effectiveness applied to emissions."),
    _exporter("electricity_price_per_kwh", Kind.GAUGE, ("currency",),
              "What a kWh costs, as stated to the exporter, in the currency of its ISO 4217 code."),
    # What the exporter charges to inferences, of the devices that servers tell it of (docs/energy.md).
    _exporter("inference_energy_joules_total", Kind.COUNTER, (*_TASK, "device", "outcome"),
              "The device's energy that was charged to inferences by how they ended, in joules: shares of what was"
              " measured."),
    _exporter("inference_request_energy_joules", Kind.HISTOGRAM, _TASK,
              "Settled energy of requests that ended ok, in joules; its sum is that of"
              " inference_energy_joules_total{outcome=ok} over all devices.", _REQUEST_JOULES),
    _exporter("inference_unmeasured_requests_total", Kind.COUNTER, _TASK,
              "Requests that ended ok and whose energy is not known, for want of readings or because it was told late;"
              " not in inference_request_energy_joules."),
    _exporter("inference_counter_energy_joules_total", Kind.COUNTER, ("device",),
              "All energy of the device, in joules: charged + idle + unattributed + open, in every scrape."),
    _exporter("inference_idle_energy_joules_total", Kind.COUNTER, ("device",),
              "What the device would have used without work, in time that no span covers, in joules."),
    _exporter("inference_unattributed_energy_joules_total", Kind.COUNTER, ("device", "reason"),
              "Energy of the device that is nobody's, by why, in joules."),
    _exporter("inference_open_energy_joules", Kind.GAUGE, ("device",),
              "Energy not shared out yet, or given to requests that have not ended, in joules."),
    _exporter("inference_emissions_grams_total", Kind.COUNTER, (*_TASK, "device", "outcome"),
              "CO2e of the charged energy at the intensity and PUE of the time of use, in grams."),
    _exporter("inference_learned_watts", Kind.GAUGE, ("device", *_TASK, "phase"),
              "Power of the device while this work runs alone on it, in watts, as its counter told; absent while not"
              " known to 5 %."),
    _exporter("inference_learned_watts_error_ratio", Kind.GAUGE, ("device", *_TASK, "phase"),
              "Standard error of the learned watts as a ratio of them, also while they are absent."),
    _exporter("inference_idle_watts", Kind.GAUGE, ("device",),
              "Power of the device without work, in watts, as configured or as seen; absent until then."),
    _exporter("inference_settlement_delay_seconds", Kind.GAUGE, ("device",),
              "Time from the end of the last shared interval to when it was shared out."),
    _exporter("inference_spans_late_total", Kind.COUNTER, ("device",),
              "Lines that told of a time whose energy was given away already."),
    _exporter("inference_span_clients", Kind.GAUGE, ("device",),
              "Clients of the span socket that are connected and have said hello; each may work on any device."),
    # The server.
    _server("inference_requests_total", Kind.COUNTER, (*_TASK, "outcome"), "Requests by how they ended."),
    _server("inference_request_seconds", Kind.HISTOGRAM, _TASK, "Time from a request's arrival to its answer.",
            _LATENCY_BUCKETS),
    _server("inference_queue_seconds", Kind.HISTOGRAM, _TASK, "Time that a request waited for the device.",
            _LATENCY_BUCKETS),
    _server("inference_time_to_first_token_seconds", Kind.HISTOGRAM, _TASK,
            "Time from a request's arrival to the first token of its streamed answer.", _LATENCY_BUCKETS),
    _server("inference_batch_seconds", Kind.HISTOGRAM, _TASK, "Time that a batch held the device.", _LATENCY_BUCKETS),
    _server("inference_batch_size", Kind.HISTOGRAM, _TASK, "Requests in a batch.", _BATCH_BUCKETS),
    _server("inference_tokens_total", Kind.COUNTER, (*_TASK, "kind"), "Tokens read, written, and spent on padding."),
    _server("inference_work_units_total", Kind.COUNTER, (*_TASK, "unit"), "Functional units of work answered."),
    _server("inference_queue_depth", Kind.GAUGE, _TASK, "Requests that wait for the device now."),
    _server("inference_in_flight", Kind.GAUGE, _TASK, "Requests accepted and not yet answered."),
    _server("inference_device_busy_seconds_total", Kind.COUNTER, (*_TASK, "device"),
            "Time that batches of this task held the device, in seconds."),
    _server("inference_model_info", Kind.GAUGE, (*_TASK, "device", "dtype", "revision", "weights"),
            "What is served and where it runs; always 1."),
    _server("inference_spans_dropped_total", Kind.COUNTER, (),
            "Spans of which the exporter was not told the beginning or the end: their energy is nobody's, or"
            " abandoned."),
    # Both.
    Metric("perjoule_build_info", Kind.GAUGE, ("version", "program"), "Program version; always 1.", Program.BOTH),
)  # fmt: skip

CATALOGUE: Mapping[str, Metric] = MappingProxyType({metric.name: metric for metric in _CATALOGUE})
"""Every metric by its full name. ``process_*`` of client_python's process collector comes beside them."""

REQUEST_OUTCOMES = ("ok", "invalid", "too_large", "busy", "expired", "cancelled", "draining", "error")
"""Values of ``outcome`` of ``inference_requests_total``; every request ends in exactly one."""

ENERGY_OUTCOMES = ("ok", "cancelled", "expired", "error", "abandoned", "overhead", "unmeasured")
"""Values of ``outcome`` of ``inference_energy_joules_total``: abandoned had no end, overhead no request in it, and what
is unmeasured ended ok but is not all that it used."""

UNATTRIBUTED_REASONS = ("down", "reset", "stall", "lost", "gap", "foreign", "no_span", "idle_unknown")
"""Values of ``reason`` of ``inference_unattributed_energy_joules_total``; ``docs/energy.md`` says what each is."""

TOKEN_KINDS = ("input", "output", "padding")
"""Values of ``kind`` of ``inference_tokens_total``."""

OWNER_KINDS = ("process", "idle", "other", "unknown", "open")
"""Values of ``kind`` of ``gpu_process_energy_joules_total``: ``docs/processes.md`` says what each is."""

METHODS = ("counter", "integrated", "estimated", "simulated", "replayed")
"""Values of ``method`` of ``gpu_info`` and ``cpu_info``: how a device's joules come about."""
