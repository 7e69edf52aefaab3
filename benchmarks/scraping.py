"""How a scrape is made and timed: as Prometheus 2.42 does, or as a person with curl.

Both are Python's ``http.client``, whose own cost (about 0.1 ms) is in every figure, for every program alike. It knows
HTTP and the text formats, and nothing of what the metrics mean.
"""

import gzip
import http.client
import re
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass

TIMEOUT_SECONDS = 10.0
PATH = "/metrics"

PROMETHEUS_HEADERS = {
    "User-Agent": "Prometheus/2.42.0",
    "Accept": "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
    "Accept-Encoding": "gzip",
    "X-Prometheus-Scrape-Timeout-Seconds": "10",
}
"""What Prometheus 2.42 sends (scrape/scrape.go). It keeps the connection where the target does."""

CURL_HEADERS = {"User-Agent": "curl/7.88.1", "Accept": "*/*"}
"""What curl sends: one connection for each request, no compression."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One scrape: seconds from the first byte sent to the last received, bytes on the wire, and the text."""

    seconds: float
    wire_bytes: int
    text: str

    def samples(self) -> dict[str, float]:
        """Return the samples by their name and labels as written."""
        return dict(samples(self.text))

    def of(self, name: str, **labels: str) -> float | None:
        """Return the value of the one sample of this name with these labels among its own; None where there is none."""
        wanted = [f'{key}="{value}"' for key, value in labels.items()]
        for series, value in samples(self.text):
            is_named = series == name or series.startswith(f"{name}{{")
            if is_named and all(re.search(rf"[{{,]{re.escape(each)}", series) for each in wanted):
                return value
        return None


def samples(text: str) -> Iterator[tuple[str, float]]:
    """Read the samples of a metrics text that has no timestamps and no exemplars."""
    for line in text.splitlines():
        if line and not line.startswith("#"):
            series, _, value = line.rpartition(" ")
            yield series, float(value)


def sample_count(text: str) -> int:
    """Return how many samples a metrics text has."""
    return sum(1 for line in text.splitlines() if line and not line.startswith("#"))


class Scraper:
    """Scrapes one port. Keeps the connection between scrapes when it scrapes as Prometheus does."""

    def __init__(self, port: int, *, as_prometheus: bool) -> None:
        self._as_prometheus = as_prometheus
        self._headers = PROMETHEUS_HEADERS if as_prometheus else CURL_HEADERS
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_SECONDS)

    def scrape(self) -> Answer:
        """Scrape once.

        Raises:
            OSError: nobody answers.
            http.client.HTTPException: the answer is none, or a refusal.
        """
        start = time.perf_counter()
        self._connection.request("GET", PATH, headers=self._headers)
        reply = self._connection.getresponse()
        body = reply.read()
        if not self._as_prometheus:
            self._connection.close()
        seconds = time.perf_counter() - start
        if reply.status != http.client.OK:
            raise http.client.HTTPException(f"status {reply.status}")
        text = gzip.decompress(body) if reply.getheader("Content-Encoding") == "gzip" else body
        return Answer(seconds, len(body), text.decode())

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(port: int) -> bool:
    """Tell whether a scrape of this port is answered."""
    scraper = Scraper(port, as_prometheus=False)
    try:
        scraper.scrape()
    except (OSError, http.client.HTTPException):
        return False
    finally:
        scraper.close()
    return True
