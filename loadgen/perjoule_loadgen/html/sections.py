"""The charts of a run: which series of its files go into which chart, and what each says in words.

Pure, from a document and its rows. A chart whose data are not there is not drawn.
"""

import math
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from perjoule.units import ABSENT, scaled, significant
from perjoule_loadgen.html.charts import Band, Bar, Chart, Line, drawn, intervals
from perjoule_loadgen.html.scales import (
    Axis,
    Point,
    cumulative,
    histogram,
    linear,
    logarithmic,
    per_second,
    thinned,
)
from perjoule_loadgen.rows import PowerRow, RequestRow

_MOST_POINTS = 1500
_STYLES = ("one", "two", "three")
_WIDE_RATIO = 10
"""From here on a linear axis would hide the short latencies."""
_BINS = 60
_FEW_SECONDS = 2
_WORDS: Mapping[str, str] = {
    "gross": "all joules of the window ÷ inferences, idle included",
    "active": "above idle power",
    "attributed": "charged to these requests by the exporter's ledger",
}

Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Sent:
    """The requests of a window as the charts need them: Unix times and seconds, eight bytes each."""

    intended: "array[float]"
    answered: "array[float]"
    failed: "array[float]"
    latencies: "array[float]"


def sent(rows: Iterable[RequestRow]) -> Sent:
    """Return the requests of the steady window, read once."""
    found = Sent(array("d"), array("d"), array("d"), array("d"))
    for row in rows:
        if row.phase != "steady":
            continue
        found.intended.append(row.intended)
        (found.failed if row.error else found.answered).append(row.done)
        if row.latency is not None:
            found.latencies.append(row.latency)
    return found


def with_uncertainty(found: Mapping[str, Any] | None, unit: str) -> str:
    """Return a figure with its interval: ``1.20 J (1.18 J to 1.22 J)``; an em dash where it is absent."""
    if found is None:
        return ABSENT
    low, high = found.get("low"), found.get("high")
    between = "bounds unknown" if low is None or high is None else f"{scaled(low, unit)} to {scaled(high, unit)}"
    return f"{scaled(found['value'], unit)} ({between})"


def three_figures(run: Document) -> str:
    """Return gross, active and attributed joules with their intervals; empty without any."""
    found = [(name, run["joules_per_inference"][name]) for name in _WORDS]
    known = [(name, each) for name, each in found if each is not None]
    ends = [each[key] for _, each in known for key in ("value", "low", "high") if each[key] is not None]
    if not ends:
        return ""
    bars = [
        Bar(name, each["value"], each["low"], each["high"], with_uncertainty(each, "J"), _WORDS[name], own=True)
        if each is not None
        else Bar(name, None, None, None, ABSENT, _missing(run, name))
        for name, each in found
    ]
    return _figure("three", "Joules per inference", "Three figures, each with its interval.",
                   intervals(bars, linear(ends, "J")))  # fmt: skip


def _missing(run: Document, name: str) -> str:
    if name == "attributed":
        return str(run["attribution"]["reason"] or "")
    return "without an idle baseline" if name == "active" else ""


def against_references(run: Document) -> str:
    """Return the gross figure beside the published ones on a logarithmic axis; empty where either is missing."""
    gross = run["joules_per_inference"]["gross"]
    if gross is None or not gross["value"] or not run["reference"]:
        return ""
    own = Bar("this run, gross", gross["value"], gross["low"], gross["high"], with_uncertainty(gross, "J"),
              _boundary(run), own=True)  # fmt: skip
    bars = [own, *(_reference(each) for each in run["reference"])]
    ends = [end for bar in bars for end in (bar.value, bar.low, bar.high) if end]
    text = "Logarithmic axis. Each figure has its own boundary, written below it: orders of magnitude, not targets."
    return _figure("references", "Beside what others published", text, intervals(bars, logarithmic(ends, "J")))


def _reference(each: Mapping[str, Any]) -> Bar:
    low, high, value = each.get("low"), each.get("high"), each["joules_per_inference"]
    models = f"; range of {each['models']} models" if low is not None and each.get("models") else ""
    words = f" ({scaled(low, 'J')} to {scaled(high, 'J')})" if low is not None and high is not None else ""
    return Bar(each["source"], value, low, high, scaled(value, "J") + words, each["boundary"] + models)


def _boundary(run: Document) -> str:
    names = [f"{each['device']} ({each['name']})" if each["name"] else each["device"] for each in run["devices"]]
    methods = dict.fromkeys(each["method"] for each in run["devices"])
    return f"{' + '.join(names)} alone, {' and '.join(methods)}"


def _figure(id_: str, title: str, text: str, inside: str) -> str:
    return f'<figure class="chart" id="{id_}"><figcaption><h3>{title}</h3><p>{text}</p></figcaption>{inside}</figure>'


def origin(run: Document, power: Sequence[PowerRow], requests: Sent) -> float | None:
    """Return the Unix time from which all charts count: the window's start, else the first thing there is."""
    times = [run["window"]["start"], run["window"].get("load_start")]
    times += [min(requests.intended, default=None), min((row.time for row in power), default=None)]
    return next((at for at in times if at is not None), None)


def power_over_time(run: Document, power: Sequence[PowerRow], start: float) -> str:
    """Return the power of every device over the whole run, with its phases and the window's edges."""
    devices = list(dict.fromkeys(row.device for row in power))
    if len(power) < 2:  # noqa: PLR2004 (a line has two ends)
        return ""
    points = {id_: [(row.time - start, row.mean_watts) for row in power if row.device == id_] for id_ in devices}
    lines = [
        Line(id_, _STYLES[number % len(_STYLES)], thinned(points[id_], _MOST_POINTS), stepped=True)
        for number, id_ in enumerate(devices)
    ]
    times = [row.time - start for row in power]
    edges = [(run["window"][edge] - start, f"window {edge}") for edge in ("start", "end") if run["window"][edge]]
    text = _power_words(run, power)
    return drawn(Chart(
        "power", "Power over time", text, Axis(min(times), max(*times, min(times) + 1e-3), "s from start"),
        linear([watts for line in lines for _, watts in line.points], "W"), "seconds from the start of the window",
        lines, _bands(power, start), edges,
    ))  # fmt: skip


def _power_words(run: Document, power: Sequence[PowerRow]) -> str:
    window = [row.mean_watts for row in power if row.phase == "window" and row.charged]
    told = f" In the window {scaled(min(window), 'W')} to {scaled(max(window), 'W')}." if window else ""
    how = ", ".join(f"{device['device']}: {device['method']}" for device in run["devices"])
    return f"Mean power between two updates of the counter{f' ({how})' if how else ''}.{told}"


_PHASE_STYLES: Mapping[str, str] = {"idle": "idle", "warm-up": "warm", "quiet": "quiet", "window": "window"}


def _bands(power: Sequence[PowerRow], start: float) -> list[Band]:
    """Return the phases as they follow each other in the rows of one device."""
    rows = [row for row in power if row.device == power[0].device]
    changes = [0, *(n for n, (a, b) in enumerate(pairwise(rows), 1) if a.phase != b.phase), len(rows)]
    bands = []
    for first, last in pairwise(changes):
        low = rows[first - 1].time if first else rows[first].time
        phase = rows[first].phase
        bands.append(Band(phase, _PHASE_STYLES.get(phase, "quiet"), low - start, rows[last - 1].time - start))
    return bands


def latencies(requests: Sent) -> str:
    """Return the distribution of the window's latencies: cumulative, and as counts."""
    values = requests.latencies
    if len(values) < 2:  # noqa: PLR2004 (one is no distribution)
        return ""
    axis = logarithmic(values, "s") if max(values) > _WIDE_RATIO * min(values) > 0 else linear(values, "s")
    shares = cumulative(values)
    text = f"{len(values):,} answers, from the intended send to the end of the answer; failures are not in it."
    name = "latency" + (", logarithmic" if axis.log else "")
    share = Chart("latency", "Latency: share of answers within a time", text, axis, Axis(0.0, 1.0, "%"), name,
                  [Line("share of answers", "one", shares)])  # fmt: skip
    counts = [bar for bar in histogram(values, axis) if bar[2]]
    middles: list[Point] = [((low + high) / 2, float(count)) for low, high, count in counts]
    spread = Chart("latency-counts", "Latency: how often", "Answers by latency.", axis,
                   linear([count for _, count in middles], ""), name, [Line("answers", "none", middles)],
                   bars=[(low, high, float(count)) for low, high, count in counts])  # fmt: skip
    return drawn(share) + drawn(spread)


def throughput(run: Document, requests: Sent, start: float) -> str:
    """Return answers, failures and, in an open loop, intended sends a second over the window."""
    if len(requests.intended) < 2:  # noqa: PLR2004 (as above)
        return ""
    first = min(requests.intended)
    last = max(max(times) for times in (requests.intended, requests.answered, requests.failed) if times)
    long = last - first
    width = max(1.0, math.ceil(long / _BINS)) if long > _FEW_SECONDS else long / 5 or 1.0
    series = {"answered": requests.answered, "failed": requests.failed, "asked": requests.intended}
    wanted = {"answered": True, "failed": bool(requests.failed), "asked": run["load"].get("arrival") != "closed"}
    lines = [
        Line(name, style, [(at - start, rate) for at, rate in per_second(times, first, last, width)])
        for (name, times), style in zip(series.items(), _STYLES, strict=True)
        if wanted[name]
    ]
    rate = run["throughput_per_second"]
    mean = f" On average {significant(rate)} inferences a second." if rate else ""
    return drawn(Chart(
        "throughput", "Throughput over time", f"Counted over {significant(width)} s each.{mean}",
        Axis(first - start, max(last, first + 1e-3) - start, "s from start"),
        linear([each for line in lines for _, each in line.points], "/s"), "seconds from the start of the window",
        lines,
    ))  # fmt: skip


def where_it_went(run: Document) -> str:
    """Return the window's energy by who was charged, from the exporter's ledger; empty where it was not read."""
    found = run["attribution"]
    if found.get("counter_joules") is None:
        return ""
    parts = {f"these requests: {outcome}": joules for outcome, joules in (found["charged_joules"] or {}).items()}
    parts |= {
        "other work": found["others_joules"],
        "idle": found["idle_joules"],
        "not charged yet": found["open_joules"],
    }
    parts |= {f"nobody's: {reason}": joules for reason, joules in (found["unattributed_joules"] or {}).items()}
    known = {name: joules for name, joules in parts.items() if joules}
    total = found["counter_joules"]
    if not known or total <= 0:
        return ""
    axis = linear(list(known.values()), "J")
    bars = [Bar(name, None, 0.0, max(joules, 0.0), f"{scaled(joules, 'J')}, {joules / total:.1%}", own=True)
            for name, joules in known.items()]  # fmt: skip
    text = f"{scaled(total, 'J')} between the two readings of the ledger, which hold the window."
    return _figure("ledger", "Where the energy went", text, intervals(bars, axis))
