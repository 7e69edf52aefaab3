"""What must stand below the table: method, boundary, factor, and the caveats of the figures that are shown.

Pure: (title, sentence) pairs. A figure that is not there has no note.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from types import MappingProxyType

from perjoule.reference import STUDY, STUDY_CAVEATS, study_figure
from perjoule.units import scaled, significant
from perjoule_loadgen.energy import METHOD_WORDS
from perjoule_loadgen.result import Run
from perjoule_loadgen.stats import requests_needed

_NO_WASTE = frozenset({"ok", "overhead", "unmeasured"})
"""Outcomes of energy that some answer, or the serving of all, needed."""

_REAL_WEIGHTS = frozenset({"hub", "packaged"})
_WEIGHTS_WORDS: Mapping[str, str] = MappingProxyType(
    {
        "tiny": "tiny, random weights: the cost of these small models, not comparable with the study's",
        "architecture": "random weights in architectures of full size: the answers mean nothing, the work is that size",
    }
)
WEAK = "*"
"""Stands behind an attributed figure whose watts the exporter does not know well."""

_IMAGE_TASK = "text-to-image"
"""What the study likens to charging a phone."""


def notes(runs: Sequence[Run], columns: Collection[str]) -> Iterable[tuple[str, str]]:
    """Return the notes of ``runs`` for a table of these columns (the last lines of their titles)."""
    yield from _device_notes(runs)
    if "±" in columns or "active" in columns:
        yield from _uncertainty_notes(runs)
    if "attributed" in columns:
        yield from _attributed_notes(runs)
    yield from _model_notes(runs)
    yield from _carbon_notes(runs)
    if "p95" in columns and any(run.figures.latency.p50 and not run.figures.latency.p95 for run in runs):
        needed = ", ".join(f"p{percent} from {requests_needed(percent)}" for percent in (90, 95, 99))
        yield "latency", f"— where there were too few answers: {needed} on"
    if any(run.crosscheck is not None for run in runs) and "PromQL" in columns:
        yield "PromQL", "the same windows by Prometheus: exact deltas of its counters with @, independent of the client"
    if "study [1]" in columns:
        yield from _study_notes(runs)


def _device_notes(runs: Sequence[Run]) -> Iterable[tuple[str, str]]:
    devices = {device.id: device for run in runs for device in run.devices}
    for device in devices.values():
        name = f" ({device.name})" if device.name else ""
        yield "energy", f"{device.id}{name}: {device.method}: {METHOD_WORDS.get(device.method, 'of unknown method')}"
    if devices:
        yield "boundary", f"{' + '.join(devices)} alone; nothing else of the machine, and no PUE, is in the joules"
    for id_, baseline in (runs[0].baselines if runs else {}).items():
        if id_ in devices and baseline.watts is not None:
            measured = [idle for idle in (baseline.before, baseline.after) if idle is not None]
            yield "idle", f"{id_}: {' and '.join(f'{significant(idle.watts)} W' for idle in measured)}"
    excluded = dict.fromkeys(b.device.id for run in runs for b in run.measurement.excluded)
    if excluded:
        yield "excluded", f"{', '.join(excluded)}: shown by the exporter and not charged"


def _uncertainty_notes(runs: Sequence[Run]) -> Iterable[tuple[str, str]]:
    with_figures = [run for run in runs if run.figures.gross is not None]
    if not with_figures:
        return
    methods = {device.method for run in with_figures for device in run.devices}
    words = "one counter update at each edge, and the quiet around the load"
    if "counter" in methods:
        words += "; the gain of a board's sensor (±5 %) is not in it"
    if "estimated" in methods:
        words += "; the error of the estimate itself is unknown and not in it"
    yield "±", words
    active = [run.figures.active for run in with_figures]
    if None in active:
        yield "active", "— without an idle baseline"
    elif any(interval is not None and interval.value is None for interval in active):
        yield "active", "— where it is below its own uncertainty"


def _attributed_notes(runs: Sequence[Run]) -> Iterable[tuple[str, str]]:
    if any(run.figures.attributed.joules is not None for run in runs):
        yield "attributed", "what the exporter's ledger charged to these requests, idle time between them left out"
    if any(run.figures.attributed.weak for run in runs if run.figures.attributed.joules is not None):
        yield (
            WEAK,
            "the exporter does not know the watts of this work to 5 % yet: what ran beside it may have been split",
        )
    if any(run.figures.attributed.outside for run in runs):
        outside = dict.fromkeys(device for run in runs for device in run.figures.attributed.outside)
        yield "attributed", f"without {', '.join(outside)}, of which nothing is charged to inferences"
    reasons: dict[str, list[str]] = {}
    for run in runs:
        if run.figures.attributed.reason is not None and run.figures.gross is not None:
            reasons.setdefault(run.figures.attributed.reason, []).append(run.task)
    for reason, of in reasons.items():
        which = "" if len(of) == len(runs) else f"{', '.join(of)}: "
        yield "attributed", f"— {which}{reason}"
    for run in runs:
        if (waste := _waste(run)) is not None:
            yield "waste", waste


def _waste(run: Run) -> str | None:
    """Return what was charged to requests that did not end ok, in words; None where nothing was."""
    balance = run.figures.attributed.balance
    lost = {outcome: j for outcome, j in (balance.own if balance else {}).items() if outcome not in _NO_WASTE and j > 0}
    if balance is None or not lost:
        return None
    share = sum(lost.values()) / sum(balance.own.values())
    parts = ", ".join(f"{scaled(joules, 'J')} {outcome}" for outcome, joules in lost.items())
    return f"{run.task}: {share:.1%} of what it was charged went to requests without an answer: {parts}"


def _model_notes(runs: Sequence[Run]) -> Iterable[tuple[str, str]]:
    tasks: dict[str, list[str]] = {}
    for run in runs:
        weights = run.measurement.plan.model.weights
        if weights and weights not in _REAL_WEIGHTS:
            tasks.setdefault(weights, []).append(run.task)
    for weights, of in tasks.items():
        which = "" if len(of) == len(runs) else f"{', '.join(of)}: "
        yield "models", which + _WEIGHTS_WORDS.get(weights, f"{weights} weights, not published ones")


def _carbon_notes(runs: Sequence[Run]) -> Iterable[tuple[str, str]]:
    if all(run.figures.gross is None for run in runs):
        return
    carbon = next((run.carbon for run in runs if run.carbon is not None), None)
    if carbon is None:
        yield "gCO2e", "no zone: start the exporter with --carbon.zone FRA, or give loadgen --zone FRA"
        return
    source = ", ".join(str(part) for part in (carbon.source, carbon.year) if part is not None)
    pue = f"PUE {carbon.pue:g}" if carbon.pue is not None else "PUE not told, devices alone"
    by = "recomputed with --zone" if carbon.recomputed else "the exporter's factor"
    factor = f"{significant(carbon.grams_per_kwh)} g/kWh ({source or 'source unknown'}), {pue}"
    yield "gCO2e", f"zone {carbon.zone}, {factor}; {by}; gross joules × intensity × PUE, location based"


def _study_notes(runs: Sequence[Run]) -> Iterable[tuple[str, str]]:
    if all(study_figure(run.task) is None for run in runs):
        return
    boundary, intensity, phones = STUDY_CAVEATS
    yield "[1] study", f"{STUDY}. {boundary}"
    yield "", intensity
    if any(run.task == _IMAGE_TASK for run in runs):
        yield "", phones
