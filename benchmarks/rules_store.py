"""Prometheus with a past written by promtool and a present that it scrapes: how long its rule groups take.

It knows Prometheus's files, flags and API. Which series there are is ``rules_world``'s business.
"""

import http.server
import json
import os
import shutil
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from benchmarks.programs import Program, ProgramError
from benchmarks.rules_world import Series, lines, values
from benchmarks.scraping import free_port

SCRAPE_SECONDS = 30
SHARDS = 4  # targets that the present is spread over
_LINES_A_FILE = 8_000_000  # about 1.6 GB of text
_START_SECONDS = 120.0
_API_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Tools:
    """The binaries of Prometheus."""

    prometheus: str
    promtool: str


def found() -> Tools:
    """Return them.

    Raises:
        ProgramError: they are not installed.
    """
    prometheus, promtool = shutil.which("prometheus"), shutil.which("promtool")
    if prometheus is None or promtool is None:
        raise ProgramError("no prometheus and promtool (Debian: apt install prometheus)")
    return Tools(prometheus, promtool)


@dataclass(frozen=True, slots=True)
class Fleet:
    """Series that grow from a Unix time on."""

    series: Sequence[Series]
    origin: int


def write_past(tools: Tools, folder: Path, fleet: Fleet) -> None:
    """Write the series from their origin until now into ``folder/data``; what passes meanwhile is written, too."""
    slot = max(1, _LINES_A_FILE // len(fleet.series))
    at = fleet.origin
    while at + SCRAPE_SECONDS <= time.time():
        times = range(at, int(time.time()), SCRAPE_SECONDS)[:slot]
        write(tools, folder, lines(fleet.series, fleet.origin, times))
        at = times[-1] + SCRAPE_SECONDS


def write(tools: Tools, folder: Path, pieces: Iterable[str]) -> None:
    """Add OpenMetrics text to ``folder/data`` as blocks."""
    text = folder / "series.om"
    with text.open("w", encoding="utf-8") as file:
        file.writelines(pieces)
        file.write("# EOF\n")
    command = [tools.promtool, "tsdb", "create-blocks-from", "openmetrics", "--quiet", str(text), str(folder / "data")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 (an argument list)
    text.unlink()
    if done.returncode:
        raise ProgramError(f"promtool: {(done.stdout + done.stderr)[-500:]}")


def rules_file(folder: Path, files: Iterable[Path], every: Mapping[str, str]) -> Path:
    """Write one file of the groups of ``every``, each at that interval, so that a slow one is seen more than once."""
    groups = [group for file in files for group in yaml.safe_load(file.read_text(encoding="utf-8"))["groups"]]
    chosen = [group | {"interval": every[group["name"]]} for group in groups if group["name"] in every]
    path = folder / "rules.yml"
    path.write_text(yaml.safe_dump({"groups": chosen}, sort_keys=False), encoding="utf-8")
    return path


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One evaluation of a group: when it began (as Prometheus says it), how long it took, in seconds."""

    group: str
    began: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Store:
    """A running Prometheus."""

    program: Program
    url: str
    config: Path

    def ask(self, route: str, **arguments: str) -> Any:
        """Return the data of an answer of its API."""
        address = f"{self.url}/api/v1/{route}?{urllib.parse.urlencode(arguments)}"
        with urllib.request.urlopen(address, timeout=_API_SECONDS) as got:  # noqa: S310 (our own Prometheus)
            return json.load(got)["data"]

    def vector(self, expression: str) -> list[dict[str, Any]]:
        """Return the vector of an expression now."""
        return list(self.ask("query", query=expression)["result"])

    def number(self, expression: str) -> float:
        """Return the value of an expression that has one; 0 where it has none."""
        return float(next((sample["value"][1] for sample in self.vector(expression)), 0))

    def without_rules(self) -> None:
        """Take the rules away; what they recorded stays for a minute or so."""
        settings = yaml.safe_load(self.config.read_text(encoding="utf-8"))
        self.config.write_text(yaml.safe_dump({**settings, "rule_files": []}), encoding="utf-8")
        os.kill(self.program.pid, signal.SIGHUP)
        end = time.monotonic() + _START_SECONDS
        while self.ask("rules")["groups"]:
            if time.monotonic() > end:
                raise self.program.failed("it keeps its rules")
            time.sleep(0.2)

    def cpu_seconds(self, expression: str) -> float:
        """Return the CPU time that Prometheus takes for an expression, its scrapes and the counting of it included."""
        before = self.program.cpu_seconds()
        self.vector(f"count({expression})")
        return self.program.cpu_seconds() - before

    def evaluations(self) -> list[Evaluation]:
        """Return the last evaluation of each group that had one.

        Raises:
            ProgramError: a rule failed.
        """
        groups = self.ask("rules")["groups"]
        errors = [rule["lastError"] for group in groups for rule in group["rules"] if rule.get("lastError")]
        if errors:
            raise ProgramError(f"a rule failed: {errors[0]}")
        return [
            Evaluation(group["name"], group["lastEvaluation"], group["evaluationTime"])
            for group in groups
            if not group["lastEvaluation"].startswith("0001")
        ]


@contextmanager
def running(tools: Tools, folder: Path, fleet: Fleet, rules: Path) -> Iterator[Store]:
    """Run Prometheus on ``folder/data`` with these rules, scraping the series as they grow on."""
    with _present(fleet) as targets:
        config = folder / "prometheus.yml"
        config.write_text(yaml.safe_dump(_config(rules, targets)), encoding="utf-8")
        address = f"127.0.0.1:{free_port()}"
        flags = [f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}", "--log.level=warn"]
        # Blocks stay as they were written: none is merged with another while a group is timed.
        flags += ["--storage.tsdb.min-block-duration=2h", "--storage.tsdb.max-block-duration=2h"]
        flags += [f"--web.listen-address={address}"]
        program = Program("prometheus", [tools.prometheus, *flags], {}, folder / "prometheus.log")
        try:
            _wait(program, f"http://{address}/-/ready")
            yield Store(program, f"http://{address}", config)
        finally:
            program.stop()


def _config(rules: Path, targets: Sequence[str]) -> dict[str, Any]:
    paths = [
        {"targets": [target], "labels": {"__metrics_path__": f"/{shard}", "shard": str(shard)}}
        for shard, target in enumerate(targets)
    ]
    drop = [{"regex": "shard", "action": "labeldrop"}]  # targets must differ, series must not
    scrape = {"job_name": "fleet", "honor_labels": True, "static_configs": paths, "metric_relabel_configs": drop}
    every = f"{SCRAPE_SECONDS}s"
    return {
        "global": {"scrape_interval": every, "scrape_timeout": every},
        "rule_files": [str(rules)],
        "scrape_configs": [scrape],
    }


@contextmanager
def _present(fleet: Fleet) -> Iterator[list[str]]:
    """Serve the series, spread over targets, and yield the targets' addresses."""
    parts = [fleet.series[shard::SHARDS] for shard in range(SHARDS)]

    class Answers(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            now = values(parts[int(self.path.strip("/"))], fleet.origin, int(time.time()))
            body = "\n".join([*now, ""]).encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = http.server.HTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield [f"127.0.0.1:{server.server_port}"] * SHARDS
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _wait(program: Program, url: str) -> None:
    end = time.monotonic() + _START_SECONDS
    while program.alive() and time.monotonic() < end:
        try:
            with urllib.request.urlopen(url, timeout=2):  # noqa: S310 (our own Prometheus)
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise program.failed("it does not get ready")
