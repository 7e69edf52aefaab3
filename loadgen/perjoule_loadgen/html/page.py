"""The page of a run: head, key figures, charts, projection, notes, and the run's own settings.

One file without a single address in it: style and script are inlined, nothing is loaded. Every text from elsewhere (a
model's name, a driver's) is escaped.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from importlib.resources import files
from typing import Any

from perjoule.reference import study_figure
from perjoule.units import ABSENT, scaled, significant
from perjoule_loadgen.html import sections
from perjoule_loadgen.html.charts import for_script
from perjoule_loadgen.notes import notes
from perjoule_loadgen.projection import DAYS, PER_DAY, amounts, likened, project
from perjoule_loadgen.report import percent
from perjoule_loadgen.result import SIMULATED_BANNER
from perjoule_loadgen.rows import PowerRow, RequestRow

_COLUMNS = frozenset({"gross", "±", "active", "attributed", "p95", "PromQL", "study [1]"})
_PARTIAL = "UNFINISHED: the program ended before the run did; the figures are of what had been written until then"

Document = Mapping[str, Any]


def page(run: Document, requests: Iterable[RequestRow], power: Iterable[PowerRow], per_day: int = PER_DAY) -> str:
    """Return the whole page of a run."""
    sent, read = sections.sent(requests), sorted(power, key=lambda row: row.time)
    title = f"{run['task']} · {run['model']}"
    body = "".join((
        _head(run, title), _key_figures(run), _section("Energy", _energy(run)),
        _section("Over time", _over_time(run, sent, read)), _section("Latency", sections.latencies(sent)),
        _projection(run, per_day), _notes(run, per_day), _settings(run),
    ))  # fmt: skip
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{escape(title)}: joules per inference</title><style>{_resource('report.css')}</style></head>"
        f"<body><main>{body}</main><script>{_resource('report.js')}</script></body></html>\n"
    )


def _resource(name: str) -> str:
    return files("perjoule_loadgen").joinpath("html", name).read_text(encoding="utf-8")


def _head(run: Document, title: str) -> str:
    valid = run["verdict"] == "valid"
    banners = [SIMULATED_BANNER] * bool(run["simulated"]) + [_PARTIAL] * bool(run.get("partial"))
    told = [("reason", reason) for reason in run["reasons"]] + [("warning", warning) for warning in run["warnings"]]
    return (
        "".join(f'<p class="banner">{escape(text)}</p>' for text in banners)
        + '<header><button id="theme" type="button" hidden>dark or light</button>'
        f'<p class="over">Energy and CO2e of one inference</p><h1>{escape(title)}</h1>'
        f'<p><strong class="verdict {"good" if valid else "bad"}">{"VALID" if valid else "INVALID"}</strong>'
        f" {escape(_when(run))}</p>"
        + "".join(f'<p class="told {kind}"><b>{kind}</b> {escape(text)}</p>' for kind, text in told)
        + "</header>"
    )


def _when(run: Document) -> str:
    start, seconds = run["window"]["start"], run["window"]["seconds"]
    if start is None or seconds is None:
        return "no window was measured"
    began = datetime.fromtimestamp(start, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return f"a window of {significant(seconds)} s from {began}, {run['requests']['ok']:,} inferences"


def _key_figures(run: Document) -> str:
    each, late = run["joules_per_inference"], run["latency_seconds"]
    rate, unit = run["throughput_per_second"], run.get("joules_per_unit") or {}
    cells = [
        ("gross", _value(each["gross"], "J"), percent(each["gross"])),
        ("active", _value(each["active"], "J"), "above idle power"),
        ("attributed", _value(each["attributed"], "J"), "by the exporter's ledger"),
        ("CO2e", _value(run["grams_per_inference"], "g"), _zone(run)),
        ("SCI", _value(run.get("sci_grams_per_inference"), "g"), "with manufacture"),
        (f"per {str(unit.get('unit', 'unit')).replace('_', ' ')}", scaled(unit.get("value"), "J"), "gross"),
        ("cost", _cost(run), "of the electricity"),
        ("throughput", ABSENT if rate is None else f"{significant(rate)}/s", "inferences answered"),
        ("latency p50", scaled(late["p50"], "s"), f"mean {scaled(late['mean'], 's')}"),
        ("latency p95", scaled(late["p95"], "s"), f"p99 {scaled(late['p99'], 's')}"),
    ]
    shown = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd><dd class='small'>{escape(note)}</dd></div>"
        for name, value, note in cells
        if value != ABSENT or name in {"gross", "active", "attributed"}
    )
    return f'<dl class="figures">{shown}</dl>'


def _value(found: Mapping[str, Any] | None, unit: str) -> str:
    return scaled(found["value"] if found else None, unit)


def _zone(run: Document) -> str:
    return f"zone {run['carbon']['zone']}" if run["carbon"] else "no zone"


def _cost(run: Document) -> str:
    found, price = run.get("cost_per_inference"), run.get("price")
    return f"{significant(found['value'] * 1e6)} {price['currency']} per million" if found and price else ABSENT


def _section(title: str, inside: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{inside}</section>" if inside else ""


def _energy(run: Document) -> str:
    parts = (sections.three_figures(run), sections.against_references(run), sections.where_it_went(run))
    return "".join(parts)


def _over_time(run: Document, requests: sections.Sent, power: Sequence[PowerRow]) -> str:
    start = sections.origin(run, power, requests)
    if start is None:
        return ""
    return sections.power_over_time(run, power, start) + sections.throughput(run, requests, start)


def _projection(run: Document, per_day: int) -> str:
    found = project(run, per_day)
    if found is None:
        return ""
    each = {
        "kwh": found.kwh / per_day,
        "grams": None if found.grams is None else found.grams / per_day,
        "cost": None if found.cost is None else found.cost / per_day,
        "currency": found.currency,
    }
    asked = f'<label>requests a day <input id="per-day" type="number" min="1" step="1" value="{per_day}"></label>'
    text = f"{amounts(found)} a day, {amounts(found, DAYS)} a year"
    what = "× PUE" if found.pue is not None else "of the devices alone, no PUE"
    return _section(
        "At so many requests a day",
        f'<p class="asked" hidden>{asked}</p><p id="projected"><span class="at">At {per_day:,} requests a day:</span>'
        f' <strong class="sum">{escape(text)}</strong></p><p class="likened">{per_day:,} requests are'
        f" {escape(likened(found))}.</p><p class='note'>Gross joules {what}, at this run's load, every day.</p>"
        f'<script type="application/json" id="each">{for_script(each)}</script>',
    )


def _notes(run: Document, per_day: int) -> str:
    shown = _COLUMNS if study_figure(run["task"]) is not None else _COLUMNS - {"study [1]"}
    entries = []
    for name, text in notes([run], shown, per_day):
        if name != "projected":  # it has a section of its own
            entries.append(f"{f'<dt>{escape(name)}</dt>' if name else ''}<dd>{escape(text)}</dd>")
    return _section("What these figures are", f'<dl class="notes">{"".join(entries)}</dl>')


def _settings(run: Document) -> str:
    groups = {
        "requests": run["requests"], "load": run["load"], "window": run["window"], "latency": run["latency_seconds"],
        "cross-check": run["crosscheck"], "carbon": run["carbon"], "host": run["host"],
    }  # fmt: skip
    rows = [("target", str(run.get("target"))), ("lengths", str(run.get("lengths")))]
    rows += [
        (f"{group}: {key}", _plain(value)) for group, each in groups.items() for key, value in (each or {}).items()
    ]
    rows += [(f"device {device['device']}: {key}", _plain(value)) for device in run["devices"] for key, value in
             device.items() if key != "device"]  # fmt: skip
    body = "".join(
        f"<tr><th scope='row'>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in rows if value
    )
    return _section(
        "The run", f'<details><summary>settings and counts</summary><div class="scroll"><table>{body}</table></div>'
        "</details><p class='note'>Every request is in requests.csv, every reading of a counter in power.csv, every"
        " figure in run.json beside this page.</p>",
    )  # fmt: skip


def _plain(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_plain(inner)}" for key, inner in value.items() if _plain(inner))
    if isinstance(value, list):
        return "; ".join(_plain(each) for each in value)
    return f"{value:.12g}" if isinstance(value, float) else str(value)
