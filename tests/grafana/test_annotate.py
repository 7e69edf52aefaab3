"""``perjoule-grafana annotate``: a run's window as a region, once."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from perjoule_grafana.__main__ import main
from perjoule_grafana.frame import RUN_TAGS
from tests.grafana.recording_grafana import TOKEN, RecordingGrafana, serving

RUN: dict[str, Any] = {
    "schema": "perjoule.run/1",
    "verdict": "invalid",
    "reasons": ["errors 2 % > 1 %"],
    "task": "summarization",
    "model": "a<b>/bart",
    "window": {"start": 1_750_000_000.25, "end": 1_750_000_060.5},
    "joules_per_inference": {"gross": {"value": 1.2345, "low": 1.0, "high": 1.5}, "active": None},
}


@pytest.fixture
def grafana(monkeypatch: pytest.MonkeyPatch) -> Iterator[RecordingGrafana]:
    """An empty Grafana, whose token is in the environment."""
    monkeypatch.setenv("GRAFANA_TOKEN", TOKEN)
    with serving() as server:
        yield server


def written(folder: Path, **changes: Any) -> Path:
    """Write a run's folder and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "run.json").write_text(json.dumps({**RUN, **changes}))
    return folder


def annotate(grafana: RecordingGrafana, run: Path) -> int:
    """Run the command against the server."""
    return main(["annotate", str(run), "--url", grafana.url])


def test_a_run_is_a_region_on_all_dashboards(grafana: RecordingGrafana, tmp_path: Path) -> None:
    """Its window in milliseconds, the tags that the dashboards ask for, and what it found; names cannot be HTML."""
    assert annotate(grafana, written(tmp_path)) == 0
    (request,) = grafana.written()
    assert (request.body["time"], request.body["timeEnd"]) == (1_750_000_000_250, 1_750_000_060_500)
    assert set(RUN_TAGS) <= set(request.body["tags"])
    assert "task:summarization" in request.body["tags"]
    assert request.body.get("dashboardUID") is None
    assert request.body["text"] == (
        "<b>summarization</b> a&lt;b&gt;/bart: INVALID<br>1.23 J per inference, gross<br>errors 2 % &gt; 1 %"
    )


def test_a_run_is_annotated_once(grafana: RecordingGrafana, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The second time it is there; the file may be named as well as its folder."""
    run = written(tmp_path)
    annotate(grafana, run)
    assert annotate(grafana, run / "run.json") == 0
    assert len(grafana.annotations) == 1
    assert "unchanged" in capsys.readouterr().out


def test_another_task_in_the_same_window_is_another_region(grafana: RecordingGrafana, tmp_path: Path) -> None:
    """Two load generators may run side by side."""
    annotate(grafana, written(tmp_path / "a"))
    annotate(grafana, written(tmp_path / "b", task="fill-mask"))
    assert len(grafana.annotations) == 2


def test_a_campaign_is_annotated_run_by_run(grafana: RecordingGrafana, tmp_path: Path) -> None:
    """A folder of runs is as many regions."""
    written(tmp_path / "summarization")
    written(tmp_path / "fill-mask", task="fill-mask", window={"start": 1.0, "end": 2.0})
    assert annotate(grafana, tmp_path) == 0
    assert {tag for each in grafana.annotations for tag in each["tags"] if tag.startswith("task:")} == {
        "task:summarization", "task:fill-mask",
    }  # fmt: skip


def test_a_simulated_run_says_so(grafana: RecordingGrafana, tmp_path: Path) -> None:
    """The banner of the run is in the text."""
    annotate(grafana, written(tmp_path, banner="SIMULATED: no hardware was measured"))
    assert "SIMULATED" in grafana.annotations[0]["text"]


def test_a_run_without_energy_has_no_figure(grafana: RecordingGrafana, tmp_path: Path) -> None:
    """Absent, not 0."""
    annotate(grafana, written(tmp_path, joules_per_inference={"gross": None}, reasons=[]))
    assert grafana.annotations[0]["text"] == "<b>summarization</b> a&lt;b&gt;/bart: INVALID"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, "holds no run.json"),
        ("{", "cannot be read"),
        ("[]", "its schema is not"),
        ('{"schema": "perjoule.run/2"}', "its schema is not"),
        ('{"schema": "perjoule.run/1"}', "has no window"),
        (json.dumps({**RUN, "window": {"start": None, "end": 1}}), "has no window"),
        (json.dumps({**RUN, "window": {"start": 2.0, "end": 2.0}}), "ends before it begins"),
    ],
)
def test_what_is_no_run_is_a_usage_error(
    grafana: RecordingGrafana, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str | None, expected: str
) -> None:
    """Exit code 2 and one line; Grafana is not asked."""
    if text is not None:
        (tmp_path / "run.json").write_text(text)
    assert annotate(grafana, tmp_path) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert expected in line
    assert grafana.asked == []


def test_a_viewer_s_token_is_explained(
    grafana: RecordingGrafana, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """403: exit code 1, and which role it takes."""
    grafana.instead["POST", "/api/annotations"] = (403, {"message": "Access denied"})
    assert annotate(grafana, written(tmp_path)) == 1
    assert "Editor" in capsys.readouterr().err
