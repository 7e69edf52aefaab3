"""*Trust*: whether the figures can be believed, from the reading of a counter to the rules that divide it."""

from grafana_foundation_sdk.models import dashboard

from perjoule_grafana.frame import PLACE, Frame, framed
from perjoule_grafana.layout import Band
from perjoule_grafana.panels import BAD, COUNT, COUNTS, GOOD, LOG, Axis, Line, Look, Text, lines, stat
from perjoule_grafana.promql import BY_DEVICE, as_watts, over_range, short
from perjoule_grafana.queries import AGREEMENT, DEVICE_INFO, FIVE_MINUTES, POWER, RESIDUAL
from perjoule_grafana.recording import GPU_DEVICE
from perjoule_grafana.tables import Column, table
from perjoule_grafana.thresholds import THRESHOLDS

FRAME = Frame(
    "perjoule-trust",
    "Trust",
    "Whether the figures can be believed: conservation, counter against power, readings, spans, and the rules.",
    ("energy", "quality"),
    ("instance", "task", "model"),
)
EXPORTER = f'{PLACE}, instance=~"$instance"'
ITS_TASKS = f'{EXPORTER}, task=~"$task", model=~"$model"'
RESIDUE = f"round({RESIDUAL}{{{PLACE}}}, 1e-6)"
"""To the microjoule, which the ledger is exact to; the rest is the arithmetic of doubles."""

RULE_FAILURES = "prometheus_rule_evaluation_failures_total"
"""Prometheus's own counter; it has no node."""


def board() -> dashboard.Dashboard:
    """Return the dashboard."""
    return framed(FRAME, [_verdicts(), _counter(), _ledger(), _readings(), _methods()])


def _alarm(step: float) -> Look:
    return Look(GOOD, steps=((step, BAD),))


def _of_gpus(expr: str) -> str:
    """Return ``expr`` by ``uuid`` with devices as legends name them."""
    return short(f"label_replace({expr}, {GPU_DEVICE})")


def _verdicts() -> Band:
    nobody = over_range(FIVE_MINUTES.device_unattributed, selector=PLACE)
    every = over_range(FIVE_MINUTES.device_energy, selector=PLACE)
    unmeasured = f"sum(increase(inference_unmeasured_requests_total{{{ITS_TASKS}}}[$__range]))"
    settled = f"sum(increase(inference_request_energy_joules_count{{{ITS_TASKS}}}[$__range]))"
    dropped = f"sum(increase(inference_spans_dropped_total{{{PLACE}}}[$__range]))"
    down = f"count(up{{{PLACE}}}) - sum(up{{{PLACE}}})"
    rules = f"sum(increase({RULE_FAILURES}[$__range]))"
    age = f"time() - min(timestamp({POWER}{{{PLACE}}}))"
    return Band("Verdicts", 4, [
        (stat(Text("Energy in no account", "Largest of: counter − charged − idle − unattributed − open, of one device"
                   " now. 0, or the exporter has a fault.", "joule"), f"max(abs({RESIDUE}))",
              _alarm(THRESHOLDS.residual_joules)), 6),
        (stat(Text("Power that is modelled", "Share of the power now that is estimated, simulated or replayed, and not"
                   " measured: no figure made of it can be better than the model.", "percentunit"), _modelled(),
              _alarm(0.01)), 6),
        (stat(Text("Energy of nobody", "Share of the joules of the devices that no span covers and that is not idle:"
                   " other work, or a server that tells nothing.", "percentunit"),
              f"({nobody} or vector(0)) / ({every} > 0)", Look("purple")), 6),
        (stat(Text("Unmeasured inferences", "Share of the inferences that ended well whose energy is not known; they"
                   " are in no figure per inference.", "percentunit"), f"{unmeasured} / ({settled} + {unmeasured} > 0)",
              _alarm(0.05)), 6),
        (stat(Text("Spans dropped", "By the servers, in the selected range: their requests have no energy.", COUNT),
              dropped, _alarm(0.5)), 6),
        (stat(Text("Programs that do not answer", "Exporters and servers of the selected nodes that Prometheus cannot"
                   " scrape now.", COUNT), down, _alarm(0.5)), 6),
        (stat(Text("Rule failures", "Evaluations of rules that failed, in the selected range, of the whole Prometheus."
                   " Empty where Prometheus does not scrape itself.", COUNT), rules, _alarm(0.5)), 6),
        (stat(Text("Age of recorded figures", "Of the oldest device's power. Over a minute: rules are not evaluated.",
                   "s"), age, _alarm(60)), 6),
    ])  # fmt: skip


def _modelled() -> str:
    power = f"{POWER}{{{PLACE}}}"
    modelled = f'{DEVICE_INFO}{{method=~"estimated|simulated|replayed", {PLACE}}}'
    return f"(sum({power} and {BY_DEVICE} {modelled}) or vector(0)) / sum({power})"


def _counter() -> Band:
    ratio = f"{AGREEMENT['5m']}{{{PLACE}}}"
    tick = _of_gpus(f"max by (node, uuid) (gpu_energy_update_interval_seconds{{{EXPORTER}}})")
    moved = f"time() - max by (node, package) (cpu_energy_timestamp_seconds{{{EXPORTER}}})"
    still = _of_gpus(f"time() - max by (node, uuid) (gpu_energy_timestamp_seconds{{{EXPORTER}}})")
    return Band("The counter", 8, [
        (lines(Text("Conservation residual", "Counter less charged, idle, unattributed and open, of one scrape: 0 J.",
                    "joule"), [Line(short(RESIDUE), "{{node}} {{device}}")], Axis(low=-0.001, high=0.001)), 12),
        (lines(Text("Counter over the integral of power", "Over five minutes; 1 is perfect, and boards are within 1 %."
                    " The dashed line is 1.", "percentunit"),
               [Line(short(ratio), "{{node}} {{device}}"), Line("vector(1)", "perfect", dashed=True)],
               Axis(low=0.9, high=1.1)), 12),
        (lines(Text("Time since the counter moved, and its tick", "At the scrape. Dashed: the time between two updates"
                    " that the exporter inferred; a single request shorter than it can only be given a share.", "s"),
               [Line(still, "{{node}} {{device}}"), Line(moved, "{{node}} cpu-{{package}}"),
                Line(tick, "{{node}} {{device}} tick", dashed=True)], LOG), 12),
        (lines(Text("Resets and restarts", "Drivers' counters that went back, which the exporter bridged,"
                    " and exporters and servers that started anew.", COUNT), _restarts(), COUNTS), 12),
    ])  # fmt: skip


def _restarts() -> list[Line]:
    resets = _of_gpus(f"sum by (node, uuid) (increase(gpu_energy_resets_total{{{EXPORTER}}}[$__rate_interval]))")
    started = f"sum by (node, job) (changes(process_start_time_seconds{{{PLACE}}}[$__rate_interval]))"
    return [Line(resets, "{{node}} {{device}} reset"), Line(started, "{{node}} {{job}} started")]


def _ledger() -> Band:
    late = f"sum by (node, device) (rate(inference_spans_late_total{{{EXPORTER}}}[$__rate_interval]))"
    dropped = f"sum by (node, instance) (rate(inference_spans_dropped_total{{{PLACE}}}[$__rate_interval]))"
    unmeasured = f"sum by (task) (rate(inference_unmeasured_requests_total{{{ITS_TASKS}}}[$__rate_interval]))"
    delay = f"max by (node, device) (inference_settlement_delay_seconds{{{EXPORTER}}})"
    clients = f"max by (node) (inference_span_clients{{{EXPORTER}}})"
    return Band("The ledger and its spans", 8, [
        (lines(Text("Energy of nobody, by reason", "Mean of five minutes. no_span: other work, or a server that tells"
                    " nothing; idle_unknown: a device not yet seen at rest; the others: readings that were missing.",
                    "watt"), _nobody()), 12),
        (lines(Text("Unmeasured inferences, by task", "Ended well, and their energy is not known.", "reqps"),
               [Line(unmeasured, "{{task}}")]), 12),
        (lines(Text("Spans dropped and late", "Dropped by servers, and told to the exporter after their energy was"
                    " given away.", "cps"), [Line(dropped, "{{node}} {{instance}} dropped"),
                                       Line(short(late), "{{node}} {{device}} late")], COUNTS), 12),
        (lines(Text("Settlement delay and clients", "From the end of an interval to its sharing out: about 0.1 s."
                    " Dashed: servers connected to the span socket.", "short"),
               [Line(short(delay), "{{node}} {{device}} delay, s"),
                Line(clients, "{{node}} clients", dashed=True)]), 12),
    ])  # fmt: skip


def _nobody() -> list[Line]:
    nobody = as_watts(FIVE_MINUTES.device_unattributed, PLACE, "node, device, reason")
    idle = as_watts(FIVE_MINUTES.device_idle, PLACE)
    return [Line(short(nobody), "{{node}} {{device}} {{reason}}"), Line(idle, "idle, beside it", dashed=True)]


def _readings() -> Band:
    age = _of_gpus(f"max by (node, uuid) (gpu_sample_age_seconds{{{EXPORTER}}})")
    scrape = f'max by (node, job) (scrape_duration_seconds{{job=~"gpu-energy-exporter|inference-server", {PLACE}}})'
    read = f"sum by (node, outcome) (rate(gpu_samples_total{{{EXPORTER}}}[$__rate_interval]))"
    down = f"count by (node, job) (up{{{PLACE}}}) - sum by (node, job) (up{{{PLACE}}})"
    return Band("Readings and rules", 8, [
        (lines(Text("Age of readings, and duration of scrapes", "Age of each GPU's last reading at the scrape: about a"
                    " poll, 25 ms. Dashed: how long the scrapes took.", "s"),
               [Line(age, "{{node}} {{device}}"), Line(scrape, "{{node}} {{job}} scrape", dashed=True)], LOG), 12),
        (lines(Text("Readings, and programs that do not answer", "Of GPUs, per second, by outcome. Dashed: programs"
                    " that Prometheus cannot scrape.", "cps"),
               [Line(read, "{{node}} {{outcome}}"), Line(down, "{{node}} {{job}} does not answer", dashed=True)]), 12),
    ])  # fmt: skip


def _methods() -> Band:
    names = ("node", "device", "name", "method")
    info = f"{DEVICE_INFO}{{{PLACE}}}"
    power = f"{POWER}{{{PLACE}}} * {BY_DEVICE} group_left (name, method) {info}"
    columns = (Column("Power", "watt", f"sum by ({', '.join(names)}) ({power})"),)
    text = Text("How each device's energy comes about", "counter: the device's own meter; integrated: power samples;"
                " estimated: a model of utilisation; simulated: no hardware at all.", "short")  # fmt: skip
    return Band("Methods", 8, [(table(text, names, columns, sort="Power"), 24)])
