"""A load-test run as a region on every dashboard: an annotation from its ``run.json``.

Reads documents ``perjoule.run/1`` and knows nothing of how they came about. An annotation that is there already, of the
same times and tags, is left alone.
"""

import html
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from perjoule.errors import UsageError
from perjoule_grafana.frame import RUN_TAGS
from perjoule_grafana.server import Grafana

SCHEMA = "perjoule.run/1"


@dataclass(frozen=True, slots=True)
class Region:
    """An annotation: Unix times in milliseconds, tags, and text (HTML, as Grafana shows it)."""

    start: int
    end: int
    tags: tuple[str, ...]
    text: str


def regions(run: Path) -> Iterator[Region]:
    """Yield the regions of a ``run.json``, of the folder that holds it, or of every run in a campaign's folder.

    Raises:
        UsageError: there is no run, or what is there is none.
    """
    files = [run] if run.is_file() else [run / "run.json"] if (run / "run.json").is_file() else _below(run)
    if not files:
        raise UsageError(f"{run} holds no run.json: name a run's folder, or the file")
    for file in files:
        yield _region(_document(file), file)


def annotate(grafana: Grafana, region: Region) -> bool:
    """Write the annotation; return whether there was something to write."""
    api = grafana.api.annotations
    what = "the annotation"
    there = grafana.rows(
        what, api.find_annotations, time_from=region.start, time_to=region.end, tags=RUN_TAGS, limit=1000
    )
    if any(_same(each, region) for each in there):
        return False
    times = {"time_from": region.start, "time_to": region.end}
    grafana.document(what, api.add_annotation, **times, tags=list(region.tags), text=region.text)
    return True


def _below(folder: Path) -> list[Path]:
    return sorted(folder.glob("*/run.json"))


def _document(file: Path) -> dict[str, Any]:
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UsageError(f"{file} cannot be read: {error}") from error
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        raise UsageError(f"{file} is no run of loadgen: its schema is not {SCHEMA}")
    return document


def _region(run: Mapping[str, Any], file: Path) -> Region:
    try:
        start, end = (round(float(run["window"][edge]) * 1000) for edge in ("start", "end"))
        task, model, verdict = (str(run[key]) for key in ("task", "model", "verdict"))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise UsageError(f"{file} has no window, task, model or verdict: {error!r}") from error
    if end <= start:
        raise UsageError(f"{file} has a window that ends before it begins: nothing was measured")
    tags = (*RUN_TAGS, f"task:{task}", f"verdict:{verdict}")
    return Region(start, end, tags, _text(run, task, model, verdict))


def _text(run: Mapping[str, Any], task: str, model: str, verdict: str) -> str:
    """Return what is read when one points at the region."""
    lines = [f"<b>{html.escape(task)}</b> {html.escape(model)}: {html.escape(verdict.upper())}"]
    lines += [html.escape(str(run["banner"]))] if run.get("banner") else []
    gross = (run.get("joules_per_inference") or {}).get("gross")
    if isinstance(gross, dict) and isinstance(gross.get("value"), int | float):
        lines.append(f"{gross['value']:.3g} J per inference, gross")
    lines += [html.escape(str(reason)) for reason in run.get("reasons") or ()]
    return "<br>".join(lines)


def _same(there: Mapping[str, Any], region: Region) -> bool:
    """Tell whether this is the region's annotation, whoever wrote it."""
    edges = (there.get("time"), there.get("timeEnd"))
    task = {tag for tag in there.get("tags") or () if str(tag).startswith("task:")}
    return edges == (region.start, region.end) and task <= set(region.tags)
