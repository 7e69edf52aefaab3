"""The head of an HTTP/1 request: bytes in, a request or a refusal out. Pure.

It is stricter than it need be (no folded lines, no second Host, no escapes decoded): scrapers write plain requests, and
what two programs could read in two ways is refused. What a path or a header is for, it does not know.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from types import MappingProxyType

MAX_HEAD_BYTES = 16 * 1024
MAX_HEADERS = 100
_MAX_TARGET = 4 * 1024

_END = re.compile(rb"\r?\n\r?\n")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_ORIGIN = re.compile(r"(?:https?://[^/?#]+(?=/))?(/[!-\"$->@-~]*)(?:\?[!-~]*)?", re.ASCII)
"""``/path?query``, or the same behind a scheme and a host, as a proxy is asked. The group is the path."""

_ONLY_ONCE = frozenset({"host", "authorization", "content-length", "transfer-encoding"})


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked. Names of headers are in lower case; ``path`` is as it came, escapes included.

    ``has_body`` means that bytes follow which nobody here reads, so that no next request can be found behind them.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    keep_alive: bool
    has_body: bool


def find_end(received: bytearray) -> int | None:
    """Return where the first head in ``received`` ends, its empty line included; None while it has not."""
    found = _END.search(received)
    return None if found is None else found.end()


def too_large(received: bytearray) -> HTTPStatus:
    """Return the refusal of a head that is over ``MAX_HEAD_BYTES``: was it the target or the headers?"""
    return HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE if b"\n" in received else HTTPStatus.REQUEST_URI_TOO_LONG


def parse(head: bytes) -> Request | HTTPStatus:
    """Return the request of a whole head, or the status that it is refused with."""
    line, *fields = head.decode("latin-1").replace("\r\n", "\n").rstrip("\n").split("\n")
    first = _first_line(line)
    if isinstance(first, HTTPStatus):
        return first
    if len(fields) > MAX_HEADERS:
        return HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
    headers = _headers(fields)
    method, path, minor = first
    if headers is None or (minor != "0" and "host" not in headers):
        return HTTPStatus.BAD_REQUEST
    options = {option.strip() for option in headers.get("connection", "").lower().split(",")}
    keep_alive = "keep-alive" in options if minor == "0" else "close" not in options
    has_body = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
    return Request(method, path, headers, keep_alive, has_body)


def _first_line(line: str) -> tuple[str, str, str] | HTTPStatus:
    words = line.split(" ")
    if len(words) != 3:  # noqa: PLR2004 (method, target, version)
        return HTTPStatus.BAD_REQUEST
    method, target, version = words
    protocol = re.fullmatch(r"HTTP/([0-9])\.([0-9])", version)
    if not _TOKEN.fullmatch(method) or protocol is None:
        return HTTPStatus.BAD_REQUEST
    if protocol[1] != "1":
        return HTTPStatus.HTTP_VERSION_NOT_SUPPORTED
    if method not in {"GET", "HEAD"}:
        return HTTPStatus.METHOD_NOT_ALLOWED
    if len(target) > _MAX_TARGET:
        return HTTPStatus.REQUEST_URI_TOO_LONG
    path = _ORIGIN.fullmatch(target)
    return HTTPStatus.BAD_REQUEST if path is None else (method, path[1], protocol[2])


def _headers(fields: list[str]) -> Mapping[str, str] | None:
    headers: dict[str, str] = {}
    for field in fields:
        name, colon, value = field.partition(":")
        value = value.strip(" \t")
        # A space before the colon and a line that goes on are what request smuggling is made of.
        if not colon or not _TOKEN.fullmatch(name) or re.search(r"[\x00-\x08\x0a-\x1f\x7f]", value):
            return None
        name = name.lower()
        if name in headers:
            if name in _ONLY_ONCE:
                return None
            value = f"{headers[name]}, {value}"
        headers[name] = value
    return MappingProxyType(headers)
