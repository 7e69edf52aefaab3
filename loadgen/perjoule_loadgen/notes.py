"""What must stand below the table: method, boundary, factor, and the caveats of the figures that are shown.

Pure: (title, sentence) pairs from documents of ``run.json``, so that a run that was read back has the same notes as a
fresh one. A figure that is not there has no note.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from perjoule.reference import STUDY, STUDY_CAVEATS, study_figure
from perjoule.units import scaled, significant
from perjoule_loadgen.energy import METHOD_WORDS
from perjoule_loadgen.projection import PER_DAY, footnotes
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

Document = Mapping[str, Any]
Note = tuple[str, str]


def notes(runs: Sequence[Document], columns: Collection[str], per_day: int = PER_DAY) -> Iterable[Note]:
    """Return the notes of ``runs`` for a table of these columns (the last lines of their titles)."""
    yield from _device_notes(runs)
    if "±" in columns or "active" in columns:
        yield from _uncertainty_notes(runs)
    if "attributed" in columns:
        yield from _attributed_notes(runs)
    yield from _model_notes(runs)
    yield from _carbon_notes(runs)
    if "p95" in columns and any(run["latency_seconds"]["p50"] and not run["latency_seconds"]["p95"] for run in runs):
        needed = ", ".join(f"p{percent} from {requests_needed(percent)}" for percent in (90, 95, 99))
        yield "latency", f"— where there were too few answers: {needed} on"
    if any(run["crosscheck"] is not None for run in runs) and "PromQL" in columns:
        yield "PromQL", "the same windows by Prometheus: exact deltas of its counters with @, independent of the client"
    if "study [1]" in columns:
        yield from _study_notes(runs)
    price = next((run["price"] for run in runs if run.get("price")), None)
    if price is not None:
        yield "cost", f"{price['per_kwh']:g} {price['currency']} a kWh, as stated to the exporter; gross joules × PUE"
    yield from (("projected", sentence) for sentence in footnotes(runs, per_day))


def gross(run: Document) -> Mapping[str, float] | None:
    """Return the gross figure; None where there is none."""
    found: Mapping[str, float] | None = run["joules_per_inference"]["gross"]
    return found


def _device_notes(runs: Sequence[Document]) -> Iterable[Note]:
    devices = {device["device"]: device for run in runs for device in run["devices"]}
    for id_, device in devices.items():
        name = f" ({device['name']})" if device["name"] else ""
        yield "energy", f"{id_}{name}: {device['method']}: {METHOD_WORDS.get(device['method'], 'of unknown method')}"
    if devices:
        yield "boundary", f"{' + '.join(devices)} alone; nothing else of the machine, and no PUE, is in the joules"
    for baseline in runs[0]["host"].get("idle", ()) if runs else ():
        measured = [baseline[when] for when in ("before_watts", "after_watts") if baseline[when] is not None]
        if baseline["device"] in devices and measured:
            yield "idle", f"{baseline['device']}: {' and '.join(f'{significant(watts)} W' for watts in measured)}"
    excluded = dict.fromkeys(device["device"] for run in runs for device in run["excluded_devices"])
    if excluded:
        yield "excluded", f"{', '.join(excluded)}: shown by the exporter and not charged"


def _uncertainty_notes(runs: Sequence[Document]) -> Iterable[Note]:
    with_figures = [run for run in runs if gross(run) is not None]
    if not with_figures:
        return
    methods = {device["method"] for run in with_figures for device in run["devices"]}
    words = "one counter update at each edge, and the quiet around the load"
    if "counter" in methods:
        words += "; the gain of a board's sensor (±5 %) is not in it"
    if "estimated" in methods:
        words += "; the error of the estimate itself is unknown and not in it"
    yield "±", words
    active = [run["joules_per_inference"]["active"] for run in with_figures]
    if None in active:
        yield "active", "— without an idle baseline"
    elif any(interval["value"] is None for interval in active):
        yield "active", "— where it is below its own uncertainty"


def _attributed_notes(runs: Sequence[Document]) -> Iterable[Note]:
    known = [run for run in runs if run["joules_per_inference"]["attributed"] is not None]
    if known:
        yield "attributed", "what the exporter's ledger charged to these requests, idle time between them left out"
    if any(run["attribution"]["low_confidence"] for run in known):
        yield (
            WEAK,
            "the exporter does not know the watts of this work to 5 % yet: what ran beside it may have been split",
        )
    outside = dict.fromkeys(device for run in runs for device in run["attribution"]["devices_without_ledger"])
    if outside:
        yield "attributed", f"without {', '.join(outside)}, of which nothing is charged to inferences"
    reasons: dict[str, list[str]] = {}
    for run in runs:
        if run["attribution"]["reason"] is not None and gross(run) is not None:
            reasons.setdefault(run["attribution"]["reason"], []).append(run["task"])
    for reason, of in reasons.items():
        yield "attributed", f"— {_which(of, runs)}{reason}"
    for run in runs:
        if (waste := _waste(run)) is not None:
            yield "waste", waste


def _which(of: Sequence[str], runs: Sequence[Document]) -> str:
    return "" if len(of) == len(runs) else f"{', '.join(of)}: "


def _waste(run: Document) -> str | None:
    """Return what was charged to requests that did not end ok, in words; None where nothing was."""
    own = run["attribution"]["charged_joules"] or {}
    lost = {outcome: joules for outcome, joules in own.items() if outcome not in _NO_WASTE and joules > 0}
    if not lost:
        return None
    share = sum(lost.values()) / sum(own.values())
    parts = ", ".join(f"{scaled(joules, 'J')} {outcome}" for outcome, joules in lost.items())
    return f"{run['task']}: {share:.1%} of what it was charged went to requests without an answer: {parts}"


def _model_notes(runs: Sequence[Document]) -> Iterable[Note]:
    tasks: dict[str, list[str]] = {}
    for run in runs:
        if run["weights"] and run["weights"] not in _REAL_WEIGHTS:
            tasks.setdefault(run["weights"], []).append(run["task"])
    for weights, of in tasks.items():
        words = _WEIGHTS_WORDS.get(weights, f"{weights} weights, not published ones")
        yield "models", _which(of, runs) + words


def _carbon_notes(runs: Sequence[Document]) -> Iterable[Note]:
    if all(gross(run) is None for run in runs):
        return
    carbon = next((run["carbon"] for run in runs if run["carbon"] is not None), None)
    if carbon is None:
        yield "gCO2e", "no zone: start the exporter with --carbon.zone FRA, or give loadgen --zone FRA"
        return
    source = ", ".join(str(part) for part in (carbon["source"], carbon["year"]) if part is not None)
    pue = f"PUE {carbon['pue']:g}" if carbon["pue"] is not None else "PUE not told, devices alone"
    by = "recomputed with --zone" if carbon["recomputed"] else "the exporter's factor"
    factor = f"{significant(carbon['grams_per_kwh'])} g/kWh ({source or 'source unknown'}), {pue}"
    yield "gCO2e", f"zone {carbon['zone']}, {factor}; {by}; gross joules × intensity × PUE, location based"


def _study_notes(runs: Sequence[Document]) -> Iterable[Note]:
    if all(study_figure(run["task"]) is None for run in runs):
        return
    boundary, *others = STUDY_CAVEATS
    yield "[1] study", f"{STUDY}. {boundary}"
    yield from (("", caveat) for caveat in others)
