"""Where a run is written: a folder with ``run.json``, ``requests.csv`` and ``power.csv`` for each task.

A folder that cannot be written is found at the start. Files appear whole (written beside, then renamed) or not at all.
"""

import contextlib
import csv
import io
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import count, pairwise
from pathlib import Path
from typing import Any

from perjoule.errors import PerjouleError, UsageError
from perjoule_loadgen.clock import Clock
from perjoule_loadgen.meter import Track
from perjoule_loadgen.result import Run


class OutputError(PerjouleError):
    """What was measured could not be written. The figures have been printed all the same."""


_RUN = "run.json"


def folder_of(folder: Path, task: str, *, alone: bool) -> Path:
    """Return where ``task`` is written: ``folder`` itself for the one task of a run, else a folder in it."""
    return folder if alone else folder / task


def prepare(folder: Path, tasks: Iterable[str], *, alone: bool) -> None:
    """Make the folder and prove that a file can be written in it.

    Raises:
        UsageError: it cannot, or it holds a run already, which would be lost or mixed with the new one.
    """
    places = [folder, *(folder_of(folder, task, alone=alone) for task in tasks)]
    try:
        if taken := next((path for path in places if (path / _RUN).exists()), None):
            raise UsageError(f"--output: {taken} holds a run already; name another folder: --output {_free(folder)}")
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"x" * 4096)
    except OSError as error:
        raise UsageError(f"--output {folder} cannot be written: {error.strerror or error}") from error


def _free(folder: Path) -> Path:
    """Return the next name that does not exist: ``out-2``, ``out-3``."""
    whole = folder.resolve() if folder.name in {"", ".."} else folder
    return next(path for n in count(2) if not (path := whole.with_name(f"{whole.name}-{n}")).exists())


def write(folder: Path, run: Run, content: Mapping[str, Any], tracks: Iterable[Track], clock: Clock) -> None:
    """Write one task's three files.

    Raises:
        OutputError: a file cannot be written; the message says which.
    """
    document = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _whole(folder / _RUN, [document])
        _whole(folder / "requests.csv", _rows(_requests(run, clock)))
        _whole(folder / "power.csv", _rows(_power(run, tracks, clock)))
    except OSError as error:
        raise OutputError(f"{error.filename or folder} cannot be written: {error.strerror or error}") from error


def _whole(path: Path, parts: Iterable[str]) -> None:
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with beside.open("w", encoding="utf-8", newline="") as out:
            out.writelines(parts)
        beside.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise


def _rows(rows: Iterable[Sequence[object]]) -> Iterator[str]:
    for row in rows:
        line = io.StringIO()
        csv.writer(line, lineterminator="\n").writerow(row)
        yield line.getvalue()


def _requests(run: Run, clock: Clock) -> Iterator[Sequence[object]]:
    """One row for a request; times are Unix seconds, latency counts from the intended send."""
    times = ("intended", "sent", "done", "latency_seconds")
    yield ("phase", *times, "status", "error", "output_tokens", "input", "method")
    items, method = run.measurement.plan.items, _method(run)
    for phase, load in (("warm-up", run.measurement.warmup), ("steady", run.measurement.steady)):
        for result in sorted(load.results, key=lambda r: r.intended):
            at_unix = (f"{clock.unix(at):.6f}" for at in (result.intended, result.sent, result.done))
            latency = f"{result.latency:.6f}" if result.ok else ""
            tokens = "" if result.output_tokens is None else result.output_tokens
            label = items[result.item].label
            yield (phase, *at_unix, latency, result.status or "", result.error, tokens, label, method)


def _power(run: Run, tracks: Iterable[Track], clock: Clock) -> Iterator[Sequence[object]]:
    """One row for every update of a counter that was seen, in the idle baselines and in this task's phases."""
    yield ("time", "device", "phase", "joules_total", "mean_watts", "instant_watts", "charged", "method")
    charged, phases = set(run.measurement.plan.devices), _phases(run, clock)
    for track in tracks:
        paid = "yes" if track.device.id in charged else "no"
        for before, reading in pairwise(track.readings):
            pair = reading.pair
            watts = (pair.joules - before.pair.joules) / (pair.at - before.pair.at)
            instant = "" if reading.watts is None else f"{reading.watts:.3f}"
            phase = next((name for name, start, end in phases if start < pair.at <= end), None)
            if phase is not None:
                figures = (f"{pair.joules:.6f}", f"{watts:.3f}", instant)
                yield (f"{pair.at:.6f}", track.device.id, phase, *figures, paid, track.device.method)


def _phases(run: Run, clock: Clock) -> list[tuple[str, float, float]]:
    """Return (name, start, end) in Unix seconds; the first that holds a time names it."""
    measurement, found = run.measurement, run.figures
    phases = []
    if found.start is not None and found.end is not None:
        phases.append(("window", found.start, found.end))
    loads = [load for load in (measurement.warmup, measurement.steady) if load.began]
    if measurement.warmup.began:
        began = clock.unix(measurement.warmup.began)
        phases.append(("warm-up", began, began if (end := measurement.warmup.ended) is None else clock.unix(end)))
    for baseline in run.baselines.values():
        idles = [idle for idle in (baseline.before, baseline.after) if idle is not None]
        phases.extend(("idle", idle.start.at, idle.end.at) for idle in idles)
    if loads:
        last = found.end or clock.unix(loads[-1].ended or loads[-1].began)
        phases.append(("quiet", clock.unix(loads[0].began), last))
    return phases


def _method(run: Run) -> str:
    return " ".join(dict.fromkeys(device.method for device in run.devices))
