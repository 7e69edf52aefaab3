"""HTTP: four routes, two formats, and no way to get more out of it."""

import gzip
import http.client
import re
import socket
import struct
import threading
from collections.abc import Iterable, Iterator
from urllib.parse import urlsplit

import pytest
from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from perjoule.errors import PerjouleError
from perjoule_exporter.address import Address
from perjoule_exporter.web import Site, WebHandle, start_web
from tests.exporter.running import request


class Faulty(Collector):
    """Describes itself and then fails."""

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterable[Metric]:
        raise ZeroDivisionError("secret detail")


@pytest.fixture
def registry() -> CollectorRegistry:
    made = CollectorRegistry()
    Gauge("gpu_up", "Help.", registry=made).set(1)
    return made


class State:
    """What the health checks say."""

    wrong: str | None = None
    unready: str | None = None


@pytest.fixture
def state() -> State:
    return State()


@pytest.fixture
def web(registry: CollectorRegistry, state: State) -> Iterator[WebHandle]:
    site = Site(registry, "/metrics", lambda: state.wrong, lambda: state.unready, lambda: "<p>page</p>")
    handle = start_web(site, Address("127.0.0.1", 0))
    yield handle
    handle.close()


def test_metrics_as_text(web: WebHandle) -> None:
    """The plain format, for whoever asks for nothing in particular; a query changes nothing."""
    for path in ("/metrics", "/metrics?x=1"):
        reply = request(web.url + path)
        assert (reply.status, reply.headers["content-type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
        assert reply.body == b"# HELP gpu_up Help.\n# TYPE gpu_up gauge\ngpu_up 1.0\n"


def test_metrics_as_openmetrics(web: WebHandle) -> None:
    """As Prometheus asks for it."""
    accept = (
        "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;q=0.5"
    )
    reply = request(web.url + "/metrics", Accept=accept)
    assert reply.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0; charset=utf-8")
    (family,) = text_string_to_metric_families(reply.body.decode())  # type: ignore[no-untyped-call] # not typed there
    assert family.samples[0].value == 1.0


@pytest.mark.parametrize("version", ["a.b.c", "1.0.0-rc1", "9,;;q=x"])
def test_an_odd_accept_header_costs_no_scrape(web: WebHandle, version: str) -> None:
    """A format version that is no number is answered in a format that everyone reads."""
    reply = request(web.url + "/metrics", Accept=f"application/openmetrics-text;version={version}")
    assert (reply.status, b"gpu_up 1.0\n" in reply.body) == (200, True)


@pytest.mark.parametrize(
    ("asked", "zipped"), [("gzip", True), ("br, GZIP;q=0.5", True), ("gzip;q=0", False), ("br", False)]
)
def test_gzip_when_asked(registry: CollectorRegistry, web: WebHandle, asked: str, zipped: bool) -> None:  # noqa: FBT001 (a table's column)
    """Compressed for those who take it, and only for those."""
    Gauge("padding", "x" * 2000, registry=registry)
    reply = request(web.url + "/metrics", Accept_Encoding=asked)
    assert (reply.headers.get("content-encoding") == "gzip") == zipped
    assert b"gpu_up 1.0" in (gzip.decompress(reply.body) if zipped else reply.body)
    assert reply.headers["content-length"] == str(len(reply.body))


def test_what_fits_into_one_packet_is_not_compressed(web: WebHandle) -> None:
    """There is nothing to gain."""
    reply = request(web.url + "/metrics", Accept_Encoding="gzip")
    assert "content-encoding" not in reply.headers
    assert b"gpu_up 1.0" in reply.body


def test_health_tells_what_is_wrong(web: WebHandle, state: State) -> None:
    """200 while all is well, 503 and a sentence when not."""
    assert (request(web.url + "/healthz").status, request(web.url + "/healthz").body) == (200, b"ok\n")
    state.wrong = "no device answers"
    reply = request(web.url + "/healthz")
    assert (reply.status, reply.body) == (503, b"no device answers\n")


def test_ready_is_another_question_than_healthy(web: WebHandle, state: State) -> None:
    """A program that lives may have nothing to say."""
    assert (request(web.url + "/readyz").status, request(web.url + "/readyz").body) == (200, b"ok\n")
    state.unready = "no device answers"
    reply = request(web.url + "/readyz")
    assert (reply.status, reply.body) == (503, b"no device answers\n")
    assert request(web.url + "/healthz").status == 200


def test_the_landing_page_is_html(web: WebHandle) -> None:
    """At the root."""
    reply = request(web.url + "/")
    assert (reply.status, reply.headers["content-type"], reply.body) == (
        200,
        "text/html; charset=utf-8",
        b"<p>page</p>",
    )


@pytest.mark.parametrize("path", ["/favicon.ico", "/metrics/", "/metrics/../etc/passwd", "/healthz/x", "/%00"])
def test_everything_else_is_not_found(web: WebHandle, path: str) -> None:
    """One line that says where the metrics are."""
    reply = request(web.url + path)
    assert (reply.status, reply.body) == (404, b"nothing here; metrics are at /metrics\n")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"])
def test_other_methods_are_not_allowed(web: WebHandle, method: str) -> None:
    """405, and which are."""
    reply = request(web.url + "/metrics", method=method)
    assert (reply.status, reply.headers["allow"]) == (405, "GET, HEAD")


def test_head_is_get_without_the_body(web: WebHandle) -> None:
    """Same headers, no body."""
    get, head = request(web.url + "/metrics"), request(web.url + "/metrics", method="HEAD")
    assert (head.status, head.body) == (200, b"")
    assert head.headers["content-length"] == get.headers["content-length"]


def test_a_fault_shows_no_trace(registry: CollectorRegistry, web: WebHandle, caplog: pytest.LogCaptureFixture) -> None:
    """500 and one line; the log has the rest."""
    registry.register(Faulty())
    reply = request(web.url + "/metrics")
    assert (reply.status, reply.body) == (500, b"internal error; the exporter's log says more\n")
    assert "secret detail" in caplog.text


def exchange(web: WebHandle, sent: bytes) -> bytes:
    """Send bytes as they are and return what comes back until the server closes."""
    target = urlsplit(web.url)
    with socket.create_connection((target.hostname or "", target.port or 0), timeout=5) as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        received = b""
        while chunk := connection.recv(65536):
            received += chunk
        return received


HOST = b"\r\nHost: x\r\n"


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", b"400"),
        (b"GET\r\n\r\n", b"400"),
        (b"GET /metrics\r\n", b"400"),
        (b"GET /metrics HTTP/9.9" + HOST + b"\r\n", b"505"),
        (b"GET /metrics HTTP/1.1\r\n\r\n", b"400"),
        (b"GET /" + b"a" * 70000 + b" HTTP/1.1\r\n\r\n", b"414"),
        (b"GET /metrics HTTP/1.1\r\nX: " + b"a" * 70000 + b"\r\n\r\n", b"431"),
        (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 200 + b"\r\n", b"431"),
        (b"GET <script>alert(1)</script> HTTP/1.1" + HOST + b"\r\n", b"400"),
        (b"GET /%6detrics HTTP/1.1" + HOST + b"\r\n", b"404"),
        (b"GET http://other/metrics/x HTTP/1.1" + HOST + b"\r\n", b"404"),
        (b"CONNECT other:443 HTTP/1.1" + HOST + b"\r\n", b"405"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"505"),
    ],
)
def test_hostile_bytes_get_a_short_refusal(web: WebHandle, sent: bytes, status: bytes) -> None:
    """No HTML, no echo of what was sent, no trace; and the next scrape is answered."""
    received = exchange(web, sent)
    assert status in received.split(b"\r\n", 1)[0]
    assert b"<" not in received
    assert b"Traceback" not in received
    assert request(web.url + "/metrics").status == 200


def test_requests_far_ahead_of_their_answers_are_not_heard(web: WebHandle) -> None:
    """A few are answered, the last of them says that it is, and the connection ends in order."""
    target = urlsplit(web.url)
    with socket.create_connection((target.hostname or "", target.port or 0), timeout=5) as client:
        client.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" * 200)
        answers = b""
        while chunk := client.recv(65536):
            answers += chunk
    assert 1 <= answers.count(b"HTTP/1.1 200 OK") <= 5
    assert answers.count(b"Connection: close") == 1


def test_pipelined_requests_are_answered_in_their_order(web: WebHandle) -> None:
    """Three at once, an empty line too many between them, and none behind one that has a body."""
    get = b"GET %s HTTP/1.1" + HOST + b"\r\n"
    received = exchange(web, get % b"/healthz" + b"\r\n" + get % b"/metrics" + get % b"/nothing")
    assert re.findall(rb"HTTP/1\.1 (\d+)", received) == [b"200", b"200", b"404"]
    hidden = get % b"/metrics"
    body = b"GET /healthz HTTP/1.1" + HOST + b"Content-Length: %d\r\n\r\n" % len(hidden) + hidden
    assert exchange(web, body).count(b"HTTP/1.1 ") == 1


def test_a_proxys_way_of_asking(web: WebHandle) -> None:
    """The absolute form of a target is the path behind its host."""
    received = exchange(web, b"GET http://x:1/metrics?a=b HTTP/1.1\r\nHost: x:1\r\nConnection: close\r\n\r\n")
    assert received.endswith(b"gpu_up 1.0\n")


def test_http_1_0_closes_unless_asked_otherwise(web: WebHandle) -> None:
    """As the oldest clients expect; an answer says what will happen."""
    target = urlsplit(web.url)
    for headers, connection in ((b"", b"close"), (b"Connection: Keep-Alive\r\n", b"keep-alive")):
        with socket.create_connection((target.hostname or "", target.port or 0), timeout=5) as client:
            client.sendall(b"HEAD /metrics HTTP/1.0\r\n" + headers + b"\r\n")
            assert b"Connection: %s\r\n" % connection in client.recv(4096)


def test_a_client_that_hangs_up_is_no_event(web: WebHandle, capfd: pytest.CaptureFixture[str]) -> None:
    """Half a request, or a reset before the answer: nothing on stderr, and the next one is answered."""
    target = urlsplit(web.url)
    for sent in (b"GET /metrics HTTP/1.1\r\nHost", b"GET /metrics HTTP/1.1\r\n\r\n" * 50):
        connection = socket.create_connection((target.hostname or "", target.port or 0), timeout=5)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # close by reset
        connection.sendall(sent)
        connection.close()
    assert request(web.url + "/metrics").status == 200
    assert capfd.readouterr().err == ""


def test_a_silent_client_blocks_nobody(web: WebHandle) -> None:
    """Twenty connections that say nothing: a scrape is answered beside them."""
    target = urlsplit(web.url)
    silent = [socket.create_connection((target.hostname or "", target.port or 0), timeout=5) for _ in range(20)]
    assert request(web.url + "/metrics").status == 200
    for connection in silent:
        connection.close()


def test_one_connection_serves_many_scrapes(web: WebHandle) -> None:
    """Prometheus keeps its connection; so do we."""
    target = urlsplit(web.url)
    connection = http.client.HTTPConnection(target.hostname or "", target.port, timeout=5)
    for path in ("/metrics", "/healthz", "/nothing", "/metrics"):
        connection.request("GET", path)
        reply = connection.getresponse()
        reply.read()
        assert not reply.will_close
    connection.close()


def test_scrapes_at_the_same_time_are_each_whole(web: WebHandle) -> None:
    """Sixteen at once."""
    bodies: list[bytes] = []
    threads = [threading.Thread(target=lambda: bodies.append(request(web.url + "/metrics").body)) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert [body.count(b"gpu_up 1.0\n") for body in bodies] == [1] * 16


def test_a_closed_server_frees_its_port(registry: CollectorRegistry) -> None:
    """And a port that is taken is a sentence."""
    site = Site(registry, "/metrics", lambda: None, lambda: None, lambda: "")
    first = start_web(site, Address("127.0.0.1", 0))
    port = urlsplit(first.url).port or 0
    with pytest.raises(PerjouleError, match=f"cannot listen on 127.0.0.1:{port}: .*in use"):
        start_web(site, Address("127.0.0.1", port))
    first.close()
    second = start_web(site, Address("127.0.0.1", port))
    assert request(second.url + "/healthz").status == 200
    second.close()


def test_a_name_that_is_no_host_is_a_sentence(registry: CollectorRegistry) -> None:
    """The resolver's own words."""
    with pytest.raises(PerjouleError, match=r"cannot listen on host\.invalid:0: \w+"):
        start_web(Site(registry, "/metrics", lambda: None, lambda: None, lambda: ""), Address("host.invalid", 0))


@pytest.mark.parametrize("host", ["::1", "", "localhost"])
def test_other_hosts(registry: CollectorRegistry, host: str) -> None:
    """IPv6, every interface, and a name; the URL of the handle is one that works."""
    if host == "::1" and not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    handle = start_web(Site(registry, "/metrics", lambda: None, lambda: None, lambda: ""), Address(host, 0))
    assert request(handle.url + "/metrics").status == 200
    handle.close()
