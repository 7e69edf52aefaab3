"""Lines of the span socket as checked values, and answers as lines. Pure.

The format is ``docs/spans.md``'s. What a line means beside the others of its connection, this does not know.
"""

import json
from collections.abc import Iterable, Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple

from perjoule.spans.wire import MAX_REQUESTS, MAX_WEIGHT, OUTCOMES, REQUEST_ID, VERSION, are_sound, is_name
from perjoule_exporter.ledger import Kind, Owner, Settled, Share
from perjoule_exporter.meters import MICRO
from perjoule_exporter.spans.book import Charged, KnownWatts

_LAST = (1 << 63) - 1  # of a span's number and of a time: what other languages can hold
_MAX_OWNERS = 1000
_OUTCOMES = frozenset(OUTCOMES)
_NUMBERS = (int, float)
_SHOWN = 60  # characters of a client's own words in an answer to it
_KNOWN_PLACES = 1024  # a server says the same few for each of its spans
_share = partial(tuple.__new__, Share)  # Share(*entry), in a third of the time


class LineError(ValueError):
    """A line cannot be taken. ``number``: the span that it is about, if it tells one."""

    def __init__(self, why: str, number: int | None = None) -> None:
        super().__init__(why)
        self.number = number


class Hello(NamedTuple):
    """A client says who it is."""

    client: str
    owners: tuple[Owner, ...]


class Open(NamedTuple):
    """A span has begun; times as they were told."""

    number: int
    device: str
    kind: Kind
    start_ns: int


class Close(NamedTuple):
    """A span has ended. ``wrong`` says what of the rest of the line cannot be taken, if anything."""

    number: int
    end_ns: int
    shares: tuple[Share, ...]
    reply: bool
    wrong: str | None = None


Line = Hello | Open | Close


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON")


_decode = json.JSONDecoder(parse_constant=_no_constant).decode
_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode


def parsed(line: str) -> Line | None:
    """Return what a line says; None for what only later versions understand.

    Raises:
        LineError: it is not of this protocol.
    """
    try:
        message = _decode(line)
    except (ValueError, RecursionError) as error:
        raise LineError(f"{shown(line)} is not JSON") from error
    if type(message) is not dict:
        raise LineError(f"{shown(line)} is not an object")
    if "close" in message:
        return _close(message)
    if "open" in message:
        return _open(message)
    if "hello" in message:
        return _hello(message)
    return None


def shown(value: object) -> str:
    """Return a client's own words, printable and not too many of them."""
    if isinstance(value, (list, dict)):  # which may be deep
        return f"a JSON {'array' if isinstance(value, list) else 'object'}"
    text = repr(value[: _SHOWN + 1] if isinstance(value, str) else value)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"


def _hello(message: dict[str, Any]) -> Hello:
    version = message["hello"]
    if version != VERSION or type(version) is not int:
        raise VersionError(f"version {shown(version)} is not known here: this is version {VERSION}")
    client, owners = message.get("client", "unnamed"), message.get("owners", [])
    if not is_name(client):
        raise LineError(f"{shown(client)} cannot be the name of a client")
    if type(owners) is not list or len(owners) > _MAX_OWNERS:
        raise LineError(f"owners are a list of [task, model], {_MAX_OWNERS} at most")
    for owner in owners:
        if type(owner) is not list or len(owner) < 2 or not (is_name(owner[0]) and is_name(owner[1])):  # noqa: PLR2004 (task and model)
            raise LineError(f"{shown(owner)} is no owner: [task, model]")
    return Hello(client, tuple(Owner(owner[0], owner[1]) for owner in owners))


class VersionError(LineError):
    """A client speaks another version: nothing that it says can be understood."""


def _open(message: dict[str, Any]) -> Open:
    number = _number(message["open"])
    device, start_ns = message.get("device"), message.get("start_ns")
    task, model, phase = message.get("task"), message.get("model"), message.get("phase")
    try:
        kind = _place(device, task, model, phase)
    except (TypeError, ValueError) as error:
        why = f"device, task, model or phase of span {number} is missing, or cannot be a label"
        raise LineError(why, number) from error
    if type(start_ns) is not int or not 0 <= start_ns <= _LAST:
        raise LineError(f"start_ns of span {number} is not in nanoseconds of CLOCK_MONOTONIC", number)
    return Open(number, device, kind, start_ns)  # type: ignore[arg-type]  # checked by _place


@lru_cache(maxsize=_KNOWN_PLACES)
def _place(*names: object) -> Kind:
    """Return the kind of work in a device, task, model and phase.

    Raises:
        TypeError, ValueError: they are not all labels.
    """
    if not all(map(is_name, names)):
        raise ValueError("no label")
    return Kind(*names[1:])  # type: ignore[arg-type]  # checked by is_name


def _close(message: dict[str, Any]) -> Close:
    number = _number(message["close"])
    end_ns, reply = message.get("end_ns"), message.get("reply", False)
    if type(end_ns) is not int or not 0 <= end_ns <= _LAST:
        return Close(number, _LAST, (), False, f"end_ns of span {number} is not in nanoseconds of CLOCK_MONOTONIC")
    if type(reply) is not bool:
        return Close(number, end_ns, (), False, f"reply of span {number} is not true or false")
    try:
        return Close(number, end_ns, _shares(message.get("requests", [])), reply)
    except (TypeError, ValueError, KeyError) as error:
        return Close(number, end_ns, (), False, f"requests of span {number}: {error}")


def _shares(requests: Any) -> tuple[Share, ...]:
    """Return checked shares. Sixteen of these come in each of a thousand spans a second.

    Raises:
        TypeError, ValueError, KeyError: they are none.
    """
    if type(requests) is not list:
        raise TypeError("not a list")
    if len(requests) > MAX_REQUESTS:
        raise ValueError(f"more than {MAX_REQUESTS}")
    if not are_sound(requests):
        _raise_for(requests)
    elif sum(map(len, requests)) == len(Share._fields) * len(requests):  # none has elements that are to be passed over
        return tuple(map(_share, requests))
    return tuple([Share(entry[0], entry[1], entry[2]) for entry in requests])


def _raise_for(requests: list[Any]) -> None:
    """Raise for what is wrong with these, if that is anything."""
    ids = set()
    for entry in requests:
        request, weight, outcome = entry[:3]
        if type(request) is not str or REQUEST_ID.fullmatch(request) is None:
            raise ValueError(f"{shown(request)} cannot be an id")
        if type(weight) not in _NUMBERS or not 0 <= weight <= MAX_WEIGHT:
            raise ValueError(f"{shown(weight)} cannot be a weight")
        if outcome not in _OUTCOMES:
            raise ValueError(f"{shown(outcome)} is no outcome")
        if request in ids:
            raise ValueError(f"{request} comes twice")
        ids.add(request)


def _number(value: object) -> int:
    if type(value) is not int or not 0 <= value <= _LAST:
        raise LineError(f"{shown(value)} cannot be the number of a span")
    return value


# Answers


Table = dict[tuple[str, Kind], float | None]
"""Watts by device and kind, to three digits; None for those that are not known any more."""


def greeting_line(devices: Iterable[Charged], watts: Table) -> bytes:
    """Return the answer to a hello."""
    return _line({"hello": VERSION, "devices": [each._asdict() for each in devices], "watts": _rows(watts)})


def watts_line(changed: Table) -> bytes:
    """Return the line that tells of watts that have changed."""
    return _line({"watts": _rows(changed)})


def settled_line(settled: Settled) -> bytes:
    """Return the line that tells what a span was given; no joules where that is not the energy of its time."""
    span, parts = settled
    known = span.is_measured
    joules = [part / MICRO if known else None for part in (span.microjoules, *parts)]
    requests = [[share.request, each] for share, each in zip(span.shares, joules[1:], strict=True)]
    return _line({"settled": span.number, "joules": joules[0], "requests": requests})


def error_line(why: str, number: int | None = None, *, late: bool = False) -> bytes:
    """Return the line that tells what could not be taken, or was told ``late``."""
    return _line({"error": why} if number is None else {"error": why, "late" if late else "span": number})


def table(watts: Iterable[KnownWatts]) -> Table:
    """Return the watts as clients are told them: fewer digits than they have, so that they seldom change."""
    return {(device, kind): float(f"{value:.3g}") for device, kind, value in watts}


def changes(before: Table, after: Table) -> Table:
    """Return what is to be told to those who know ``before``."""
    changed: Table = {key: value for key, value in after.items() if before.get(key) != value}
    return changed | {key: None for key in before if key not in after}


def _rows(watts: Table) -> Sequence[Sequence[str | float | None]]:
    return [[*kind, value, device] for (device, kind), value in watts.items()]


def _line(message: dict[str, Any]) -> bytes:
    return _encode(message).encode("utf-8", "replace") + b"\n"
