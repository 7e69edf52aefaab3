"""The groups of families that can be had: what is in each, which are there unasked, and which cannot be left out.

A new group is a function and a line here. What a group does not know is who else is shown.
"""

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from prometheus_client.metrics_core import Metric as Family

from perjoule.errors import UsageError
from perjoule_exporter.collector import carbon, cpu, dcgm, gpu, inference, process, runtime
from perjoule_exporter.collector.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Group:
    """Some families of one subject. ``unasked``: there unless disabled. ``required``: cannot be disabled."""

    families: Callable[[Snapshot], Iterable[Family]]
    unasked: bool = True
    required: bool = False


GROUPS: Mapping[str, Group] = MappingProxyType(
    {
        "energy": Group(gpu.energy, required=True),
        "power": Group(gpu.power),
        "status": Group(gpu.status),
        "clocks": Group(gpu.clocks),
        "throttle": Group(gpu.throttle),
        "health": Group(gpu.health),
        "mig": Group(gpu.mig),
        "cpu": Group(cpu.energy),
        "carbon": Group(carbon.families),
        "embodied": Group(gpu.embodied),
        "inference": Group(inference.families),
        "runtime": Group(runtime.families),
        "process": Group(process.families, unasked=False),
        "dcgm": Group(dcgm.families, unasked=False),
    }
)
"""By the names of ``--collector.enable`` and ``--collector.disable``, in the order of exposition."""

DEFAULT_GROUPS = frozenset(name for name, group in GROUPS.items() if group.unasked)


def chosen_groups(enabled: Sequence[str], disabled: Sequence[str]) -> frozenset[str]:
    """Return the groups that are there unasked, with the enabled ones and without the disabled ones.

    Raises:
        UsageError: a name that is no group's, one in both lists, or one that cannot be disabled.
    """
    for flag, names in (("enable", enabled), ("disable", disabled)):
        for name in names:
            _check_known(f"--collector.{flag}", name)
    for name in disabled:
        if GROUPS[name].required:
            raise UsageError(
                f"--collector.disable {name}: joules, gpu_up and gpu_info are what the other families and all rules "
                "stand on, so they cannot be disabled"
            )
        if name in enabled:
            raise UsageError(f"collector {name} is both enabled and disabled: name it once")
    return DEFAULT_GROUPS.union(enabled) - frozenset(disabled)


def collector_names(*, unasked: bool) -> str:
    """Return the names that a user may disable, or those that she may enable, for the help."""
    return ", ".join(name for name, group in GROUPS.items() if group.unasked is unasked and not group.required)


def _check_known(flag: str, name: str) -> None:
    if name not in GROUPS:
        near = difflib.get_close_matches(name, GROUPS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(GROUPS)}"
        raise UsageError(f"{flag}: there is no collector {name!r}; {hint}")
