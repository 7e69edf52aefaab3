"""What the panels must show of ``world``, computed from its watts and rates without PromQL."""

from collections.abc import Callable, Mapping

from tests.grafana.world import DEVICES, EMBODIED, GRAMS_PER_JOULE, LOADS, Device, Labels, Load, labels

Figures = Mapping[Labels, float]
EVERYTHING = labels()


def loaded(load: Load) -> float:
    """Return the watts that a task is to bear: charged and idle by use, or its share of the device by time."""
    others = [other for other in LOADS if other.device is load.device]
    if load.device.spans:
        return charged(load) + load.device.idle * charged(load) / sum(charged(other) for other in others)
    return load.device.watts * load.busy / sum(other.busy for other in others)


def charged(load: Load) -> float:
    """Return the watts charged to a task, but those of unmeasured requests."""
    return sum(watts for outcome, watts in load.outcomes.items() if outcome != "unmeasured")


def counted(load: Load) -> float:
    """Return the requests a second whose energy is known."""
    return load.settled if load.device.spans else load.rate


def grams(load: Load) -> float:
    """Return the grams a second that a task is to bear."""
    return loaded(load) * GRAMS_PER_JOULE


def embodied(load: Load) -> float:
    """Return the grams of manufacture a second; CPUs state none."""
    return EMBODIED * loaded(load) / load.device.watts if load.device.limit else 0.0


def tokens(load: Load) -> float:
    """Return output tokens a second of the requests whose energy is known."""
    return load.tokens * counted(load) / load.rate


def spans(load: Load) -> bool:
    """Tell whether the load's server tells its batches."""
    return load.device.spans


def of_loads(value: Callable[[Load], float], *by: str, only: Callable[[Load], bool] = lambda _: True) -> Figures:
    """Return sums over the loads, grouped by labels: ``task``, ``model``, ``node``, ``device``, ``outcome``."""
    sums: dict[Labels, float] = {}
    for load in LOADS:
        if only(load):
            every = {"task": load.task, "model": load.model, "node": load.device.node, "device": load.device.name}
            key = labels(**{name: every[name] for name in by})
            sums[key] = sums.get(key, 0.0) + value(load)
    return sums


def of_devices(value: Callable[[Device], float], *by: str, only: Callable[[Device], bool] = lambda _: True) -> Figures:
    """Return sums over the devices, grouped by labels: ``node``, ``device``, ``name``, ``method``."""
    sums: dict[Labels, float] = {}
    for device in DEVICES:
        if only(device):
            every = {"node": device.node, "device": device.name, "name": device.product, "method": device.method}
            key = labels(**{name: every[name] for name in by if every[name]})
            sums[key] = sums.get(key, 0.0) + value(device)
    return sums


def short(figures: Figures) -> Figures:
    """Return figures with GPUs named by the first part of their uuid, as legends name them."""
    return {
        tuple((name, "-".join(label.split("-")[:3]) if name == "device" else label) for name, label in key): value
        for key, value in figures.items()
    }


def over(top: Figures, bottom: Figures) -> Figures:
    """Return ratios where both sides are known and the lower is not 0."""
    return {key: value / bottom[key] for key, value in top.items() if bottom.get(key)}


def times(figures: Figures, factor: float) -> Figures:
    """Return figures in another unit."""
    return {key: value * factor for key, value in figures.items()}


def one(value: float, **pairs: str) -> Figures:
    """Return a single figure, without labels or with these."""
    return {labels(**pairs): value}


def whole(figures: Figures) -> float:
    """Return the sum of all figures."""
    return sum(figures.values())


def joules_per_inference(*by: str) -> Figures:
    """Return joules per inference, fully loaded: a ratio of sums."""
    return over(of_loads(loaded, *by), of_loads(counted, *by))


def active_per_inference(*by: str) -> Figures:
    """Return joules that an inference itself used."""
    return over(of_loads(lambda load: load.ok, *by, only=spans), of_loads(lambda load: load.settled, *by, only=spans))


def joules_per_token(*by: str) -> Figures:
    """Return joules per output token, of the tasks that write tokens."""
    writes = lambda load: load.tokens > 0  # noqa: E731 (a name for a short thing used twice)
    return over(of_loads(loaded, *by, only=writes), of_loads(tokens, *by, only=writes))
