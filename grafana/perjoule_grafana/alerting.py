"""The alerts: when each fires, for how long it must hold, whom it concerns, and what it says.

Knows recorded series and the table of thresholds. Every alert has a page of its name in docs/runbooks.
"""

from dataclasses import dataclass
from types import MappingProxyType

from perjoule_grafana.queries import AGREEMENT, FIVE_MINUTES, ONE_HOUR, PLACE, RESIDUAL, SEVEN_DAYS, TASK
from perjoule_grafana.thresholds import (
    CAPPED_REASONS,
    CARBON_BUDGET,
    ENERGY_BUDGET,
    JOB,
    LIVE_PROVIDERS,
    THRESHOLDS,
)

CRITICAL, WARNING, INFO = "critical", "warning", "info"
DASHBOARDS = MappingProxyType({"reading": "perjoule-trust", "trust": "perjoule-trust", "carbon": "perjoule-carbon"})
"""Where each area is looked into; energy is on the tasks' dashboard, or on the devices' where it is no task's."""

RUNBOOKS = "docs/runbooks"
DAYS_OF_BUDGET = 30
OF_TASK = "{{ $labels.task }} ({{ $labels.model }}) on {{ $labels.node }}"
OF_GPU = "GPU {{ $labels.uuid }} on {{ $labels.node }}"


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert: fires when ``expr`` has held for ``hold`` (PromQL). ``area`` is for Alertmanager's routes."""

    name: str
    expr: str
    hold: str
    severity: str
    area: str
    summary: str
    description: str

    @property
    def runbook(self) -> str:
        """Path of its page, from the repository's root."""
        return f"{RUNBOOKS}/{self.name}.md"

    @property
    def dashboard(self) -> str:
        """Where in Grafana to look, from its root; with the machine, and the task where there is one."""
        task = "&var-task={{ $labels.task }}&var-model={{ $labels.model }}" if "$labels.task" in self.summary else ""
        node = "?var-node={{ $labels.node }}" if "$labels.node" in self.summary else ""
        uid = DASHBOARDS.get(self.area, "perjoule-energy" if task else "perjoule-fleet")
        return f"/d/{uid}{node}{task}"


def alerts() -> tuple[Alert, ...]:
    """Return every alert, those about the reading itself first."""
    return (*_exporter(), *_counter(), *_ledger(), *_energy(), *_devices(), *_carbon())


def _exporter() -> tuple[Alert, ...]:
    return (
        Alert("GpuEnergyExporterDown", f'up{{job="{JOB}"}} == 0', "5m", CRITICAL, "reading",
              "The energy exporter on {{ $labels.node }} ({{ $labels.instance }}) does not answer",
              "Its devices' joules are not known, and every figure of that machine is missing until it is back."),
        Alert("GpuEnergyExporterAbsent", f'absent(up{{job="{JOB}"}})', "10m", CRITICAL, "reading",
              "Prometheus scrapes no energy exporter",
              f"There is no target of the job {JOB}: no energy is known anywhere."),
        Alert("GpuUnreadable", "gpu_up == 0", "5m", CRITICAL, "reading",
              f"{OF_GPU} cannot be read",
              "The driver does not answer, or the board is lost. Its joules and those of what runs on it are missing."),
    )  # fmt: skip


def _counter() -> tuple[Alert, ...]:
    limit = THRESHOLDS.over_limit_ratio
    stuck = "increase(gpu_energy_joules_total[5m]) == 0\nand\n  min_over_time(gpu_power_watts[5m]) > 0"
    implausible = f"rate(gpu_energy_joules_total[5m])\n> {limit} *\n  max_over_time(gpu_power_limit_watts[5m])"
    return (
        Alert("GpuEnergyCounterStuck", stuck, "5m", WARNING, "trust",
              f"The energy counter of {OF_GPU} stands still",
              "It draws power, and its counter has not moved for five minutes: its energy is in no figure."),
        Alert("GpuEnergyImplausible", implausible, "5m", WARNING, "trust",
              f"{OF_GPU} counts {{{{ $value | humanize }}}} W, more than it can draw",
              f"Power by the energy counter is above {limit:g} × the board's power limit: the counter is wrong."),
        Alert("GpuEnergyDisagreesWithPower",
              f"abs({AGREEMENT[ONE_HOUR.range]} - 1) > {THRESHOLDS.disagreement_ratio}", "30m", WARNING, "trust",
              "{{ $labels.device }} of {{ $labels.node }}: the counter is off by {{ $value | humanizePercentage }}",
              "Over an hour the energy counter and the integral of power should agree within a per cent or two."),
    )  # fmt: skip


def _ledger() -> tuple[Alert, ...]:
    charged = f"{FIVE_MINUTES.requests_charged} > 0"
    without = f"{FIVE_MINUTES.requests_ok} >= {THRESHOLDS.least_requests}\nunless on ({TASK})\n  {charged}"
    dropped = f"sum by ({PLACE}, instance) (increase(inference_spans_dropped_total[5m])) > 0"
    return (
        Alert("EnergyConservationBroken", f"abs({RESIDUAL}) > {THRESHOLDS.residual_joules}", "5m", CRITICAL, "trust",
              "{{ $value | humanize }} J of {{ $labels.device }} on {{ $labels.node }} are in no account",
              "Charged, idle, unattributed and open energy do not add up to the counter: a fault of the exporter."),
        Alert("InferenceWithoutEnergy", without, "15m", WARNING, "trust",
              f"Inferences of {OF_TASK} have no energy",
              "{{ $value | humanize }} requests were answered in five minutes, and none of them was charged."),
        Alert("InferenceSpansDropped", dropped, "10m", WARNING, "trust",
              "{{ $labels.instance }} on {{ $labels.node }} drops energy spans",
              "{{ $value | humanize }} in five minutes did not reach the exporter: their requests have no energy."),
    )  # fmt: skip


def _energy() -> tuple[Alert, ...]:
    hour, week = ONE_HOUR, SEVEN_DAYS
    ratio, enough = THRESHOLDS.regression_ratio, THRESHOLDS.regression_requests
    loaded = f"({hour.joules_per_inference} unless on ({TASK}) {hour.active_joules_per_inference})"
    regressed = f"""\
(
    {hour.active_joules_per_inference} > {ratio} * {week.active_joules_per_inference}
  or
    {loaded} > {ratio} * {week.joules_per_inference}
)
and on ({TASK}) {hour.requests_charged} >= {enough}
and on ({TASK}) {week.requests_charged} >= {enough}"""
    fast = _over_budget(FIVE_MINUTES.joules_per_inference, THRESHOLDS.budget_fast_ratio)
    slow = _over_budget(hour.joules_per_inference, THRESHOLDS.budget_slow_ratio)
    joules = "{{ $value | humanize }} J per inference"
    return (
        Alert("InferenceEnergyRegressed", regressed, "15m", WARNING, "energy",
              f"{OF_TASK} takes more energy than it did",
              f"{joules} over the last hour, over {ratio:g} × the mean of the last seven days."),
        Alert("InferenceEnergyOverBudgetFast", fast, "10m", CRITICAL, "energy",
              f"{OF_TASK} is far over its energy budget",
              f"{joules} over five minutes, over {THRESHOLDS.budget_fast_ratio:g} × the budget."),
        Alert("InferenceEnergyOverBudgetSlow", slow, "1h", WARNING, "energy",
              f"{OF_TASK} is over its energy budget",
              f"{joules} over an hour, above the budget."),
    )  # fmt: skip


def _devices() -> tuple[Alert, ...]:
    idle = f'{ONE_HOUR.device_idle_ratio}{{device!~"cpu-.*"}} > {THRESHOLDS.idle_ratio}'
    throttled = f'rate(gpu_throttled_seconds_total{{reason=~"{CAPPED_REASONS}"}}[15m])'
    capped = f"max by ({PLACE}, gpu, uuid) ({throttled}) > {THRESHOLDS.capped_ratio}"
    return (
        Alert("GpuIdleBurn", idle, "4h", WARNING, "energy",
              "{{ $labels.device }} on {{ $labels.node }} burns its energy idle",
              "{{ $value | humanizePercentage }} of its joules of the last hour were idle: share it or free it."),
        Alert("GpuPowerCapped", capped, "15m", INFO, "energy",
              f"{OF_GPU} is held down by its power limit",
              "Its clocks were held down for {{ $value | humanizePercentage }} of the time."),
    )  # fmt: skip


def _carbon() -> tuple[Alert, ...]:
    by = f"max by ({PLACE}, instance, provider)"
    age = f"time() - grid_carbon_intensity_timestamp_seconds{{{LIVE_PROVIDERS}}}"
    stale = f"{by} ({age}) > {THRESHOLDS.intensity_age_seconds}\nor\n  {by} (grid_carbon_provider_up) == 0"
    fast = _burn("1h", 1, THRESHOLDS.carbon_fast_ratio)
    slow = _burn("7d", 7 * 24, THRESHOLDS.carbon_slow_ratio)
    return (
        Alert("CarbonIntensityStale", stale, "30m", WARNING, "carbon",
              "The carbon intensity of {{ $labels.provider }} on {{ $labels.node }} is old",
              "No live value has come for hours: grams go by an older one, a yearly mean, or are not counted."),
        Alert("CarbonBudgetBurnFast", fast, "15m", CRITICAL, "carbon",
              "The carbon budget is used up far too fast",
              "The last hour's emissions are {{ $value | humanize }} × what the 30-day budget has for an hour."),
        Alert("CarbonBudgetBurnSlow", slow, "1h", WARNING, "carbon",
              "The carbon budget will not last",
              "The last week's emissions are {{ $value | humanize }} × what the 30-day budget has for a week."),
    )  # fmt: skip


def _over_budget(series: str, ratio: float) -> str:
    """Return ``series`` above ``ratio`` × its budget: the model's own, else that of the whole task."""
    own, whole = f'{ENERGY_BUDGET}{{model!=""}}', f'{ENERGY_BUDGET}{{model=""}}'
    return f"""\
  {series} > on (task, model) group_left () {ratio} * {own}
or
  ({series} unless on (task, model) {own}) > on (task) group_left () {ratio} * {whole}"""


def _burn(span: str, hours: int, ratio: float) -> str:
    """Return emissions of ``span`` over those that the budget has for it, where that is above ``ratio``."""
    part = f"{hours} / {DAYS_OF_BUDGET * 24}"
    return f"cluster:emissions_grams:increase{span}\n/ on (cluster)\n  ({CARBON_BUDGET} * {part})\n> {ratio}"
