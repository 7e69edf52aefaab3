"""*Fleet*: how much power the devices draw, how much of it idle, which most, and what holds them down."""

from grafana_foundation_sdk.models import dashboard

from perjoule.units import JOULES_PER_KWH
from perjoule_grafana.frame import PLACE, Frame, framed
from perjoule_grafana.layout import Band
from perjoule_grafana.panels import COUNT, MINUTE, Line, Look, Text, lines, ranked, stat
from perjoule_grafana.promql import BY_DEVICE, DEVICES, idle_share, of_devices, over_range, short
from perjoule_grafana.queries import DEVICE_INFO, FIVE_MINUTES, POWER
from perjoule_grafana.recording import GPU_DEVICE
from perjoule_grafana.tables import Column, Jump, table

FRAME = Frame(
    "perjoule-fleet",
    "Fleet",
    "Power of every measured device: how much of it is idle, which draw most, and what holds them down.",
    ("energy", "gpu"),
)
TOP = 10
IDENTITY = "node, device, name, method"
JUMP = Jump("Node", "This node alone", "/d/perjoule-fleet?var-node=${__data.fields.Node}&${__url_time_range}")


def board() -> dashboard.Dashboard:
    """Return the dashboard."""
    return framed(FRAME, [_now(), _power(), _devices()])


def of_gpus(metric: str) -> str:
    """Return a GPU gauge by cluster, node and device; a board that is told twice counts once."""
    return f"max by ({DEVICES}) (label_replace({metric}{{{PLACE}}}, {GPU_DEVICE}))"


def _now() -> Band:
    busy = f"sum by ({DEVICES}) (rate(inference_device_busy_seconds_total{{{PLACE}}}[$__rate_interval]))"
    energy = f"{of_devices('energy_joules')} / {JOULES_PER_KWH:g}"
    return Band("Now", 4, [
        (stat(Text("Power", "All measured devices, mean of the last minute by their energy counters.", "watt"),
              f"sum({POWER}{{{PLACE}}})", Look("yellow"), interval=MINUTE), 4),
        (stat(Text("Devices measured", "GPUs and CPU packages whose energy is known now.", COUNT),
              f"count({POWER}{{{PLACE}}})", Look("blue")), 4),
        (stat(Text("Devices that serve", "Devices that a batch held in the last minute.", COUNT),
              f"sum({busy} > bool 0)", Look("blue"), interval=MINUTE), 4),
        (stat(Text("Idle share of energy", "Joules that the devices would have used without work, over all their"
                   " joules, in the selected range. 48 % was found in served clusters of universities.", "percentunit"),
              idle_share(), Look("purple")), 4),
        (stat(Text("Energy", "All measured devices, in the selected range.", "kwatth"), energy, Look("yellow")), 4),
        (stat(Text("Power per device that serves", "Mean over the devices that a batch held in the last minute. Empty"
                   " where none did.", "watt"), f"avg({POWER}{{{PLACE}}} and {BY_DEVICE} ({busy} > 0))",
              Look("yellow"), interval=MINUTE), 4),
    ])  # fmt: skip


def _power() -> Band:
    limits = f"sum by (node) ({of_gpus('gpu_power_limit_watts')})"
    gpus = f"topk({TOP}, sum by (node, device) ({POWER}{{{PLACE}}}))"
    idle, whole = (f"{series}{{{PLACE}}}" for series in (FIVE_MINUTES.device_idle, FIVE_MINUTES.device_energy))
    idle = f"sum by (node) ({idle}) / sum by (node) ({whole} and {BY_DEVICE} {idle})"
    held = f"max by (node, reason) (rate(gpu_throttled_seconds_total{{{PLACE}}}[$__rate_interval])) > 0"
    busy = f"sum by (node, device) (rate(inference_device_busy_seconds_total{{{PLACE}}}[$__rate_interval]))"
    return Band("Power and idleness", 9, [
        (lines(Text("Power, by node", "All measured devices by their energy counters. Dashed: the sum of the limits of"
                    " the node's GPUs.", "watt"),
               [Line(f"sum by (node) ({POWER}{{{PLACE}}})", "{{node}}"),
                Line(limits, "{{node}}: limit of its GPUs", dashed=True)]), 12),
        (ranked(Text(f"Top {TOP} devices by power", "Mean of the last minute.", "watt"), f"sort_desc({short(gpus)})",
                "{{node}} {{device}}", "yellow"), 12),
        (lines(Text("Idle share of energy, by node", f"Over the {FIVE_MINUTES.range} before each instant.",
                    "percentunit"), [Line(idle, "{{node}}")]), 12),
        (lines(Text("In use, and held down", "Share of time in which a batch held each device. Dashed: share of time in"
                    " which the clocks of the node's worst GPU were held down, by reason.", "percentunit"),
               [Line(short(busy), "{{node}} {{device}}"),
                Line(held, "{{node}} held down: {{reason}}", dashed=True)]), 12),
    ])  # fmt: skip


def _devices() -> Band:
    info = f"{DEVICE_INFO}{{{PLACE}}}"

    def known(series: str) -> str:
        return f"sum by ({IDENTITY}) ({series} * {BY_DEVICE} group_left (name, method) {info})"

    power, limit = f"{POWER}{{{PLACE}}}", of_gpus("gpu_power_limit_watts")
    energy = over_range(FIVE_MINUTES.device_energy, DEVICES, PLACE)
    idle = over_range(FIVE_MINUTES.device_idle, DEVICES, PLACE)
    throttled = (f"sum by ({DEVICES}) (label_replace(rate(gpu_throttled_seconds_total{{{PLACE}}}"
                 f"[$__range]), {GPU_DEVICE}))")  # fmt: skip
    columns = (
        Column("Power", "watt", known(power)),
        Column("Limit", "watt", known(limit)),
        Column("Of its limit", "percentunit", known(f"({power} / {BY_DEVICE} {limit})")),
        Column("Energy", "kwatth", known(f"({of_devices('energy_joules', DEVICES)} / {JOULES_PER_KWH:g})")),
        Column("Idle share", "percentunit", known(f"({idle} / {energy})")),
        Column("Held down", "percentunit", known(throttled)),
        Column("Temperature", "celsius", known(of_gpus("gpu_temperature_celsius"))),
        Column("Memory", "bytes", known(of_gpus("gpu_memory_used_bytes"))),
    )  # fmt: skip
    text = Text("All devices", "Power of the last minute, the rest over the selected range. Method 'counter' is the"
                " device's own meter, 'estimated' a model of CPU utilisation, 'simulated' no hardware at all.",
                "short")  # fmt: skip
    names = ("node", "device", "name", "method")
    return Band("Every device", 12, [(table(text, names, columns, sort="Power", jumps=(JUMP,)), 24)])
