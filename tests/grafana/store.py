"""A real Prometheus filled with the series of ``world``, and with what the rules record from them, level by level."""

import contextlib
import json
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from perjoule_grafana.queries import WINDOWS, Rule, Window
from perjoule_grafana.recording import device_rules
from perjoule_grafana.rules import window_rules
from tests.grafana.world import END, STEP

CONFIG = "scrape_configs: []\n"


@dataclass(frozen=True)
class Store:
    """A running Prometheus, asked at the end of its data."""

    url: str

    def instant(self, expression: str, at: float = END) -> list[dict[str, Any]]:
        """Return the vector (or matrix's last) of ``expression`` at the end, or then; a warning fails."""
        return self._ask("query", query=expression, time=str(at))

    def over(self, expression: str, seconds: int, step: int) -> list[dict[str, Any]]:
        """Return the series of ``expression`` over the ``seconds`` before the end; a warning fails."""
        return self._ask("query_range", query=expression, start=str(END - seconds), end=str(END), step=str(step))

    def _ask(self, route: str, **arguments: str) -> list[dict[str, Any]]:
        with urllib.request.urlopen(
            f"{self.url}/api/v1/{route}?{urllib.parse.urlencode(arguments)}", timeout=20
        ) as got:
            reply = json.load(got)
        assert reply["status"] == "success", reply
        assert not reply.get("warnings"), reply["warnings"]
        return list(reply["data"]["result"])


@dataclass(frozen=True)
class Programs:
    """The binaries of Prometheus."""

    prometheus: Path
    promtool: Path


def fill(
    folder: Path, programs: Programs, lines: Iterable[str], seconds: int = 3600, windows: Sequence[Window] = WINDOWS
) -> None:
    """Write series, and for the last ``seconds`` what is recorded of them, into the data folder ``folder/data``.

    A rule group records everything at the same instants. promtool's own backfill gives each group and file an offset of
    its own, so the recorded series are read by a range query and written like the fleet's.
    """
    write(folder, programs.promtool, lines)
    for rules in levels(windows):
        with running(folder, programs.prometheus) as store:
            recorded = [line for rule in rules for line in _recorded(store, rule, seconds)]
        write(folder, programs.promtool, [*recorded, "# EOF"])


def levels(windows: Sequence[Window]) -> list[list[Rule]]:
    """Return the rules in levels, each of which needs only what the levels before it record."""
    rules = [*device_rules(), *(rule for window in windows for rule in window_rules(window))]
    depth: dict[str, int] = {}
    for rule in rules:  # written in the order in which they build upon each other
        depth[rule.record] = 1 + max((depth[name] for name in depth if name in rule.expr), default=-1)
    return [[rule for rule in rules if depth[rule.record] == level] for level in range(max(depth.values()) + 1)]


def _recorded(store: Store, rule: Rule, seconds: int) -> Iterator[str]:
    for series in store.over(rule.expr, seconds, STEP):
        pairs = ",".join(f'{key}="{value}"' for key, value in series["metric"].items() if key != "__name__")
        for at, value in series["values"]:
            yield f"{rule.record}{{{pairs}}} {value} {at}"


def write(folder: Path, promtool: Path, lines: Iterable[str]) -> None:
    """Add lines of OpenMetrics text to the data folder ``folder/data``."""
    text = folder / "series.om"
    text.write_text("\n".join(lines) + "\n")
    _run(promtool, "tsdb", "create-blocks-from", "openmetrics", "--quiet", text, folder / "data")


@contextmanager
def running(folder: Path, prometheus: Path) -> Iterator[Store]:
    """Run Prometheus on ``folder/data`` and stop it afterwards."""
    (folder / "prometheus.yml").write_text(CONFIG)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    config, data = f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}"
    command: list[str | Path] = [prometheus, config, data, f"--web.listen-address={address}", "--log.level=error"]
    with (folder / "prometheus.log").open("ab") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        _wait(f"http://{address}/-/ready", process, folder / "prometheus.log")
        yield Store(f"http://{address}")
    finally:
        process.terminate()
        process.wait(20)


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=2):
            return
        time.sleep(0.05)
    raise AssertionError(f"Prometheus did not become ready: {log.read_text()}")


def _run(*command: str | Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
