"""One HTTP GET over urllib: verified TLS, the environment's proxies, bounded time and size, no token to strangers.

This is the boundary where the network's errors become ours. Their own texts go no further: a far end may repeat the
token in a status line, and a URL may hold the key. What it does not know is what is asked. Looking up a name is the one
wait that it cannot bound; it runs in a thread that nobody waits for.
"""

import io
import ipaddress
import socket
import ssl
import time
import zlib
from collections.abc import Callable
from email.message import Message
from email.utils import parsedate_to_datetime
from functools import partial
from http.client import HTTPConnection, HTTPException, HTTPMessage, HTTPResponse, HTTPSConnection
from typing import IO, Any
from urllib import request as urllib
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

from perjoule import __version__
from perjoule.errors import IntensityError
from perjoule_exporter.intensity.providers.provider import Request

MOST_BYTES = 2**20
"""The largest answer documented is a few kilobytes."""

WAIT_SECONDS = 10.0
"""For the connection, and for each piece of an answer."""

TOTAL_SECONDS = 30.0
"""For a whole answer, so that one that drips byte by byte ends too."""

_CHUNK = 65536
_GZIP = zlib.MAX_WBITS | 16  # zlib's way to say: with a gzip header


class Http:
    """Fetches, with its waits and clocks as arguments."""

    def __init__(
        self,
        wait_seconds: float = WAIT_SECONDS,
        total_seconds: float = TOTAL_SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._wait = wait_seconds
        self._wall = wall
        response = partial(_Response, end=lambda: monotonic() + total_seconds, monotonic=monotonic)
        trusted = ssl.create_default_context()

        def opener(proxies: urllib.ProxyHandler) -> urllib.OpenerDirector:
            # Each with handlers of its own: a handler follows redirects by the opener that it was given to last.
            return urllib.build_opener(proxies, _Plain(response), _Tls(response, trusted), _SameOriginRedirects)

        self._opener = opener(urllib.ProxyHandler())
        self._direct = opener(urllib.ProxyHandler({}))

    def __call__(self, request: Request) -> bytes:
        """Return the body of a 2xx answer, unpacked.

        Raises:
            IntensityError: no answer, another status, too large, too slow, or packed in a way that nobody asked for.
        """
        headers = {"User-Agent": f"perjoule/{__version__}", "Accept": "application/json", "Accept-Encoding": "gzip"}
        asked = urllib.Request(request.url, headers=headers | dict(request.headers))  # noqa: S310 (the settings allow http and https only)
        try:
            with self._opener_for(request).open(asked, timeout=self._wait) as reply:
                return _unpacked(_body(reply), reply.headers.get("Content-Encoding", ""))
        except HTTPError as error:
            with error:
                raise self._refusal(error.code, error.headers) from None
        except (URLError, HTTPException, OSError, ValueError) as error:
            raise IntensityError(_reason(error)) from None

    def _opener_for(self, request: Request) -> urllib.OpenerDirector:
        # A token may go to this machine over plain http: it must not take the way over a proxy there.
        return self._direct if is_loopback(urlsplit(request.url).hostname or "") else self._opener

    def _refusal(self, status: int, headers: Message) -> IntensityError:
        retry_after = retry_after_seconds(headers.get("Retry-After"), self._wall())
        return IntensityError(f"answered with status {status}", status, retry_after)


def retry_after_seconds(value: str | None, now: float) -> float | None:
    """Return how long a ``Retry-After`` asks to wait at Unix time ``now``: seconds or an HTTP date (RFC 9110, 10.2.3).

    None where there is none, or nothing that can be understood.
    """
    text = (value or "").strip()
    if text.isascii() and text.isdecimal():
        return float(text[:12])  # 12 digits are 30,000 years; more would only overflow
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - now)
    except (ValueError, TypeError, OverflowError):  # TypeError: what older versions raise on an unreadable date
        return None


def is_loopback(host: str) -> bool:
    """Return whether ``host`` is this machine, by its name."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class _SameOriginRedirects(urllib.HTTPRedirectHandler):
    """Follows redirects within scheme, host and port. urllib's own handler sends all headers along, tokens too."""

    def redirect_request(
        self, req: urllib.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> urllib.Request | None:
        if _origin(newurl) != _origin(req.full_url):
            fp.close()
            raise IntensityError("redirects to another host, which is not followed: see --carbon.url", code)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class _Hurried(io.RawIOBase):
    """A socket's reading side that asks at each piece whether there is still time."""

    def __init__(self, raw: socket.SocketIO, end: float, monotonic: Callable[[], float]) -> None:
        self._raw, self._end, self._monotonic = raw, end, monotonic

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        if self._monotonic() > self._end:
            raise IntensityError("answered too slowly")
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Response(HTTPResponse):
    """An answer that must be whole by an end: status line, headers and body."""

    def __init__(
        self, sock: socket.socket, *args: Any, end: Callable[[], float], monotonic: Callable[[], float], **kwargs: Any
    ) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp.close()
        self.fp = io.BufferedReader(_Hurried(sock.makefile("rb", buffering=0), end(), monotonic))


def _connected(kind: type[HTTPConnection], response: Any, host: str, **settings: Any) -> HTTPConnection:
    connection = kind(host, **settings)
    connection.response_class = response
    return connection


class _Plain(urllib.HTTPHandler):
    def __init__(self, response: Any) -> None:
        super().__init__()
        self._response = response

    def http_open(self, req: urllib.Request) -> HTTPResponse:
        return self.do_open(partial(_connected, HTTPConnection, self._response), req)


class _Tls(urllib.HTTPSHandler):
    def __init__(self, response: Any, trusted: ssl.SSLContext) -> None:
        super().__init__(context=trusted)
        self._response, self._trusted = response, trusted

    def https_open(self, req: urllib.Request) -> HTTPResponse:
        return self.do_open(partial(_connected, HTTPSConnection, self._response), req, context=self._trusted)


def _body(reply: HTTPResponse) -> bytes:
    body = bytearray()
    while piece := reply.read1(_CHUNK):
        body += piece
        if len(body) > MOST_BYTES:
            raise IntensityError("answered with more than 1 MiB")
    if reply.length:  # what was announced and did not come
        raise IntensityError("broke off its answer")
    return bytes(body)


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    return parts.scheme, parts.hostname, port


def _unpacked(body: bytes, encoding: str) -> bytes:
    if encoding.strip().lower() in {"", "identity"}:
        return body
    if encoding.strip().lower() not in {"gzip", "x-gzip"}:
        raise IntensityError("answered in a content encoding that was not asked for")
    unpacking = zlib.decompressobj(_GZIP)
    try:
        unpacked = unpacking.decompress(body, MOST_BYTES + 1)
    except zlib.error:
        raise IntensityError("answered with broken gzip") from None
    if len(unpacked) > MOST_BYTES:
        raise IntensityError("answered with more than 1 MiB")
    if not unpacking.eof:
        raise IntensityError("answered with broken gzip")
    return unpacked


def _reason(error: Exception) -> str:
    cause = error.reason if isinstance(error, URLError) and isinstance(error.reason, Exception) else error
    if isinstance(cause, TimeoutError):
        return "does not answer in time"
    if isinstance(cause, ssl.SSLError):
        return f"cannot be trusted (TLS: {cause.reason or 'failed'})"
    if isinstance(cause, OSError) and cause.strerror:
        return f"cannot be reached: {cause.strerror}"
    return f"broke off its answer ({type(cause).__name__})"
