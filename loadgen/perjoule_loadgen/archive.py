"""A run read back from its folder: ``run.json`` checked for what the reports need, and the tables beside it.

A run that did not finish has left ``run.partial.json`` and its tables; what they come to is computed by ``unfinished``.
Knows nothing of how any of it is shown.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from perjoule.errors import UsageError
from perjoule.workloads import WORKLOADS
from perjoule_loadgen.rows import PowerRow, RequestRow, read_power, read_requests

SCHEMA = "perjoule.run/1"
RUN, REQUESTS, POWER = "run.json", "requests.csv", "power.csv"
PARTIAL_RUN, PARTIAL_REQUESTS, PARTIAL_POWER = "run.partial.json", "requests.partial.csv", "power.partial.csv"

_NEEDED: Mapping[str, type | tuple[type, ...]] = {
    "verdict": str, "reasons": list, "warnings": list, "simulated": bool, "task": str, "load": dict, "window": dict,
    "requests": dict, "latency_seconds": dict, "devices": list, "excluded_devices": list, "joules_per_inference": dict,
    "attribution": dict, "reference": list, "host": dict, "throughput_per_second": (int, float, type(None)),
    "grams_per_inference": (dict, type(None)), "carbon": (dict, type(None)), "crosscheck": (dict, type(None)),
}  # fmt: skip
"""Keys that every reader counts on, and what they hold."""

_NEEDED_WITHIN: Mapping[str, tuple[str, ...]] = {
    "latency_seconds": ("mean", "p50", "p90", "p95", "p99"),
    "joules_per_inference": ("gross", "active", "attributed"),
    "window": ("start", "end", "seconds"),
    "requests": ("sent", "ok", "failed"),
    "attribution": ("reason", "low_confidence", "devices_without_ledger", "charged_joules"),
}


@dataclass(frozen=True, slots=True)
class Archive:
    """One run on disk.

    Attributes:
        folder: where it lies.
        document: content of ``run.json``, or of ``run.partial.json``.
        finished: whether it is the former.
    """

    folder: Path
    document: Mapping[str, Any]
    finished: bool

    @property
    def task(self) -> str:
        """Workload id."""
        task: str = self.document["task"]
        return task

    def requests(self) -> Iterator[RequestRow]:
        """Return the rows of its requests; none where the file is gone."""
        path = self.folder / (REQUESTS if self.finished else PARTIAL_REQUESTS)
        return read_requests(path) if path.exists() else iter(())

    def power(self) -> Iterator[PowerRow]:
        """Return the rows of its counters; none where the file is gone."""
        path = self.folder / (POWER if self.finished else PARTIAL_POWER)
        return read_power(path) if path.exists() else iter(())


def find(path: Path) -> list[Archive]:
    """Return the runs at ``path``: a run's folder or file, or a folder that holds some at any depth, in name order.

    Raises:
        UsageError: there is none, or one cannot be read.
    """
    if path.is_file():
        return [_open(path)]
    if not path.is_dir():
        raise UsageError(f"{path} does not exist: name the folder of a run, as loadgen --output made it")
    files = sorted(path.rglob(RUN))
    done = {file.parent for file in files}
    files += [file for file in sorted(path.rglob(PARTIAL_RUN)) if file.parent not in done]
    if not files:
        raise UsageError(f"{path} holds no run: there is no {RUN} in it")
    return [_open(file) for file in files]


def find_one(path: Path) -> Archive:
    """Return the only run at ``path``.

    Raises:
        UsageError: there is none, or more than one.
    """
    found = find(path)
    if len(found) > 1:
        places = ", ".join(str(archive.folder) for archive in found)
        raise UsageError(f"{path} holds {len(found)} runs: name one of {places}")
    return found[0]


def _open(path: Path) -> Archive:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is not JSON: {error}") from error
    _check(path, document)
    return Archive(path.parent, document, finished=path.name != PARTIAL_RUN)


def _check(path: Path, document: Any) -> None:
    schema = document.get("schema") if isinstance(document, dict) else None
    if schema != SCHEMA:
        raise UsageError(f"{path} is no run of loadgen: its schema is {schema!r} and not {SCHEMA!r}")
    for name, kind in _NEEDED.items():
        if name not in document or not isinstance(document[name], kind):
            raise UsageError(f"{path} is damaged: {name!r} is missing or something else than it should be")
    for name, keys in _NEEDED_WITHIN.items():
        if missing := [key for key in keys if key not in document[name]]:
            raise UsageError(f"{path} is damaged: {name!r} has no {missing[0]!r}")
    if document["task"] not in WORKLOADS:
        raise UsageError(f"{path} is damaged: {document['task']!r} is no task of loadgen's")
