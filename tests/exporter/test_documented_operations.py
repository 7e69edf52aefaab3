"""What docs/operations.md tells to write into files, held against those who read them."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from perjoule_exporter.config import parse

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/operations.md").read_text(encoding="utf-8")


def block(title: str, word: str) -> str:
    """Return the one indented block below a title that holds ``word``, without its indentation."""
    text = re.split(rf"^###? {title}$", PAGE, flags=re.MULTILINE)[1]
    text = re.split(r"^##", text, maxsplit=1, flags=re.MULTILINE)[0]
    (found,) = [one for one in re.findall(r"(?:^    .*\n|^\n)+", text, re.MULTILINE) if word in one]
    return re.sub(r"^    ", "", found, flags=re.MULTILINE)


@pytest.mark.prometheus
def test_prometheus_takes_its_part(tmp_path: Path, promtool: Path) -> None:
    """With the rules beside it, and the label by which they join."""
    text = block(r"5\. Prometheus and the rules", "scrape_configs:")
    (job,) = yaml.safe_load(text)["scrape_configs"]
    assert (job["job_name"], list(job["static_configs"][0]["labels"])) == ("gpu-energy-exporter", ["node"])
    (tmp_path / "prometheus.yml").write_text(text, encoding="utf-8")
    (tmp_path / "rules").mkdir()
    for rules in (ROOT / "prometheus/rules").glob("*.yml"):
        shutil.copy(rules, tmp_path / "rules")
    for name in ("perjoule.crt", "perjoule.password"):
        (tmp_path / name).touch()
    command = f"{promtool} check config {tmp_path}/prometheus.yml"
    done = subprocess.run(command.split(), capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, "3 rule files found" in done.stdout) == (0, True), done.stdout + done.stderr


def test_every_rule_file_is_named() -> None:
    """Each is installed by a command and explained, and so is Alertmanager's file."""
    for path in [*(ROOT / "prometheus/rules").glob("*.yml"), ROOT / "alertmanager.yml"]:
        name = str(path.relative_to(ROOT))
        assert re.search(rf"^    install .*{re.escape(name)}", PAGE, re.MULTILINE), name
        assert f"| `{name}` |" in PAGE


def test_the_exporter_takes_its_part(tmp_path: Path) -> None:
    """The lines that open it to another machine."""
    path = tmp_path / "exporter.toml"
    path.write_text(block(r"4\. Let another machine read it: TLS and a password", "web.config.file"), encoding="utf-8")
    config = parse(["--config.file", str(path)])
    assert (config.address.port, config.web_config_file) == (10101, Path("/etc/perjoule/web.yml"))


def test_the_files_that_it_installs_are_there() -> None:
    """Each that is named below the clone."""
    lines = re.findall(r"^    install (.*?)(?:#.*)?$", PAGE, re.MULTILINE)
    ours = re.compile(r"(?:deploy/|docs/|prometheus/|alertmanager\.)\S+")
    named = [word for line in lines for word in line.split() if ours.match(word)]
    assert len(named) == 8
    assert [name for name in named if not (ROOT / name).is_file()] == []
