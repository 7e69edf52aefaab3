"""The landing page: what this exporter reads, how, and where the metrics are. One self-contained HTML document.

It shows what a scrape would show, from the same views; unknown is a dash. It loads nothing from anywhere, and runs
nothing in the browser.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from pathlib import Path

from perjoule import __version__
from perjoule.units import ABSENT, scaled, significant
from perjoule_exporter.banners import of_devices, of_provider
from perjoule_exporter.intensity import Factors
from perjoule_exporter.intensity.value import STATIC
from perjoule_exporter.meters import DeviceKind
from perjoule_exporter.view import DeviceView

_METHODS = {
    "counter": "hardware counter",
    "integrated": "power, integrated",
    "estimated": "estimated from utilisation, error unknown",
    "simulated": "simulated",
    "replayed": "replayed",
}

_SOME_YEARS = 1.5

_DIGITS = {"estimated": 2}
"""Significant digits of figures by their method, where they are not three (four for energy): more would mislead."""

_STYLE = """
:root{color-scheme:light dark;--ink:#1c2430;--soft:#566270;--line:#dfe4ea;--ground:#f7f9fa;--card:#fff;--accent:#08704c;
--warn-ink:#6b4200;--warn:#fff1cf;--bad:#b3261e}
@media(prefers-color-scheme:dark){:root{--ink:#e6eaf0;--soft:#9aa6b5;--line:#2b3440;--ground:#11161d;--card:#181f28;
--accent:#4fd1a1;--warn-ink:#ffd88a;--warn:#3a2d10;--bad:#ff8a80}}
*{box-sizing:border-box}
body{margin:0;background:var(--ground);color:var(--ink);font:16px/1.55 system-ui,-apple-system,"Segoe UI",sans-serif}
main{max-width:62rem;margin:0 auto;padding:2.5rem 1.25rem}
h1{margin:0;font-size:1.6rem;letter-spacing:-.01em} h2{margin:2.25rem 0 .6rem;font-size:1.05rem}
p{margin:.3rem 0} .soft{color:var(--soft)} a{color:var(--accent);text-underline-offset:.2em}
a:focus-visible{outline:2px solid var(--accent);outline-offset:2px}
.banner{margin:1.25rem 0 0;padding:.75rem 1rem;border-radius:.5rem;background:var(--warn);color:var(--warn-ink);
font-weight:600} .banner+.banner{margin-top:.6rem}
.card{border:1px solid var(--line);border-radius:.6rem;background:var(--card);overflow-x:auto}
table{width:100%;border-collapse:collapse;font-variant-numeric:tabular-nums}
th,td{padding:.65rem .9rem;text-align:left;vertical-align:baseline;border-top:1px solid var(--line);font-weight:400}
thead th{border-top:0;color:var(--soft);font-size:.85rem;font-weight:600;white-space:nowrap}
tbody th b{font-weight:600} tbody th{min-width:12rem} .number{text-align:right;white-space:nowrap}
code{font-size:.8em;overflow-wrap:anywhere;color:var(--soft)} p code{font-size:.88em}
.down{color:var(--bad);font-weight:600} .note{margin:.6rem 0 0;font-size:.9rem}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.3rem 1.5rem;margin:0;padding:.8rem .9rem}
dt{color:var(--soft)} dd{margin:0}
nav{display:flex;flex-wrap:wrap;gap:.4rem 1.5rem} footer{margin-top:2.5rem;font-size:.85rem}
@media(max-width:42rem){
body{font-size:15px} main{padding:1.5rem 1rem}
thead{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}
table,tbody,tr,th,td{display:block} tr+tr{border-top:1px solid var(--line)} tr{padding:.6rem 0}
tbody th,tbody td{border:0;padding:.12rem .9rem} tbody th{padding-bottom:.3rem}
tbody td{display:flex;justify-content:space-between;gap:1rem;text-align:right;white-space:normal}
tbody td[data-label]::before{content:attr(data-label);color:var(--soft);text-align:left;white-space:nowrap}
dl{grid-template-columns:1fr;gap:0} dd+dt{margin-top:.5rem}}
"""


@dataclass(frozen=True, slots=True)
class About:
    """What the page says of the program itself: where it runs, since how many seconds, where it keeps its counters."""

    telemetry_path: str
    host: str
    uptime_seconds: float
    state_file: Path | None = None


def landing_page(views: Iterable[DeviceView], factors: Factors, about: About, now: float) -> str:
    """Return the page as HTML. ``now`` is the Unix time that ages are counted to."""
    views = tuple(views)
    texts = [*of_devices(views).values(), *of_provider(factors)]
    banners = "".join(f'<p class="banner" role="status">{escape(text)}</p>' for text in texts)
    return f"""<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex"><title>gpu-energy-exporter</title><style>{_STYLE}</style></head>
<body><main>
<h1>gpu-energy-exporter</h1>
<p class="soft">The joules of every device of {escape(about.host)}, for Prometheus.</p>
{banners}
<h2 id="devices">Devices</h2>
<div class="card">{_table(views)}</div>
<p class="soft note">Power now; energy and CO<sub>2</sub>e since this exporter first saw the device.</p>
<h2>Carbon and price</h2>
<div class="card">{_listed(_carbon(factors, now))}</div>
<h2>Program</h2>
<div class="card">{_listed(_program(about))}</div>
<h2>Links</h2>
<nav aria-label="Links"><a href="{escape(about.telemetry_path)}">Metrics</a><a href="/healthz">Health</a>
<a href="/readyz">Readiness</a></nav>
<p class="soft note">What each figure means, and how sure it is, stands in the files <code>docs/metrics.md</code> and
<code>docs/energy.md</code> of Perjoule's source.</p>
{_credit(factors)}
</main></body></html>
"""


def _table(views: tuple[DeviceView, ...]) -> str:
    # The roles say again what the elements are: narrow screens lay them out as blocks, which would take it away.
    made = any(view.measured is not None and view.measured.embodied_grams is not None for view in views)
    heads = [("Device", ""), ("Method", ""), ("Power", "number"), ("Energy", "number"), ("CO<sub>2</sub>e", "number")]
    if made:
        heads.append(("Embodied CO<sub>2</sub>e", "number"))
    empty = f'<tr role="row"><td role="cell" colspan="{len(heads)}">No device is known.</td></tr>'
    rows = "".join(_row(view, made=made) for view in views) or empty
    head = "".join(f'<th role="columnheader" scope="col" class="{kind}">{text}</th>' for text, kind in heads)
    return (
        f'<table role="table" aria-labelledby="devices"><thead role="rowgroup"><tr role="row">{head}</tr></thead>'
        f'<tbody role="rowgroup">{rows}</tbody></table>'
    )


def _row(view: DeviceView, *, made: bool) -> str:
    device = view.device
    name = f"<b>{escape(device.name)}</b><br>" if device.name else ""
    title = f'<th role="rowheader" scope="row">{name}<code>{escape(device.uuid)}</code></th>'
    method = f'<td role="cell" data-label="Method">{escape(_METHODS.get(device.method, device.method))}</td>'
    return f'<tr role="row">{title}{method}{_figures(view, made=made)}</tr>'


def _figures(view: DeviceView, *, made: bool) -> str:
    """Return the cells of a device's figures; ``made``: with those of its manufacture."""
    measured = view.measured
    if measured is None:
        why = "" if view.failure is None else f": {escape(view.failure.removeprefix(f'{view.device.uuid}: '))}"
        return f'<td role="cell" class="number down" colspan="{3 + made}">does not answer{why}</td>'
    watts = measured.average_power_watts if measured.power_watts is None else measured.power_watts
    digits = _DIGITS.get(view.device.method)
    figures = [
        ("Power", scaled(watts, "W", digits or 3)),
        ("Energy", scaled(measured.energy_joules, "J", digits or 4)),
        ("CO₂e", scaled(measured.emissions_grams, "g", digits or 3)),
    ]
    if made:
        grams = measured.embodied_grams if view.device.kind is DeviceKind.GPU else None
        figures.append(("Embodied CO₂e", scaled(grams, "g", 2)))
    return "".join(f'<td role="cell" class="number" data-label="{label}">{text}</td>' for label, text in figures)


Entries = list[tuple[str, str]]
"""Names and values of a list, not escaped."""


def _carbon(factors: Factors, now: float) -> Entries:
    """Return the factors in force."""
    price = factors.price
    cost = [] if price is None else [("Price", f"{price.per_kwh:g} {price.currency} per kWh")]
    return [*_intensity(factors, now), *cost]


def _intensity(factors: Factors, now: float) -> Entries:
    intensity, static = factors.intensity, factors.static
    if static is None:
        return [("Zone", f"{ABSENT} none: start with --carbon.zone to count emissions")]
    entries = [("Zone", f"{static.name} ({static.zone})")]
    if intensity is None:
        entries.append(("Intensity", f"{ABSENT} the live one is too old, and no average stands in for a marginal one"))
    else:
        kind = f"{intensity.basis}, estimated" if intensity.estimated else intensity.basis
        entries.append(("Intensity", f"{significant(intensity.grams_per_kwh)} g/kWh, {kind}"))
        if intensity.provider == STATIC:
            entries.append(("Provider", intensity.provider))
            entries.append(("Of", f"the year {static.year}, which ended {_age(now - intensity.valid_at)} ago"))
        else:
            at = datetime.fromtimestamp(intensity.valid_at, UTC).isoformat(" ", "minutes").replace("+00:00", " UTC")
            entries.append(("Provider", f"{intensity.provider} for {intensity.zone}"))
            entries.append(("Of", f"{at}, {_age(now - intensity.valid_at)} ago"))
    entries.append(("PUE", f"{factors.pue:g}"))
    return entries


def _program(about: About) -> Entries:
    kept = f"{ABSENT} none: they start at 0 with the program" if about.state_file is None else str(about.state_file)
    return [("Version", __version__), ("Runs for", _age(about.uptime_seconds)), ("Counters are kept in", kept)]


def _listed(entries: Entries) -> str:
    return "<dl>" + "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in entries) + "</dl>"


def _credit(factors: Factors) -> str:
    """Return whose figure the yearly average is, which its licence wants to be said; empty where it is not in force."""
    static, intensity = factors.static, factors.intensity
    if static is None or intensity is None or intensity.provider != STATIC:
        return ""
    return f'<footer class="soft">Carbon intensity: {escape(static.source)}; {escape(static.licence)}.</footer>'


def _age(seconds: float) -> str:
    """Return a time span in its largest unit of which there are two; what is of the future is 0 s old."""
    years = seconds / (365.25 * 86400)
    if years >= _SOME_YEARS:
        return f"about {years:.0f} years"
    for unit, length in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{int(seconds / length)} {unit}"
    return f"{max(int(seconds), 0)} s"
