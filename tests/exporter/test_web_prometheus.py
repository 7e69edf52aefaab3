"""The real Prometheus against TLS, a client certificate and a password at once, and what it asks for."""

import json
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import bcrypt
import pytest
import trustme

from tests.exporter.running import RunningExporter, StartExporter, wait_until

SCRAPE = """
global: {{scrape_interval: 200ms}}
scrape_configs:
  - job_name: gpu-energy-exporter
    scheme: https
    tls_config: {{ca_file: ca.crt, cert_file: client.pem, key_file: client.pem}}
    basic_auth: {{username: prometheus, password_file: password}}
    static_configs: [{{targets: ["{target}"]}}]
"""
WEB = """
tls_server_config:
  cert_file: server.pem
  key_file: server.pem
  client_auth_type: RequireAndVerifyClientCert
  client_ca_file: ca.crt
  client_allowed_sans: [prometheus.example]
basic_auth_users:
  prometheus: {hash}
"""


class Prometheus:
    """A Prometheus in a folder of its own."""

    def __init__(self, binary: Path, folder: Path) -> None:
        self.log = folder / "prometheus.log"
        command = [str(binary), f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'tsdb'}",
                   "--web.listen-address=127.0.0.1:0"]  # fmt: skip
        with self.log.open("wb") as out:
            self.process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)

    def values(self, query: str) -> list[float]:
        """Return the values of an instant query; none while it does not answer."""
        log = self.log.read_text()
        if "Server is ready" not in log:
            return []
        address = log.partition('msg="Listening on" address=')[2].partition("\n")[0]
        with urllib.request.urlopen(
            f"http://{address}/api/v1/query?query={urllib.parse.quote(query)}", timeout=5
        ) as reply:
            return [float(series["value"][1]) for series in json.load(reply)["data"]["result"]]


@pytest.fixture
def protected(start_exporter: StartExporter, tmp_path: Path) -> RunningExporter:
    """An exporter that wants everything, and a folder with what it takes."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.crt")
    renew(authority, tmp_path)
    authority.issue_cert("prometheus.example").private_key_and_cert_chain_pem.write_to_path(tmp_path / "client.pem")
    (tmp_path / "password").write_text("secret")
    user_hash = bcrypt.hashpw(b"secret", bcrypt.gensalt(10)).decode()
    (tmp_path / "web.yml").write_text(WEB.format(hash=user_hash))
    exporter = start_exporter("--meter", "simulated", "--web.config.file", str(tmp_path / "web.yml")).ready()
    target = exporter.url.removeprefix("https://")
    (tmp_path / "prometheus.yml").write_text(SCRAPE.format(target=target))
    return exporter


def renew(authority: trustme.CA, folder: Path) -> None:
    """Put a new server certificate in the place of the old one, at once."""
    new = folder / "new.pem"
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(new)
    new.replace(folder / "server.pem")


@pytest.fixture
def prometheus(protected: RunningExporter, prometheus_binary: Path, tmp_path: Path) -> Iterator[Prometheus]:
    assert protected.process.poll() is None
    made = Prometheus(prometheus_binary, tmp_path)
    yield made
    made.process.terminate()
    made.process.wait(10)


@pytest.mark.prometheus
def test_prometheus_scrapes_through_all_of_it(protected: RunningExporter, prometheus: Prometheus) -> None:
    """Every scrape succeeds, the figures are there, and bcrypt's price is paid once and not with each scrape."""
    wait_until(lambda: prometheus.values("count_over_time(up[1m]) >= 10"), "ten scrapes")
    assert prometheus.values("min_over_time(up[1m])") == [1.0]
    assert prometheus.values("gpu_info")
    (quickest,) = prometheus.values("min_over_time(scrape_duration_seconds[1m])")
    assert quickest < 0.03  # a comparison at cost 10 takes longer than this
    assert "level=warning" not in protected.text().partition("listening on")[2]


@pytest.mark.prometheus
def test_a_renewed_certificate_costs_no_scrape(
    protected: RunningExporter, prometheus: Prometheus, tmp_path: Path
) -> None:
    """Prometheus goes on over the change, and the change is told."""
    wait_until(lambda: prometheus.values("up == 1"), "the first scrape")
    authority = trustme.CA()
    (tmp_path / "ca.crt").write_bytes((tmp_path / "ca.crt").read_bytes() + authority.cert_pem.bytes())
    renew(authority, tmp_path)
    wait_until(lambda: "were read anew" in protected.text(), "the change is seen")
    before = prometheus.values("sum(count_over_time(up[1h]))")[0]
    wait_until(lambda: prometheus.values("sum(count_over_time(up[1h]))")[0] >= before + 5, "five more scrapes")
    assert prometheus.values("min_over_time(up[1h])") == [1.0]
