"""Whether a run's figures may be relied on: each reason against is a sentence with the figure that caused it.

Pure. One cause gives one reason: where a cause makes others follow (an interruption, a dead server, a reset counter),
those are not told again.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from perjoule_loadgen.attribution import MOST_DIFFERENT
from perjoule_loadgen.client import ERRORS, Result
from perjoule_loadgen.config import Rules
from perjoule_loadgen.figures import Baseline, Figures
from perjoule_loadgen.measurement import Measurement
from perjoule_loadgen.sketch import Sketch
from perjoule_loadgen.work import asked_for, told, unknown

_LAG_PERCENT = 99
_TICK_TOLERANCE = 0.98  # the tick is inferred, and no steadier than this


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a run is invalid, or what to keep in mind: a short code for programs, a sentence for people."""

    code: str
    text: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """Reasons against a run, and warnings. No reason: the run is valid."""

    reasons: tuple[Reason, ...]
    warnings: tuple[Reason, ...]

    @property
    def valid(self) -> bool:
        """Whether nothing speaks against the run."""
        return not self.reasons


@dataclass(frozen=True, slots=True)
class Facts:
    """What a verdict is reached from."""

    measurement: Measurement
    figures: Figures
    baselines: Mapping[str, Baseline]
    rules: Rules


Check = Callable[[Facts], Reason | None]


def verdict(facts: Facts) -> Verdict:
    """Judge a run."""
    ended = _ended_early(facts)
    reasons = [ended] if ended else _given(facts, _CHECKS)
    return Verdict(tuple(reasons), tuple(_given(facts, _WARNINGS)))


def _given(facts: Facts, checks: Iterable[Check]) -> list[Reason]:
    return [reason for check in checks if (reason := check(facts)) is not None]


def _ended_early(facts: Facts) -> Reason | None:
    measurement = facts.measurement
    if measurement.interrupted:
        return Reason("interrupted", "interrupted: the figures are of what had been measured until then")
    if measurement.steady.gave_up is not None:
        done = measurement.steady
        return Reason("server", f"{done.gave_up} (after {done.ok} of {done.sent} requests had succeeded)")
    if measurement.faults:
        return Reason("fault", "; ".join(measurement.faults))
    return None


def _errors(facts: Facts) -> Reason | None:
    results = facts.measurement.steady.results
    failed = sum(1 for result in results if result.error)
    if not results or failed <= facts.rules.max_error_ratio * len(results):
        return None
    return Reason(
        "errors",
        f"{failed / len(results):.1%} of {len(results):,} requests failed, more than"
        f" {facts.rules.max_error_ratio:.0%} ({failures_text(results)})",
    )


def _wasted(facts: Facts) -> Reason | None:
    """A few requests that hang may take more of the window, and of its energy, than all that were answered."""
    results, limit = facts.measurement.steady.results, facts.rules.max_error_ratio
    failed = math.fsum(result.done - result.sent for result in results if result.error)
    total = math.fsum(result.done - result.sent for result in results)
    if not failed or failed <= limit * total or _errors(facts) is not None:
        return None
    return Reason(
        "errors",
        f"{failed / total:.1%} of the time that requests took went to those that failed, more than {limit:.0%}"
        f" ({failures_text(results)})",
    )


def _nothing_done(facts: Facts) -> Reason | None:
    if facts.measurement.steady.results:
        return None
    return Reason("empty", "no request was sent in the window: raise --rate or --duration")


def _unsent(facts: Facts) -> Reason | None:
    load = facts.measurement.steady
    if load.scheduled is None or load.scheduled - load.sent <= facts.rules.max_unsent_ratio * load.scheduled:
        return None
    missing = 1 - load.sent / load.scheduled
    return Reason(
        "unsent",
        f"{load.sent:,} of {load.scheduled:,} scheduled requests were sent, {missing:.1%} fewer, more than"
        f" {facts.rules.max_unsent_ratio:.0%}: the client cannot keep up",
    )


def _lag(facts: Facts) -> float | None:
    load = facts.measurement.steady
    if load.scheduled is None or not load.results:
        return None
    return Sketch(result.sent - result.intended for result in load.results).percentile(_LAG_PERCENT)


def _late(facts: Facts) -> Reason | None:
    lag, limit = _lag(facts), facts.rules.max_lag_seconds
    if lag is None or lag <= limit:
        return None
    text = f"dispatch lag p99 is {lag * 1000:.0f} ms, over {limit * 1000:.0f} ms: the client cannot keep up"
    return Reason("lag", text)


def _short(facts: Facts) -> Reason | None:
    seconds, limit = facts.figures.seconds, facts.rules.min_window_seconds
    if seconds is None or seconds >= limit:
        return None
    return Reason("short", f"the window lasted {seconds:.1f} s, less than {limit:g} s")


def _few_ticks(facts: Facts) -> Reason | None:
    limit = facts.rules.min_window_ticks
    for bracket in facts.measurement.charged:
        ticks = bracket.seconds / bracket.tick
        if ticks < limit * _TICK_TOLERANCE and bracket.seconds >= facts.rules.min_window_seconds:
            return Reason(
                "ticks",
                f"the counter of {bracket.device.id} moves every {bracket.tick * 1000:.0f} ms: the window held"
                f" {ticks:.0f} of its updates, fewer than {limit}",
            )
    return None


def _reset(facts: Facts) -> Reason | None:
    for bracket in facts.measurement.charged:
        if bracket.reset:
            return Reason("reset", f"the energy counter of {bracket.device.id} was reset within the window")
    return None


def _doubtful(facts: Facts) -> Reason | None:
    doubts = [bracket.doubt for bracket in facts.measurement.charged if bracket.doubt and not bracket.reset]
    return Reason("counter", doubts[0]) if doubts else None


def _no_energy(facts: Facts) -> Reason | None:
    if facts.measurement.charged:
        return None
    return Reason("energy", f"no energy of {', '.join(facts.measurement.plan.devices)} in the window")


def _lengths(facts: Facts) -> Reason | None:
    found = told(facts.measurement.plan.items, facts.measurement.steady.results)
    if not found.wrong:
        return None
    return Reason(
        "lengths", f"{found.wrong:,} answers were not the work that was asked for (the first: {found.first_wrong})"
    )


def lengths(measurement: Measurement) -> str:
    """Return ``checked`` where all work that was asked for was, else ``unknown``: an answer does not tell it."""
    items = measurement.plan.items
    if all(value is None for value in asked_for(items).values()):
        return "checked"
    found = told(items, measurement.steady.results)
    return "checked" if found.answers and not unknown(items, found) else "unknown"


def _shared(facts: Facts) -> Reason | None:
    """Others whose requests are not counted here: their joules are in every figure."""
    attributed, load = facts.figures.attributed, facts.measurement.steady
    if attributed.ended is None or attributed.ended <= (1 + MOST_DIFFERENT) * load.sent:
        return None
    task, model = facts.measurement.plan.work
    return Reason(
        "shared",
        f"the exporter charged {attributed.ended:,} requests of {task} by {model} in the window and this run sent"
        f" {load.sent:,}: others use it too, and their energy is in the figures",
    )


def _warn_uncharged(facts: Facts) -> Reason | None:
    attributed, load = facts.figures.attributed, facts.measurement.steady
    if attributed.joules is None or attributed.requests is None or attributed.requests == load.ok:
        return None
    unmeasured = f" and {attributed.unmeasured:,} whose energy it does not know" if attributed.unmeasured else ""
    return Reason(
        "uncharged",
        f"the exporter charged {attributed.requests:,} requests that ended ok{unmeasured}, and {load.ok:,} were"
        " answered: attributed joules are a mean over those that it charged",
    )


def _warn_others(facts: Facts) -> Reason | None:
    """Other work on the same device is in the gross and the active figure."""
    balance = facts.figures.attributed.balance
    if balance is None or balance.others <= facts.rules.warn_others_ratio * balance.counter:
        return None
    devices = ", ".join(dict.fromkeys(bracket.device.base for bracket in facts.measurement.charged))
    return Reason(
        "others",
        f"{balance.others / balance.counter:.0%} of the energy of {devices} in the window was charged to other work:"
        " it is in gross and active, not in attributed",
    )


def difference(facts: Facts) -> tuple[float, float] | None:
    """Return relative difference and bound between Prometheus's joules and ours; None without both.

    The bound: one scrape interval of idle power over the window's energy, and 1 %.
    """
    check, joules = facts.measurement.crosscheck, facts.figures.joules
    if check is None or not joules:
        return None
    watts = sum(
        (baseline.watts if baseline is not None else None) or bracket.joules / bracket.seconds
        for bracket in facts.measurement.charged
        for baseline in [facts.baselines.get(bracket.device.id)]
    )
    return check.joules / joules - 1, check.interval * watts / joules + facts.rules.crosscheck_ratio


def _crosscheck(facts: Facts) -> Reason | None:
    found = difference(facts)
    if found is None or abs(found[0]) <= found[1]:
        return None
    check, joules = facts.measurement.crosscheck, facts.figures.joules
    assert check is not None  # noqa: S101 (there is a difference)
    return Reason(
        "crosscheck",
        f"Prometheus counts {check.joules:.4g} J in the window and the client {joules:.4g} J: {found[0]:+.1%}, beyond"
        f" the bound of {found[1]:.1%} (another client of the server, or of the device?)",
    )


_CHECKS: Sequence[Check] = (
    _nothing_done, _errors, _wasted, _unsent, _late, _no_energy, _reset, _doubtful, _short, _few_ticks, _lengths,
    _crosscheck, _shared,
)  # fmt: skip


def _warn_lag(facts: Facts) -> Reason | None:
    lag, rules = _lag(facts), facts.rules
    if lag is None or not rules.warn_lag_seconds < lag <= rules.max_lag_seconds:
        return None
    return Reason("lag", f"dispatch lag p99 is {lag * 1000:.0f} ms, over {rules.warn_lag_seconds * 1000:.0f} ms")


def _warn_drift(facts: Facts) -> Reason | None:
    for bracket in facts.measurement.charged:
        baseline = facts.baselines.get(bracket.device.id)
        drift = baseline.drift if baseline is not None else None
        if drift is not None and abs(drift) > facts.rules.warn_idle_drift_ratio:
            return Reason(
                "drift",
                f"idle power of {bracket.device.id} changed by {drift:+.0%} between the baselines:"
                " active joules are as uncertain as that",
            )
    return None


def _warn_busy_idle(facts: Facts) -> Reason | None:
    """A device that others use is as busy in the baselines as under load: gross joules are theirs too."""
    for bracket in facts.measurement.charged:
        baseline = facts.baselines.get(bracket.device.id)
        if baseline is None or baseline.watts is None or not bracket.sound or bracket.joules <= 0:
            continue
        share = baseline.watts * bracket.seconds / bracket.joules
        if share >= facts.rules.warn_idle_share:
            return Reason(
                "busy",
                f"idle power of {bracket.device.id} was {share:.0%} of the power under load: something else uses the"
                " device, or the load hardly does",
            )
    return None


_WARNINGS: Sequence[Check] = (_warn_lag, _warn_drift, _warn_busy_idle, _warn_others, _warn_uncharged)


def failures(results: Iterable[Result]) -> Mapping[str, int]:
    """Return the number of failed requests of every class."""
    counts = Counter(result.error for result in results if result.error)
    return {name: counts[name] for name in ERRORS}


def failures_text(results: Iterable[Result]) -> str:
    """Return the number of failed requests of each class that there was, and what the last of them was told."""
    found: Counter[str] = Counter()
    last = ""
    for result in results:
        if result.error:
            found[result.error] += 1
            last = result.detail
    counts = ", ".join(f"{found[name]} {name}" for name in ERRORS if found[name])
    return f"{counts}; the last: {last}"
