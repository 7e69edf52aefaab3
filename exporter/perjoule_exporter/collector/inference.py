"""Whose the joules of devices were: inferences by task, model and outcome, what was idle, and what is nobody's.

All is of one moment, that of the devices' own energy in the same scrape: counter = charged + idle + unattributed +
open. It stays while a device does not answer, for what was charged stays charged.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping

from prometheus_client.metrics_core import Metric as Family
from prometheus_client.samples import Exemplar

from perjoule.metrics import UNATTRIBUTED_REASONS
from perjoule_exporter.collector.family import Distribution, family, histogram
from perjoule_exporter.collector.snapshot import Labels, Shown, Snapshot
from perjoule_exporter.ledger import Exemplar as Known
from perjoule_exporter.ledger import Kind, Learned, Owner
from perjoule_exporter.ledger import Snapshot as Ledger
from perjoule_exporter.ledger.snapshot import Charged as Row
from perjoule_exporter.meters import MICRO
from perjoule_exporter.view import Charged

_OK = "ok"


def families(now: Snapshot) -> Iterator[Family]:
    """Everything that the ledgers of this scrape tell."""
    charged = dict(_charged(now))
    ledgers = {device: each.ledger for device, each in charged.items()}
    yield family("inference_energy_joules_total", _energy(ledgers))
    yield histogram("inference_request_energy_joules", _requests(charged))
    yield family("inference_unmeasured_requests_total", _unmeasured(charged))
    yield from _balances(ledgers)
    yield family("inference_emissions_grams_total", _emissions(charged))
    yield from _learned(ledgers)


def _charged(now: Snapshot) -> Iterator[tuple[str, Charged]]:
    devices: tuple[Shown, ...] = (*now.gpus, *now.packages)
    for device in devices:
        if device.view.charged is not None:
            yield device.view.device.uuid, device.view.charged


def _energy(ledgers: Mapping[str, Ledger]) -> Iterator[tuple[Labels, float]]:
    for device, ledger in ledgers.items():
        for owner, row in ledger.charged.items():
            for outcome, charge in row.outcomes.items():
                yield {**_owner(owner), "device": device, "outcome": outcome}, charge.microjoules / MICRO


def _emissions(charged: Mapping[str, Charged]) -> Iterator[tuple[Labels, float | None]]:
    """Grams of what was charged; 0 from the start where the device's are counted, so that no first increase is lost."""
    for device, each in charged.items():
        begun = 0.0 if each.emissions else None
        for owner, row in each.ledger.charged.items():
            for outcome, charge in row.outcomes.items():
                grams = begun if charge.grams is None else charge.grams
                yield {**_owner(owner), "device": device, "outcome": outcome}, grams


def _requests(charged: Mapping[str, Charged]) -> Iterator[Distribution]:
    """One distribution for each owner, over all devices: a request of several is counted on one of them."""
    for owner, found in _by_owner(charged.values()).items():
        total = sum(row.outcomes[_OK].microjoules for row, _ in found if _OK in row.outcomes)
        counts = [sum(numbers) for numbers in zip(*(row.requests.buckets for row, _ in found), strict=True)]
        exemplars = zip(*([_exemplar(known, offset) for known in row.requests.exemplars] for row, offset in found),
                        strict=True)  # fmt: skip
        yield Distribution(_owner(owner), counts, total / MICRO, [_latest(candidates) for candidates in exemplars])


def _unmeasured(charged: Mapping[str, Charged]) -> Iterator[tuple[Labels, float]]:
    for owner, found in _by_owner(charged.values()).items():
        yield _owner(owner), sum(row.requests.unmeasured for row, _ in found)


def _by_owner(charged: Iterable[Charged]) -> dict[Owner, list[tuple[Row, float]]]:
    """Return each owner's row of each device, with that one's offset of the wall clock."""
    rows = defaultdict(list)
    for each in charged:
        for owner, row in each.ledger.charged.items():
            rows[owner].append((row, each.wall_offset))
    return rows


def _latest(candidates: Iterable[Exemplar | None]) -> Exemplar | None:
    known = [exemplar for exemplar in candidates if exemplar is not None]
    return max(known, key=lambda exemplar: exemplar.timestamp or 0.0, default=None)


def _exemplar(known: Known | None, wall_offset: float) -> Exemplar | None:
    if known is None:
        return None
    return Exemplar({"request_id": known.request}, known.microjoules / MICRO, round(known.time + wall_offset, 3))


def _balances(ledgers: Mapping[str, Ledger]) -> Iterator[Family]:
    """What the counters of the devices saw, and where it is that is not charged."""
    yield _of_each("inference_counter_energy_joules_total", ledgers, lambda ledger: ledger.counter / MICRO)
    yield _of_each("inference_idle_energy_joules_total", ledgers, lambda ledger: ledger.idle / MICRO)
    unattributed = (
        ({"device": device, "reason": reason}, ledger.unattributed.get(reason, 0) / MICRO)
        for device, ledger in ledgers.items()
        for reason in UNATTRIBUTED_REASONS
    )
    yield family("inference_unattributed_energy_joules_total", unattributed)
    yield _of_each("inference_open_energy_joules", ledgers, lambda ledger: ledger.open / MICRO)


def _learned(ledgers: Mapping[str, Ledger]) -> Iterator[Family]:
    """How energy is shared out, and how well that goes."""
    known = [(_work(device, learned.kind), learned) for device, ledger in ledgers.items() for learned in ledger.learned]
    yield family(
        "inference_learned_watts",
        ((labels, None if learned.low_confidence else learned.watts) for labels, learned in known),
    )
    yield family("inference_learned_watts_error_ratio", ((labels, _error(learned)) for labels, learned in known))
    yield _of_each("inference_idle_watts", ledgers, lambda ledger: ledger.idle_watts)
    yield _of_each("inference_settlement_delay_seconds", ledgers, lambda ledger: ledger.delay_seconds)
    yield _of_each("inference_spans_late_total", ledgers, lambda ledger: ledger.late)
    yield _of_each("inference_span_clients", ledgers, lambda ledger: ledger.clients)


def _of_each(name: str, ledgers: Mapping[str, Ledger], value: Callable[[Ledger], float | None]) -> Family:
    return family(name, (({"device": device}, value(ledger)) for device, ledger in ledgers.items()))


def _owner(owner: Owner) -> Labels:
    return {"task": owner.task, "model": owner.model}


def _work(device: str, kind: Kind) -> Labels:
    return {"device": device, "task": kind.task, "model": kind.model, "phase": kind.phase}


def _error(learned: Learned[Kind]) -> float | None:
    return learned.error_watts / learned.watts if learned.watts > 0 else None
