"""A stub server and a stub exporter for every test that asks, and ``loadgen`` run against them with short windows."""

import dataclasses
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from perjoule_loadgen.__main__ import main
from perjoule_loadgen.config import Rules
from tests.loadgen.stubs import Exporter, Power, Server, Site, exporter_app, server_app

SHORT = Rules(
    min_window_seconds=0.5, min_window_ticks=10, poll_seconds=0.03, edge_poll_seconds=0.01, edge_seconds=1.0,
    dead_server_seconds=0.3, ready_seconds=0.5, settle_seconds=0.2, max_lag_seconds=0.25,
)  # fmt: skip
"""The rules with windows of half a second; the lag's limit is for a busy machine that oversleeps."""


@dataclasses.dataclass
class Bench:
    """Both stubs, running."""

    server: Server
    exporter: Exporter
    target: Site
    energy: Site
    folder: Path

    def loadgen(self, *arguments: str, rules: Rules = SHORT) -> int:
        """Run ``loadgen`` in this process, into a new folder; return its exit code."""
        shutil.rmtree(self.folder / "out", ignore_errors=True)
        urls = ["--target", self.target.url, "--energy", self.energy.url]
        short = ["--warmup", "0.1s", "--idle", "0.3s", "--output", str(self.folder / "out")]
        return main([*urls, *short, *arguments], rules)

    def run(self, *arguments: str, rules: Rules = SHORT) -> tuple[int, dict[str, Any]]:
        """Measure summarization for 0.6 s; return exit code and ``run.json``."""
        code = self.loadgen("--task", "summarization", "--duration", "0.6s", *arguments, rules=rules)
        return code, json.loads((self.folder / "out" / "run.json").read_text())


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """Stubs with one board, the server on it."""
    power = Power()
    server, exporter = Server(power), Exporter(power)
    target, energy = Site(server_app(server)), Site(exporter_app(exporter))
    yield Bench(server, exporter, target, energy, tmp_path)
    target.close()
    energy.close()
