"""What is recorded straight from the programs' counters: increases over a window, and checks of the counters.

Conventions, each with the failure that it avoids:

- ``max`` by device before any sum: some exporters repeat a board's energy for each MIG slice;
- ``and`` the counter itself: when an exporter is down its last windows are cut short, and would read as cheap;
- levels by device carry ``cluster`` and ``node``: device names such as ``cpu-0`` exist on every machine;
- series of nothing (a task that never ran on a device) are left out with ``> 0``: of eight GPUs and ten models, most;
- a long window adds up one-hour values at whole hours. Its range is a millisecond short of a whole number of hours, so
  that it holds the same number of them on Prometheus 2, whose ranges include both ends, and on 3, whose do not.
"""

from perjoule_grafana.queries import (
    AGREEMENT,
    DEVICE,
    DEVICE_INFO,
    ONE_HOUR,
    PLACE,
    POWER,
    POWER_WINDOW,
    RESIDUAL,
    TASK,
    TASK_DEVICE,
    Rule,
    Window,
)

GPU_DEVICE = '"device", "$1", "uuid", "(.+)"'
CPU_DEVICE = '"device", "cpu-$1", "package", "(.+)"'
CPU_ZONE = '{zone="package"}'
MEASURED = '{outcome!="unmeasured"}'
OK = '{outcome="ok"}'
JOULES_PER_KWH = "3.6e6"
REQUEST_SECONDS = "task_model_device:inference_request_seconds:total"
"""Counter that adapters record for servers that do not tell when they held a device: seconds of their requests."""


def by_device(gpu: str, cpu: str) -> str:
    """Return one series per machine and device from an expression over GPUs and one over CPU packages."""
    return f"""\
max by ({DEVICE}) (
    label_replace({gpu}, {GPU_DEVICE})
  or
    label_replace({cpu}, {CPU_DEVICE})
)"""


def device_rules() -> tuple[Rule, ...]:
    """Return the rules that depend on no window: power and identity of every device, and the ledger's sums."""
    info = f"""\
topk by ({DEVICE}) (1,
    max by ({DEVICE}, name, method) (label_replace(gpu_info, {GPU_DEVICE}))
  or
    max by ({DEVICE}, method) (label_replace(cpu_info{CPU_ZONE}, {CPU_DEVICE}))
)"""
    return Rule(POWER, _power()), Rule(DEVICE_INFO, info), Rule(RESIDUAL, _residual())


def increase_rules(window: Window) -> tuple[Rule, ...]:
    """Return the increases over a window: from raw counters, or for a long window from the one-hour series."""
    rules = _raw(window)
    if not window.hours:
        return rules
    steps = f"[{hours_range(window.hours)}:1h]"
    names = [rule.record for rule in _raw(ONE_HOUR)]
    return tuple(
        Rule(rule.record, f"sum_over_time({hourly}{steps})") for rule, hourly in zip(rules, names, strict=True)
    )


def hours_range(hours: int) -> str:
    """Return a range that holds ``hours`` values at whole hours, whether or not ranges include their start."""
    return f"{hours - 1}h59m59s999ms"


def coverage_rules(window: Window) -> tuple[Rule, ...]:
    """Return what decides for which devices the energy of a (short) window is known, and who held them."""
    share = f"{window.busy}\n/ on ({DEVICE}) group_left ()\n  sum by ({DEVICE}) ({window.busy})"
    return Rule(window.busy, _busy(window)), Rule(window.share, share), Rule(window.coverage, _coverage(window))


def agreement_rules(window: Window) -> tuple[Rule, ...]:
    """Return the counter's increase over that of ∫power, of GPUs that tell both."""
    counter, integral = "gpu_energy_joules_total", "gpu_energy_integrated_joules_total"
    span = f"[{window.range}]"
    ratio = f"increase({counter}{span}) / (increase({integral}{span}) > 0) and {integral}"
    return (Rule(AGREEMENT[window.range], f"max by ({DEVICE}) (label_replace({ratio}, {GPU_DEVICE}))"),)


def _raw(window: Window) -> tuple[Rule, ...]:
    return (*_of_devices(window), *_of_instances(window), *_of_ledger(window), *_of_servers(window))


def _of_devices(window: Window) -> tuple[Rule, ...]:
    span = window.range
    known = f"and on ({DEVICE}) {window.device_energy}"
    embodied = f"increase(gpu_embodied_emissions_grams_total[{span}]) and gpu_embodied_emissions_grams_total"
    embodied = f"max by ({DEVICE}) (label_replace({embodied}, {GPU_DEVICE}))"
    price = f"max by ({PLACE}, currency) (avg_over_time(electricity_price_per_kwh[{span}]))"
    cost = f"{window.device_energy} / {JOULES_PER_KWH}\n* on ({PLACE}) group_left (currency)\n  {price}"
    return (
        Rule(window.device_energy, f"{_increase('energy_joules', span)} > 0"),
        Rule(window.device_emissions, f"{_increase('emissions_grams', span)}\n{known}"),
        Rule(window.device_embodied, embodied),
        Rule(window.device_cost, cost),
    )


def _of_instances(window: Window) -> tuple[Rule, ...]:
    place, span = f"{PLACE}, instance", window.range
    gpu, cpu = (
        f"max by ({place}, uuid) (increase(gpu_energy_joules_total[{span}]))",
        f"cpu_energy_joules_total{CPU_ZONE}",
    )
    energy = f"sum by ({place}) (\n    {gpu}\n  or\n    increase({cpu}[{span}])\n)"
    charged = f"sum by ({place}) (increase(inference_request_energy_joules_sum[{span}]))"
    settled = f"sum by ({place}) (increase(inference_request_energy_joules_count[{span}]))"
    return (
        Rule(window.instance_energy, energy),
        Rule(window.instance_charged, charged),
        Rule(window.instance_settled, settled),
    )


def _of_ledger(window: Window) -> tuple[Rule, ...]:
    """Return what the exporter charged, and what it did not: both sides of a ratio are of one scrape."""
    idle, nobody = "inference_idle_energy_joules_total", "inference_unattributed_energy_joules_total"
    energy, grams = "inference_energy_joules_total", "inference_emissions_grams_total"
    settled = "inference_request_energy_joules_count"
    return (
        Rule(window.device_idle, f"max by ({DEVICE}) ({_grown(idle, window)})"),
        Rule(window.device_unattributed, f"sum by ({DEVICE}, reason) ({_grown(nobody, window)}) > 0"),
        Rule(window.charged, f"sum by ({TASK_DEVICE}) ({_grown(energy + MEASURED, window)}) > 0"),
        Rule(window.charged_emissions, f"sum by ({TASK_DEVICE}) ({_grown(grams + MEASURED, window)}) > 0"),
        Rule(window.by_outcome, f"sum by ({TASK}, outcome) ({_grown(energy, window)}) > 0"),
        Rule(window.active, f"sum by ({TASK}) ({_grown(energy + OK, window)})"),
        Rule(window.active_emissions, f"sum by ({TASK}) ({_grown(grams + OK, window)})"),
        Rule(window.settled, f"sum by ({TASK}) ({_grown(settled, window)})"),
    )


def _of_servers(window: Window) -> tuple[Rule, ...]:
    span = window.range
    tokens = f"sum by ({TASK}, kind) (increase(inference_tokens_total[{span}]))"
    units = f"sum by ({TASK}, unit) (increase(inference_work_units_total[{span}]))"
    requests = f"sum by ({TASK}) (increase(inference_requests_total{OK}[{span}]))"
    return Rule(window.requests_ok, requests), Rule(window.work_units, units), Rule(window.tokens, tokens)


def _increase(quantity: str, span: str) -> str:
    gpu, cpu = f"gpu_{quantity}_total", f"cpu_{quantity}_total{CPU_ZONE}"
    return by_device(f"increase({gpu}[{span}]) and {gpu}", f"increase({cpu}[{span}]) and {cpu}")


def _grown(selector: str, window: Window) -> str:
    """Return the increase of a counter that is still there."""
    return f"increase({selector}[{window.range}]) and {selector}"


def _power() -> str:
    """Return watts of devices that were there a minute ago: rate() of a shorter past would read too low."""
    gpu, cpu = "gpu_energy_joules_total", f"cpu_energy_joules_total{CPU_ZONE}"
    gpus = f"rate({gpu}[{POWER_WINDOW}]) and {gpu} and {gpu} offset {POWER_WINDOW}"
    return by_device(gpus, f"rate({cpu}[{POWER_WINDOW}]) and {cpu} and {cpu} offset {POWER_WINDOW}")


def _residual() -> str:
    """Return counter − charged − idle − unattributed − open: five families of one scrape, so no window is needed."""
    counter = f"max by ({DEVICE}) (inference_counter_energy_joules_total)"
    parts = (
        f"(sum by ({DEVICE}) (inference_energy_joules_total) or {counter} * 0)",  # no server has said hello yet
        f"max by ({DEVICE}) (inference_idle_energy_joules_total)",
        f"sum by ({DEVICE}) (inference_unattributed_energy_joules_total)",
        f"max by ({DEVICE}) (inference_open_energy_joules)",
    )
    return "\n".join([f"  {counter}", *(f"- {part}" for part in parts)])


def _busy(window: Window) -> str:
    """Return how long the tasks held each device; a server that tells it itself is believed alone."""
    told, timed = (
        f"sum by ({TASK_DEVICE}) (increase({name}[{window.range}])) > 0"
        for name in ("inference_device_busy_seconds_total", REQUEST_SECONDS)
    )
    return f"{told}\nor\n{timed}"


def _coverage(window: Window) -> str:
    """Count, at the steps of the group, where the two counters were there; stale series do not count."""
    steps = f"[{window.range}:{window.every}]"
    gpu, cpu = "gpu_energy_joules_total", f"cpu_energy_joules_total{CPU_ZONE}"
    energy = by_device(f"count_over_time({gpu}{steps})", f"count_over_time({cpu}{steps})")
    told, timed = (
        f"count_over_time(inference_device_busy_seconds_total{steps})",
        f"count_over_time({REQUEST_SECONDS}{steps})",
    )
    return f"{energy}\n/ on ({DEVICE})\n  max by ({DEVICE}) ({told} or {timed})"
