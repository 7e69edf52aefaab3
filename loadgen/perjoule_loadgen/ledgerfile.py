"""``ledger.json``: what the exporters' ledgers said at both edges of a window, so that a run can be read back whole.

Written where they were read. ``merge`` needs it: what the shards of a load were charged together is the difference of
the first and the last of their readings, and no sum of theirs.
"""

import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from perjoule.errors import UsageError
from perjoule_loadgen.books import Books
from perjoule_loadgen.measurement import Edge, Measurement

NAME = "ledger.json"
_PLAIN = frozenset({"at", "started"})
_SETS = frozenset({"known"})


def encoded(measurement: Measurement) -> str | None:
    """Return the file's text; None where no ledger was read."""
    edges = {"opening": measurement.opening, "closing": measurement.closing}
    if all(edge is None for edge in edges.values()):
        return None
    return json.dumps({name: None if edge is None else _edge(edge) for name, edge in edges.items()}) + "\n"


def read(folder: Path) -> tuple[Edge | None, Edge | None]:
    """Return the ledgers at the opening and the closing edge of a run; None and None without the file.

    Raises:
        UsageError: the file is not what this module writes.
    """
    path = folder / NAME
    if not path.exists():
        return None, None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        opening, closing = (_edge_of(content[name]) for name in ("opening", "closing"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{path} is no ledger of loadgen: {error}") from error
    return opening, closing


def _edge(edge: Edge) -> dict[str, Any]:
    return {"failure": edge.failure, "books": {url: _books(each) for url, each in edge.books.items()}}


def _books(books: Books) -> dict[str, Any]:
    return {each.name: _value(each.name, getattr(books, each.name)) for each in fields(books)}


def _value(name: str, value: Any) -> Any:
    if name in _PLAIN:
        return value
    return sorted(value) if name in _SETS else list(value.items())


def _edge_of(content: Mapping[str, Any] | None) -> Edge | None:
    if content is None:
        return None
    return Edge({url: _books_of(each) for url, each in content["books"].items()}, content["failure"])


def _books_of(content: Mapping[str, Any]) -> Books:
    def restored(name: str, value: Any) -> Any:
        if name in _PLAIN:
            return value
        if name in _SETS:
            return frozenset(map(_key, value))
        return {_key(key): _key(each) for key, each in value}

    return Books(**{each.name: restored(each.name, content[each.name]) for each in fields(Books)})


def _key(value: Any) -> Any:
    """JSON has lists where there were tuples."""
    return tuple(value) if isinstance(value, list) else value
