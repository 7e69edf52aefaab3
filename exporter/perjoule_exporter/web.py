"""HTTP in front of a registry: the metrics, two health checks and a landing page, and nothing else.

It knows routes and answers. What is in the registry or on the page is handed in as functions, so that it runs without
any device; who may ask is for ``access`` to say, how connections come and go for ``connections``. No answer ever
carries a stack trace.
"""

import gzip
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from http import HTTPStatus
from types import MappingProxyType

from prometheus_client import CollectorRegistry

from perjoule_exporter.access import Protection
from perjoule_exporter.address import Address, listening_socket, url_of
from perjoule_exporter.connections import PATIENCE_SECONDS, Connection, Connections
from perjoule_exporter.exposition import choose
from perjoule_exporter.head import MAX_HEAD_BYTES, Request, find_end, parse, too_large

_LOG = logging.getLogger(__name__)

KEEP_ALIVE_SECONDS = 330.0
"""Between two requests a connection may be silent so long: Prometheus keeps its own for five minutes."""

_GZIP_LEVEL = 1  # metrics text shrinks tenfold at any level; the higher ones only cost the node's CPU
_GZIP_BYTES = 1400  # what fits into one packet is not made smaller

_TLS_HANDSHAKE = b"\x16"
_PLAIN_TO_TLS = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 33\r\n"
    b"Connection: close\r\n\r\nthis port speaks HTTPS, not HTTP\n"
)
_NO_HEADERS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Site:
    """What is served. ``health`` and ``ready`` return None while all is well, else a sentence on what is wrong.

    Health is of the program: it lives and its sampling goes on. Ready is whether there is something to scrape.
    """

    registry: CollectorRegistry
    telemetry_path: str
    health: Callable[[], str | None]
    ready: Callable[[], str | None]
    landing_page: Callable[[], str]


@dataclass(frozen=True, slots=True)
class _Answer:
    status: HTTPStatus
    content_type: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=lambda: _NO_HEADERS)


_MOST_AHEAD = 4
"""So many requests may be sent ahead of their answers: with hundreds of them a few clients would have all our time."""


class WebHandle:
    """A running server: where it is, and how to end it."""

    def __init__(self, connections: Connections, url: str) -> None:
        self.url = url
        self._connections = connections

    def close(self) -> None:
        """Stop accepting, free the port and end the connections, within about a second."""
        self._connections.close()


def start_web(site: Site, address: Address, protection: Callable[[], Protection] = Protection) -> WebHandle:
    """Serve ``site`` at ``address`` in threads of its own; port 0 takes a free one.

    ``protection`` is asked at each connection and request, so that a new certificate or password counts at once.

    Raises:
        PerjouleError: the address cannot be listened on.
    """
    scheme = "http" if protection().tls is None else "https"
    listening = listening_socket(address)
    url = url_of(listening, scheme)
    return WebHandle(Connections(listening, _Server(site, protection).serve), url)


@dataclass(frozen=True, slots=True)
class _Server:
    site: Site
    protection: Callable[[], Protection]

    def serve(self, connection: Connection) -> None:
        """Answer requests one after the other until one side has enough."""
        if not self._let_in(connection):
            return
        patience, ahead = PATIENCE_SECONDS, 0
        while True:
            ahead = ahead + 1 if connection.received else 0
            request = _next_request(connection, patience)
            if request is None:
                return
            connection.waiting_since = None
            protection = self.protection()
            if isinstance(request, HTTPStatus):
                _refuse(connection, request, protection)
                return
            last = not request.keep_alive or request.has_body or ahead >= _MOST_AHEAD
            answer = self._answer(request, protection)
            connection.send(_message(answer, request, protection, last=last))
            connection.waiting_since = time.monotonic()
            if last:
                connection.close(unread=request.has_body or ahead >= _MOST_AHEAD)
                return
            patience = KEEP_ALIVE_SECONDS

    def _let_in(self, connection: Connection) -> bool:
        tls = self.protection().tls
        if tls is None:
            return True
        first = connection.first_byte()
        if first != _TLS_HANDSHAKE:
            if first.isalpha():
                connection.send(_PLAIN_TO_TLS)
            connection.close(unread=True)
            return False
        secured = connection.secure(tls.context)
        if tls.admits(secured.getpeercert()):
            return True
        _LOG.debug("a client's certificate has none of client_allowed_sans")
        return False

    def _answer(self, request: Request, protection: Protection) -> _Answer:
        try:
            users = protection.users
            refusal = users.refusal(request.headers.get("authorization", "")) if users is not None else None
            if refusal is not None:
                challenge = {"WWW-Authenticate": "Basic"} if refusal is HTTPStatus.UNAUTHORIZED else _NO_HEADERS
                return _text(refusal, refusal.phrase.lower(), challenge)
            return self._route(request)
        except Exception:  # noqa: BLE001 (the request's edge: a fault of ours is logged here and named to nobody else)
            _LOG.exception("cannot answer %s", request.path)
            return _text(HTTPStatus.INTERNAL_SERVER_ERROR, "internal error; the exporter's log says more")

    def _route(self, request: Request) -> _Answer:
        site = self.site
        match request.path:
            case site.telemetry_path:
                chosen = choose(request.headers.get("accept", ""))
                return _Answer(HTTPStatus.OK, chosen.content_type, chosen.encode(site.registry))
            case "/healthz":
                return _check(site.health())
            case "/readyz":
                return _check(site.ready())
            case "/":
                return _Answer(HTTPStatus.OK, "text/html; charset=utf-8", site.landing_page().encode())
            case _:
                return _text(HTTPStatus.NOT_FOUND, f"nothing here; metrics are at {site.telemetry_path}")


def _refuse(connection: Connection, status: HTTPStatus, protection: Protection) -> None:
    """Refuse what was no request that we take, in one plain line, and hear no more of it."""
    allow = {"Allow": "GET, HEAD"} if status is HTTPStatus.METHOD_NOT_ALLOWED else _NO_HEADERS
    connection.send(_message(_text(status, status.phrase.lower(), allow), None, protection, last=True))
    connection.close(unread=True)


def _message(answer: _Answer, request: Request | None, protection: Protection, *, last: bool) -> bytes:
    """Return head and body in one piece: two would wait for each other's acknowledgement."""
    body = answer.body
    headers = {
        "Content-Type": answer.content_type,
        "Vary": "Accept, Accept-Encoding",
        "X-Content-Type-Options": "nosniff",
        "Server": "gpu-energy-exporter",
        "Date": formatdate(usegmt=True),
        **protection.headers,
        **answer.headers,
    }
    if request is not None and len(body) > _GZIP_BYTES and _accepts_gzip(request.headers.get("accept-encoding", "")):
        body = gzip.compress(body, _GZIP_LEVEL)
        headers["Content-Encoding"] = "gzip"
    headers["Content-Length"] = str(len(body))
    headers["Connection"] = "close" if last else "keep-alive"
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    head = f"HTTP/1.1 {answer.status.value} {answer.status.phrase}\r\n{lines}\r\n".encode("latin-1")
    return head if request is not None and request.method == "HEAD" else head + body


def _next_request(connection: Connection, patience: float) -> Request | HTTPStatus | None:
    """Return the next request, the status that refuses it, or None where the client has no more to say."""
    received = connection.received
    deadline = time.monotonic() + (PATIENCE_SECONDS if received else patience)
    while True:
        while received and received[0] in b"\r\n":  # an empty line too many behind the last request
            del received[0]
        end = find_end(received)
        if end is not None and end <= MAX_HEAD_BYTES:
            head = bytes(received[:end])
            del received[:end]
            return parse(head)
        if len(received) > MAX_HEAD_BYTES:
            return too_large(received)
        silent = not received
        try:
            if not connection.receive(deadline):
                return None if silent else HTTPStatus.BAD_REQUEST
        except TimeoutError:
            return None if silent else HTTPStatus.REQUEST_TIMEOUT
        if silent:  # the first byte of a head: from here on it has so long
            deadline = time.monotonic() + PATIENCE_SECONDS


def _check(wrong: str | None) -> _Answer:
    return _text(HTTPStatus.OK, "ok") if wrong is None else _text(HTTPStatus.SERVICE_UNAVAILABLE, wrong)


def _text(status: HTTPStatus, line: str, headers: Mapping[str, str] = _NO_HEADERS) -> _Answer:
    return _Answer(status, "text/plain; charset=utf-8", f"{line}\n".encode(), headers)


def _accepts_gzip(header: str) -> bool:
    for part in header.lower().split(","):
        coding, _, parameters = part.partition(";")
        if coding.strip() == "gzip":
            return parameters.replace(" ", "") not in {"q=0", "q=0.0", "q=0.00", "q=0.000"}
    return False
