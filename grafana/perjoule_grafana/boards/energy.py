"""*Energy & CO2 per inference*: answers first, then why, by task and model, then every task with links."""

from grafana_foundation_sdk.models import dashboard

from perjoule.units import JOULES_PER_KWH, kwh_per_thousand
from perjoule_grafana.frame import PLACE, TASK, Frame, framed
from perjoule_grafana.layout import Band
from perjoule_grafana.panels import COUNT, LOG, MINUTE, STACKED, Line, Look, Text, lines, stat
from perjoule_grafana.promql import (
    active_per_inference,
    as_watts,
    idle_share,
    of_devices,
    over_range,
    over_time,
    per_inference,
    per_token,
    requests,
)
from perjoule_grafana.queries import FIVE_MINUTES, POWER
from perjoule_grafana.tables import Column, Jump, table

FRAME = Frame(
    "perjoule-energy",
    "Energy & CO2 per inference",
    "What one inference costs in joules and grams of CO2e, by task and model.",
    ("energy", "carbon", "inference"),
    ("task", "model"),
)
BY_TASK = "task, model"
GRAMS, OK, NOT_OK = "massg", 'outcome="ok", ', 'outcome!="ok", '
KWH_PER_THOUSAND = kwh_per_thousand(1.0)
PHONE_KWH = 0.022
"""Full charge of a smartphone: EPA's figure of January 2024, as in the study; EPA had 0.012 a year earlier."""

LOADED = (
    "Fully loaded: what the exporter charged to the inferences, failed ones too, and their share of the device's idle"
    " energy by use. Where no server tells its batches: the device's energy by the time that each task held it."
)
RANGE = "Selected tasks and models, over the selected range. "
JUMPS = (
    Jump("Task", "This task alone", "/d/perjoule-energy?var-task=${__data.fields.Task}&${__url_time_range}"),
    Jump("Model", "This model alone", "/d/perjoule-energy?var-task=${__data.fields.Task}"
         "&var-model=${__data.fields.Model}&${__url_time_range}"),
    Jump("Energy per inference", "Against the study", "/d/perjoule-study?${__url_time_range}"),
)  # fmt: skip


def board() -> dashboard.Dashboard:
    """Return the dashboard."""
    return framed(FRAME, [_answers(), _sums(), _why(), _tasks()])


def _answers() -> Band:
    energy, orange = per_inference(FIVE_MINUTES.energy), Look("orange")
    return Band("Answers", 4, [
        (stat(Text("Energy per inference", RANGE + LOADED, "joule"), energy, orange), 4),
        (stat(Text("CO2e per inference", RANGE + "Each joule at the carbon intensity and PUE of the time of its use."
                   " Empty without a carbon zone.", GRAMS), per_inference(FIVE_MINUTES.emissions), Look("green")), 4),
        (stat(Text("Energy per output token", RANGE + "Tasks that write tokens alone; reading the input is part of it.",
                   "joule"), per_token(), orange), 4),
        (stat(Text("Energy per 1,000 inferences", RANGE + "The unit of the study 'Power Hungry Processing', whose"
                   " boundary was eight GPUs with RAM and CPU: compare with care.", "kwatth"),
              f"{energy} * {KWH_PER_THOUSAND!r}", orange), 4),
        (stat(Text("Phone charges per 1,000", RANGE + f"Energy of 1,000 inferences over {PHONE_KWH} kWh, a full charge"
                   " of a smartphone by EPA's figure of January 2024. By that of 2023, 0.012 kWh, it would be 1.8 times"
                   " as many.", "short"), f"{energy} * {KWH_PER_THOUSAND!r} / {PHONE_KWH}", Look("blue")), 4),
        (stat(Text("Idle share of energy", "Joules that the devices would have used without work, over all their"
                   " joules, in the selected range, whatever task is selected. Share a device or free it to lower it.",
                   "percentunit"), idle_share(), Look("purple")), 4),
    ])  # fmt: skip


def _sums() -> Band:
    outcomes = over_range(FIVE_MINUTES.by_outcome, selector=TASK)
    wasted = over_range(FIVE_MINUTES.by_outcome, selector=f'outcome!~"ok|unmeasured", {TASK}')
    energy = f"{of_devices('energy_joules')} / {JOULES_PER_KWH:g}"
    return Band("Totals and now", 4, [
        (stat(Text("Energy per inference, active", RANGE + "Charged by the exporter to inferences that ended well:"
                   " theirs alone, idle time not in it. Empty where no server tells its batches.", "joule"),
              active_per_inference(), Look("orange")), 4),
        (stat(Text("Energy of the devices", "All measured devices of the selected nodes in the selected range,"
                   " whatever they ran.", "kwatth"), energy, Look("yellow")), 4),
        (stat(Text("CO2e of the devices", "All measured devices of the selected nodes in the selected range. Empty"
                   " without a carbon zone.", GRAMS), of_devices("emissions_grams"),
              Look("green")), 4),
        (stat(Text("Energy without an answer", RANGE + "Share of the charged joules that went into requests that"
                   " failed, were cancelled or expired, and into loading and warming up.", "percentunit"),
              f"({wasted} or vector(0)) / ({outcomes} > 0)", Look("red")), 4),
        (stat(Text("Power, now", "Mean of the last minute of all measured devices of the selected nodes, from their"
                   " energy counters.", "watt"), f"sum({POWER}{{{PLACE}}})", Look("yellow"), interval=MINUTE), 4),
        (stat(Text("Inferences per second, now", "Mean of the last minute; requests that were answered well.",
                   "reqps"), requests(OK, "$__rate_interval"), Look("blue"), interval=MINUTE), 4),
    ])  # fmt: skip


def _why() -> Band:
    window = f"Over the {FIVE_MINUTES.range} before each instant; logarithmic axis. "
    energy, grams = FIVE_MINUTES.energy, FIVE_MINUTES.emissions
    return Band("Why: by task and model", 9, [
        (lines(Text("Energy per inference, by task", window + LOADED, "joule"),
               [Line(over_time(energy, "task"), "{{task}}")], LOG), 12),
        (lines(Text("CO2e per inference, by task", window + "Moves against energy where the carbon intensity moves.",
                    GRAMS), [Line(over_time(grams, "task"), "{{task}}")], LOG), 12),
        (lines(Text("Energy per inference, by model", window + "A model that serves several tasks is one line.",
                    "joule"), [Line(over_time(energy, "model"), "{{model}}")], LOG), 12),
        (lines(Text("Where the power goes", f"Mean of the {FIVE_MINUTES.range} before each instant. Charged to requests"
                    " of the selected tasks by how they ended; shared out by time where no server tells its batches;"
                    " idle; and nobody's.", "watt"), _parts(), STACKED), 12),
    ])  # fmt: skip


def _parts() -> list[Line]:
    return [
        Line(as_watts(FIVE_MINUTES.by_outcome, TASK, "outcome"), "charged: {{outcome}}"),
        Line(as_watts(FIVE_MINUTES.timed, TASK), "by time, no spans told"),
        Line(as_watts(FIVE_MINUTES.device_idle, PLACE), "idle"),
        Line(as_watts(FIVE_MINUTES.device_unattributed, PLACE, "reason"), "nobody's: {{reason}}"),
    ]


def _tasks() -> Band:
    energy = per_inference(FIVE_MINUTES.energy, BY_TASK)
    share = f"{over_range(FIVE_MINUTES.energy, BY_TASK)} / scalar({over_range(FIVE_MINUTES.energy)})"
    failed = f"{requests(NOT_OK, '$__range', BY_TASK)} / ({requests('', '$__range', BY_TASK)} > 0)"
    text = Text("All tasks and models", "Over the selected range; a click on a task or model selects it. " + LOADED,
                "short")  # fmt: skip
    columns = (
        Column("Energy per inference", "joule", energy),
        Column("Active", "joule", active_per_inference(BY_TASK)),
        Column("CO2e per inference", GRAMS, per_inference(FIVE_MINUTES.emissions, BY_TASK)),
        Column("Per output token", "joule", per_token(BY_TASK)),
        Column("Per 1,000", "kwatth", f"{energy} * {KWH_PER_THOUSAND!r}"),
        Column("Inferences", COUNT, requests(OK, "$__range", BY_TASK).replace("rate(", "increase(")),
        Column("Share of energy", "percentunit", share),
        Column("Not answered well", "percentunit", failed),
    )
    return Band("Every task", 15, [(table(text, ("task", "model"), columns, sort="Energy per inference", jumps=JUMPS),
                                    24)])  # fmt: skip
