"""A finished run as a value (``Run``) and as the document ``perjoule.run/1`` of ``run.json``.

Pure: composes what was measured, computed and judged. The keys of the document are a contract that a test
holds; those beyond it (``simulated``, ``warnings``, …) only add.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from perjoule.reference import references
from perjoule.workloads import WORKLOADS
from perjoule_loadgen.archive import SCHEMA
from perjoule_loadgen.attribution import Attribution, Estimate
from perjoule_loadgen.config import Arrival, Config, Rules
from perjoule_loadgen.described import answers, shape_of
from perjoule_loadgen.energy import SIMULATED, Device, Price
from perjoule_loadgen.figures import Baseline, Carbon, Figures, cost, figures
from perjoule_loadgen.measurement import Bracket, Measurement
from perjoule_loadgen.sci import Sci
from perjoule_loadgen.stats import Interval
from perjoule_loadgen.verdict import Facts, Verdict, difference, failures, lengths, verdict

SIMULATED_BANNER = "SIMULATED: no hardware was measured; these figures show the method and nothing else"


@dataclass(frozen=True, slots=True)
class Run:
    """One task's measurement with its figures and verdict."""

    measurement: Measurement
    figures: Figures
    verdict: Verdict
    carbon: Carbon | None
    baselines: Mapping[str, Baseline]
    crosscheck: Mapping[str, Any] | None
    price: Price | None = None

    @property
    def task(self) -> str:
        """Workload id."""
        return self.measurement.plan.task

    @property
    def devices(self) -> tuple[Device, ...]:
        """The devices that pay, as far as the exporter was read."""
        return tuple(bracket.device for bracket in self.measurement.charged)

    @property
    def simulated(self) -> bool:
        """Whether any of them is simulated."""
        return any(device.method == SIMULATED for device in self.devices)


@dataclass(frozen=True, slots=True)
class Setting:
    """What a document says beside what was measured: the server's URL, the load asked for, and this machine."""

    target: str
    load: Mapping[str, Any]
    host: Mapping[str, Any]


def conclude(
    measurement: Measurement, baselines: Mapping[str, Baseline], carbon: Carbon | None, rules: Rules,
    price: Price | None = None,
) -> Run:  # fmt: skip
    """Compute the figures of a measurement and judge it."""
    found = figures(measurement, baselines, carbon)
    facts = Facts(measurement, found, baselines, rules)
    return Run(measurement, found, verdict(facts), carbon, baselines, _crosscheck(facts), price)


def document(run: Run, setting: Setting) -> dict[str, Any]:
    """Return the content of ``run.json``."""
    return {
        "schema": SCHEMA,
        "verdict": "valid" if run.verdict.valid else "invalid",
        "reasons": [reason.text for reason in run.verdict.reasons],
        "warnings": [reason.text for reason in run.verdict.warnings],
        "reason_codes": [reason.code for reason in run.verdict.reasons],
        "warning_codes": [reason.code for reason in run.verdict.warnings],
        "simulated": run.simulated,
        **({"banner": SIMULATED_BANNER} if run.simulated else {}),
        "interrupted": run.measurement.interrupted,
        **_work(run, setting),
        **_energy(run),
        "price": None if run.price is None else asdict(run.price),
        "cost_per_inference": _dict(cost(run.figures.gross, run.price, run.carbon.pue if run.carbon else None)),
        "reference": [
            {
                "source": f.source,
                "boundary": f.boundary,
                "joules_per_inference": f.joules_per_inference,
                "low": f.low,
                "high": f.high,
                "models": f.models,
            }
            for f in references()[run.task]
        ],
        "host": dict(setting.host),
    }


def _work(run: Run, setting: Setting) -> dict[str, Any]:
    measurement, found = run.measurement, run.figures
    load, model = measurement.steady, measurement.plan.model
    return {
        "task": run.task,
        "model": model.id,
        "weights": model.weights,
        "target": setting.target,
        "load": dict(setting.load),
        "window": {
            "start": found.start,
            "end": found.end,
            "seconds": found.seconds,
            "load_start": measurement.began,
            "load_end": measurement.ended,
        },
        "requests": {"sent": load.sent, "ok": load.ok, "failed": failures(load.results), "scheduled": load.scheduled},
        "latency_seconds": asdict(found.latency),
        "throughput_per_second": found.per_second,
        **answers(measurement, found),
    }


def _energy(run: Run) -> dict[str, Any]:
    measurement, found = run.measurement, run.figures
    each = {"gross": _dict(found.gross), "active": _dict(found.active), "attributed": _dict(found.attributed.joules)}
    unit = WORKLOADS[run.task].unit.value
    return {
        "devices": [_device(bracket, run.baselines) for bracket in measurement.charged],
        "excluded_devices": [_device(bracket, run.baselines) for bracket in measurement.excluded],
        "lengths": lengths(measurement),
        "joules_per_inference": each,
        "attribution": _attribution(found.attributed),
        "joules_per_unit": {"unit": unit, "value": found.joules_per_unit, "units": found.units},
        "grams_per_inference": _dict(found.grams),
        "sci_grams_per_inference": _dict(found.sci),
        "carbon": None if run.carbon is None else asdict(run.carbon),
        "crosscheck": run.crosscheck,
    }


def idle_report(baselines: Mapping[str, Baseline]) -> list[dict[str, Any]]:
    """Return the idle baselines for ``host`` in ``run.json``, drift included."""
    return [
        {
            "device": id_,
            "before_watts": baseline.before.watts if baseline.before else None,
            "after_watts": baseline.after.watts if baseline.after else None,
            "drift_ratio": baseline.drift,
            "before": asdict(baseline.before) if baseline.before else None,
            "after": asdict(baseline.after) if baseline.after else None,
        }
        for id_, baseline in baselines.items()
    ]


def load_of(config: Config) -> dict[str, Any]:
    """Return what ``run.json`` says of the load that was asked for."""
    closed = config.arrival is Arrival.CLOSED
    return {
        "arrival": config.arrival.value,
        "rate": config.rate,
        "concurrency": config.concurrency if closed else None,
        "seed": config.seed,
        "requests": config.requests,
        "repeats": 1,
        "duration_seconds": config.duration,
        "warmup_seconds": config.warmup,
        "timeout_seconds": config.timeout,
        **shape_of(config),
    }


def _device(bracket: Bracket, baselines: Mapping[str, Baseline]) -> dict[str, Any]:
    baseline = baselines.get(bracket.device.id)
    return {
        "device": bracket.device.id,
        "kind": bracket.device.kind,
        "name": bracket.device.name,
        "method": bracket.device.method,
        "joules": bracket.joules if bracket.sound else None,
        "idle_watts": baseline.watts if baseline is not None else None,
        "tick_seconds": bracket.tick,
        "exporter": bracket.device.exporter,
        "counter": {"start": asdict(bracket.start), "end": asdict(bracket.end)},
        "reset": bracket.reset,
        "doubt": bracket.doubt,
    }


def _attribution(found: Attribution) -> dict[str, Any]:
    """Return what stands behind the attributed figure, or why there is none."""
    balance = found.balance
    return {
        "reason": found.reason,
        "requests": found.requests,
        "unmeasured_requests": found.unmeasured,
        "grams_per_inference": _dict(found.grams),
        "low_confidence": list(found.weak),
        "devices_without_ledger": list(found.outside),
        "charged_joules": None if balance is None else dict(balance.own),
        "others_joules": None if balance is None else balance.others,
        "idle_joules": None if balance is None else balance.idle,
        "unattributed_joules": None if balance is None else dict(balance.unattributed),
        "open_joules": None if balance is None else balance.open,
        "counter_joules": None if balance is None else balance.counter,
    }


def _dict(figure: Interval | Estimate | Sci | None) -> dict[str, Any] | None:
    return None if figure is None else asdict(figure)


def _crosscheck(facts: Facts) -> dict[str, Any] | None:
    check, found = facts.measurement.crosscheck, difference(facts)
    if check is None:
        return None
    return {
        "prometheus_joules": check.joules,
        "difference_ratio": found[0] if found else None,
        "bound_ratio": found[1] if found else None,
        "joules_per_inference": check.joules_per_inference,
        "query": check.query,
    }
