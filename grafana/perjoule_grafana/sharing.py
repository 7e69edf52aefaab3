"""Who bears which joules, and every ratio made of them. Ratios are of sums, guarded against no requests.

Two ways to a task's energy. Where a server tells the exporter its spans, the exporter has charged the task, and what is
added here is the task's share of the device's idle energy, by use. Where none does, the task gets its device's energy
by the time that it held the device, idle included. A task takes one of the two, never both.

Both sides of every ratio are of one target, or were made of one: joules and inferences are the exporter's, units
per inference are the server's.
"""

from perjoule_grafana.queries import DEVICE, MIN_COVERAGE, PLACE, TASK, Rule, Window

SETTLED = "inference_request_energy_joules_count"


def sharing_rules(window: Window) -> tuple[Rule, ...]:
    """Return the rules that share out the window's joules, in the order in which they build upon each other."""
    return (*_loaded(window), *_totals(window), *_charged(window), *_ratios(window))


def timed_rules(window: Window) -> tuple[Rule, ...]:
    """Return energy, emissions and requests of tasks without spans, over a short window."""
    requests = f"{window.requests_ok} and on ({TASK}) {window.timed}"
    return (
        Rule(window.timed, _timed(window, window.device_energy)),
        Rule(window.timed_emissions, _timed(window, window.device_emissions)),
        Rule(window.timed_requests, requests),
    )


def long_timed_rules(window: Window, hourly: Window, steps: str) -> tuple[Rule, ...]:
    """Return the same over a long window, from the hours."""
    names = ("timed", "timed_emissions", "timed_requests")
    return tuple(Rule(getattr(window, name), f"sum_over_time({getattr(hourly, name)}{steps})") for name in names)


def rollup_rules(window: Window) -> tuple[Rule, ...]:
    """Return sums and ratios of whole machines, clusters, and tasks over all machines of a cluster."""
    rules = [Rule(window.device_idle_ratio, f"{window.device_idle} / ({window.device_energy} > 0)")]
    for level, by in (("node", PLACE), ("cluster", "cluster"), ("cluster_task_model", "cluster, task, model")):
        rules += _level(window, level, by)
    energy, settled = window.instance_charged, window.instance_settled
    return (*rules, Rule(window.instance_ratio, f"{energy} / ({settled} > 0)"))


def _level(window: Window, level: str, by: str) -> list[Rule]:
    span = window.range
    sums = {
        f"{level}:inference_energy_joules:increase{span}": window.energy,
        f"{level}:inference_emissions_grams:increase{span}": window.emissions,
        f"{level}:inference_embodied_emissions_grams:increase{span}": window.embodied,
        f"{level}:inference_requests_charged:increase{span}": window.requests_charged,
    }
    if "task" not in by:
        sums[f"{level}:energy_joules:increase{span}"] = window.device_energy
        sums[f"{level}:emissions_grams:increase{span}"] = window.device_emissions
        sums[f"{level}:idle_energy_joules:increase{span}"] = window.device_idle
    rules = [Rule(name, f"sum by ({by}) ({series})") for name, series in sums.items()]
    requests = f"({level}:inference_requests_charged:increase{span} > 0)"
    joules = f"{level}:inference_energy_joules:increase{span} / {requests}"
    known = f"sum by ({by}) ({window.requests_charged} and {window.emissions}) > 0"
    grams = f"{level}:inference_emissions_grams:increase{span} / ({known})"
    rules.append(Rule(f"{level}:inference_energy_joules_per_inference:ratio{span}", joules))
    rules.append(Rule(f"{level}:inference_emissions_grams_per_inference:ratio{span}", grams))
    return rules


def _timed(window: Window, quantity: str) -> str:
    """Return ``quantity`` of devices shared out by time, without tasks that have spans or an unknown device."""
    known = f"({quantity} and on ({DEVICE}) {window.coverage} >= {MIN_COVERAGE})"
    spans = f"count by ({TASK}) (count_over_time({SETTLED}[{window.range}]))"
    return f"""\
  {window.share}
* on ({DEVICE}) group_left ()
  {known}
unless on ({TASK})
  ({window.share} unless on ({DEVICE}) {known})
unless on ({TASK})
  {spans}"""


def _loaded(window: Window) -> tuple[Rule, ...]:
    use = f"{window.charged} / on ({DEVICE}) group_left () sum by ({DEVICE}) ({window.charged})"
    idle = f"({use}) * on ({DEVICE}) group_left () {window.device_idle}"
    intensity = f"({window.device_emissions} / {window.device_energy})"
    idle_grams = f"({window.loaded} - {window.charged}) * on ({DEVICE}) group_left () {intensity}"
    return (
        Rule(window.loaded, f"{window.charged} + {idle}\nor\n{window.timed}"),
        Rule(window.loaded_emissions, f"{window.charged_emissions} + {idle_grams}\nor\n{window.timed_emissions}"),
    )


def _totals(window: Window) -> tuple[Rule, ...]:
    """Return sums over a task's devices; what a device costs, in money and in manufacture, goes by its joules."""
    part = f"{window.loaded} / on ({DEVICE}) group_left () {window.device_energy}"
    embodied = f"({part}) * on ({DEVICE}) group_left () {window.device_embodied}"
    price = f"{window.device_cost} / on ({DEVICE}) group_left () {window.device_energy}"
    cost = f"({price}) * on ({DEVICE}) group_right (currency) {window.loaded}"
    return (
        Rule(window.energy, f"sum by ({TASK}) ({window.loaded})"),
        Rule(window.emissions, f"sum by ({TASK}) ({window.loaded_emissions})"),
        Rule(window.embodied, f"sum by ({TASK}) ({embodied})"),
        Rule(window.cost, f"sum by ({TASK}, currency) ({cost})"),
    )


def _charged(window: Window) -> tuple[Rule, ...]:
    """Return requests, units and tokens whose energy is known: the server's units per request × charged requests."""
    requests = f"({window.settled} or {window.timed_requests}) and {window.energy}"
    part = f"({window.requests_charged} / ({window.requests_ok} > 0))"
    output = f'sum by ({TASK}) ({window.tokens}{{kind="output"}})'
    return (
        Rule(window.requests_charged, requests),
        Rule(window.units_charged, f"{window.work_units} * on ({TASK}) group_left () {part}"),
        Rule(window.tokens_charged, f"{output} * {part}"),
    )


def _ratios(window: Window) -> tuple[Rule, ...]:
    requests, units = f"({window.requests_charged} > 0)", f"({window.units_charged} > 0)"
    settled = f"({window.settled} > 0)"
    per_inference = f"({window.units_charged} / on ({TASK}) group_left () {requests} > 0)"  # units of an inference
    whole = f"({window.emissions} + {window.embodied})"
    return (
        Rule(window.joules_per_inference, f"{window.energy} / {requests}"),
        Rule(window.grams_per_inference, f"{window.emissions} / {requests}"),
        Rule(window.active_joules_per_inference, f"{window.active} / {settled}"),
        Rule(window.active_grams_per_inference, f"{window.active_emissions} / {settled}"),
        Rule(window.joules_per_unit, _over(window.energy, units)),
        Rule(window.active_joules_per_unit, _over(window.active_joules_per_inference, per_inference)),
        Rule(window.grams_per_unit, _over(window.emissions, units)),
        Rule(window.joules_per_token, f"{window.energy} / ({window.tokens_charged} > 0)"),
        Rule(window.sci, f"{whole} / {requests}"),
        Rule(window.sci_per_unit, _over(whole, units)),
    )


def _over(series: str, units: str) -> str:
    """Return a series of tasks over one of their units, one result for each unit."""
    return f"{series} / on ({TASK}) group_right () {units}"
