"""*Load-test run*: one run between two instants, from exact deltas of counters, and what would void it.

``increase()`` extrapolates a short window by tens of percent; the difference of a counter at the two ends of the
selected range, with ``@``, does not. It is right where both ends lie in quiet, as loadgen's windows do.
"""

from grafana_foundation_sdk.models import dashboard

from perjoule_grafana.frame import PLACE, TASK, Frame, framed
from perjoule_grafana.layout import Band
from perjoule_grafana.panels import BAD, COUNT, COUNTS, GOOD, MINUTE, Line, Look, Text, lines, stat
from perjoule_grafana.promql import BY_DEVICE, DEVICES, short
from perjoule_grafana.queries import POWER
from perjoule_grafana.recording import by_device
from perjoule_grafana.tables import Column, table

FRAME = Frame(
    "perjoule-run",
    "Load-test run",
    "One load test between the two ends of the selected range, from exact deltas of counters. Choose the range by the"
    " annotation of the run: its ends lie in quiet.",
    ("energy", "load-test"),
    ("task", "model"),
    since="now-15m",
    refresh="",
)
START, END = "${__from}e-3", "${__to}e-3"
"""Grafana's milliseconds as PromQL's seconds: to whole seconds, the last scrape before the end might be missed."""

OK, GRAMS = 'outcome="ok", ', "massg"
MOST_ERRORS = 0.01
EXACT = "Difference of the counters between the two ends of the range, exactly. "


def board() -> dashboard.Dashboard:
    """Return the dashboard."""
    return framed(FRAME, [_figures(), _validity(), _devices(), _course()])


def delta(selector: str) -> str:
    """Return what a counter grew by between the ends of the range; nothing where it was missing at either."""
    return f"({selector} @ {END} - {selector} @ {START})"


def _of_devices(quantity: str) -> str:
    """Return a delta of the devices that the selected tasks ran on."""
    gpu = f"gpu_{quantity}_total{{{PLACE}}}"
    cpu = f'cpu_{quantity}_total{{zone="package", {PLACE}}}'
    return f"{by_device(delta(gpu), delta(cpu))}\nand {BY_DEVICE} {_busy()} > 0"


def _busy() -> str:
    return f"sum by ({DEVICES}) {delta(f'inference_device_busy_seconds_total{{{TASK}}}')}"


def _count(outcome: str = OK) -> str:
    return f"sum({delta(f'inference_requests_total{{{outcome}{TASK}}}')})"


def _over(joules: str) -> str:
    return f"{joules} / ({_count()} > 0)"


def _active() -> str:
    """Return joules less idle watts × time; nothing where the idle watts of one of the devices are not known."""
    energy, idle = _of_devices("energy_joules"), f"inference_idle_watts{{{PLACE}}} @ {END}"
    known = f"max by ({DEVICES}) ({idle})"
    complete = f"count({energy}) == count(({energy}) and {BY_DEVICE} {known})"
    return f"(sum(({energy}) - {BY_DEVICE} {known} * $__range_s) and ({complete}))"


def _figures() -> Band:
    energy, grams = f"sum({_of_devices('energy_joules')})", f"sum({_of_devices('emissions_grams')})"
    charged = f"sum({delta(f'inference_request_energy_joules_sum{{{TASK}}}')})"
    settled = f"sum({delta(f'inference_request_energy_joules_count{{{TASK}}}')})"
    return Band("Figures of the run", 4, [
        (stat(Text("Gross", EXACT + "All joules of the devices that served the selected tasks over the requests"
                   " answered well.", "joule"), _over(energy), Look("orange")), 4),
        (stat(Text("Active", EXACT + "Gross less idle watts × time, as the exporter has learned them. Empty while those"
                   " of a device are not known.", "joule"), _over(_active()), Look("orange")), 4),
        (stat(Text("Attributed", EXACT + "What the exporter charged to these requests, over them: both sides are its"
                   " own. Empty where no server tells its batches.", "joule"), f"{charged} / ({settled} > 0)",
              Look("orange")), 4),
        (stat(Text("CO2e, gross", EXACT + "At the intensity and PUE of the time of use. Empty without a carbon zone.",
                   GRAMS), _over(grams), Look("green")), 4),
        (stat(Text("Inferences", EXACT + "Requests of the selected tasks that were answered well.", COUNT), _count(),
              Look("blue")), 4),
        (stat(Text("Latency, p95", EXACT + "Of the servers' histogram, from a request's arrival to its answer;"
                   " interpolated within its buckets.", "s"), _quantile(0.95), Look("blue")), 4),
    ])  # fmt: skip


def _quantile(quantile: float) -> str:
    return f"histogram_quantile({quantile}, sum by (le) {delta(f'inference_request_seconds_bucket{{{TASK}}}')})"


def _validity() -> Band:
    verdict = Look(BAD, words=(("0", "NOT VOID", GOOD), ("1", "VOID", BAD)))
    flag = "Worth nothing when above 0. "
    return Band("Is it void?", 4, [
        (stat(Text("Verdict", "VOID when any of the figures beside it says so. loadgen's own verdict knows more: the"
                   " schedule, lengths, and the client's bracket.", "short"), _verdict(), verdict), 6),
        (stat(Text("Counter resets", flag + "Counters of joules and requests that went back inside the range: a"
                   " program restarted.", COUNT), _resets(), _alarm(0.5)), 6),
        (stat(Text("Counters missing at the start", flag + "Devices that have joules at the end and had none at the"
                   " start: the range begins before they were scraped.", COUNT), _missing(), _alarm(0.5)), 6),
        (stat(Text("Requests not answered well", f"Void above {MOST_ERRORS:.0%}, as loadgen has it.", "percentunit"),
              _errors(), _alarm(MOST_ERRORS)), 6),
    ])  # fmt: skip


def _alarm(step: float) -> Look:
    return Look(GOOD, steps=((step, BAD),))


def _resets() -> str:
    counters = ("gpu_energy_joules_total{{{0}}}", "cpu_energy_joules_total{{{0}}}")
    joules = " or ".join(f"resets({counter.format(PLACE)}[$__range])" for counter in counters)
    return f"sum({joules} or resets(inference_requests_total{{{TASK}}}[$__range]))"


def _missing() -> str:
    counters = ("gpu_energy_joules_total{{{0}}}", "cpu_energy_joules_total{{{0}}}")
    ends = (counter.format(PLACE) for counter in counters)
    last = [f"{end} @ {END}" for end in ends]
    both = " or ".join(f"({end} and {end.replace(END, START)})" for end in last)
    every = f"count({' or '.join(last)})"
    return f"{every} - (count({both}) or 0 * {every})"


def _errors() -> str:
    every = f"({_count('')} > 0)"
    return f"1 - {_count()} / {every}"


def _verdict() -> str:
    """Return 1 when one of the reasons says so, else 0; a reason that cannot be told does not hide the others."""
    reasons = {"resets": f"{_resets()} > bool 0", "missing": f"({_missing()}) > bool 0",
               "errors": f"({_errors()}) > bool {MOST_ERRORS}"}  # fmt: skip
    told = (f'label_replace({expr}, "reason", "{name}", "", "")' for name, expr in reasons.items())
    return f"max({' or '.join(told)})"


def _devices() -> Band:
    text = Text("Each task", EXACT + "Attributed is what the exporter charged.", "short")
    by = "task, model"

    def grouped(selector: str) -> str:
        return f"sum by ({by}) {delta(selector)}"

    requests = grouped(f"inference_requests_total{{{OK}{TASK}}}")
    charged = grouped(f"inference_request_energy_joules_sum{{{TASK}}}")
    settled = grouped(f"inference_request_energy_joules_count{{{TASK}}}")
    seconds = grouped(f"inference_request_seconds_sum{{{TASK}}}")
    answered = grouped(f"inference_request_seconds_count{{{TASK}}}")
    columns = (
        Column("Attributed", "joule", f"{charged} / ({settled} > 0)"),
        Column("Inferences", COUNT, f"{requests} > 0"),
        Column("Per second", "reqps", f"({requests} > 0) / $__range_s"),
        Column("Mean latency", "s", f"{seconds} / ({answered} > 0)"),
        Column("Unmeasured", COUNT, grouped(f"inference_unmeasured_requests_total{{{TASK}}}")),
    )
    return Band("Every task of the run", 12, [(table(text, ("task", "model"), columns, sort="Inferences"), 24)])


def _course() -> Band:
    asked = f"sum by (task) (rate(inference_requests_total{{{OK}{TASK}}}[$__rate_interval]))"
    waiting = f"sum by (task) (inference_queue_depth{{{TASK}}})"
    return Band("Course of the run", 9, [
        (lines(Text("Power", "By the energy counters, over a minute; idle before and after should be flat. Purple"
                    " regions are load tests.", "watt"),
               [Line(short(f"{POWER}{{{PLACE}}}"), "{{node}} {{device}}")]), 12),
        (lines(Text("Inferences per second, by task", "Requests answered well.", "reqps"),
               [Line(asked, "{{task}}")]), 12),
        (lines(Text("Requests that wait, by task", "Waiting for the device: an open load over capacity grows without"
                    " end.", COUNT), [Line(waiting, "{{task}}")], COUNTS), 12),
        (stat(Text("Device time in use", "Share of the range in which batches of the selected tasks held each device.",
                   "percentunit"), short(f"{_busy()} / $__range_s"), Look("purple"), legend="{{node}} {{device}}",
              interval=MINUTE), 12),
    ])  # fmt: skip
