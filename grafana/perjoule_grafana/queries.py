"""Recorded series of energy and emissions per inference: their names, and the PromQL that makes them.

Until a ledger charges each inference, a task's energy is its device's energy times the task's share of the time in
which batches held that device. So the device's idle energy inside the window is shared by use, and two tasks that draw
different power on one device at the same time are not told apart. Names stay when the ledger's counters take over.

Conventions, each with the failure that it avoids:

- sums first, then one ratio of two increases: an average of ratios weighs a quiet task like a busy one;
- ``max`` by device before any sum: some exporters repeat a board's energy for each MIG slice;
- ``and`` the counter itself: when an exporter is down its last windows are cut short, and would read as cheap;
- a task of which one device is not measured has no energy at all, rather than a part of it;
- nor has one whose device was measured for a part of the window only: an exporter that came later, or was away, would
  make every request of its absence free;
- joined ``on (node, device)``: device names such as ``cpu-0`` exist on every machine.
"""

from dataclasses import dataclass

GPU_DEVICE = '"device", "$1", "uuid", "(.+)"'
CPU_DEVICE = '"device", "cpu-$1", "package", "(.+)"'
CPU_ZONE = '{zone="package"}'


@dataclass(frozen=True, slots=True)
class Rule:
    """One recording rule."""

    record: str
    expr: str


@dataclass(frozen=True, slots=True)
class Window:
    """A range over which increases are taken (a PromQL duration), and how often that is evaluated."""

    range: str
    every: str

    @property
    def device_energy(self) -> str:
        """Joules of each device, by node and device; absent where the counter did not move."""
        return f"device:energy_joules:increase{self.range}"

    @property
    def device_emissions(self) -> str:
        """Grams of CO2e of each device, by node and device; absent without a carbon zone."""
        return f"device:emissions_grams:increase{self.range}"

    @property
    def busy(self) -> str:
        """Seconds in which batches of the task held the device."""
        return f"task_model_device:inference_device_busy_seconds:increase{self.range}"

    @property
    def share(self) -> str:
        """The task's share of the device's busy time: sums to 1 over the tasks of a device."""
        return f"task_model_device:inference_device_busy_share:ratio{self.range}"

    @property
    def coverage(self) -> str:
        """Time in which the device's energy was there, over the time in which its work was; tasks need nearly all."""
        return f"device:energy_coverage:ratio{self.range}"

    @property
    def energy(self) -> str:
        """Joules of each task and model."""
        return f"task_model:inference_energy_joules:increase{self.range}"

    @property
    def emissions(self) -> str:
        """Grams of CO2e of each task and model."""
        return f"task_model:inference_emissions_grams:increase{self.range}"

    @property
    def requests_ok(self) -> str:
        """Requests that were answered well."""
        return f"task_model:inference_requests_ok:increase{self.range}"

    @property
    def requests_charged(self) -> str:
        """Of those, the requests whose energy is known: what energy is divided by."""
        return f"task_model:inference_requests_charged:increase{self.range}"

    @property
    def joules_per_inference(self) -> str:
        """Joules per inference, idle energy of the window included."""
        return f"task_model:inference_energy_joules_per_inference:ratio{self.range}"

    @property
    def grams_per_inference(self) -> str:
        """Grams of CO2e per inference, idle energy of the window included."""
        return f"task_model:inference_emissions_grams_per_inference:ratio{self.range}"


FIVE_MINUTES = Window("5m", every="15s")
ONE_HOUR = Window("1h", every="1m")
WINDOWS = (FIVE_MINUTES, ONE_HOUR)
"""Five minutes for dashboards and alerts, an hour for reports. A longer range than a load test's phases mixes them."""

MIN_COVERAGE = 0.9
"""Share of the time of work for which a device's energy must be known: no figure is too low by more than 10 %."""

POWER_WINDOW = "1m"
"""Range of the power derived from energy: it must hold two scrapes, so scrape every 30 s or faster."""

POWER = f"device:power_watts:rate{POWER_WINDOW}"
"""Watts of each device, from its energy counter, by node and device."""

DEVICE_INFO = "device:energy_info:max"
"""How the energy of each device comes about (label ``method``) and what it is (``name``, GPUs only); always 1."""


def by_device(gpu: str, cpu: str) -> str:
    """Return one series per node and device from an expression over GPUs and one over CPU packages."""
    return f"""\
max by (node, device) (
    label_replace({gpu}, {GPU_DEVICE})
  or
    label_replace({cpu}, {CPU_DEVICE})
)"""


def _increase(quantity: str, span: str) -> str:
    gpu, cpu = f"gpu_{quantity}_total", f"cpu_{quantity}_total{CPU_ZONE}"
    return by_device(f"increase({gpu}[{span}]) and {gpu}", f"increase({cpu}[{span}]) and {cpu}")


def _shared_out(window: Window, quantity: str) -> str:
    """Return ``quantity`` of devices shared out to tasks, without the tasks of which a device is unknown."""
    share = window.share
    known = f"({quantity} and on (node, device) {window.coverage} >= {MIN_COVERAGE})"
    return f"""\
  sum by (node, task, model) (
      {share}
    * on (node, device) group_left ()
      {known}
  )
unless on (node, task, model)
  (
      {share}
    unless on (node, device)
      {known}
  )"""


def _power() -> str:
    """Return watts of devices that were there a minute ago: rate() of a shorter past would read too low."""
    gpu, cpu = "gpu_energy_joules_total", f"cpu_energy_joules_total{CPU_ZONE}"
    gpus = f"rate({gpu}[{POWER_WINDOW}]) and {gpu} and {gpu} offset {POWER_WINDOW}"
    return by_device(gpus, f"rate({cpu}[{POWER_WINDOW}]) and {cpu} and {cpu} offset {POWER_WINDOW}")


def _coverage(window: Window) -> str:
    """Count, at the steps of the group, where the two counters were there; stale series do not count."""
    steps = f"[{window.range}:{window.every}]"
    gpu, cpu = "gpu_energy_joules_total", f"cpu_energy_joules_total{CPU_ZONE}"
    energy = by_device(f"count_over_time({gpu}{steps})", f"count_over_time({cpu}{steps})")
    work = f"max by (node, device) (count_over_time(inference_device_busy_seconds_total{steps}))"
    return f"{energy}\n/ on (node, device)\n  {work}"


def device_rules() -> tuple[Rule, ...]:
    """Return the rules that depend on no window: power and identity of every device."""
    info = f"""\
topk by (node, device) (1,
    max by (node, device, name, method) (label_replace(gpu_info, {GPU_DEVICE}))
  or
    max by (node, device, method) (label_replace(cpu_info{CPU_ZONE}, {CPU_DEVICE}))
)"""
    return Rule(POWER, _power()), Rule(DEVICE_INFO, info)


def window_rules(window: Window) -> tuple[Rule, ...]:
    """Return the rules of one window in the order in which they build upon each other."""
    span = window.range
    busy = f"sum by (node, device, task, model) (increase(inference_device_busy_seconds_total[{span}])) > 0"
    share = f"{window.busy}\n/ on (node, device) group_left ()\n  sum by (node, device) ({window.busy})"
    emissions = f"""\
{_increase("emissions_grams", span)}
and on (node, device) {window.device_energy}"""
    requests = f'sum by (node, task, model) (increase(inference_requests_total{{outcome="ok"}}[{span}]))'
    return (
        Rule(window.device_energy, f"{_increase('energy_joules', span)} > 0"),
        Rule(window.device_emissions, emissions),
        Rule(window.busy, busy),
        Rule(window.share, share),
        Rule(window.coverage, _coverage(window)),
        Rule(window.requests_ok, requests),
        Rule(window.energy, _shared_out(window, window.device_energy)),
        Rule(window.emissions, _shared_out(window, window.device_emissions)),
        Rule(window.requests_charged, f"{window.requests_ok} and {window.energy}"),
        Rule(window.joules_per_inference, f"{window.energy} / ({window.requests_charged} > 0)"),
        Rule(window.grams_per_inference, f"{window.emissions} / ({window.requests_charged} > 0)"),
    )
