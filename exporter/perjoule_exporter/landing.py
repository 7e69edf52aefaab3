"""The landing page: what this exporter reads, how, and where the metrics are. One self-contained HTML document.

It shows what a scrape would show, from the same views; unknown is a dash. It loads nothing from anywhere.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from html import escape

from perjoule import __version__
from perjoule.units import ABSENT, scaled, significant
from perjoule_exporter.intensity import Factors
from perjoule_exporter.intensity.value import STATIC
from perjoule_exporter.view import DeviceView

SIMULATED_BANNER = "SIMULATED: this GPU does not exist. Its joules are for tests and demonstrations only."

_METHODS = {
    "counter": "hardware counter",
    "integrated": "power, integrated",
    "estimated": "estimated from utilisation, not measured",
    "simulated": "simulated",
    "replayed": "replayed",
}

_STYLE = """
:root{color-scheme:light dark;--ink:#1c2430;--soft:#5b6675;--line:#dfe4ea;--ground:#fbfcfd;--card:#fff;--accent:#0a7d55;
--warn-ink:#7a4b00;--warn:#fff3d6;--bad:#b3261e}
@media(prefers-color-scheme:dark){:root{--ink:#e6eaf0;--soft:#98a4b3;--line:#2b3440;--ground:#11161d;--card:#181f28;
--accent:#4fd1a1;--warn-ink:#ffd88a;--warn:#3a2d10;--bad:#ff8a80}}
*{box-sizing:border-box}
body{margin:0;background:var(--ground);color:var(--ink);font:16px/1.55 system-ui,-apple-system,"Segoe UI",sans-serif}
main{max-width:60rem;margin:0 auto;padding:2.5rem 1.25rem}
h1{margin:0;font-size:1.6rem;letter-spacing:-.01em} h2{margin:2.25rem 0 .6rem;font-size:1.05rem}
p{margin:.3rem 0} .soft{color:var(--soft)} a{color:var(--accent)}
.banner{margin:1.25rem 0 0;padding:.75rem 1rem;border-radius:.5rem;background:var(--warn);color:var(--warn-ink);
font-weight:600}
.card{overflow-x:auto;border:1px solid var(--line);border-radius:.6rem;background:var(--card)}
table{width:100%;border-collapse:collapse;font-variant-numeric:tabular-nums}
th,td{padding:.6rem .9rem;text-align:left;vertical-align:top;border-top:1px solid var(--line)}
thead th{border-top:0;color:var(--soft);font-size:.85rem;font-weight:600;white-space:nowrap}
.number{text-align:right;white-space:nowrap} code{font-size:.8em;overflow-wrap:anywhere;color:var(--soft)}
.down{color:var(--bad);font-weight:600}
.note{margin:.6rem 0 0;font-size:.9rem}
@media(max-width:36rem){main{padding:1.5rem .9rem} th,td{padding:.5rem} body{font-size:15px}}
nav a{margin-right:1.25rem} footer{margin-top:2.5rem;font-size:.85rem}
"""


def landing_page(views: Iterable[DeviceView], factors: Factors, telemetry_path: str) -> str:
    """Return the page as HTML."""
    views = tuple(views)
    simulated = any(view.device.method == "simulated" for view in views)
    banner = f'<p class="banner" role="status">{escape(SIMULATED_BANNER)}</p>' if simulated else ""
    rows = "".join(map(_row, views))
    return f"""<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>gpu-energy-exporter</title><style>{_STYLE}</style></head>
<body><main>
<h1>gpu-energy-exporter</h1>
<p class="soft">The joules of every device of this machine, for Prometheus.</p>
{banner}
<h2>Devices</h2>
<div class="card"><table>
<thead><tr><th>Device</th><th>Method</th><th class="number">Power</th><th class="number">Energy</th>
<th class="number">CO<sub>2</sub>e</th></tr></thead>
<tbody>{rows}</tbody></table></div>
<p class="soft note">Energy and CO<sub>2</sub>e since this exporter first saw the device.</p>
<h2>Carbon</h2>
{_carbon(factors)}
<h2>Links</h2>
<nav><a href="{escape(telemetry_path)}">Metrics</a><a href="/healthz">Health</a></nav>
<footer class="soft">Version {escape(__version__)}</footer>
</main></body></html>
"""


def _row(view: DeviceView) -> str:
    device = view.device
    title = escape(device.name or device.uuid)
    method = escape(_METHODS.get(device.method, device.method))
    measured = view.measured
    if measured is None:
        figures = '<td class="number down" colspan="3">does not answer</td>'
    else:
        watts = measured.average_power_watts if measured.power_watts is None else measured.power_watts
        energy = measured.energy_joules
        # A counter that is not there is shown by what its power sums up to; the method column says so.
        energy = measured.integrated_joules if energy is None else energy
        texts = (scaled(watts, "W"), scaled(energy, "J", 4), scaled(measured.emissions_grams, "g"))
        figures = "".join(f'<td class="number">{text}</td>' for text in texts)
    return f"<tr><td>{title}<br><code>{escape(device.uuid)}</code></td><td>{method}</td>{figures}</tr>"


def _carbon(factors: Factors) -> str:
    intensity, static = factors.intensity, factors.static
    if static is None:
        return f"<p>{ABSENT} No zone: start with <code>--carbon.zone</code> to count emissions.</p>"
    zone = f"{escape(static.name)} ({escape(static.zone)})"
    if intensity is None:
        return f"<p>{ABSENT} {zone}: no live intensity is young enough, and no average stands in for a marginal one.</p>"
    value = f"{significant(intensity.grams_per_kwh)} g/kWh"
    if intensity.provider == STATIC:
        return (
            f"<p>{zone}, {value}, average of {static.year}, PUE {factors.pue:g}.</p>"
            f'<p class="soft">Source: {escape(static.source)}; {escape(static.licence)}.</p>'
        )
    kind = f"{intensity.basis}, estimated" if intensity.estimated else intensity.basis
    at = datetime.fromtimestamp(intensity.valid_at, UTC).isoformat(" ", "minutes").replace("+00:00", " UTC")
    return (
        f"<p>{zone}, {value}, PUE {factors.pue:g}.</p>"
        f'<p class="soft">Source: {escape(intensity.provider)} for {escape(intensity.zone)}, {kind}, of {at}.</p>'
    )
