"""Golden ``/metrics``: whole scrapes of scripted machines, byte for byte, in both formats.

    UPDATE_GOLDEN=1 python -m pytest tests/exporter/test_collector_golden.py

writes the files anew; their diff is the review.
"""

import os
import subprocess
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from perjoule_exporter.collector import registry
from perjoule_exporter.exposition import choose
from tests.exporter.golden.cases import CASES

FOLDER = Path(__file__).with_name("golden")
FORMATS = {"prom": "text/plain", "openmetrics": "application/openmetrics-text"}
FILES = [f"{name}.{suffix}" for name in CASES for suffix in FORMATS]


@pytest.fixture(autouse=True)
def _one_version_and_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """What changes with the release and the machine is told here."""
    monkeypatch.setattr("perjoule_exporter.collector.collect.__version__", "1.2.3")
    monkeypatch.setenv("NODE_NAME", "node-7")


def exposed(file: str, folder: Path) -> bytes:
    name, _, suffix = file.rpartition(".")
    case = CASES[name]
    views = case.sampled(folder)
    return choose(FORMATS[suffix]).encode(registry(lambda: views, lambda: case.factors, lambda: case.groups))


@pytest.mark.parametrize("file", FILES)
def test_scrapes_are_as_reviewed(file: str, tmp_path: Path) -> None:
    """Every byte of what these machines expose was looked at."""
    found = exposed(file, tmp_path)
    if os.environ.get("UPDATE_GOLDEN"):
        (FOLDER / file).write_bytes(found)
    assert found.decode() == (FOLDER / file).read_text(encoding="utf-8")


def test_every_golden_file_has_a_machine() -> None:
    """None is left over."""
    assert {path.name for path in FOLDER.iterdir() if path.suffix in {".prom", ".openmetrics"}} == set(FILES)


@pytest.mark.prometheus
@pytest.mark.parametrize("name", CASES)
def test_promtool_accepts_golden_files(name: str, promtool: Path) -> None:
    """``promtool check metrics`` has nothing to say but about names that are dcgm-exporter's.

    And of ``inference_counter_…``, which is the energy that a device's counter saw, and no type.
    """
    body = (FOLDER / f"{name}.prom").read_bytes()
    check = subprocess.run([promtool, "check", "metrics"], input=body, capture_output=True, check=False, timeout=20)
    said = (check.stdout + check.stderr).decode().splitlines()
    assert [line for line in said if not line.startswith(("DCGM_FI_", "inference_counter_energy_joules_total "))] == []
    assert (check.returncode == 0) == (not said)


@pytest.mark.parametrize("name", CASES)
def test_the_strict_parser_accepts_golden_files(name: str) -> None:
    """OpenMetrics as client_python's own parser wants it: order, suffixes, units and the end."""
    text = (FOLDER / f"{name}.openmetrics").read_text(encoding="utf-8")
    assert list(text_string_to_metric_families(text))  # type: ignore[no-untyped-call] # not typed there
