"""PromQL that several dashboards share.

Figures of the selected range are the sum of a range's samples of one recorded series over that of another.
Neighbouring windows overlap, which cancels in a ratio; a sum alone is divided by how often the windows overlap.
"""

import re

from perjoule_grafana.frame import PLACE, TASK
from perjoule_grafana.queries import FIVE_MINUTES, Window
from perjoule_grafana.recording import by_device

DEVICES = "cluster, node, device"
BY_DEVICE = f"on ({DEVICES})"


def seconds(duration: str) -> int:
    """Return the seconds of a PromQL duration of one unit: ``5m`` is 300."""
    number, unit = re.fullmatch(r"(\d+)([smhd])", duration).groups()  # type: ignore[union-attr]  # a constant of ours
    return int(number) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[unit]


def overlap(window: Window) -> int:
    """Return how many of the window's evaluations hold each second: its length over the interval of its group."""
    return seconds(window.range) // seconds(window.every)


def over_range(series: str, by: str = "", selector: str = TASK) -> str:
    """Return the sum of a recorded series over the selected range; only ever one side of a ratio."""
    return f"sum{_by(by)} (sum_over_time({series}{{{selector}}}[$__range]))"


def total(series: str, by: str = "", selector: str = TASK) -> str:
    """Return the joules, grams or requests of the selected range from the increases recorded over five minutes."""
    return f"{over_range(series, by, selector)} / {overlap(FIVE_MINUTES)}"


def of_devices(quantity: str, by: str = "") -> str:
    """Return joules or grams of the devices in the selected range, from their raw counters: no window lags behind."""
    return _of_raw("increase", quantity, "$__range", by)


def of_devices_now(quantity: str, by: str = "") -> str:
    """Return joules or grams a second of the devices, from their raw counters."""
    return _of_raw("rate", quantity, "$__rate_interval", by)


def _of_raw(function: str, quantity: str, span: str, by: str) -> str:
    gpu = f"{function}(gpu_{quantity}_total{{{PLACE}}}[{span}])"
    cpu = f'{function}(cpu_{quantity}_total{{zone="package", {PLACE}}}[{span}])'
    return f"sum{_by(by)} ({by_device(gpu, cpu)})"


def per_inference(series: str, by: str = "") -> str:
    """Return ``series`` per inference over the selected range, of the requests for which the series is known."""
    charged = f"sum_over_time({FIVE_MINUTES.requests_charged}{{{TASK}}}[$__range])"
    known = f"sum_over_time({series}{{{TASK}}}[$__range])"
    return f"{over_range(series, by)} / (sum{_by(by)} ({charged} and {known}) > 0)"


def active_per_inference(by: str = "") -> str:
    """Return the joules that an inference itself used, over the selected range; of tasks that tell spans."""
    return f"{over_range(FIVE_MINUTES.active, by)} / ({over_range(FIVE_MINUTES.settled, by)} > 0)"


def per_token(by: str = "") -> str:
    """Return joules per output token over the selected range, of the tasks that write tokens."""
    tokens = f"sum_over_time({FIVE_MINUTES.tokens_charged}{{{TASK}}}[$__range]) > 0"
    energy = f"sum_over_time({FIVE_MINUTES.energy}{{{TASK}}}[$__range])"
    return f"sum{_by(by)} ({energy} and ({tokens})) / sum{_by(by)} ({tokens})"


def over_time(series: str, by: str) -> str:
    """Return ``series`` per inference at each instant, grouped."""
    charged = f"{FIVE_MINUTES.requests_charged}{{{TASK}}} and {series}{{{TASK}}}"
    return f"sum by ({by}) ({series}{{{TASK}}}) / (sum by ({by}) ({charged}) > 0)"


def idle_share(by: str = "") -> str:
    """Return idle joules over all joules of the devices whose idle energy is known, over the selected range."""
    idle = f"sum_over_time({FIVE_MINUTES.device_idle}{{{PLACE}}}[$__range])"
    known = f"sum_over_time({FIVE_MINUTES.device_energy}{{{PLACE}}}[$__range]) and {idle}"
    return f"sum{_by(by)} ({idle}) / (sum{_by(by)} ({known}) > 0)"


def requests(outcome: str, span: str, by: str = "") -> str:
    """Return requests per second by the servers' count; ``outcome`` is a matcher and a comma, or empty."""
    return f"sum{_by(by)} (rate(inference_requests_total{{{outcome}{TASK}}}[{span}]))"


def as_watts(series: str, selector: str, by: str = "") -> str:
    """Return an increase recorded over five minutes as a mean per second: joules as watts, grams as grams a second."""
    return f"sum{_by(by)} ({series}{{{selector}}}) / {seconds(FIVE_MINUTES.range)}"


def short(expr: str) -> str:
    """Return ``expr`` with GPUs named by the first part of their uuid, for legends; tables show the whole."""
    return f'label_replace({expr}, "device", "$1", "device", "(GPU-[^-]+-[^-]+)-.+")'


def _by(by: str) -> str:
    return f" by ({by})" if by else ""
