"""The real exporter as a process, and its answers as values."""

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest
from prometheus_client.parser import text_string_to_metric_families

DEADLINE_SECONDS = 15.0

T = TypeVar("T")


def wait_until(condition: Callable[[], T | None], what: str, seconds: float = DEADLINE_SECONDS) -> T:
    """Return the first true value of ``condition``; fail when there is none within ``seconds``."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.01)
    pytest.fail(f"waited {seconds:g} s in vain for: {what}")


@dataclass(frozen=True)
class Reply:
    """One HTTP answer."""

    status: int
    headers: dict[str, str]
    body: bytes


def request(url: str, method: str = "GET", **headers: str) -> Reply:
    """Ask ``url``; refusals are answers too. Underscores of header names stand for dashes."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    asked = urllib.request.Request(url, method=method, headers=named)
    try:
        with urllib.request.urlopen(asked, timeout=10) as reply:
            return Reply(reply.status, {k.lower(): v for k, v in reply.headers.items()}, reply.read())
    except urllib.error.HTTPError as refusal:
        with refusal:
            return Reply(refusal.code, {k.lower(): v for k, v in refusal.headers.items()}, refusal.read())


class Scrape:
    """The samples of one ``/metrics`` text."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]

    def value(self, name: str, **labels: str) -> float | None:
        """Return the value of the one sample of this name and these labels among its own; None if there is none."""
        found = [s.value for s in self.samples if s.name == name and labels.items() <= s.labels.items()]
        assert len(found) <= 1, f"{name}{labels} is ambiguous"
        return found[0] if found else None

    def number(self, name: str, **labels: str) -> float:
        """Return the same where it must be there."""
        value = self.value(name, **labels)
        assert value is not None, f"{name}{labels} is absent"
        return value

    def names(self, **labels: str) -> set[str]:
        """Return the names of all samples with these labels."""
        return {sample.name for sample in self.samples if labels.items() <= sample.labels.items()}


class RunningExporter:
    """``gpu-energy-exporter`` on a free port, its log in a file."""

    def __init__(self, log: Path, *flags: str, environment: dict[str, str] | None = None) -> None:
        self.log = log
        self.socket = log.with_suffix(".sock")  # the default one is the machine's, and of one exporter only
        usual = ["--web.listen-address", "127.0.0.1:0", "--span.socket", str(self.socket)]
        command = [sys.executable, "-m", "perjoule_exporter", *usual, *flags]
        with log.open("wb") as out:
            self.process = subprocess.Popen(
                command, stdout=out, stderr=subprocess.STDOUT, env={**os.environ, **(environment or {})}
            )

    def ready(self) -> "RunningExporter":
        """Wait until it listens."""
        wait_until(lambda: self.process.poll() is not None or "listening on" in self.text(), "the exporter listens")
        assert self.process.poll() is None, self.text()
        return self

    @property
    def url(self) -> str:
        """Where it listens, as its log says."""
        return self.text().rpartition("listening on ")[2].partition("/metrics")[0]

    def text(self) -> str:
        """Return its log so far."""
        return self.log.read_text(encoding="utf-8")

    def scrape(self) -> Scrape:
        """Scrape it once."""
        return Scrape(request(f"{self.url}/metrics").body.decode())

    def ended(self) -> int:
        """Wait for its end and return the exit code."""
        return self.process.wait(DEADLINE_SECONDS)

    def stop(self) -> int:
        """Ask it to end, and return the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.ended()

    def kill(self) -> None:
        """End it whatever it does."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(DEADLINE_SECONDS)


StartExporter = Callable[..., RunningExporter]
StartClient = Callable[..., subprocess.Popen[bytes]]
