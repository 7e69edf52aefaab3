"""The span socket, at which servers tell when their batches ran. ``docs/spans.md`` is its format.

``start_spans`` opens it. Inside: ``path`` (the file), ``server`` (the thread and its clients), ``conversation`` and
``lines`` (what one client says, pure), ``book`` (what is made of it, and to whom it goes).
"""

import os
from pathlib import Path

from perjoule_exporter.spans.book import Announced, Book, Charged, Closed, KnownWatts, Opened, Refused, Told
from perjoule_exporter.spans.path import SocketPathError, listen, listen_by_default
from perjoule_exporter.spans.server import SpanServer

__all__ = [
    "Announced",
    "Book",
    "Charged",
    "Closed",
    "KnownWatts",
    "Opened",
    "Refused",
    "SocketPathError",
    "SpanServer",
    "Told",
    "start_spans",
]


def start_spans(book: Book, path: Path | None = None, group: str | None = None) -> SpanServer | None:
    """Open the span socket at ``path``, else at a default one; None, with a warning, if there is no default one.

    Raises:
        UsageError: there is no such group.
        SocketPathError: there can be none at the path that was named.
    """
    listening = listen_by_default(os.environ, group) if path is None else listen(path, group)
    return None if listening is None else SpanServer(listening, book)
