"""Writes the generated files (dashboards, rules) into a checkout, or tells which of them are out of date."""

from collections.abc import Mapping
from pathlib import Path

from perjoule.errors import UsageError
from perjoule_grafana.dashboards import dashboard_files
from perjoule_grafana.rules import rule_files


def generated_files() -> dict[str, str]:
    """Return every generated file: path from the repository's root, and text."""
    return {**rule_files(), **dashboard_files()}


def checkout(root: Path | None = None) -> Path:
    """Return the checkout to write into: ``root``, else the one that this package lies in.

    Raises:
        UsageError: there is no checkout (the package was installed from a wheel).
    """
    folder = root or Path(__file__).resolve().parents[2]
    if not (folder / "grafana" / "dashboards").is_dir():
        raise UsageError(f"{folder} has no grafana/dashboards: name the root of a checkout with --root")
    return folder


def write(files: Mapping[str, str], root: Path) -> list[str]:
    """Write the files whose text changed; return their paths."""
    changed = stale(files, root)
    for path in changed:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(files[path], encoding="utf-8")
    return changed


def stale(files: Mapping[str, str], root: Path) -> list[str]:
    """Return the paths of the files that are missing or differ from what is generated now."""
    return [path for path, text in files.items() if not _holds(root / path, text)]


def _holds(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text(encoding="utf-8") == text
