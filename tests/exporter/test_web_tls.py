"""TLS on a real port: certificates of a throw-away authority, clients good and bad."""

import base64
import http.client
import logging
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import bcrypt
import pytest
import trustme
from prometheus_client import CollectorRegistry, Gauge

from perjoule.errors import UsageError
from perjoule_exporter.address import Address
from perjoule_exporter.tls import CIPHERS, CURVES, TlsSettings, make_tls
from perjoule_exporter.web import Site, WebHandle, start_web
from perjoule_exporter.webconfig import WebConfigFile

SECRET = "open sesame"  # noqa: S105 (a password of this test alone)


class House:
    """A folder with a certificate for 127.0.0.1, the configuration file, and servers on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = trustme.CA()
        self.file = folder / "web.yml"
        self.handles: list[WebHandle] = []
        self.authority.cert_pem.write_to_path(folder / "ca.crt")
        self.issue(self.authority)

    def issue(self, authority: trustme.CA) -> None:
        """Put a new certificate and its key where the configuration names them."""
        made = authority.issue_cert("127.0.0.1")
        made.private_key_pem.write_to_path(self.folder / "a.key")
        (self.folder / "a.crt").write_bytes(b"".join(pem.bytes() for pem in made.cert_chain_pems))

    def write(self, more: str = "", rest: str = "") -> None:
        self.file.write_text(
            f"tls_server_config: {{cert_file: a.crt, key_file: a.key{more}}}\n{rest}\n", encoding="utf-8"
        )

    def start(self, more: str = "", rest: str = "") -> str:
        self.write(more, rest)
        registry = CollectorRegistry()
        Gauge("gpu_up", "Help.", registry=registry).set(1)
        site = Site(registry, "/metrics", lambda: None, lambda: None, lambda: "")
        self.handles.append(start_web(site, Address("127.0.0.1", 0), WebConfigFile(self.file).current))
        return self.handles[-1].url

    def client(
        self, authority: trustme.CA | None = None, certificate: trustme.LeafCert | None = None
    ) -> ssl.SSLContext:
        context = ssl.create_default_context()
        (authority or self.authority).configure_trust(context)
        if certificate is not None:
            certificate.configure_cert(context)
        return context


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    yield made
    for handle in made.handles:
        handle.close()


def get(url: str, context: ssl.SSLContext, path: str = "/metrics", **headers: str) -> tuple[int, bytes]:
    target = urlsplit(url)
    client = http.client.HTTPSConnection(target.hostname or "", target.port, context=context, timeout=5)
    try:
        client.request("GET", path, headers=headers)
        reply = client.getresponse()
        return reply.status, reply.read()
    finally:
        client.close()


def connect(url: str) -> socket.socket:
    target = urlsplit(url)
    return socket.create_connection((target.hostname or "", target.port or 0), timeout=5)


def test_a_scrape_over_tls(house: House) -> None:
    """The URL says https, the certificate is the file's, and old versions are not spoken."""
    url = house.start()
    assert url.startswith("https://127.0.0.1:")
    assert get(url, house.client())[1].endswith(b"gpu_up 1.0\n")
    with pytest.raises(ssl.SSLCertVerificationError):
        get(url, house.client(trustme.CA()))


@pytest.mark.parametrize(("version", "spoken"), [("TLS12", "TLSv1.2"), ("TLS13", "TLSv1.3")])
def test_versions(house: House, version: str, spoken: str) -> None:
    """The one that is left is spoken."""
    url = house.start(f", min_version: {version}, max_version: {version}")
    with connect(url) as plain, house.client().wrap_socket(plain, server_hostname="127.0.0.1") as secured:
        assert secured.version() == spoken


def test_suites_for_tls_1_3_alone_leave_tls_1_3_alone(house: House) -> None:
    """As in Go, where a client of TLS 1.2 then finds no suite."""
    url = house.start(", cipher_suites: [TLS_AES_128_GCM_SHA256]")
    context = house.client()
    assert get(url, context)[0] == 200
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError):
        get(url, context)


@pytest.mark.parametrize("suite", sorted(CIPHERS))
def test_every_suite_is_openssls(house: House, suite: str) -> None:
    """Under the name that stands beside Go's."""
    house.write()
    settings = TlsSettings(house.folder / "a.crt", house.folder / "a.key", cipher_suites=(suite,))
    names = [c["name"] for c in make_tls(settings).context.get_ciphers() if c["protocol"] != "TLSv1.3"]
    assert names == [CIPHERS[suite]]


@pytest.mark.parametrize("curve", sorted(CURVES))
def test_one_curve_can_be_asked_for(house: House, curve: str) -> None:
    """And a client is served with it."""
    assert get(house.start(f", curve_preferences: [{curve}]"), house.client())[0] == 200


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (", client_auth_type: RequireAndVerifyClientCert", "RequireAndVerifyClientCert needs client_ca_file"),
        (", client_ca_file: ca.crt", "no client would be asked for a certificate"),
        (
            ", client_ca_file: ca.crt, client_auth_type: VerifyClientCertIfGiven, client_allowed_sans: [a]",
            "client_allowed_sans needs client_auth_type RequireAndVerifyClientCert",
        ),
        (", min_version: TLS13, max_version: TLS12", "min_version TLS13 is over max_version TLS12"),
        (", curve_preferences: [CurveP256, X25519]", "one curve, not to an order of several"),
        (", cipher_suites: [TLS_AES_128_GCM_SHA256], max_version: TLS12", "none for TLS 1.2"),
        (", client_ca_file: a.key, client_auth_type: VerifyClientCertIfGiven", "holds no PEM certificate"),
        (", client_ca_file: none, client_auth_type: VerifyClientCertIfGiven", "none: No such file"),
    ],
)
def test_what_python_or_sense_does_not_allow(house: House, more: str, sentence: str) -> None:
    """Is a sentence at the start, not a weaker server."""
    house.write(more)
    with pytest.raises(UsageError, match=sentence):
        WebConfigFile(house.file)


def test_files_that_do_not_fit_together(house: House) -> None:
    """Another key, an encrypted one, no key at all."""
    house.write()
    other = trustme.CA().issue_cert("127.0.0.1").private_key_pem.bytes()
    encrypted = b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n"
    for key in (other, encrypted, b"nothing"):
        (house.folder / "a.key").write_bytes(key)
        with pytest.raises(UsageError, match=r"cannot use cert_file .*a\.crt with key_file|key_file is encrypted"):
            WebConfigFile(house.file)


REQUIRED = ", client_ca_file: ca.crt, client_auth_type: RequireAndVerifyClientCert"


@pytest.mark.parametrize(
    ("more", "names", "let_in"),
    [
        (REQUIRED, ["prometheus.example"], True),
        (REQUIRED, None, False),
        (REQUIRED + ", client_allowed_sans: [prometheus.example]", ["prometheus.example", "other"], True),
        (REQUIRED + ", client_allowed_sans: [prometheus.example]", ["other.example"], False),
        (REQUIRED + ", client_allowed_sans: ['2001:db8::1']", ["2001:0db8:0:0::1"], True),
        (REQUIRED + ", client_allowed_sans: [me@example.org]", ["me@example.org"], True),
        (REQUIRED.replace("RequireAndVerifyClientCert", "VerifyClientCertIfGiven"), None, True),
    ],
)
def test_client_certificates(house: House, more: str, names: list[str] | None, let_in: bool) -> None:  # noqa: FBT001 (a table's column)
    """Who has one of ours is let in, and only under an allowed name where names are listed."""
    url = house.start(more)
    context = house.client(certificate=house.authority.issue_cert(*names) if names else None)
    assert _is_let_in(url, context) == let_in


@pytest.mark.parametrize("policy", ["RequireAndVerifyClientCert", "VerifyClientCertIfGiven"])
def test_a_foreign_client_certificate_is_refused(house: House, policy: str) -> None:
    """Whether one is required or not."""
    url = house.start(REQUIRED.replace("RequireAndVerifyClientCert", policy))
    assert not _is_let_in(url, house.client(certificate=trustme.CA().issue_cert("prometheus.example")))


def _is_let_in(url: str, context: ssl.SSLContext) -> bool:
    try:
        return get(url, context)[0] == 200
    except (ssl.SSLError, ConnectionError, http.client.RemoteDisconnected):
        return False


def test_a_new_certificate_counts_for_new_connections(house: House, caplog: pytest.LogCaptureFixture) -> None:
    """Half a renewal keeps the old one; the connection that is there goes on."""
    url = house.start()
    target = urlsplit(url)
    kept = http.client.HTTPSConnection(target.hostname or "", target.port, context=house.client(), timeout=5)
    kept.request("GET", "/healthz")
    assert kept.getresponse().read() == b"ok\n"
    new = trustme.CA()
    key = (house.folder / "a.key").read_bytes()
    house.issue(new)
    new_key = (house.folder / "a.key").read_bytes()
    (house.folder / "a.key").write_bytes(key)
    for _ in range(3):
        assert get(url, house.client())[0] == 200
    assert caplog.text.count("the web settings before that stay in force") == 1
    (house.folder / "a.key").write_bytes(new_key)
    assert get(url, house.client(new))[0] == 200
    with pytest.raises(ssl.SSLCertVerificationError):
        get(url, house.client())
    kept.request("GET", "/healthz")
    assert kept.getresponse().read() == b"ok\n"
    kept.close()


def test_tls_is_not_switched_off_by_a_change(house: House, caplog: pytest.LogCaptureFixture) -> None:
    """A half-written file must not open the port."""
    url = house.start()
    house.file.write_text("", encoding="utf-8")
    assert get(url, house.client())[0] == 200
    assert "TLS is switched on or off by a restart only" in caplog.text


def test_plain_http_to_a_tls_port_gets_a_sentence(house: House) -> None:
    """And an end; bytes that are neither get the end alone."""
    url = house.start()
    for sent, status in ((b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", b"HTTP/1.1 400"), (b"\x00\x01\x02", b"")):
        with connect(url) as client:
            client.sendall(sent)
            client.shutdown(socket.SHUT_WR)
            reply = b"".join(iter(lambda: client.recv(4096), b""))
        assert reply[:12] == status
        assert not status or b"this port speaks HTTPS, not HTTP\n" in reply


def test_a_hand_that_is_not_shaken_holds_up_nobody(house: House, capfd: pytest.CaptureFixture[str]) -> None:
    """Silent clients, and ones that stop in the middle of a handshake: a scrape is answered beside a hundred."""
    url = house.start()
    idle = [connect(url) for _ in range(100)]
    for client in idle[::2]:
        client.sendall(b"\x16\x03\x01\x02\x00\x01")
    start = time.monotonic()
    assert get(url, house.client())[0] == 200
    assert time.monotonic() - start < 2.0
    house.handles.pop().close()
    assert time.monotonic() - start < 4.0
    for client in idle:
        client.close()
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("path", ["/metrics", "/", "/healthz", "/readyz", "/nothing"])
def test_basic_auth_stands_before_every_route(house: House, path: str, caplog: pytest.LogCaptureFixture) -> None:
    """Health checks too, as with the toolkit; headers of the file are on every answer; nothing secret is logged."""
    caplog.set_level(logging.DEBUG)
    user_hash = bcrypt.hashpw(SECRET.encode(), bcrypt.gensalt(4)).decode()
    rest = f"basic_auth_users: {{prometheus: {user_hash}}}\nhttp_server_config: {{headers: {{X-Frame-Options: deny}}}}"
    url = house.start(rest=rest)
    assert get(url, house.client(), path) == (401, b"unauthorized\n")
    for password, right in ((SECRET, True), ("wrong", False)):
        credentials = base64.b64encode(f"prometheus:{password}".encode()).decode()
        status, _ = get(url, house.client(), path, Authorization=f"Basic {credentials}")
        assert (status != 401) == right
        assert credentials not in caplog.text
    assert SECRET not in caplog.text
    assert user_hash not in caplog.text


def test_the_challenge_and_the_files_headers(house: House) -> None:
    """401 says how to ask, and refusals have the headers as well."""
    user_hash = bcrypt.hashpw(SECRET.encode(), bcrypt.gensalt(4)).decode()
    url = house.start(
        rest=f"basic_auth_users: {{a: {user_hash}}}\nhttp_server_config: {{headers: {{X-Frame-Options: deny}}}}"
    )
    raw: Callable[[bytes], bytes] = lambda sent: _raw(url, house.client(), sent)  # noqa: E731 (one line, used twice)
    reply = raw(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert b"WWW-Authenticate: Basic\r\n" in reply
    assert b"X-Frame-Options: deny\r\n" in reply
    assert b"X-Frame-Options: deny\r\n" in raw(b"POST / HTTP/1.1\r\nHost: x\r\n\r\n")


def _raw(url: str, context: ssl.SSLContext, sent: bytes) -> bytes:
    with connect(url) as plain, context.wrap_socket(plain, server_hostname="127.0.0.1") as secured:
        secured.sendall(sent)
        return b"".join(iter(lambda: secured.recv(4096), b""))
