"""The dashboards, as code: what each asks, of which recorded series, in which unit.

Headline figures cover the selected time range: the sum of a range's energy samples over the sum of its request samples.
Neighbouring windows overlap, which cancels in the ratio; a sum of such samples is therefore never shown by itself.
"""

import json

from grafana_foundation_sdk.builders import dashboard as dashboard_builder
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard

from perjoule.units import kwh_per_thousand
from perjoule_grafana.panels import COUNT, DATA_SOURCE, Band, Column, Text, laid_out, lines, stat, table
from perjoule_grafana.queries import DEVICE_INFO, FIVE_MINUTES, POWER

UID = "perjoule-energy"
NODE = 'node=~"$node"'
TASK = f'{NODE}, task=~"$task", model=~"$model"'
BY_TASK = "task, model"
KWH_PER_THOUSAND = kwh_per_thousand(1.0)
GRAMS = "massg"
MINUTE = "1m"
OK = 'outcome="ok", '
NOT_OK = 'outcome!="ok", '

IDLE_NOTE = (
    "Gross: a device's idle energy within five minutes of a request is shared by the tasks in proportion to the time"
    " that they held the device. Energy with no request near it is charged to nobody."
)


def dashboard_files() -> dict[str, str]:
    """Return every dashboard: path from the repository's root, and classic JSON."""
    return {"grafana/dashboards/energy-per-inference.json": _text(energy_per_inference())}


def energy_per_inference() -> dashboard.Dashboard:
    """Return the dashboard *Energy & CO2 per inference*: answers, then why, then every task, then the devices."""
    board = (
        dashboard_builder.Dashboard("Energy & CO2 per inference")
        .uid(UID)
        .description("What one inference costs in joules and grams of CO2e, by task, model and device.")
        .tags(["perjoule", "energy", "carbon", "inference"])
        .readonly()
        .tooltip(dashboard.DashboardCursorSync.CROSSHAIR)
        .time("now-1h", "now")
        .refresh("15s")
        .timezone("browser")
        .variables(_variables())
        .build()
    )
    board.panels = laid_out([_answers(), _why(), _tasks(), _devices(), _factors()])
    return board


def over_range(series: str, by: str = "", selector: str = TASK) -> str:
    """Return the sum of a recorded series over the selected range; only ever one side of a ratio."""
    grouping = f" by ({by})" if by else ""
    return f"sum{grouping} (sum_over_time({series}{{{selector}}}[$__range]))"


def per_inference(series: str, by: str = "") -> str:
    """Return ``series`` per inference over the selected range, of the requests for which the series is known."""
    grouping = f" by ({by})" if by else ""
    charged = f"sum_over_time({FIVE_MINUTES.requests_charged}{{{TASK}}}[$__range])"
    known = f"sum_over_time({series}{{{TASK}}}[$__range])"
    return f"{over_range(series, by)} / (sum{grouping} ({charged} and {known}) > 0)"


def per_inference_over_time(series: str, by: str) -> str:
    """Return ``series`` per inference at each instant, grouped."""
    charged = f"{FIVE_MINUTES.requests_charged}{{{TASK}}} and {series}{{{TASK}}}"
    return f"sum by ({by}) ({series}{{{TASK}}}) / (sum by ({by}) ({charged}) > 0)"


def _requests(outcome: str, span: str, by: str = "") -> str:
    grouping = f" by ({by})" if by else ""
    return f"sum{grouping} (rate(inference_requests_total{{{outcome}{TASK}}}[{span}]))"


def _answers() -> Band:
    energy = per_inference(FIVE_MINUTES.energy)
    span, now = "Selected tasks and models, over the selected time range. ", "Mean of the last minute. "
    busy = f"sum by (node, device) (rate(inference_device_busy_seconds_total{{{NODE}}}[$__rate_interval]))"
    return Band("Answers", 4, [
        (stat(Text("Energy per inference", span + IDLE_NOTE, "joule"), energy, "orange"), 4),
        (stat(Text("CO2e per inference", span + "Each joule at the carbon intensity and PUE of the time of its use."
                   " Empty without a carbon zone.", GRAMS), per_inference(FIVE_MINUTES.emissions), "green"), 4),
        (stat(Text("Energy per 1,000 inferences", span + "The unit of the study 'Power Hungry Processing'."
                   " Its boundary was a node of eight GPUs with RAM and CPU: compare with care.", "kwatth"),
              f"{energy} * {KWH_PER_THOUSAND!r}", "orange"), 4),
        (stat(Text("Inferences per second, now", now + "Selected tasks and models; only requests that were answered"
                   " well.", "reqps"), _requests(OK, "$__rate_interval"), "blue", interval=MINUTE), 4),
        (stat(Text("Power, now", now + "All measured devices of the selected nodes, from their energy counters,"
                   " whatever they ran.", "watt"), f"sum({POWER}{{{NODE}}})", "yellow", interval=MINUTE), 4),
        (stat(Text("Idle time, now", now + "Share of time in which no batch held the device, mean over the devices"
                   " that models run on. Idle devices draw power all the same.", "percentunit"),
              f"1 - avg({busy})", "purple", interval=MINUTE), 4),
    ])  # fmt: skip


def _why() -> Band:
    energy, emissions = FIVE_MINUTES.energy, FIVE_MINUTES.emissions
    window = f"Over the {FIVE_MINUTES.range} before each instant; logarithmic axis. "
    power = f"sum by (task) ({FIVE_MINUTES.share}{{{TASK}}} * on (node, device) group_left () {POWER}{{{NODE}}})"
    return Band("Why: by task and model", 10, [
        (lines(Text("Energy per inference, by task", window + IDLE_NOTE, "joule"),
               per_inference_over_time(energy, "task"), "{{task}}", log=True), 12),
        (lines(Text("CO2e per inference, by task", window + "Moves against energy where the carbon intensity moves.",
                    GRAMS), per_inference_over_time(emissions, "task"), "{{task}}", log=True), 12),
        (lines(Text("Energy per inference, by model", window + "A model that serves several tasks is one line.",
                    "joule"), per_inference_over_time(energy, "model"), "{{model}}", log=True), 12),
        (lines(Text("Power, by task", "Power of the devices that ran something, over a minute, split by the time that"
                    f" each task held them over {FIVE_MINUTES.range}.", "watt"),
               power, "{{task}}", stacked=True), 12),
    ])  # fmt: skip


def _tasks() -> Band:
    energy = per_inference(FIVE_MINUTES.energy, BY_TASK)
    share = f"{over_range(FIVE_MINUTES.energy, BY_TASK)} / scalar({over_range(FIVE_MINUTES.energy)})"
    asked, failed = _requests("", "$__range", BY_TASK), _requests(NOT_OK, "$__range", BY_TASK)
    text = Text("All tasks and models", "Over the selected time range. " + IDLE_NOTE, "short")
    columns = (
        Column("Energy per inference", "joule", energy),
        Column("CO2e per inference", GRAMS, per_inference(FIVE_MINUTES.emissions, BY_TASK)),
        Column("Per 1,000", "kwatth", f"{energy} * {KWH_PER_THOUSAND!r}"),
        Column("Inferences", COUNT, _requests(OK, "$__range", BY_TASK).replace("rate(", "increase(")),
        Column("Share of energy", "percentunit", share),
        Column("Not answered well", "percentunit", f"{failed} / ({asked} > 0)"),
    )
    return Band("Every task", 15, [(table(text, ("task", "model"), columns, sort="Energy per inference"), 24)])


def _devices() -> Band:
    power = f"{POWER}{{{NODE}}} * on (node, device) group_left (method, name) {DEVICE_INFO}{{{NODE}}}"
    busy = f"sum by (node, device) (rate(inference_device_busy_seconds_total{{{TASK}}}[$__rate_interval]))"
    return Band("Devices", 8, [
        (lines(Text("Power, by device and method", "From the energy counters, over a minute. 'counter' is the device's"
                    " own meter; 'estimated' is a model of CPU utilisation, 'simulated' no hardware at all.", "watt"),
               power, "{{node}} {{device}} ({{method}})"), 12),
        (lines(Text("Device time in use, by device", "Share of time in which a batch of the selected tasks held the"
                    " device. Near 100 %: requests wait. Near 0: most of the energy is idle energy.", "percentunit"),
               busy, "{{node}} {{device}}"), 12),
    ])  # fmt: skip


def _factors() -> Band:
    intensity = f"max by (zone, provider, basis) (grid_carbon_intensity_grams_per_kwh{{{NODE}}})"
    return Band("Factors behind CO2e", 6, [
        (lines(Text("Carbon intensity", "The factor that the exporters apply, by zone and provider; 'static' is a"
                    " yearly average. Empty without a carbon zone.", "suffix:g/kWh"),
               intensity, "{{zone}} {{provider}} ({{basis}})"), 16),
        (stat(Text("PUE", "Energy of the site over energy of its computers, as given to each node's exporter. Grams of"
                   " CO2e include it, joules do not.", "short"),
              f"max by (node) (datacenter_pue_ratio{{{NODE}}})", "text", legend="{{node}}"), 8),
    ])  # fmt: skip


def _variables() -> list[Builder[dashboard.VariableModel]]:
    requests = "inference_requests_total"
    return [
        dashboard_builder.DatasourceVariable("datasource").label("Data source").type("prometheus"),
        _choice("node", "Node", f"label_values({POWER}, node)"),
        _choice("task", "Task", f"label_values({requests}{{{NODE}}}, task)"),
        _choice("model", "Model", f'label_values({requests}{{{NODE}, task=~"$task"}}, model)'),
    ]


def _choice(name: str, label: str, query: str) -> dashboard_builder.QueryVariable:
    """Return a variable that offers the values of a label, several at once, all by default."""
    everything = dashboard.VariableOption(selected=True, text=["All"], value=["$__all"])
    return (
        dashboard_builder.QueryVariable(name)
        .label(label)
        .datasource(DATA_SOURCE)
        .query({"query": query, "refId": f"Variable-{name}"})
        .definition(query)
        .refresh(dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(dashboard.VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".*")  # also matches series that carry no such label: one machine needs no node label
        .current(everything)
    )


def _text(board: dashboard.Dashboard) -> str:
    return json.dumps(board, cls=JSONEncoder, indent=2, ensure_ascii=False) + "\n"
