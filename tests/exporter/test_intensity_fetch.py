"""One GET against a real server: what comes back, what is refused, and that a token goes nowhere else."""

import contextlib
import gc
import gzip
import itertools
import socket
import ssl
import subprocess
import threading
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from perjoule import __version__
from perjoule.errors import IntensityError
from perjoule_exporter.intensity.fetch import MOST_BYTES, Http, is_loopback, retry_after_seconds
from perjoule_exporter.intensity.providers.provider import Request
from tests.exporter.carbon_server import Answer, FarEnd, far_end
from tests.exporter.running import wait_until

SECRET = {"auth-token": "s3cret"}
NOW = 1.8e9


@pytest.fixture
def end() -> Iterator[FarEnd]:
    with far_end() as running:
        yield running


def fetch(url: str, **settings: float) -> bytes:
    return Http(**settings, wall=lambda: NOW)(Request(url, SECRET))  # type: ignore[arg-type] # the waits are floats


def refused(url: str, **settings: float) -> IntensityError:
    with pytest.raises(IntensityError) as error:
        fetch(url, **settings)
    assert "s3cret" not in str(error.value)
    assert error.value.__cause__ is None
    return error.value


def test_a_plain_answer(end: FarEnd) -> None:
    """The body as it is; the request says who asks, and carries its header."""
    end.answer = Answer(body=b'{"a": 1}')
    assert fetch(f"{end.url}/v1?x=1") == b'{"a": 1}'
    (asked,) = end.asked
    assert asked.path == "/v1?x=1"
    assert asked.headers["user-agent"] == f"perjoule/{__version__}"
    assert asked.headers["auth-token"] == "s3cret"


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "x-gzip"])
def test_a_packed_answer(end: FarEnd, encoding: str) -> None:
    """Unpacked, however its encoding is spelled."""
    end.answer = Answer(body=gzip.compress(b"[1]"), headers={"Content-Encoding": encoding})
    assert fetch(end.url) == b"[1]"
    assert end.asked[0].headers["accept-encoding"] == "gzip"


@pytest.mark.parametrize(
    ("body", "encoding", "sentence"),
    [
        (b"[1]", "gzip", "broken gzip"),
        (gzip.compress(b"[1]", mtime=0)[:-9], "gzip", "broken gzip"),
        (b"", "gzip", "broken gzip"),
        (b"[1]", "br", "not asked for"),
        (gzip.compress(b" " * (MOST_BYTES + 1), mtime=0), "gzip", "more than 1 MiB"),
        (b" " * (MOST_BYTES + 1), "identity", "more than 1 MiB"),
    ],
)
def test_bodies_that_are_refused(end: FarEnd, body: bytes, encoding: str, sentence: str) -> None:
    """Broken, in an encoding nobody asked for, or too large, packed or not."""
    end.answer = Answer(body=body, headers={"Content-Encoding": encoding})
    assert sentence in str(refused(end.url))


def test_the_largest_body_passes(end: FarEnd) -> None:
    """1 MiB to the byte."""
    end.answer = Answer(body=b" " * MOST_BYTES)
    assert len(fetch(end.url)) == MOST_BYTES


def test_a_bomb_is_not_unpacked(end: FarEnd) -> None:
    """A few kilobytes that unpack to 64 MiB cost little more than the 1 MiB that is allowed."""
    end.answer = Answer(body=gzip.compress(b" " * 2**26, 1), headers={"Content-Encoding": "gzip"})
    http = Http()
    tracemalloc.start()
    try:
        with pytest.raises(IntensityError, match="more than 1 MiB"):
            http(Request(end.url))
        assert tracemalloc.get_traced_memory()[1] < 8 * MOST_BYTES
    finally:
        tracemalloc.stop()


def test_an_enormous_body_is_not_read(end: FarEnd) -> None:
    """A body that claims a terabyte costs 1 MiB, not its length."""
    end.answer = Answer(body=b" " * (4 * MOST_BYTES), length=2**40)
    assert "more than 1 MiB" in str(refused(end.url))


@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500, 502, 503])
def test_statuses(end: FarEnd, status: int) -> None:
    """A refusal is its number; what the far end writes about it is not repeated."""
    end.answer = Answer(status, body=b'{"error": "bad token s3cret"}')
    error = refused(end.url)
    assert (str(error), error.status) == (f"answered with status {status}", status)
    assert error.retry_after_seconds is None


def test_retry_after_comes_along(end: FarEnd) -> None:
    """As seconds and as a date."""
    for value in ("120", formatdate(NOW + 120, usegmt=True)):
        end.answer = Answer(429, headers={"Retry-After": value})
        assert refused(end.url).retry_after_seconds == 120


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("", None),
        ("0", 0.0),
        (" 90 ", 90.0),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("٣", None),
        ("9" * 400, 999_999_999_999.0),
        ("Fri, 15 Jan 2027 08:00:00 GMT", 0.0),
        ("Fri, 15 Jan 2027 08:01:40 GMT", 100.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
        ("Fri, 99 Jan 2027 08:00:00 GMT", None),
    ],
)
def test_retry_after(value: str | None, seconds: float | None) -> None:
    """Seconds or a date, never in the past; what is neither counts as not said. 1.8e9 is 15 January 2027, 8:00."""
    assert retry_after_seconds(value, NOW) == seconds


def test_an_answer_that_never_comes() -> None:
    """A server that accepts and says nothing is given up after the wait."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        assert str(refused(f"http://127.0.0.1:{port}/", wait_seconds=0.05)) == "does not answer in time"


def test_an_answer_that_drips(end: FarEnd) -> None:
    """Every piece comes in time, the whole does not: given up after the total, here at once."""
    gone_on = threading.Event()
    end.answer = Answer(body=b" " * 100, pieces=100, pause=lambda: gone_on.wait(0.01))
    assert "too slowly" in str(refused(end.url, total_seconds=0.0))
    gone_on.set()


@pytest.mark.parametrize("begun", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nA: b"])
def test_headers_that_drip(begun: bytes) -> None:
    """The same for a status line or a header that goes on for ever, a byte at a time."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def drip() -> None:
            connection, _ = listening.accept()
            with connection, contextlib.suppress(OSError):
                connection.recv(65536)
                connection.sendall(begun)
                while True:
                    connection.sendall(b"x")

        thread = threading.Thread(target=drip, daemon=True)
        thread.start()
        ticks = itertools.count()
        fast = Http(total_seconds=3, monotonic=lambda: float(next(ticks)))
        with pytest.raises(IntensityError, match="too slowly"):
            fast(Request(f"http://127.0.0.1:{listening.getsockname()[1]}/"))
        thread.join(5)
        assert not thread.is_alive()


def test_no_connection_is_left_open(end: FarEnd) -> None:
    """Whatever an answer is, nothing stays behind of it."""
    kinds = [Answer(), Answer(500), Answer(body=b" " * (MOST_BYTES + 1)), Answer(body=b"x", length=9), Answer(302)]
    http = Http()

    def ask_all() -> None:
        for end.answer in kinds:
            with contextlib.suppress(IntensityError):
                http(Request(end.url))

    ask_all()
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(20):
        ask_all()
    gc.collect()
    # The server's own side of the last connections may still be closing.
    wait_until(lambda: len(list(Path("/proc/self/fd").iterdir())) <= before, "all connections are closed")


def test_an_answer_that_breaks_off(end: FarEnd) -> None:
    """Fewer bytes than announced are no answer, whatever they say."""
    end.answer = Answer(body=b'{"a": 1}', length=100)
    assert "broke off its answer" in str(refused(end.url))


def test_nobody_there() -> None:
    """A closed port and an unknown name are sentences, without the URL and its key."""
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    assert str(refused(f"http://127.0.0.1:{port}/?api_key=s3cret")) == "cannot be reached: Connection refused"
    assert "cannot be reached" in str(refused("http://no-such-host.invalid/?api_key=s3cret"))


@pytest.mark.parametrize("garbage", [b"\x00\xff garbage\r\n\r\n", b"HTTP/1.1 2OO s3cret\r\n\r\n", b""])
def test_what_is_no_http(garbage: bytes) -> None:
    """Another protocol on the port: a sentence, without what it said."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(garbage)

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        assert "broke off its answer" in str(refused(f"http://127.0.0.1:{listening.getsockname()[1]}/"))
        thread.join(5)


def test_a_redirect_on_the_same_host_is_followed(end: FarEnd) -> None:
    """Scheme, host and port are the same: so is who gets the token."""
    end.answer = lambda asked: (
        Answer(302, headers={"Location": "/new"}) if asked.path == "/old" else Answer(body=b"[2]")
    )
    assert fetch(f"{end.url}/old") == b"[2]"
    assert [(asked.path, asked.headers["auth-token"]) for asked in end.asked] == [
        ("/old", "s3cret"),
        ("/new", "s3cret"),
    ]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_elsewhere_is_not_followed(end: FarEnd, status: int) -> None:
    """Another port is another host: it never hears of us, nor of the token."""
    with far_end() as stranger:
        end.answer = Answer(status, headers={"Location": f"{stranger.url}/?t=s3cret"})
        assert "redirects to another host" in str(refused(end.url))
        assert stranger.asked == []


@pytest.mark.parametrize("location", ["file:///etc/passwd", "ftp://127.0.0.1/x", "http://127.0.0.1:99999/", "//[", ""])
def test_redirects_to_what_is_no_place(end: FarEnd, location: str) -> None:
    """Files, other protocols and nonsense: refused, and nothing is opened."""
    end.answer = Answer(302, headers={"Location": location})
    refused(end.url)


def test_redirects_in_a_circle(end: FarEnd) -> None:
    """Given up after some rounds."""
    end.answer = Answer(302, headers={"Location": "/"})
    assert refused(end.url + "/").status == 302
    assert len(end.asked) < 20


def test_proxies_of_the_environment(end: FarEnd, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy gets the whole URL; ``no_proxy`` and this machine go past it."""
    monkeypatch.setenv("http_proxy", end.url)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    assert Http()(Request("http://intensity.invalid/v1")) == b"{}"
    assert end.asked[0].path == "http://intensity.invalid/v1"
    assert fetch(f"{end.url}/direct") == b"{}"
    assert end.asked[1].path == "/direct"
    end.answer = lambda asked: Answer(302, headers={"Location": "/new"}) if asked.path.endswith("/old") else Answer()
    assert Http()(Request("http://intensity.invalid/old")) == b"{}"
    assert end.asked[3].path == "http://intensity.invalid/new"


@contextmanager
def tls_end(folder: Path, name: str) -> Iterator[tuple[FarEnd, Path]]:
    """Run a far end with a certificate of its own making for ``name``, and give that too."""
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=far end", "-addext", f"subjectAltName={name}", "-keyout", key, "-out", certificate],
        check=True, capture_output=True, timeout=20,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with far_end(lambda raw: context.wrap_socket(raw, server_side=True)) as end:
        yield end, certificate


def test_a_certificate_that_nobody_signed(tmp_path: Path) -> None:
    """TLS is verified: a server with a certificate of its own making is not asked."""
    with tls_end(tmp_path, "IP:127.0.0.1") as (end, _):
        assert "cannot be trusted" in str(refused(end.url))
        assert end.asked == []


def test_a_certificate_that_the_system_trusts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system's own list counts, by OpenSSL's variable; for the name that was asked and no other."""
    with tls_end(tmp_path, "IP:127.0.0.1") as (end, certificate):
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert fetch(end.url) == b"{}"
    with tls_end(tmp_path, "DNS:other.invalid") as (end, _):
        assert "cannot be trusted" in str(refused(end.url))
        assert end.asked == []


def test_a_proxy_never_sees_the_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tunnel goes through it for https: it learns the host's name and nothing else."""
    seen: list[bytes] = []
    with (
        tls_end(tmp_path, "DNS:intensity.invalid") as (end, certificate),
        socket.create_server(("127.0.0.1", 0)) as listening,
    ):

        def proxy() -> None:
            client, _ = listening.accept()
            with client, socket.create_connection(("127.0.0.1", urlsplit(end.url).port or 0)) as server:
                seen.append(client.recv(65536))
                client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                back = threading.Thread(target=pump, args=(server, client), daemon=True)
                back.start()
                pump(client, server, seen)
                back.join(5)

        def pump(source: socket.socket, target: socket.socket, copy: list[bytes] | None = None) -> None:
            with contextlib.suppress(OSError):
                while piece := source.recv(65536):
                    target.sendall(piece)
                    if copy is not None:
                        copy.append(piece)
                target.shutdown(socket.SHUT_WR)

        thread = threading.Thread(target=proxy, daemon=True)
        thread.start()
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{listening.getsockname()[1]}")
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        assert fetch("https://intensity.invalid/v1?api_key=s3cret") == b"{}"
        thread.join(5)
        assert (end.asked[0].path, end.asked[0].headers["auth-token"]) == ("/v1?api_key=s3cret", "s3cret")
    assert seen[0].startswith(b"CONNECT intensity.invalid:443 ")
    assert b"s3cret" not in b"".join(seen)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("127.1.2.3", True), ("::1", True), ("localhost", True), ("10.0.0.1", False), ("a.b", False)],
)
def test_this_machine(host: str, loopback: bool) -> None:  # noqa: FBT001 (a column of the table)
    """Only its own addresses and name."""
    assert is_loopback(host) is loopback
