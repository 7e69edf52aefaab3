"""Where a run is written: a folder with the files of ``archive`` for each task.

A folder that cannot be written is found at the start. Files appear whole (written beside, then renamed) or not at all.
"""

import contextlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import count, pairwise
from pathlib import Path
from typing import Any

from perjoule.errors import PerjouleError, UsageError
from perjoule_loadgen import ledgerfile, rows
from perjoule_loadgen.archive import PARTIAL_RUN, POWER, REQUESTS, RUN
from perjoule_loadgen.client import Result
from perjoule_loadgen.clock import Clock
from perjoule_loadgen.energy import Reading
from perjoule_loadgen.measurement import Plan
from perjoule_loadgen.meter import Track
from perjoule_loadgen.result import Run


class OutputError(PerjouleError):
    """What was measured could not be written. The figures have been printed all the same."""


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
        if taken := next((path for path in places if any((path / name).exists() for name in (RUN, PARTIAL_RUN))), None):
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
    """Write one task's files.

    Raises:
        OutputError: a file cannot be written; the message says which.
    """
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        whole(folder / RUN, [as_json(content)])
        whole(folder / REQUESTS, rows.lines(_requests(run, clock)))
        whole(folder / POWER, rows.lines(_power(run, tracks, clock)))
        if (text := ledgerfile.encoded(run.measurement)) is not None:
            whole(folder / ledgerfile.NAME, [text])


def write_text(path: Path, text: str) -> None:
    """Write one file whole.

    Raises:
        OutputError: it cannot be written.
    """
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        whole(path, [text])


@contextlib.contextmanager
def explained(place: Path) -> Iterator[None]:
    """Turn an error of the disk into a sentence: ``OutputError``."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"{error.filename or place} cannot be written: {error.strerror or error}") from error


def as_json(content: Any) -> str:
    """Return the text of a JSON file."""
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def whole(path: Path, parts: Iterable[str]) -> None:
    """Write a file beside its place and rename it, so that it appears whole or not at all."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with beside.open("w", encoding="utf-8", newline="") as out:
            out.writelines(parts)
        beside.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise


def _requests(run: Run, clock: Clock) -> Iterator[Sequence[object]]:
    """One row for a request; times are Unix seconds, latency counts from the intended send."""
    yield rows.REQUESTS
    for phase, load in (("warm-up", run.measurement.warmup), ("steady", run.measurement.steady)):
        for result in sorted(load.results, key=lambda r: r.intended):
            yield request_row(phase, result, run.measurement.plan, _method(run), clock)


def request_row(phase: str, result: Result, plan: Plan, method: str, clock: Clock) -> Sequence[object]:
    """Return the row of a request."""
    at_unix = (f"{clock.unix(at):.6f}" for at in (result.intended, result.sent, result.done))
    latency = f"{result.latency:.6f}" if result.ok else ""
    tokens = "" if result.output_tokens is None else result.output_tokens
    label = plan.items[result.item].label
    read = "" if result.input_tokens is None else result.input_tokens
    first = "" if result.first_token_seconds is None else f"{result.first_token_seconds:.6f}"
    return (phase, *at_unix, latency, result.status or "", result.error, tokens, label, method, read, first)


def _power(run: Run, tracks: Iterable[Track], clock: Clock) -> Iterator[Sequence[object]]:
    """One row for every update of a counter that was seen, in the idle baselines and in this task's phases."""
    yield rows.POWER
    phases = _phases(run, clock)
    for track in tracks:
        paid = track.device.id in run.measurement.plan.devices
        for before, reading in pairwise(track.readings):
            phase = next((name for name, start, end in phases if start < reading.pair.at <= end), None)
            if phase is not None:
                yield power_row(phase, before, reading, charged=paid)


def power_row(phase: str, before: Reading, reading: Reading, *, charged: bool) -> Sequence[object]:
    """Return the row of an update of a counter, with the mean power since the one before it."""
    pair = reading.pair
    watts = (pair.joules - before.pair.joules) / (pair.at - before.pair.at)
    instant = "" if reading.watts is None else f"{reading.watts:.3f}"
    figures = (f"{pair.joules:.6f}", f"{watts:.3f}", instant)
    return (f"{pair.at:.6f}", reading.device.id, phase, *figures, "yes" if charged else "no", reading.device.method)


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
