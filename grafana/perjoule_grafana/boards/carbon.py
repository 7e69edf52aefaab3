"""*Carbon & budget*: intensity, grams a second, burn against a budget, cleanest hours, cost, SCI."""

from grafana_foundation_sdk.models import dashboard

from perjoule.units import JOULES_PER_KWH
from perjoule_grafana.frame import PLACE, TASK, Frame, framed
from perjoule_grafana.layout import Band
from perjoule_grafana.panels import MINUTE, STACKED, Line, Look, Text, lines, ranked, stat
from perjoule_grafana.promql import of_devices, of_devices_now, per_inference, total
from perjoule_grafana.queries import FIVE_MINUTES, ONE_HOUR
from perjoule_grafana.tables import Column, Jump, table
from perjoule_grafana.thresholds import CARBON_BUDGET

FRAME = Frame(
    "perjoule-carbon",
    "Carbon & budget",
    "Grams of CO2e at the intensity of the time of use, what they come to in a month, clean hours, cost, SCI.",
    ("carbon", "cost"),
    ("task", "model"),
    since="now-6h",
    refresh="1m",
)
GRAMS, GRAMS_PER_KWH, GRAMS_PER_SECOND = "massg", "suffix: g/kWh", "si:g/s"
HOURS_OF_BUDGET = 30 * 24
CLEANEST = 8
BY_TASK = "task, model"
NO_ZONE = " Empty without a carbon zone."
JUMP = Jump("Task", "Energy of this task", "/d/perjoule-energy?var-task=${__data.fields.Task}&${__url_time_range}")


def board() -> dashboard.Dashboard:
    """Return the dashboard."""
    return framed(FRAME, [_now(), _course(), _hours(), _tasks()])


def _intensity(by: str) -> str:
    return f"max by ({by}) (grid_carbon_intensity_grams_per_kwh{{{PLACE}}})"


def _monthly() -> str:
    """Return grams in 30 days if all went on like the last hour, by cluster."""
    return f"sum by (cluster) ({ONE_HOUR.device_emissions}{{{PLACE}}}) * {HOURS_OF_BUDGET}"


def _sci() -> str:
    """Return grams per inference with manufacture, of the tasks that have it, and without; label ``of`` says which."""
    operation, manufacture, requests = (
        f"sum_over_time({series}{{{TASK}}}[$__range])"
        for series in (FIVE_MINUTES.emissions, FIVE_MINUTES.embodied, FIVE_MINUTES.requests_charged)
    )
    whole = f"sum({operation} + {manufacture}) / (sum({requests} and {operation} and {manufacture}) > 0)"
    part = per_inference(FIVE_MINUTES.emissions)
    named = (("SCI", whole), ("operation alone", part))
    return "\nor ".join(f'label_replace({expr}, "of", "{name}", "", "")' for name, expr in named)


def _now() -> Band:
    weighted = f"{of_devices('emissions_grams')} / ({of_devices('energy_joules')} > 0)"
    return Band("Now", 4, [
        (stat(Text("Carbon intensity", "The factor that the exporters apply now, by zone. 'static' is a yearly"
                   " average: it knows no hours." + NO_ZONE, GRAMS_PER_KWH), _intensity("zone, provider"),
              Look("green"), legend="{{zone}} {{provider}}"), 4),
        (stat(Text("CO2e per second", "All measured devices, mean of the last minute, PUE included." + NO_ZONE,
                   GRAMS_PER_SECOND), of_devices_now("emissions_grams"), Look("green"), interval=MINUTE), 4),
        (stat(Text("CO2e of the devices", "All measured devices in the selected range." + NO_ZONE, GRAMS),
              of_devices("emissions_grams"), Look("green")), 4),
        (stat(Text("Intensity paid", "Grams over kWh of the selected range, PUE included: what the energy's own hours"
                   " cost, to hold against the mean intensity." + NO_ZONE, GRAMS_PER_KWH),
              f"{weighted} * {JOULES_PER_KWH:g}", Look("green")), 4),
        (stat(Text("SCI per inference", "ISO/IEC 21031: grams of operation, idle included, and of manufacture, over"
                   " inferences. Of operation alone where no manufacture is stated (--embodied.kg).", GRAMS), _sci(),
              Look("orange"), legend="{{of}}"), 4),
        (stat(Text("PUE", "Energy of the site over energy of its computers, as given to each node's exporter. Grams of"
                   " CO2e include it, joules do not.", "short"),
              f"max by (node) (datacenter_pue_ratio{{{PLACE}}})", Look(), legend="{{node}}"), 4),
    ])  # fmt: skip


def _course() -> Band:
    grams = of_devices_now("emissions_grams", "node")
    intensity = _intensity("zone, provider, basis")
    budget = f'{CARBON_BUDGET}{{cluster=~"$cluster"}}'
    age = f"time() - max by (zone, provider, basis) (grid_carbon_intensity_timestamp_seconds{{{PLACE}}})"
    return Band("Course", 9, [
        (lines(Text("Carbon intensity, by zone", "The factor that the exporters apply; average and marginal are never"
                    " mixed." + NO_ZONE, GRAMS_PER_KWH), [Line(intensity, "{{zone}} {{provider}} ({{basis}})")]), 12),
        (lines(Text("CO2e per second, by node", "All measured devices, mean of a minute, PUE included." + NO_ZONE,
                    GRAMS_PER_SECOND), [Line(grams, "{{node}}")], STACKED), 12),
        (lines(Text("CO2e in 30 days, at this rate", "The last hour's grams × 720; too low until an hour is recorded."
                    " Dashed: the budget, a setting in prometheus/rules/budgets.yml." + NO_ZONE, GRAMS),
               [Line(_monthly(), "at this rate {{cluster}}"), Line(budget, "budget {{cluster}}", dashed=True)]), 12),
        (lines(Text("Age of the intensity", "Time since the instant that the value is of. Averages of a year or month"
                    " are always old; a live value should not be over three hours." + NO_ZONE, "s"),
               [Line(age, "{{zone}} {{provider}}")]), 12),
    ])  # fmt: skip


def _hours() -> Band:
    hour = 'label_replace(count_values("hour", hour()), "hour", "0$1", "hour", "(.)")'
    by_hour = f"{hour} * on () group_right (hour) {_intensity('zone')}"
    cleanest = f"sort(bottomk({CLEANEST}, avg_over_time(({by_hour})[$__range:5m])))"
    spent = f"{of_devices('energy_joules', 'node')} / {JOULES_PER_KWH:g}"
    cost = total(FIVE_MINUTES.device_cost, "node, currency", PLACE)
    columns = (
        Column("Energy", "kwatth", spent),
        Column("CO2e", GRAMS, of_devices("emissions_grams", "node")),
        Column("Manufacture", GRAMS, total(FIVE_MINUTES.device_embodied, "node", PLACE)),
        Column("Cost", "short", cost),
    )
    return Band("When, and what it costs", 8, [
        (ranked(Text("Cleanest hours of the day", "Mean intensity of each hour of the day (UTC) in the selected range,"
                     " lowest first: choose a week. All alike with a yearly average." + NO_ZONE, GRAMS_PER_KWH),
                cleanest, "{{zone}} {{hour}}:00 UTC", "green"), 12),
        (table(Text("Nodes", "All measured devices in the selected range. Cost is joules × the stated price without"
                    " PUE, in the currency beside it; manufacture as stated (--embodied.kg, --price.per-kwh).",
                    "short"),
               ("node", "currency"), columns, sort="Energy"), 12),
    ])  # fmt: skip


def _tasks() -> Band:
    energy = f"{total(FIVE_MINUTES.energy, BY_TASK)} / {JOULES_PER_KWH:g}"
    columns = (
        Column("Energy", "kwatth", energy),
        Column("CO2e", GRAMS, total(FIVE_MINUTES.emissions, BY_TASK)),
        Column("CO2e per inference", GRAMS, per_inference(FIVE_MINUTES.emissions, BY_TASK)),
        Column("Manufacture per inference", GRAMS, per_inference(FIVE_MINUTES.embodied, BY_TASK)),
        Column("Cost", "short", total(FIVE_MINUTES.cost, BY_TASK)),
        Column("CO2e per 1,000", GRAMS, f"{per_inference(FIVE_MINUTES.emissions, BY_TASK)} * 1000"),
    )
    text = Text("All tasks and models, carbon and cost", "Over the selected range, fully loaded. SCI per inference is"
                " its grams of operation and of manufacture. Manufacture and cost are empty where none is stated.",
                "short")  # fmt: skip
    return Band("Every task", 16, [(table(text, ("task", "model"), columns, sort="CO2e", jumps=(JUMP,)), 24)])
