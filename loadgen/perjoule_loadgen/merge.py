"""``loadgen merge``: the shards of one load put together into what one instance would have measured.

Counts and latencies are those of all requests, exactly. Energy is not added up where it is the same: a device that
several shards read is counted once, from the first start edge to the last end edge of any of them, and so is the
exporter's ledger; other devices are added. What does not belong together is refused.
"""

import socket
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from perjoule.errors import UsageError
from perjoule_loadgen import files, ledgerfile, rows
from perjoule_loadgen.archive import POWER, REQUESTS, RUN, Archive
from perjoule_loadgen.books import Books
from perjoule_loadgen.config import Rules
from perjoule_loadgen.energy import Device
from perjoule_loadgen.figures import Baseline
from perjoule_loadgen.load import Load
from perjoule_loadgen.measurement import Bracket, Edge, Measurement
from perjoule_loadgen.meter import Idle
from perjoule_loadgen.rebuild import baselines, carbon, measurement_of, price
from perjoule_loadgen.result import Setting, conclude, document, idle_report

Document = Mapping[str, Any]
T = TypeVar("T")

_SAME: Mapping[str, Callable[[Document], Any]] = {
    "task": lambda said: said["task"],
    "model": lambda said: said["model"],
    "weights": lambda said: said["weights"],
    "what was asked": lambda said: (said.get("work") or {}).get("asked"),
    "inputs": lambda said: (said.get("work") or {}).get("inputs"),
    "arrival": lambda said: said["load"].get("arrival"),
    "rate": lambda said: said["load"].get("rate"),
    "carbon": lambda said: said["carbon"],
    "price": lambda said: said.get("price"),
}
"""What shards of one load have in common."""

_CARRIED = frozenset({"fault", "server", "interrupted", "energy", "counter", "lengths"})
"""Reasons that the files do not show any more; the others are reached anew, for all shards together."""

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


def merged(archives: Sequence[Archive], rules: Rules) -> tuple[Measurement, dict[str, Any]]:
    """Return the shards' measurement and document.

    Raises:
        UsageError: they are not shards of one load, or one of them is damaged or unfinished.
    """
    _check(archives)
    several = len({archive.document["host"].get("node") for archive in archives}) > 1
    places = [_Place(archive.document["host"].get("node") if several else None) for archive in archives]
    parts = [_placed(measurement_of(archive), place) for archive, place in zip(archives, places, strict=True)]
    whole = _together(parts)
    whole.faults = _carried(archives)
    idle = _idle([_baselines(archive, place) for archive, place in zip(archives, places, strict=True)])
    said = archives[0].document
    run = conclude(whole, idle, carbon(said), rules, price(said))
    made = document(run, Setting(said["target"], _load(archives), _host(archives, idle)))
    return whole, made | _work(archives, made) | {"shards": [str(archive.folder) for archive in archives]}


class _Place:
    """Tells apart what two machines call by the same name: their own loopback address, and their first processor."""

    def __init__(self, node: str | None) -> None:
        self._node = node

    def exporter(self, url: str) -> str:
        """Return an exporter's URL, with the machine where it is a loopback one."""
        local = (urlsplit(url).hostname or "") in _LOOPBACK
        return f"{url} on {self._node}" if local and self._node is not None else url

    def device(self, device: Device) -> Device:
        """Return a device under a name of its own; a GPU's uuid is one already."""
        exporter = self.exporter(device.exporter)
        id_ = f"{device.id}@{exporter}" if device.kind == "cpu" and self._node is not None else device.id
        return replace(device, id=id_, exporter=exporter)


def _check(archives: Sequence[Archive]) -> None:
    if len(archives) < 2:  # noqa: PLR2004 (one is whole already)
        raise UsageError("merge needs the runs of two shards or more")
    if len({archive.folder.resolve() for archive in archives}) < len(archives):
        raise UsageError("merge was given the same run twice")
    for archive in archives:
        if not archive.finished:
            raise UsageError(f"{archive.folder} did not finish: a load with a part of it missing is another load")
    first = archives[0]
    for archive in archives[1:]:
        for name, of in _SAME.items():
            if of(archive.document) != of(first.document):
                raise UsageError(
                    f"{archive.folder} and {first.folder} are no shards of one load: {name} is"
                    f" {of(archive.document)!r} and {of(first.document)!r}"
                )
    _check_windows(archives)
    _check_shards(archives)


def _check_windows(archives: Sequence[Archive]) -> None:
    """All windows must have some time in common; else the energy between them is nobody's."""
    windows = [(a.document["window"]["start"], a.document["window"]["end"]) for a in archives]
    known = [(start, end) for start, end in windows if start is not None and end is not None]
    if len(known) < len(windows):
        raise UsageError(f"{archives[windows.index((None, None))].folder} has no window: it measured nothing to merge")
    if max(start for start, _ in known) >= min(end for _, end in known):
        raise UsageError("the shards did not run at the same time: start them together, with --start-at")


def _check_shards(archives: Sequence[Archive]) -> None:
    """Where runs tell which shard they are, each must be there once."""
    told = [archive.document["load"].get("shard") for archive in archives]
    if None in told:
        return
    counts = {str(each).partition("/")[2] for each in told}
    if len(set(told)) < len(told) or counts != {str(len(told))}:
        raise UsageError(f"these are shards {', '.join(map(str, told))}: merge wants each part of one load once")


def _placed(part: Measurement, place: _Place) -> Measurement:
    def moved(bracket: Bracket) -> Bracket:
        return replace(bracket, device=place.device(bracket.device))

    part.charged, part.excluded = tuple(map(moved, part.charged)), tuple(map(moved, part.excluded))
    part.plan = replace(part.plan, devices=tuple(bracket.device.id for bracket in part.charged))
    part.opening, part.closing = _edge(part.opening, place), _edge(part.closing, place)
    return part


def _edge(edge: Edge | None, place: _Place) -> Edge | None:
    return edge and Edge({place.exporter(url): books for url, books in edge.books.items()}, edge.failure)


def _together(parts: Sequence[Measurement]) -> Measurement:
    charged = _union(bracket for part in parts for bracket in part.charged)
    devices = {bracket.device.id for bracket in charged}
    began = [part.began for part in parts if part.began is not None]
    ended = [part.ended for part in parts if part.ended is not None]
    return Measurement(
        replace(parts[0].plan, devices=tuple(bracket.device.id for bracket in charged)),
        steady=_loads([part.steady for part in parts]),
        began=min(began, default=None),
        ended=max(ended, default=None),
        charged=charged,
        excluded=tuple(b for b in _union(b for part in parts for b in part.excluded) if b.device.id not in devices),
        opening=_read([part.opening for part in parts], min),
        closing=_read([part.closing for part in parts], max),
    )


def _loads(loads: Sequence[Load]) -> Load:
    whole = Load()
    for load in loads:
        for result in load.results:
            whole.add(result)
    whole.sent = sum(load.sent for load in loads)
    scheduled = [load.scheduled for load in loads]
    whole.scheduled = None if None in scheduled else sum(each for each in scheduled if each is not None)
    return whole


def _union(brackets: Iterable[Bracket]) -> tuple[Bracket, ...]:
    """Return one bracket for every device, from the first start to the last end."""
    found: dict[str, list[Bracket]] = {}
    for bracket in brackets:
        found.setdefault(bracket.device.id, []).append(bracket)
    return tuple(_one(each) for each in found.values())


def _one(brackets: Sequence[Bracket]) -> Bracket:
    start = min((bracket.start for bracket in brackets), key=lambda pair: pair.at)
    end = max((bracket.end for bracket in brackets), key=lambda pair: pair.at)
    back = any(a.joules > b.joules for a, b in pairwise(sorted(_pairs(brackets), key=lambda pair: pair.at)))
    doubt = next((bracket.doubt for bracket in brackets if bracket.doubt), None)
    reset = back or any(bracket.reset for bracket in brackets)
    return Bracket(brackets[0].device, start, end, max(bracket.tick for bracket in brackets), reset, doubt)


def _pairs(brackets: Sequence[Bracket]) -> Iterator[Any]:
    for bracket in brackets:
        yield bracket.start
        yield bracket.end


def _read(edges: Sequence[Edge | None], which: Callable[..., Books]) -> Edge | None:
    """Return every exporter's first, or last, reading; None where a shard has none."""
    known = [edge for edge in edges if edge is not None]
    if len(known) < len(edges):
        return None
    readings: dict[str, list[Books]] = {}
    for edge in known:
        for url, books in edge.books.items():
            readings.setdefault(url, []).append(books)
    chosen = {url: which(each, key=lambda found: found.at) for url, each in readings.items()}
    return Edge(chosen, next((edge.failure for edge in known if edge.failure is not None), None))


def _baselines(archive: Archive, place: _Place) -> dict[str, Baseline]:
    devices = {d["device"]: d for d in (*archive.document["devices"], *archive.document["excluded_devices"])}
    found = baselines(archive.document)
    return {_id(devices[id_], place): each for id_, each in found.items() if id_ in devices}


def _id(said: Mapping[str, Any], place: _Place) -> str:
    return place.device(Device(said["device"], said["kind"], said["name"], said["method"], said["exporter"])).id


def _idle(told: Sequence[Mapping[str, Baseline]]) -> dict[str, Baseline]:
    """Return every device's baselines: of several, the lowest, for the others held some other shard's load."""
    ids = dict.fromkeys(id_ for each in told for id_ in each)
    return {
        id_: Baseline(*(
            _lowest(idle for each in told if id_ in each for idle in [getattr(each[id_], when)])
            for when in ("before", "after")
        ))
        for id_ in ids
    }  # fmt: skip


def _lowest(idles: Iterable[Idle | None]) -> Idle | None:
    return min((idle for idle in idles if idle is not None), key=lambda idle: idle.watts, default=None)


def _carried(archives: Sequence[Archive]) -> list[str]:
    return [
        f"{archive.folder.name}: {text}"
        for archive in archives
        for code, text in zip(archive.document["reason_codes"], archive.document["reasons"], strict=True)
        if code in _CARRIED
    ]


def _load(archives: Sequence[Archive]) -> dict[str, Any]:
    """The load's flags say what all shards send, so the first shard's are the whole's."""
    return dict(archives[0].document["load"]) | {"shard": None}


def _host(archives: Sequence[Archive], idle: Mapping[str, Baseline]) -> dict[str, Any]:
    nodes = list(dict.fromkeys(str(archive.document["host"].get("node")) for archive in archives))
    return dict(archives[0].document["host"]) | {
        "node": ", ".join(nodes), "merged_on": socket.gethostname(), "idle": idle_report(idle),
    }  # fmt: skip


def _work(archives: Sequence[Archive], made: Mapping[str, Any]) -> dict[str, Any]:
    """Return what only the shards knew of their answers: units of work, and whether lengths were checked."""
    units = [(archive.document.get("joules_per_unit") or {}).get("units") for archive in archives]
    total = None if None in units else sum(each for each in units if each is not None)
    joules = [device["joules"] for device in made["devices"]]
    value = sum(joules) / total if total and joules and None not in joules else None
    known = all(archive.document.get("lengths") == "checked" for archive in archives)
    return {
        "lengths": "checked" if known else "unknown",
        "joules_per_unit": dict(made["joules_per_unit"]) | {"value": value, "units": total},
        "work": _told(archives, made["work"]),
    }


def _told(archives: Sequence[Archive], made: Mapping[str, Any]) -> dict[str, Any]:
    """Return the work: what was asked is the first shard's, what the answers told is in ``made``."""
    works = [archive.document.get("work") or {} for archive in archives]
    asked = {name: works[0].get(name) for name in ("name", "inputs", "asked")}
    unknown = sorted({each for work in works for each in work.get("unknown", ())})
    return dict(made) | asked | {"unknown": unknown, "wrong": sum(work.get("wrong", 0) for work in works)}


def write(folder: Path, whole: Measurement, made: Mapping[str, Any], archives: Sequence[Archive]) -> None:
    """Write the files of the whole.

    Raises:
        OutputError: one cannot be written.
        UsageError: a table of a shard cannot be read.
    """
    files.write_text(folder / RUN, files.as_json(made))
    with files.explained(folder):
        files.whole(folder / REQUESTS, _all_lines([archive.folder / REQUESTS for archive in archives]))
        files.whole(folder / POWER, rows.lines(_power(made, archives)))
    if (text := ledgerfile.encoded(whole)) is not None:
        files.write_text(folder / ledgerfile.NAME, text)


def _all_lines(paths: Iterable[Path]) -> Iterator[str]:
    head = None
    for path in paths:
        with path.open(encoding="utf-8", newline="") as file:
            first = next(file, "")
            if head is not None and first != head:
                raise UsageError(
                    f"{path} has other columns than the first shard's: another version of loadgen wrote it"
                )
            if head is None:
                head = first
                yield first
            yield from file


def _power(made: Mapping[str, Any], archives: Sequence[Archive]) -> Iterator[Sequence[object]]:
    """Return every update that any shard saw, once, in the phases of the whole."""
    yield rows.POWER
    start, end = made["window"]["start"], made["window"]["end"]
    methods = {device["device"]: device["method"] for device in (*made["devices"], *made["excluded_devices"])}
    seen: dict[str, dict[float, rows.PowerRow]] = {}
    for archive in archives:
        for row in archive.power():
            seen.setdefault(row.device, {}).setdefault(row.time, row)
    for id_, found in seen.items():
        for before, row in pairwise(found[at] for at in sorted(found)):
            watts = (row.joules - before.joules) / (row.time - before.time)
            inside = start is not None and start < row.time <= end
            phase = "window" if inside else "quiet" if row.phase == "window" else row.phase
            instant = "" if row.instant_watts is None else f"{row.instant_watts:.3f}"
            yield (f"{row.time:.6f}", id_, phase, f"{row.joules:.6f}", f"{watts:.3f}", instant,
                   "yes" if row.charged else "no", methods.get(id_, ""))  # fmt: skip
