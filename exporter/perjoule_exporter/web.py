"""HTTP in front of a registry: the metrics, a health check and a landing page, and nothing else.

It knows routes, formats and encodings. What is in the registry or on the page is handed in as functions, so that it
runs without any device. No answer ever carries a stack trace.
"""

import gzip
import logging
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from perjoule_exporter.address import Address, listening_socket, url_of

_LOG = logging.getLogger(__name__)

REQUEST_TIMEOUT_SECONDS = 10.0
"""A client that says nothing for so long is cut off."""

_GZIP_LEVEL = 4  # metrics text shrinks tenfold at any level; the higher ones only cost the node's CPU


@dataclass(frozen=True, slots=True)
class Site:
    """What is served. ``health`` returns None while all is well, else a sentence on what is wrong."""

    registry: CollectorRegistry
    telemetry_path: str
    health: Callable[[], str | None]
    landing_page: Callable[[], str]


@dataclass(frozen=True, slots=True)
class _Answer:
    status: HTTPStatus
    content_type: str
    body: bytes


class WebHandle:
    """A running server: where it is, and how to end it."""

    def __init__(self, server: "_Server", url: str) -> None:
        self.url = url
        self._server = server
        self._thread = threading.Thread(target=server.serve_forever, args=(0.05,), name="web", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop accepting and free the port. Requests in progress end with the process."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def start_web(site: Site, address: Address) -> WebHandle:
    """Serve ``site`` at ``address`` in threads of its own; port 0 takes a free one.

    Raises:
        PerjouleError: the address cannot be listened on.
    """
    listening = listening_socket(address)
    return WebHandle(_Server(site, listening), url_of(listening))


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, site: Site, listening: socket.socket) -> None:
        # The socket is made by us, for IPv6 and because the library's own bind asks the name service for our name.
        super().__init__(listening.getsockname()[:2], _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listening
        self.site = site

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 (the library's signature)
        # A client that hung up or fell silent is its own business.
        _LOG.debug("a request from %s was cut off", client_address, exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    default_request_version = "HTTP/1.0"  # the library's 0.9 would refuse without a status line
    timeout = REQUEST_TIMEOUT_SECONDS
    server: _Server

    def do_GET(self) -> None:
        self._send(self._route())

    def do_HEAD(self) -> None:
        self._send(self._route())

    def _route(self) -> _Answer:
        site = self.server.site
        path = urlsplit(self.path).path
        try:
            if path == site.telemetry_path:
                return _metrics(site.registry, self.headers.get("Accept") or "")
            if path == "/healthz":
                wrong = site.health()
                return _text(HTTPStatus.OK, "ok") if wrong is None else _text(HTTPStatus.SERVICE_UNAVAILABLE, wrong)
            if path == "/":
                return _Answer(HTTPStatus.OK, "text/html; charset=utf-8", site.landing_page().encode())
        except Exception:  # noqa: BLE001 (the request's edge: a fault of ours is logged here and named to nobody else)
            _LOG.exception("cannot answer %s", path)
            return _text(HTTPStatus.INTERNAL_SERVER_ERROR, "internal error; the exporter's log says more")
        return _text(HTTPStatus.NOT_FOUND, f"nothing here; metrics are at {site.telemetry_path}")

    def _send(self, answer: _Answer) -> None:
        body = answer.body
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Vary", "Accept, Accept-Encoding")
        self.send_header("X-Content-Type-Options", "nosniff")
        if _accepts_gzip(self.headers.get("Accept-Encoding") or ""):
            body = gzip.compress(body, _GZIP_LEVEL)
            self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:  # noqa: ARG002 (the library's signature)
        """Refuse a request that the library could not take, in one plain line."""
        # "Not implemented" is the library's word for a method that we do not offer.
        status = HTTPStatus.METHOD_NOT_ALLOWED if code == HTTPStatus.NOT_IMPLEMENTED else HTTPStatus(code)
        body = f"{status.phrase.lower()}\n".encode()
        self.send_response(status)
        if status is HTTPStatus.METHOD_NOT_ALLOWED:
            self.send_header("Allow", "GET, HEAD")
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")  # a body that nobody read may follow
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def version_string(self) -> str:
        """Return what the Server header says: not which Python this is."""
        return "gpu-energy-exporter"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the library's signature)
        """Log requests at debug level only."""
        _LOG.debug("%s %s", self.address_string(), format % args)


def _metrics(registry: CollectorRegistry, accept: str) -> _Answer:
    try:
        encode, content_type = choose_encoder(accept)
    except TypeError:  # what the library makes of a version that is no number
        encode, content_type = choose_encoder("")
    return _Answer(HTTPStatus.OK, content_type, encode(registry))


def _text(status: HTTPStatus, line: str) -> _Answer:
    return _Answer(status, "text/plain; charset=utf-8", f"{line}\n".encode())


def _accepts_gzip(header: str) -> bool:
    for part in header.lower().split(","):
        coding, _, parameters = part.partition(";")
        if coding.strip() == "gzip":
            return parameters.replace(" ", "") not in {"q=0", "q=0.0", "q=0.00", "q=0.000"}
    return False
