"""The head of a request: one way to read it, or none."""

from http import HTTPStatus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perjoule_exporter.head import MAX_HEADERS, Request, find_end, parse

BAD = HTTPStatus.BAD_REQUEST


def head(line: str, *fields: str) -> bytes:
    return "\r\n".join([line, *fields, "", ""]).encode("latin-1")


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("/metrics", "/metrics"),
        ("/metrics?a=b&c#d", "/metrics"),
        ("/", "/"),
        ("//metrics", "//metrics"),
        ("/%6detrics", "/%6detrics"),
        ("/a/../metrics", "/a/../metrics"),
        ("http://host:10101/metrics?x", "/metrics"),
        ("https://host/", "/"),
    ],
)
def test_the_path_of_a_target(target: str, path: str) -> None:
    """Without query and host, and nothing in it is decoded or resolved."""
    request = parse(head(f"GET {target} HTTP/1.1", "Host: x"))
    assert isinstance(request, Request)
    assert (request.method, request.path) == ("GET", path)


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("", BAD),
        ("GET", BAD),
        ("GET /", BAD),
        ("GET  / HTTP/1.1", BAD),
        ("GET / HTTP/1.1 ", BAD),
        ("GET\t/\tHTTP/1.1", BAD),
        ("GET / http/1.1", BAD),
        ("GET / HTTP/1.10", BAD),
        ("GET metrics HTTP/1.1", BAD),
        ("GET * HTTP/1.1", BAD),
        ("GET ftp://x/metrics HTTP/1.1", BAD),
        ("GET http:///metrics HTTP/1.1", BAD),
        ("GET /metrics\x00 HTTP/1.1", BAD),
        ("GET /m\xe9trics HTTP/1.1", BAD),
        ("G(T / HTTP/1.1", BAD),
        ("GET / HTTP/0.9", HTTPStatus.HTTP_VERSION_NOT_SUPPORTED),
        ("GET / HTTP/2.0", HTTPStatus.HTTP_VERSION_NOT_SUPPORTED),
        ("get / HTTP/1.1", HTTPStatus.METHOD_NOT_ALLOWED),
        ("POST / HTTP/1.1", HTTPStatus.METHOD_NOT_ALLOWED),
        (f"GET /{'a' * 5000} HTTP/1.1", HTTPStatus.REQUEST_URI_TOO_LONG),
    ],
)
def test_first_lines_that_are_refused(line: str, status: HTTPStatus) -> None:
    """Each with its own status."""
    assert parse(head(line, "Host: x")) is status


@pytest.mark.parametrize(
    "field",
    ["Host : x", " Host: x", "Host", ": x", "Ho st: x", "A: b\x00c", "A: b\rB: c", "Host: y", "\tfolded"],
)
def test_headers_that_are_refused(field: str) -> None:
    """What a proxy before us might read differently."""
    assert parse(head("GET / HTTP/1.1", "Host: x", field)) is BAD


@pytest.mark.parametrize("name", ["Authorization", "Content-Length", "Transfer-Encoding"])
def test_headers_that_may_come_once_only(name: str) -> None:
    """Two of them contradict each other, or might."""
    assert parse(head("GET / HTTP/1.1", "Host: x", f"{name}: 0", f"{name.lower()}: 0")) is BAD


def test_a_host_is_asked_for() -> None:
    """By HTTP/1.1, not by 1.0."""
    assert parse(head("GET / HTTP/1.1")) is BAD
    assert isinstance(parse(head("GET / HTTP/1.0")), Request)


def test_headers_are_bounded() -> None:
    """In number; the bytes are bounded where they are read."""
    fields = [f"A{index}: b" for index in range(MAX_HEADERS - 1)]
    assert isinstance(parse(head("GET / HTTP/1.1", "Host: x", *fields)), Request)
    refused = parse(head("GET / HTTP/1.1", "Host: x", *fields, "One: more"))
    assert refused is HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE


def test_headers_of_one_name_are_one_list() -> None:
    """In their order, whatever the case of the name."""
    request = parse(head("GET / HTTP/1.1", "Host: x", "ACCEPT: a;q=0.5", "Accept:  b\t"))
    assert isinstance(request, Request)
    assert request.headers["accept"] == "a;q=0.5, b"


@pytest.mark.parametrize(
    ("version", "fields", "keep_alive", "has_body"),
    [
        ("1.1", [], True, False),
        ("1.1", ["Connection: close"], False, False),
        ("1.1", ["Connection: Upgrade, CLOSE"], False, False),
        ("1.0", [], False, False),
        ("1.0", ["Connection: Keep-Alive"], True, False),
        ("1.1", ["Content-Length: 0"], True, False),
        ("1.1", ["Content-Length: 5"], True, True),
        ("1.1", ["Content-Length: 00"], True, True),
        ("1.1", ["Transfer-Encoding: chunked"], True, True),
    ],
)
def test_what_follows(version: str, fields: list[str], keep_alive: bool, has_body: bool) -> None:  # noqa: FBT001 (a table's columns)
    """Another request, a body that nobody reads, or nothing."""
    request = parse(head(f"GET / HTTP/{version}", "Host: x", *fields))
    assert isinstance(request, Request)
    assert (request.keep_alive, request.has_body) == (keep_alive, has_body)


@pytest.mark.parametrize(
    ("received", "end"), [(b"a\r\n\r\nb", 5), (b"a\n\nb", 3), (b"a\r\n", None), (b"", None), (b"a\n\r\nb", 4)]
)
def test_where_a_head_ends(received: bytes, end: int | None) -> None:
    """At the first empty line, typed by hand or not."""
    assert find_end(bytearray(received)) == end


@given(st.binary(max_size=400) | st.builds(lambda tail: b"GET /metrics HTTP/1.1\r\n" + tail, st.binary(max_size=200)))
def test_any_bytes_are_a_request_or_a_refusal(received: bytes) -> None:
    """Never an exception."""
    assert isinstance(parse(received), Request | HTTPStatus)
