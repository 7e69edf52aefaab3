"""What an exporter's ledgers say in one scrape: joules and grams charged to inferences, and where the rest of them is.

All of one scrape is of one moment, so sums and counts of it belong together. Read at a window's edges only: an exporter
with many models has many lines. A series that is absent stays absent. Knows nothing of windows or of who is who.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from prometheus_client.samples import Sample

from perjoule.errors import MeasurementError
from perjoule_loadgen.energy import samples

OVERHEAD_PHASES = frozenset({"load", "warm-up"})
"""Phases of work without a request: they are charged as overhead, and nobody's request depends on their watts."""

_PREFIXES = (
    "inference_energy_joules_total", "inference_emissions_grams_total", "inference_request_energy_joules_sum",
    "inference_request_energy_joules_count", "inference_unmeasured_requests_total",
    "inference_counter_energy_joules_total",
    "inference_idle_energy_joules_total", "inference_unattributed_energy_joules_total", "inference_open_energy_joules",
    "inference_learned_watts", "inference_idle_watts", "gpu_embodied_emissions_grams_total",
    "process_start_time_seconds",
)  # fmt: skip

Work = tuple[str, str]
"""Task and model."""

Charge = tuple[str, str, str, str]
"""Task, model, device and outcome."""

Kind = tuple[str, str, str, str]
"""Task, model, device and phase."""

K = TypeVar("K")


@dataclass(frozen=True, slots=True)
class Books:
    """The ledgers of one exporter at one time.

    Attributes:
        at: Unix time of the reading, by this machine's clock.
        started: Unix time at which the exporter started, None where it does not say.
        joules: charged, since the exporter began.
        grams: CO2e of the same; empty without a zone.
        requests: how many ended ok, and the joules of all of them, by task and model.
        unmeasured: how many others ended ok, whose energy is not known; empty where the exporter tells none.
        counter: joules of each device.
        idle: of them, those of the idle device.
        unattributed: of them, those of nobody, by device and reason.
        open: of them, those that are not charged yet.
        idle_watts: of each device, where the exporter knows them.
        known: kinds of work whose watts the exporter knows well enough to say them.
        error_ratio: standard error of a kind's watts as a ratio of them.
        embodied: grams of each GPU's manufacture so far; empty where nobody stated any.
    """

    at: float
    started: float | None
    joules: Mapping[Charge, float]
    grams: Mapping[Charge, float]
    requests: Mapping[Work, tuple[float, float]]
    unmeasured: Mapping[Work, float]
    counter: Mapping[str, float]
    idle: Mapping[str, float]
    unattributed: Mapping[tuple[str, str], float]
    open: Mapping[str, float]
    idle_watts: Mapping[str, float]
    known: frozenset[Kind]
    error_ratio: Mapping[Kind, float]
    embodied: Mapping[str, float]


def books(text: str, at: float) -> Books:
    """Read an exporter's answer, which was had at Unix time ``at``.

    Raises:
        MeasurementError: the text is no exposition.
    """
    found = samples(text, _PREFIXES)

    def values(name: str, key: Callable[[Mapping[str, str]], K]) -> dict[K, float]:
        return {key(sample.labels): sample.value for sample in found.get(name, ())}

    return Books(
        at=at,
        started=max((sample.value for sample in found.get("process_start_time_seconds", ())), default=None),
        joules=values("inference_energy_joules_total", _charge),
        grams=values("inference_emissions_grams_total", _charge),
        requests=_requests(found),
        unmeasured=values("inference_unmeasured_requests_total", _work),
        counter=values("inference_counter_energy_joules_total", _device),
        idle=values("inference_idle_energy_joules_total", _device),
        unattributed=values("inference_unattributed_energy_joules_total", _reason),
        open=values("inference_open_energy_joules", _device),
        idle_watts=values("inference_idle_watts", _device),
        known=frozenset(values("inference_learned_watts", _kind)),
        error_ratio=values("inference_learned_watts_error_ratio", _kind),
        embodied=values("gpu_embodied_emissions_grams_total", lambda labels: labels.get("uuid", "")),
    )


def restarted(before: Books, after: Books) -> bool:
    """Tell whether the exporter's sums began anew between two readings."""
    counts = [(before.requests.get(work, (0.0, 0.0))[0], count) for work, (count, _) in after.requests.items()]
    back = any(after.joules.get(charge, 0.0) < joules for charge, joules in before.joules.items())
    return before.started != after.started or back or any(now < then for then, now in counts)


def _requests(found: Mapping[str, list[Sample]]) -> dict[Work, tuple[float, float]]:
    counts = {_work(sample.labels): sample.value for sample in found.get("inference_request_energy_joules_count", ())}
    sums = {_work(sample.labels): sample.value for sample in found.get("inference_request_energy_joules_sum", ())}
    if counts.keys() != sums.keys():
        raise MeasurementError("not a Prometheus exposition: inference_request_energy_joules has counts without sums")
    return {work: (count, sums[work]) for work, count in counts.items()}


def _work(labels: Mapping[str, str]) -> Work:
    return labels.get("task", ""), labels.get("model", "")


def _device(labels: Mapping[str, str]) -> str:
    return labels.get("device", "")


def _charge(labels: Mapping[str, str]) -> Charge:
    return *_work(labels), _device(labels), labels.get("outcome", "")


def _kind(labels: Mapping[str, str]) -> Kind:
    return *_work(labels), _device(labels), labels.get("phase", "")


def _reason(labels: Mapping[str, str]) -> tuple[str, str]:
    return _device(labels), labels.get("reason", "")
