"""The command ``perjoule-grafana``."""

import subprocess
import sys
from pathlib import Path

import pytest

from perjoule_grafana.__main__ import main
from perjoule_grafana.generate import generated_files

DASHBOARD = "grafana/dashboards/energy-per-inference.json"
RULES = "prometheus/rules/energy.yml"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """An empty checkout: the folders that generated files go into."""
    for folder in ("grafana/dashboards", "prometheus/rules"):
        (tmp_path / folder).mkdir(parents=True)
    return tmp_path


def test_generate_writes_every_file_and_names_it(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The first run writes all files and prints their paths."""
    assert main(["generate", "--root", str(checkout)]) == 0
    assert sorted(capsys.readouterr().out.split()) == sorted(generated_files())
    assert {path: (checkout / path).read_text() for path in generated_files()} == generated_files()


def test_generate_twice_changes_nothing(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A second run finds all files as they should be and touches none."""
    main(["generate", "--root", str(checkout)])
    before = {path: (checkout / path).stat().st_mtime_ns for path in generated_files()}
    capsys.readouterr()
    assert main(["generate", "--root", str(checkout)]) == 0
    assert capsys.readouterr().out == ""
    assert {path: (checkout / path).stat().st_mtime_ns for path in generated_files()} == before


def test_check_names_what_is_out_of_date_and_writes_nothing(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``--check`` exits 1, names missing and edited files, and leaves them as they are."""
    main(["generate", "--root", str(checkout)])
    (checkout / DASHBOARD).unlink()
    (checkout / RULES).write_text("groups: []\n")
    capsys.readouterr()
    assert main(["generate", "--check", "--root", str(checkout)]) == 1
    printed = capsys.readouterr().err
    assert DASHBOARD in printed
    assert RULES in printed
    assert printed.count("\n") == 1
    assert not (checkout / DASHBOARD).exists()
    assert (checkout / RULES).read_text() == "groups: []\n"


def test_check_of_the_repository_passes(capsys: pytest.CaptureFixture[str]) -> None:
    """The committed files are the generated ones, and the command finds its own checkout."""
    assert main(["generate", "--check"]) == 0
    assert capsys.readouterr().err == ""


def test_a_folder_that_is_no_checkout_is_a_usage_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2 and one line that says what is missing."""
    assert main(["generate", "--root", str(tmp_path)]) == 2
    assert "has no grafana/dashboards" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_is_one_line(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 1, no traceback."""
    (checkout / RULES).mkdir()
    assert main(["generate", "--root", str(checkout)]) == 1
    printed = capsys.readouterr().err
    assert printed.startswith("perjoule-grafana: ")
    assert printed.count("\n") == 1


def test_a_missing_extra_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without the SDK the command exits 2 with the pip line, and ``--help`` works all the same."""
    for module in [name for name in sys.modules if name.startswith(("perjoule_grafana.", "grafana_foundation_sdk"))]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.delattr("perjoule_grafana.generate", raising=False)
    monkeypatch.setitem(sys.modules, "grafana_foundation_sdk", None)  # importing it now fails as if it were not there
    assert main(["generate", "--check"]) == 2
    assert "pip install 'perjoule[grafana]'" in capsys.readouterr().err
    with pytest.raises(SystemExit) as stopped:
        main(["--help"])
    assert stopped.value.code == 0


@pytest.mark.parametrize(
    ("arguments", "code"), [(["--version"], 0), (["generate", "--help"], 0), ([], 2), (["paint"], 2)]
)
def test_usage(arguments: list[str], code: int) -> None:
    """Help and version exit 0; a missing or unknown command exits 2."""
    done = subprocess.run([sys.executable, "-m", "perjoule_grafana", *arguments], capture_output=True, check=False)
    assert done.returncode == code
