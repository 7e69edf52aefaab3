"""The lines between a server and the exporter about spans: newline-delimited JSON. Pure.

``docs/spans.md`` is the format in words. Times are nanoseconds of CLOCK_MONOTONIC, energy is joules, power watts. It
does not know sockets, and not what becomes of a line.
"""

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from perjoule.errors import UsageError

VERSION = 1

MORE = "more"
"""The outcome of a request of which other spans follow."""

OUTCOMES = ("ok", "cancelled", "expired", "error", MORE)
"""What a server may say of a request."""

MAX_LINE_BYTES = 64 * 1024
"""Of a line to the exporter, its newline included."""

MAX_REQUESTS = 1024
"""Of one span."""

MAX_NAME = 200
"""Characters of a task, model, phase, device or client."""

MAX_WEIGHT = 1e18
"""Of one request in a span. Weights only count relative to each other."""

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")

_IDS = re.compile(r"[A-Za-z0-9._-]{1,64}(?:\n[A-Za-z0-9._-]{1,64})*+")
_OUTCOMES = frozenset(OUTCOMES)
_NUMBERS = frozenset((int, float))

_ENTRY_BYTES = 46  # of a request's entry without its id: the longest weight and outcome, quotes, commas, brackets
_SURELY_FEW = 512  # requests, with whatever ids
_OWNERS_A_LINE = 32  # of the longest names, in four bytes a character, so many fit
_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode


class Request(NamedTuple):
    """One request's part in a span.

    ``weight`` is its share of the work, relative to the others' (tokens, pixels, seconds); ``outcome`` how it ended,
    or MORE while other spans of it follow.
    """

    id: str
    weight: float = 1.0
    outcome: str = "ok"


class Open(NamedTuple):
    """A span has begun. Without a ``device`` it is on the one that the exporter's devices suggest."""

    number: int
    device: str | None
    task: str
    model: str
    phase: str
    start_ns: int


AnyRequest = Request | tuple[Any, ...]
"""What a server may write for a request: ``(id, weight, outcome)``, the last two if they are not 1 and ``ok``."""

INVALID = (Request("invalid", 1.0, "error"),)
"""Stands for requests that are none, so that their span ends all the same and its energy is charged to its owner."""


class Close(NamedTuple):
    """A span has ended. ``reply``: the exporter shall say what it was given, once that is final."""

    number: int
    end_ns: int
    requests: Sequence[AnyRequest]
    reply: bool


class Device(NamedTuple):
    """A device whose energy the exporter shares out. ``method`` says how its joules come about."""

    device: str
    kind: str
    method: str


class Kind(NamedTuple):
    """What draws power alike, on one device; an empty ``device`` stands for any."""

    device: str
    task: str
    model: str
    phase: str


class Greeting(NamedTuple):
    """The exporter's answer to a hello."""

    devices: tuple[Device, ...]
    watts: Mapping[Kind, float | None]


class Watts(NamedTuple):
    """What kinds of work draw by now. None: it is not known any more."""

    watts: Mapping[Kind, float | None]


class Settled(NamedTuple):
    """What a span was given, and each of its requests; final. None: what it used is not known, and never will be."""

    number: int
    joules: float | None
    requests: Mapping[str, float | None]


class Problem(NamedTuple):
    """The exporter could not take a line. ``number``: the span in it, None where that is not known."""

    text: str
    number: int | None


def hello_lines(client: str, owners: Sequence[tuple[str, str]]) -> bytes:
    """Return the first lines of a connection. ``owners``: (task, model) of all work that may come."""
    parts = [owners[i : i + _OWNERS_A_LINE] for i in range(0, len(owners), _OWNERS_A_LINE)] or [()]
    return b"".join(_line({"hello": VERSION, "client": client, "owners": part}) for part in parts)


def open_line(span: Open, device: str) -> bytes:
    """Return the line that says that a span has begun."""
    return _line(
        {
            "open": span.number,
            "device": device,
            "task": span.task,
            "model": span.model,
            "phase": span.phase,
            "start_ns": span.start_ns,
        }
    )


def close_line(span: Close) -> bytes:
    """Return the line that says that a span has ended. Its requests have been checked."""
    requests, end_ns = span.requests, span.end_ns
    if span.reply:
        return _line({"close": span.number, "end_ns": end_ns, "requests": requests, "reply": True})
    return _line({"close": span.number, "end_ns": end_ns, "requests": requests})


def _line(message: Mapping[str, Any]) -> bytes:
    return _encode(message).encode() + b"\n"


def checked_name(name: str, what: str) -> str:
    """Return ``name`` if it can be a label's value.

    Raises:
        UsageError: it is empty, too long, or holds what cannot be printed.
    """
    if is_name(name):
        return name
    raise UsageError(f"{name!r} cannot be a {what}: 1 to {MAX_NAME} characters that can be printed")


def is_name(name: object) -> bool:
    """Return whether ``name`` can be a label's value."""
    return type(name) is str and 0 < len(name) <= MAX_NAME and name.isprintable()


def checked_requests(requests: Iterable[AnyRequest]) -> tuple[Request, ...]:
    """Return the requests of a span as the exporter takes them.

    Raises:
        UsageError: one of them has no valid id, weight or outcome, an id comes twice, or they are too many.
    """
    try:
        checked = tuple([each if type(each) is Request else Request(*each) for each in requests])
    except TypeError as error:
        raise UsageError(f"requests are (id, weight, outcome): {error}") from error
    if not are_sound(checked):
        _raise_for(checked)
    if len(checked) > _SURELY_FEW:
        size = sum(len(request.id) + _ENTRY_BYTES for request in checked)
        if len(checked) > MAX_REQUESTS or size > MAX_LINE_BYTES - _ENTRY_BYTES * 4:
            raise UsageError(f"{len(checked)} requests with ids of this length are too many for one span")
    return checked


def are_sound(requests: Sequence[Sequence[Any]]) -> bool:
    """Return whether all of these have a valid id, weight and outcome, and no id comes twice.

    All at once: thousands come in a second. False only says that one by one there may be something to find.
    """
    try:
        ids, weights, outcomes = zip(*requests, strict=False) if requests else ((), (), ())
        text = "\n".join(ids)
        return not ids or (
            _IDS.fullmatch(text) is not None
            and text.count("\n") == len(ids) - 1
            and len(set(ids)) == len(ids)
            and _NUMBERS.issuperset(map(type, weights))
            and min(weights) >= 0
            and sum(weights) <= MAX_WEIGHT  # false where one is not a number
            and _OUTCOMES.issuperset(outcomes)
        )
    except (TypeError, ValueError):
        return False


def _raise_for(requests: Iterable[tuple[Any, Any, Any]]) -> None:
    """Raise for what is wrong with them, if that is anything."""
    ids = set()
    for request, weight, outcome in requests:
        if not isinstance(request, str) or REQUEST_ID.fullmatch(request) is None:
            raise UsageError(f"{request!r} cannot be a request's id: 1 to 64 of A-Z a-z 0-9 . _ -")
        if not isinstance(weight, (int, float)) or weight is True or weight is False or not 0 <= weight <= MAX_WEIGHT:
            raise UsageError(f"{weight!r} cannot be a request's weight: a number from 0 to {MAX_WEIGHT:g}")
        if not isinstance(outcome, str) or outcome not in _OUTCOMES:
            raise UsageError(f"{outcome!r} is no outcome of a request: one of {', '.join(OUTCOMES)}")
        if request in ids:
            raise UsageError(f"the request {request} comes twice in one span")
        ids.add(request)


def decoded(line: bytes) -> Greeting | Watts | Settled | Problem | None:
    """Return what the exporter says; None for what only a later version understands.

    Raises:
        ValueError: it is not of this protocol.
    """
    try:
        message = json.loads(line)
        if "hello" in message:
            devices = tuple(
                Device(_text(d["device"]), _text(d["kind"]), _text(d["method"])) for d in message["devices"]
            )
            return Greeting(devices, _watts(message["watts"]))
        if "watts" in message:
            return Watts(_watts(message["watts"]))
        if "settled" in message:
            requests = {_text(request): _known(joules) for request, joules, *_ in message["requests"]}
            return Settled(int(message["settled"]), _known(message["joules"]), requests)
        if "error" in message:
            span = message.get("span")
            return Problem(_text(message["error"]), span if isinstance(span, int) else None)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        raise ValueError(f"the exporter sent {line[:80]!r}: {error}") from error
    return None


def _watts(rows: Iterable[Any]) -> dict[Kind, float | None]:
    """Return the table of ``[task, model, phase, watts, device]``; without a device they hold for any."""
    table: dict[Kind, float | None] = {}
    for task, model, phase, watts, *rest in rows:
        device = _text(rest[0]) if rest else ""
        table[Kind(device, _text(task), _text(model), _text(phase))] = _known(watts)
    return table


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _known(value: object) -> float | None:
    return None if value is None else _amount(value)


def _amount(value: object) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise TypeError(f"{value!r} is no number")
    amount = float(value)
    if not (math.isfinite(amount) and amount >= 0):
        raise ValueError(f"{value!r} is no amount")
    return amount
