"""Whether two runs may be compared: what must be the same, and what may differ but must be said. Pure.

Like with like: a task's output length, image size and steps are part of what was measured. Another model, device or
load is what people compare, so it is told and not refused.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

Document = Mapping[str, Any]

_LEAST_RATIO = 0.01


def _boundary(run: Document) -> str:
    kinds = sorted(f"{device['kind']} by {device['method']}" for device in run["devices"])
    return ", ".join(kinds) or "no device"


def _per_inference(run: Document) -> float | None:
    unit = run.get("joules_per_unit") or {}
    units, ok = unit.get("units"), run["requests"]["ok"]
    return units / ok if units and ok else None


def _asked(run: Document) -> Any:
    """Return what was asked of the server, and with which inputs; what its answers were is compared apart."""
    work = run.get("work") or {}
    return {name: value for name in ("inputs", "asked") if (value := work.get(name)) is not None}


MUST: Mapping[str, Callable[[Document], Any]] = MappingProxyType(
    {
        "task": lambda run: run["task"],
        "boundary and method": _boundary,
        "work": _asked,
        "checked lengths": lambda run: run.get("lengths"),
    }
)
"""What has to be the same."""

TOLD: Mapping[str, Callable[[Document], Any]] = MappingProxyType(
    {
        "model": lambda run: run.get("model"),
        "weights": lambda run: run.get("weights"),
        "devices": lambda run: ", ".join(str(device["name"] or device["device"]) for device in run["devices"]),
        "arrival": lambda run: run["load"].get("arrival"),
        "rate": lambda run: run["load"].get("rate"),
        "concurrency": lambda run: run["load"].get("concurrency"),
        "carbon zone": lambda run: (run["carbon"] or {}).get("zone"),
        "PUE": lambda run: (run["carbon"] or {}).get("pue"),
        "loadgen": lambda run: run["host"].get("loadgen"),
    }
)
"""What may differ."""


def _values(runs: Sequence[Document], of: Callable[[Document], Any]) -> list[str]:
    return sorted({json.dumps(of(run), ensure_ascii=False, sort_keys=True) for run in runs})


def obstacles(before: Sequence[Document], after: Sequence[Document]) -> list[str]:
    """Return why the runs are not the same work, as sentences; none where they are."""
    found = [
        f"{name}: A {' and '.join(first)}, B {' and '.join(second)}"
        for name, of in MUST.items()
        for first, second in [(_values(before, of), _values(after, of))]
        if first != second
    ]
    sizes = [[size for run in runs if (size := _per_inference(run)) is not None] for runs in (before, after)]
    if all(sizes):
        one, other = (sum(each) / len(each) for each in sizes)
        if abs(other / one - 1) > _LEAST_RATIO:
            unit = str(before[0]["joules_per_unit"]["unit"]).replace("_", " ")
            found.append(f"work of an inference: A {one:.4g} {unit}s, B {other:.4g}")
    return found


def differences(before: Sequence[Document], after: Sequence[Document]) -> list[str]:
    """Return what else differs, as sentences."""
    return [
        f"{name}: A {' and '.join(first)}, B {' and '.join(second)}"
        for name, of in TOLD.items()
        for first, second in [(_values(before, of), _values(after, of))]
        if first != second
    ]


def doubts(side: str, runs: Sequence[Document]) -> list[str]:
    """Return what speaks against the runs of one side: a run that is INVALID or simulated."""
    found = [f"{side} is INVALID: {'; '.join(run['reasons'])}" for run in runs if run["verdict"] != "valid"]
    return found + [f"{side} is SIMULATED: no hardware was measured" for run in runs[:1] if run["simulated"]]
