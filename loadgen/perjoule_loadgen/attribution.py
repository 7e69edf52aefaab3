"""What the exporter's ledger charged to the requests of a window, and where the rest of the device's energy went.

Pure. Both edges lie in quiet and are read once everything is settled, so no energy is cut by an edge: the increase of
``inference_request_energy_joules_sum`` is that of the requests in its ``_count``. The figure is given only if these are
this run's requests. How energy is split between work that runs at the same time is as sure as the watts that the
exporter has learned; their standard error is all that is known of that, and it is the figure's interval. Requests whose
energy the exporter does not know all of widen it downwards: what they lost may be in the others' sum. Not in it: the
gain of a board's sensor, and power that changes within one kind of work.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from perjoule_loadgen.books import OVERHEAD_PHASES, Books, K, restarted
from perjoule_loadgen.measurement import Edge, Measurement

MOST_DIFFERENT = 0.01
"""Share by which the requests that were charged may differ from those of this run."""

_MOST_UNMEASURED = 0.1
"""Share of requests that may have lost some of their energy. All of it may have gone to the others: a bound."""

_STANDARD_ERRORS = 2.0
"""About 95 % of a normal distribution."""

_SAME_JOULES = 1e-6
_OK = "ok"
_NOBODY = (
    "the exporter has charged no energy to any inference: no server has told its span socket of a batch, or it runs"
    " with --collector.disable inference"
)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with the bounds that are known of it; None where nothing is."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Balance:
    """Where the energy of the devices went between the edges: counter = own + others + idle + unattributed + open.

    Attributes:
        counter: all of it, in joules.
        own: charged to the task and model of the run, by outcome.
        others: charged to other work.
        idle: what the idle devices would have used, in time that no work covers.
        unattributed: nobody's, by reason; only reasons that there were.
        open: not charged yet; negative where more was open before.
    """

    counter: float
    own: Mapping[str, float]
    others: float
    idle: float
    unattributed: Mapping[str, float]
    open: float


@dataclass(frozen=True, slots=True)
class Attribution:
    """What became of a window's energy.

    Attributes:
        reason: why there is no figure, a sentence; None where there is one.
        joules: charged per inference that ended ok.
        grams: CO2e of the same, at the time of use.
        requests: requests that ended ok and were charged, as the exporter counted them; None where it was not read.
        unmeasured: how many more ended ok, whose energy the exporter does not know.
        balance: None where the ledgers were not read at both edges.
        weak: phases whose watts the exporter does not know well.
        outside: charged devices that have no ledger: their energy is in the gross figure alone.
    """

    reason: str | None
    joules: Estimate | None = None
    grams: Estimate | None = None
    requests: int | None = None
    unmeasured: int = 0
    balance: Balance | None = None
    weak: tuple[str, ...] = ()
    outside: tuple[str, ...] = ()

    @property
    def ended(self) -> int | None:
        """Requests that ended ok by the exporter's count; None where it was not read."""
        return None if self.requests is None else self.requests + self.unmeasured


def attribution(measurement: Measurement, grams_per_joule: float | None = None) -> Attribution:
    """Return what was charged in a measurement's window; ``grams_per_joule`` replaces the exporter's own grams."""
    opening, closing = measurement.opening, measurement.closing
    unread = _unread(measurement, opening, closing)
    if unread is not None or opening is None or closing is None:
        return Attribution(unread)
    plan = measurement.plan
    bases = {bracket.device.base for bracket in measurement.charged}
    balance = _balance(plan.work, bases, opening, closing)
    count, joules = (b - a for a, b in zip(opening.requests(plan.work), closing.requests(plan.work), strict=True))
    requests, unmeasured = round(count), round(closing.unmeasured(plan.work) - opening.unmeasured(plan.work))
    ratio, weak = _error(plan.work, bases, closing)
    lost = unmeasured / max(requests + unmeasured, 1)
    found = Attribution(None, requests=requests, unmeasured=unmeasured, balance=balance, weak=weak)
    reason = _miscounted(measurement, found) or _misplaced(measurement, joules, bases)
    if reason is not None or not requests:
        return replace(found, reason=reason)
    each = joules / requests
    grams = each * grams_per_joule if grams_per_joule is not None else _grams(plan.work, opening, closing, requests)
    ledgers = {device for known in closing.books.values() for device in known.counter}
    outside = tuple(b.device.id for b in measurement.charged if b.device.id not in ledgers)
    return replace(found, joules=_bounded(each, ratio, lost), grams=_bounded(grams, ratio, lost), outside=outside)


def _unread(measurement: Measurement, opening: Edge | None, closing: Edge | None) -> str | None:
    """Return why the ledgers cannot be held against each other."""
    if opening is None or closing is None:
        return "the window did not come to its end"
    for edge in (opening, closing):
        if edge.failure is not None:
            return f"the exporter's ledger could not be read: {edge.failure}"
    if not measurement.charged or not all(bracket.sound for bracket in measurement.charged):
        return "there is no energy of the window to be charged"
    if any(restarted(opening.books[url], found) for url, found in closing.books.items()):
        return "the exporter was restarted within the window"
    return _not_told(measurement, closing)


def _not_told(measurement: Measurement, closing: Edge) -> str | None:
    if not closing.works:
        return _NOBODY
    if measurement.plan.work in closing.works:
        return None
    task, model = measurement.plan.work
    return f"the exporter was told of no {task} by {model}: the server's spans do not reach its socket"


def _miscounted(measurement: Measurement, found: Attribution) -> str | None:
    """Return why the requests that were charged are not this run's."""
    load, (task, model), ended = measurement.steady, measurement.plan.work, found.ended or 0
    if not load.ok:
        return "no request was answered"
    if ended == 0:
        return f"none of the {load.ok:,} requests that were answered was charged: the server's spans do not arrive"
    if abs(ended - load.ok) > MOST_DIFFERENT * load.ok:
        who = "others use it too" if ended > load.sent else "spans were lost, or answers were"
        return f"the exporter charged {ended:,} requests of {task} by {model} and {load.ok:,} were answered: {who}"
    if found.unmeasured > _MOST_UNMEASURED * load.ok:
        why = "it had no readings of it, or was told late"
        return f"the exporter does not know the energy of {found.unmeasured:,} of {ended:,} requests: {why}"
    return None


def _misplaced(measurement: Measurement, joules: float, bases: set[str]) -> str | None:
    """Return why what was charged is not of the devices that pay, or contradicts itself."""
    load, (task, model) = measurement.steady, measurement.plan.work
    assert measurement.opening is not None  # noqa: S101 (the caller looked)
    assert measurement.closing is not None  # noqa: S101 (as above)
    rises = _rises(measurement.opening, measurement.closing, lambda found: found.joules)
    elsewhere = {key[2]: rise for key, rise in rises.items() if key[:2] == (task, model) and key[2] not in bases}
    if any(elsewhere.values()):
        return f"energy was charged on {', '.join(elsewhere)}, and {', '.join(sorted(bases))} is what pays for this run"
    by_outcome = math.fsum(rise for key, rise in rises.items() if key[:2] == (task, model) and key[3] == _OK)
    if not math.isclose(by_outcome, joules, rel_tol=_SAME_JOULES, abs_tol=_SAME_JOULES * load.ok):
        return f"the exporter contradicts itself: requests used {joules:.6g} J, and {by_outcome:.6g} J were charged"
    return None


def _rises(opening: Edge, closing: Edge, of: Callable[[Books], Mapping[K, float]]) -> dict[K, float]:
    """Return the increases between the edges, over all exporters; what was not there at the start was 0."""
    found: defaultdict[K, float] = defaultdict(float)
    for url, after in closing.books.items():
        before = of(opening.books[url])
        for key, value in of(after).items():
            found[key] += value - before.get(key, 0.0)
    return dict(found)


def _balance(work: tuple[str, str], bases: set[str], opening: Edge, closing: Edge) -> Balance:
    own: defaultdict[str, float] = defaultdict(float)
    others = 0.0
    for (task, model, device, outcome), rise in _rises(opening, closing, lambda found: found.joules).items():
        if (task, model) == work:
            own[outcome] += rise
        elif device in bases:
            others += rise
    reasons: defaultdict[str, float] = defaultdict(float)
    for (device, reason), rise in _rises(opening, closing, lambda found: found.unattributed).items():
        if device in bases and rise:
            reasons[reason] += rise

    def total(of: Callable[[Books], Mapping[str, float]]) -> float:
        return math.fsum(rise for device, rise in _rises(opening, closing, of).items() if device in bases)

    return Balance(
        counter=total(lambda found: found.counter), own=dict(own), others=others, idle=total(lambda found: found.idle),
        unattributed=dict(reasons), open=total(lambda found: found.open),
    )  # fmt: skip


def _grams(work: tuple[str, str], opening: Edge, closing: Edge, requests: int) -> float | None:
    rises = _rises(opening, closing, lambda found: found.grams)
    own = [rise for key, rise in rises.items() if key[:2] == work and key[3] == _OK]
    begun = any(key[:2] == work for found in opening.books.values() for key in found.grams)
    return math.fsum(own) / requests if own and begun else None


def _error(work: tuple[str, str], bases: Iterable[str], closing: Edge) -> tuple[float | None, tuple[str, ...]]:
    """Return the largest standard error of this work's watts, as a ratio, and the phases that are not known well."""
    ratios: list[float] = []
    weak: dict[str, None] = {}
    for found in closing.books.values():
        for kind, ratio in found.error_ratio.items():
            if kind[:2] == work and kind[2] in bases and kind[3] not in OVERHEAD_PHASES:
                ratios.append(ratio)
                if kind not in found.known:
                    weak[kind[3]] = None
    return max(ratios, default=None), tuple(weak)


def _bounded(value: float | None, ratio: float | None, lost: float) -> Estimate | None:
    """Return a figure whose watts have this standard error, and which may hold what others lost of theirs."""
    if value is None:
        return None
    if ratio is None:
        return Estimate(value, None, None)
    error = _STANDARD_ERRORS * ratio
    return Estimate(value, value * max(1 - error - lost, 0.0), value * (1 + error))
