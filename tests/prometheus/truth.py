"""What every recorded series of ``ledger_world`` must be, from its watts and rates."""

from perjoule_grafana.queries import Window
from tests.prometheus import ledger_world as world
from tests.prometheus.ledger_world import GRAMS_PER_JOULE, Rates, Work, counted, loaded, of_devices, of_works, over

TASK = ("cluster", "node", "task", "model")
DEVICE = ("cluster", "node", "device")
INSTANCE = ("cluster", "node", "instance")


def spans(work: Work) -> bool:
    """Tell whether the server of this work tells its spans."""
    return work.spans


def timed(work: Work) -> bool:
    """Tell whether the work's energy goes by time."""
    return not work.spans


def ledger(device: world.Device) -> bool:
    """Tell whether the exporter charges the device's energy to inferences."""
    return device is not world.GPU_C


def gpu(device: world.Device) -> bool:
    """Tell whether the device is a GPU."""
    return device.name.startswith("GPU")


def stated(work: Work) -> bool:
    """Tell whether the manufacture of the work's device is stated."""
    return gpu(work.device)


def increases(window: Window) -> dict[str, Rates]:
    """Return the truth of all sums, per second."""
    return {**_devices(window), **_works(window), **_shared(window), **_rollups(window)}


def ratios(window: Window) -> dict[str, Rates]:
    """Return the truth of all ratios."""
    sums = increases(window)
    energy, grams, requests = sums[window.energy], sums[window.emissions], sums[window.requests_charged]
    whole = {key: value + grams[key] for key, value in sums[window.embodied].items()}
    found = {
        window.device_idle_ratio: of_devices(lambda device: device.idle / device.watts, *DEVICE, only=ledger),
        window.joules_per_inference: over(energy, requests),
        window.grams_per_inference: over(grams, requests),
        window.active_joules_per_inference: over(sums[window.active], sums[window.settled]),
        window.active_grams_per_inference: over(sums[window.active_emissions], sums[window.settled]),
        window.joules_per_unit: _per_unit(window, energy),
        window.active_joules_per_unit: _per_unit(window, sums[window.active]),
        window.grams_per_unit: _per_unit(window, grams),
        window.joules_per_token: over(energy, sums[window.tokens_charged]),
        window.sci: over(whole, requests),
        window.sci_per_unit: _per_unit(window, whole),
        window.instance_ratio: over(sums[window.instance_charged], sums[window.instance_settled]),
    }
    for level in ("node", "cluster", "cluster_task_model"):
        for what in ("energy_joules", "emissions_grams"):
            ratio = f"{level}:inference_{what}_per_inference:ratio{window.range}"
            top, bottom = (f"{level}:inference_{name}:increase{window.range}" for name in (what, "requests_charged"))
            found[ratio] = over(sums[top], sums[bottom])
    return found


def shares() -> Rates:
    """Return the share of its device's busy time of each task."""
    busy = of_works(lambda work: work.busy, *DEVICE)
    return of_works(
        lambda work: work.busy / busy[world.labels(cluster="x", node=work.device.node, device=work.device.name)],
        *TASK,
        "device",
    )


def _per_unit(window: Window, sums: Rates) -> Rates:
    return {
        key: sums[task] / units
        for key, units in increases(window)[window.units_charged].items()
        if (task := tuple(pair for pair in key if pair[0] != "unit")) in sums
    }


def _devices(window: Window) -> dict[str, Rates]:
    return {
        window.device_energy: of_devices(lambda device: device.watts, *DEVICE),
        window.device_emissions: of_devices(lambda device: device.watts * GRAMS_PER_JOULE, *DEVICE),
        window.device_embodied: of_devices(lambda _: world.EMBODIED, *DEVICE, only=gpu),
        window.device_cost: of_devices(
            lambda device: device.watts * world.PRICE / world.JOULES_PER_KWH, *DEVICE, "currency"
        ),
        window.device_idle: of_devices(lambda device: device.idle, *DEVICE, only=ledger),
        window.device_unattributed: of_devices(
            lambda device: device.nobody, *DEVICE, "reason", only=lambda device: bool(device.nobody)
        ),
        window.instance_energy: of_devices(lambda device: device.watts, *INSTANCE),
        window.instance_charged: of_works(lambda work: work.watts["ok"], *INSTANCE, only=spans),
        window.instance_settled: of_works(lambda work: work.settled, *INSTANCE, only=spans),
    }


def _works(window: Window) -> dict[str, Rates]:
    kinds: Rates = {
        tuple(sorted((*key, ("kind", "output")))): value for key, value in of_works(lambda w: w.tokens, *TASK).items()
    }
    return {
        window.charged: of_works(lambda work: work.charged, *TASK, "device", only=spans),
        window.charged_emissions: of_works(
            lambda work: work.charged * GRAMS_PER_JOULE, *TASK, "device", only=spans
        ),
        window.by_outcome: _outcomes(),
        window.active: of_works(lambda work: work.watts["ok"], *TASK, only=spans),
        window.active_emissions: of_works(lambda work: work.watts["ok"] * GRAMS_PER_JOULE, *TASK, only=spans),
        window.settled: of_works(lambda work: work.settled, *TASK, only=spans),
        window.requests_ok: of_works(lambda work: work.ok, *TASK),
        window.work_units: of_works(lambda work: work.units, *TASK, "unit"),
        window.tokens: kinds,
        window.timed: of_works(loaded, *TASK, "device", only=timed),
        window.timed_emissions: of_works(lambda work: loaded(work) * GRAMS_PER_JOULE, *TASK, "device", only=timed),
        window.timed_requests: of_works(lambda work: work.ok, *TASK, only=timed),
    }  # fmt: skip


def _outcomes() -> Rates:
    return {
        world.labels(cluster="x", node=work.device.node, task=work.task, model=f"m/{work.task}", outcome=outcome): watts
        for work in world.WORKS
        for outcome, watts in work.watts.items()
    }


def _shared(window: Window) -> dict[str, Rates]:
    grams_of = lambda work: loaded(work) * GRAMS_PER_JOULE  # noqa: E731 (a name for a short thing used twice)
    return {
        window.loaded: of_works(loaded, *TASK, "device"),
        window.loaded_emissions: of_works(grams_of, *TASK, "device"),
        window.energy: of_works(loaded, *TASK),
        window.emissions: of_works(grams_of, *TASK),
        window.embodied: of_works(world.embodied, *TASK, only=stated),
        window.cost: of_works(lambda work: loaded(work) * world.PRICE / world.JOULES_PER_KWH, *TASK, "currency"),
        window.requests_charged: of_works(counted, *TASK),
        window.units_charged: of_works(lambda work: work.units * counted(work) / work.ok, *TASK, "unit"),
        window.tokens_charged: of_works(lambda work: work.tokens * counted(work) / work.ok, *TASK),
    }


def _rollups(window: Window) -> dict[str, Rates]:
    found: dict[str, Rates] = {}
    span = window.range
    levels = {"node": ("cluster", "node"), "cluster": ("cluster",), "cluster_task_model": ("cluster", "task", "model")}
    for level, by in levels.items():
        found[f"{level}:inference_energy_joules:increase{span}"] = of_works(loaded, *by)
        found[f"{level}:inference_emissions_grams:increase{span}"] = of_works(
            lambda w: loaded(w) * GRAMS_PER_JOULE, *by
        )
        found[f"{level}:inference_embodied_emissions_grams:increase{span}"] = of_works(world.embodied, *by, only=stated)
        found[f"{level}:inference_requests_charged:increase{span}"] = of_works(counted, *by)
    for level in ("node", "cluster"):
        by = levels[level]
        found[f"{level}:energy_joules:increase{span}"] = of_devices(lambda device: device.watts, *by)
        found[f"{level}:emissions_grams:increase{span}"] = of_devices(lambda d: d.watts * GRAMS_PER_JOULE, *by)
        found[f"{level}:idle_energy_joules:increase{span}"] = of_devices(lambda device: device.idle, *by, only=ledger)
    return found
