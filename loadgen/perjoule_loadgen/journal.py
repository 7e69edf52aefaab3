"""What is written while a run lasts, so that one that is killed leaves what it had measured, labelled as such.

Rows are appended a few times a second; at every change of phase the document is written as it would stand if the run
ended there. ``rebuild`` makes a report of them. Once the real files are there these are removed. A disk that is full
ends the journal with one line and costs the run nothing.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from perjoule_loadgen import rows
from perjoule_loadgen.archive import PARTIAL_POWER, PARTIAL_REQUESTS, PARTIAL_RUN
from perjoule_loadgen.campaign import Campaign
from perjoule_loadgen.clock import Clock
from perjoule_loadgen.energy import Pair
from perjoule_loadgen.files import as_json, power_row, request_row, whole
from perjoule_loadgen.measurement import Measurement
from perjoule_loadgen.meter import Track
from perjoule_loadgen.status import Status

_EVERY_SECONDS = 0.25
_NAMES = (PARTIAL_RUN, PARTIAL_REQUESTS, PARTIAL_POWER)


@dataclass(slots=True)
class _Written:
    """How much of one task is written: requests by phase, readings by device."""

    requests: dict[str, int] = field(default_factory=dict)
    readings: dict[str, int] = field(default_factory=dict)


class Journal:
    """Writes the partial files of the task in progress.

    Args:
        place: the folder of a task.
        describe: the document of a measurement as it stands.
        warn: told once, in a sentence, when it cannot write any more.
    """

    def __init__(
        self, place: Callable[[str], Path], describe: Callable[[Measurement], Mapping[str, Any]],
        warn: Callable[[str], None], clock: Clock, status: Status, campaign: Campaign,
    ) -> None:  # fmt: skip
        self._place, self._describe, self._warn = place, describe, warn
        self._clock, self._status, self._campaign = clock, status, campaign
        self._written: dict[str, _Written] = {}
        self._phase = ""
        self._broken = False
        self._edge = dict[str, Pair]()
        status.entered.append(self._entered)

    async def run(self) -> None:
        """Append what is new until cancelled."""
        while not self._broken:
            await asyncio.sleep(_EVERY_SECONDS)
            self._guarded(self._append)

    def remove(self, task: str) -> None:
        """Remove a task's partial files: the real ones are there."""
        for name in _NAMES:
            with contextlib.suppress(OSError):
                (self._place(task) / name).unlink(missing_ok=True)

    def _entered(self) -> None:
        if self._campaign.measurements:
            self._guarded(self._append)
        self._phase = self._status.phase
        if self._status.task and self._campaign.measurements:
            self._guarded(self._head)

    def _guarded(self, write: Callable[[Measurement], None]) -> None:
        if self._broken or not self._campaign.measurements:
            return
        try:
            write(self._campaign.measurements[-1])
        except OSError as error:
            self._broken = True
            self._warn(f"what is measured is kept in memory alone from here on: {error.strerror or error}")

    def _head(self, measurement: Measurement) -> None:
        folder = self._place(measurement.plan.task)
        folder.mkdir(parents=True, exist_ok=True)
        whole(folder / PARTIAL_RUN, [as_json({**self._describe(measurement), "partial": self._left(measurement)})])

    def _left(self, measurement: Measurement) -> Mapping[str, Any]:
        """Return what the figures of an unfinished run need beside its document."""
        meter = self._campaign.meter
        tracks = meter.tracks if meter is not None else {}
        if self._status.edge or measurement.began is None:  # the phases after the window know its edge no more
            self._edge = dict(self._status.edge)
        return {
            "phase": self._status.phase,
            "edge": {id_: _edge(tracks[id_]) | {"pair": asdict(pair)} for id_, pair in self._edge.items()},
            "devices": list(measurement.plan.devices),
        }

    def _append(self, measurement: Measurement) -> None:
        task = measurement.plan.task
        known = self._written.get(task)
        if known is None:
            known = self._written[task] = self._begin(task)
        folder = self._place(task)
        _add(folder / PARTIAL_REQUESTS, self._requests(measurement, known))
        _add(folder / PARTIAL_POWER, self._power(measurement, known))

    def _begin(self, task: str) -> _Written:
        folder = self._place(task)
        folder.mkdir(parents=True, exist_ok=True)
        whole(folder / PARTIAL_REQUESTS, rows.lines([rows.REQUESTS]))
        whole(folder / PARTIAL_POWER, rows.lines([rows.POWER]))
        meter = self._campaign.meter
        tracks = meter.tracks if meter is not None else {}
        return _Written(readings={id_: max(len(track.readings) - 1, 0) for id_, track in tracks.items()})

    def _requests(self, measurement: Measurement, known: _Written) -> Iterable[Sequence[object]]:
        method = self._method(measurement)
        for phase, load in (("warm-up", measurement.warmup), ("steady", measurement.steady)):
            first, last = known.requests.get(phase, 0), len(load.results)
            known.requests[phase] = last
            for result in load.results[first:last]:
                yield request_row(phase, result, measurement.plan, method, self._clock)

    def _power(self, measurement: Measurement, known: _Written) -> Iterable[Sequence[object]]:
        meter = self._campaign.meter
        for id_, track in (meter.tracks if meter is not None else {}).items():
            first, last = max(known.readings.get(id_, 0), 1), len(track.readings)
            known.readings[id_] = last
            for number in range(first, last):
                before, reading = track.readings[number - 1], track.readings[number]
                yield power_row(self._phase, before, reading, charged=id_ in measurement.plan.devices)

    def _method(self, measurement: Measurement) -> str:
        meter = self._campaign.meter
        tracks = meter.tracks if meter is not None else {}
        return " ".join(dict.fromkeys(tracks[id_].device.method for id_ in measurement.plan.devices if id_ in tracks))


def _add(path: Path, more: Iterable[Sequence[object]]) -> None:
    text = "".join(rows.lines(more))
    if text:
        with path.open("a", encoding="utf-8", newline="") as out:
            out.write(text)


def _edge(track: Track) -> dict[str, Any]:
    device = track.device
    return {
        "device": device.id, "kind": device.kind, "name": device.name, "method": device.method,
        "exporter": device.exporter, "tick_seconds": track.tick,
    }  # fmt: skip
