"""From a run's files back to what was measured, so that its figures come about by the code that a live run uses.

For runs that ended before they could be concluded, and for shards that are put together. Bodies of requests are not
kept anywhere, and what an error said is not either: neither is in a figure.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from perjoule.errors import UsageError
from perjoule_loadgen import ledgerfile
from perjoule_loadgen.archive import Archive
from perjoule_loadgen.client import Prepared, Result
from perjoule_loadgen.config import Rules
from perjoule_loadgen.energy import Device, Pair, Price
from perjoule_loadgen.figures import Baseline, Carbon
from perjoule_loadgen.load import Load
from perjoule_loadgen.measurement import Bracket, Measurement, Plan
from perjoule_loadgen.meter import Idle
from perjoule_loadgen.result import Setting, conclude, document
from perjoule_loadgen.rows import RequestRow
from perjoule_loadgen.target import Model

STEADY = "steady"
NOT_KEPT = "its cause is not in the files"


def finished(archive: Archive) -> Mapping[str, Any]:
    """Return a run's document; of one that did not finish, what its tables come to, labelled INVALID with the reason.

    Raises:
        UsageError: the files cannot be read back.
    """
    if archive.finished:
        return archive.document
    said = archive.document
    made = measurement_of(archive)
    left = said["partial"]
    made.faults = [f"the program ended in the {left['phase']}: the figures are of what had been written until then"]
    run = conclude(made, baselines(said), carbon(said), Rules(), price(said))
    setting = Setting(said["target"], said["load"], said["host"])
    return document(run, setting) | {"partial": left, "lengths": "unknown"}


def measurement_of(archive: Archive) -> Measurement:
    """Return what was measured, as far as the files hold it.

    Raises:
        UsageError: they lack what is needed, or cannot be read.
    """
    said = archive.document
    try:
        made = Measurement(_plan(said), began=said["window"]["load_start"], ended=said["window"]["load_end"])
        made.charged = tuple(_bracket(device) for device in said["devices"])
        made.excluded = tuple(_bracket(device) for device in said["excluded_devices"])
        scheduled, sent = said["requests"]["scheduled"], said["requests"]["sent"]
        if not archive.finished:
            _end_early(archive, made)
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{archive.folder} was written by another version of loadgen: {error} is not there") from error
    made.steady = load_of(_within(archive, made))
    made.steady.scheduled = scheduled
    made.steady.sent = max(sent, made.steady.sent)
    made.opening, made.closing = ledgerfile.read(archive.folder)
    return made


def _steady(archive: Archive) -> Iterator[RequestRow]:
    return (row for row in archive.requests() if row.phase == STEADY)


def _within(archive: Archive, made: Measurement) -> Iterator[RequestRow]:
    """Return the requests of the window; of an unfinished run those that were answered before its last reading."""
    if archive.finished:
        return _steady(archive)
    return (row for row in _steady(archive) if made.ended is None or row.done <= made.ended)


def load_of(rows: Iterable[RequestRow]) -> Load:
    """Return the load whose requests are ``rows``, with Unix times."""
    load = Load()
    for row in rows:
        detail = NOT_KEPT if row.error else ""
        first = None if row.first_token is None else row.intended + row.first_token
        load.add(Result(
            row.intended, row.sent, row.done, row.status, row.error, detail, row.output_tokens, 0, row.input_tokens,
            first,
        ))  # fmt: skip
        load.sent += 1
    return load


def baselines(said: Mapping[str, Any]) -> dict[str, Baseline]:
    """Return the idle baselines of a document."""
    told = said["host"].get("idle", ())
    return {each["device"]: Baseline(_idle(each.get("before")), _idle(each.get("after"))) for each in told}


def carbon(said: Mapping[str, Any]) -> Carbon | None:
    """Return the carbon factor of a document."""
    return None if said["carbon"] is None else Carbon(**said["carbon"])


def price(said: Mapping[str, Any]) -> Price | None:
    """Return the price of a document."""
    return None if said.get("price") is None else Price(**said["price"])


def device_of(said: Mapping[str, Any]) -> Device:
    """Return a device of a document."""
    package = said["device"].removeprefix("cpu-") if said["kind"] == "cpu" else ""
    number, _, zone = package.partition("-")
    return Device(said["device"], said["kind"], said["name"], said["method"], said["exporter"], number, zone)


def pair_of(said: Mapping[str, float]) -> Pair:
    """Return an energy counter with its time."""
    return Pair(said["joules"], said["at"])


def _plan(said: Mapping[str, Any]) -> Plan:
    devices = tuple(device["device"] for device in said["devices"])
    return Plan(said["task"], Model(said["model"], devices, said["weights"]), [Prepared("", b"", "")], devices)


def _bracket(said: Mapping[str, Any]) -> Bracket:
    start, end = (pair_of(said["counter"][edge]) for edge in ("start", "end"))
    return Bracket(device_of(said), start, end, said["tick_seconds"], said["reset"], said["doubt"])


def _idle(said: Mapping[str, Any] | None) -> Idle | None:
    return None if said is None else Idle(pair_of(said["start"]), pair_of(said["end"]))


def _end_early(archive: Archive, made: Measurement) -> None:
    """Let the brackets end at the last pair that was written, and the load with them."""
    left = archive.document["partial"]
    made.plan = replace(made.plan, devices=tuple(left["devices"]))
    first = min((row.intended for row in _steady(archive)), default=None)
    made.began = first if made.began is None else made.began
    if made.charged or made.began is None:
        return
    last = {row.device: Pair(row.joules, row.time) for row in archive.power()}
    brackets = [_early(each, last.get(id_)) for id_, each in left["edge"].items()]
    if None not in brackets:
        made.charged = tuple(bracket for bracket in brackets if bracket is not None)
    if made.charged and made.ended is None:
        made.ended = min(bracket.end.at for bracket in made.charged)


def _early(edge: Mapping[str, Any], end: Pair | None) -> Bracket | None:
    """Return the bracket from the window's edge to the last pair, None where none came after the edge."""
    start = pair_of(edge["pair"])
    if end is None or end.at <= start.at:
        return None
    return Bracket(device_of(edge), start, end, edge["tick_seconds"], reset=end.joules < start.joules)
