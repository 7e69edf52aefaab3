"""The program behind its port: what protects it, which check says what, and an end that nobody can hold up."""

import http.client
import resource
import signal
import socket
import ssl
import time
from pathlib import Path
from urllib.parse import urlsplit

import bcrypt
import pytest
import trustme

from tests.exporter.driver import FakeDriver
from tests.exporter.running import RunningExporter, StartExporter, request, wait_until


def connect(exporter: RunningExporter) -> socket.socket:
    target = urlsplit(exporter.url)
    return socket.create_connection((target.hostname or "", target.port or 0), timeout=5)


def stopped_within(exporter: RunningExporter) -> float:
    """Return how many seconds SIGTERM took."""
    start = time.monotonic()
    assert exporter.stop() == 0
    return time.monotonic() - start


def test_clients_do_not_hold_up_the_end(start_exporter: StartExporter) -> None:
    """A kept connection, silent ones, half a request, and one that asks and asks and never reads."""
    exporter = start_exporter("--meter", "simulated").ready()
    kept, half, hung, *silent = (connect(exporter) for _ in range(10))
    hung.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    kept.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
    assert kept.recv(15) == b"HTTP/1.1 200 OK"
    half.sendall(b"GET /metrics HTTP/1.1\r\nHo")
    hung.settimeout(0.5)
    questions = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 1_000_000
    with pytest.raises(OSError, match=r"timed out|reset|Broken pipe"):  # until it is cut off, or every buffer is full
        hung.sendall(questions)
    assert stopped_within(exporter) < 1.0
    assert "Traceback" not in exporter.text()
    for client in (kept, half, hung, *silent):
        client.close()


def test_fewer_files_than_connections(start_exporter: StartExporter) -> None:
    """Where the system allows fewer open files than there may be connections, a flood shuts nobody out either."""
    exporter = start_exporter("--meter", "simulated").ready()
    held = len(list(Path(f"/proc/{exporter.process.pid}/fd").iterdir()))
    resource.prlimit(exporter.process.pid, resource.RLIMIT_NOFILE, (held + 10, held + 10))
    silent = [connect(exporter) for _ in range(100)]
    assert request(exporter.url + "/healthz").body == b"ok\n"
    for client in silent:
        client.close()


def test_a_driver_that_hangs_does_not_hold_up_the_end(start_exporter: StartExporter, driver: FakeDriver) -> None:
    """The thread that waits for it ends with the process."""
    exporter = start_exporter("--meter", "nvml", environment=driver.environment).ready()
    driver.set(hang_mask=1)
    wait_until(lambda: exporter.scrape().value("gpu_up") == 0, "the hang is noticed")
    assert stopped_within(exporter) < 1.0


def test_ready_and_healthy_are_two_things(start_exporter: StartExporter, driver: FakeDriver) -> None:
    """Without a GPU that answers there is nothing to scrape; a restart would not bring it back."""
    exporter = start_exporter("--meter", "nvml", environment=driver.environment).ready()
    assert request(exporter.url + "/readyz").body == b"ok\n"
    driver.set(lost_mask=1)
    reply = wait_until(
        lambda: r if (r := request(exporter.url + "/readyz")).status == 503 else None, "the loss is noticed"
    )
    assert reply.body.startswith(b"no device answers: GPU")
    assert request(exporter.url + "/healthz").body == b"ok\n"


def test_a_scrape_with_tls_and_password(start_exporter: StartExporter, tmp_path: Path) -> None:
    """From the flag to the answer; SIGHUP says what has become of the file."""
    authority = trustme.CA()
    made = authority.issue_cert("127.0.0.1")
    made.private_key_and_cert_chain_pem.write_to_path(tmp_path / "both.pem")
    user_hash = bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode()
    file = tmp_path / "web.yml"
    text = (
        f"tls_server_config: {{cert_file: both.pem, key_file: both.pem}}\nbasic_auth_users: {{prometheus: {user_hash}}}"
    )
    file.write_text(text, encoding="utf-8")
    exporter = start_exporter("--meter", "simulated", "--web.config.file", str(file)).ready()
    assert exporter.url.startswith("https://")
    context = ssl.create_default_context()
    authority.configure_trust(context)
    target = urlsplit(exporter.url)
    client = http.client.HTTPSConnection(target.hostname or "", target.port, context=context, timeout=5)
    for authorization, status in (("", 401), ("Basic cHJvbWV0aGV1czpzZWNyZXQ=", 200)):
        client.request("GET", "/metrics", headers={"Authorization": authorization})
        reply = client.getresponse()
        assert (reply.status, b"gpu_up" in reply.read()) == (status, status == 200)
    file.write_text(text + "\nrate_limit: {}", encoding="utf-8")
    exporter.process.send_signal(signal.SIGHUP)
    wait_until(lambda: "line 3: 'rate_limit' is not supported" in exporter.text(), "SIGHUP looks at the file")
    client.close()
    assert user_hash not in exporter.text()
    assert exporter.stop() == 0


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (None, "cannot read --web.config.file"),
        ("tls: {}", "web.yml, line 1: unknown key 'tls'"),
        ("tls_server_config: {cert_file: a, key_file: a}", "cannot read"),
    ],
)
def test_a_bad_web_configuration_ends_the_start(
    start_exporter: StartExporter, tmp_path: Path, text: str | None, sentence: str
) -> None:
    """Exit code 2 and one line, rather than a port that is open to everyone."""
    file = tmp_path / "web.yml"
    if text is not None:
        file.write_text(text, encoding="utf-8")
    exporter = start_exporter("--meter", "simulated", "--web.config.file", str(file))
    assert exporter.ended() == 2
    assert sentence in exporter.text()
    assert exporter.text().count("\n") == 1
