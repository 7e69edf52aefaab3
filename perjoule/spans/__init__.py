"""Energy spans: how a server, ours or any other, tells the exporter when each batch ran, and learns what it cost.

    from perjoule.spans import Spans

    spans = Spans("my-server/1.0", device="GPU-…", owners=[("summarization", "bart")])
    with spans.span("summarization", "bart", "decode", requests=[("request-1", 312), ("request-2", 95)]) as span:
        ...
    span.energy_of("request-1")  # Energy(joules=1.79, quality="estimated")

``SpanMiddleware`` makes a span of each request of an ASGI application. ``docs/spans.md`` has the wire format. Standard
library only; nothing waits for the exporter, and nothing fails without it.

Inside: ``wire`` (lines), ``estimate`` (arithmetic) and ``talk`` (one side of the conversation) are pure; ``link`` is
the thread and the socket, ``session`` one process's, ``client`` and ``span`` what a server sees, ``asgi`` the
middleware.
"""

from typing import TYPE_CHECKING, Any

from perjoule.spans.client import PHASE, Spans, Stats
from perjoule.spans.estimate import UNKNOWN, Energy, Quality, added
from perjoule.spans.span import Span
from perjoule.spans.wire import MORE, Device, Request

if TYPE_CHECKING:
    from perjoule.spans.asgi import SpanMiddleware

__all__ = [
    "MORE",
    "PHASE",
    "UNKNOWN",
    "Device",
    "Energy",
    "Quality",
    "Request",
    "Span",
    "SpanMiddleware",
    "Spans",
    "Stats",
    "added",
]


def __getattr__(name: str) -> Any:
    """Import the middleware when it is asked for: the exporter shares this package, and needs no asyncio."""
    if name == "SpanMiddleware":
        from perjoule.spans.asgi import SpanMiddleware

        return SpanMiddleware
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
