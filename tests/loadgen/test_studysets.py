"""The study's datasets: all 30 are named, and files of the same columns become the inputs that the study had."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import datasets
import pytest
from PIL import Image

from perjoule.errors import UsageError
from perjoule.workloads import WORKLOADS, Modality, Paradigm
from perjoule_loadgen.media import image_size
from perjoule_loadgen.studysets import ROWS, StudySet, load_study_set, study_set, study_sets
from tests.loadgen.conftest import Bench

LONG = "Heat pumps move warmth from cold air into a house and need far less power than a heater does today in winter"


def value(spec: StudySet, column: str) -> Any:
    """A value of the kind that the dataset has there."""
    if WORKLOADS[spec.task].input is Modality.IMAGE:
        return Image.new("RGB", (32, 24), (200, 10, 10))
    return LONG.split() if column == "tokens" else LONG


def folder(spec: StudySet, path: Path, rows: int = 3) -> str:
    """Write a Parquet file of the same columns, and one more, as the hub has them."""
    columns = {column: [value(spec, column) for _ in range(rows)] for column in spec.columns}
    made = datasets.Dataset.from_dict({**columns, "label": [0] * rows})
    if WORKLOADS[spec.task].input is Modality.IMAGE:
        made = made.cast_column(spec.columns[0], datasets.Image())
    path.mkdir()
    made.to_parquet(path / f"{spec.split}-00000-of-00001.parquet")
    return str(path)


def test_all_are_named() -> None:
    """Three for each of the study's ten tasks, each name once a task, and every one with a place and a split."""
    counts = Counter(spec.task for spec in study_sets())
    tasks = [task.id for task in WORKLOADS.values() if task.paradigm is Paradigm.TASK_SPECIFIC]
    assert counts == dict.fromkeys(tasks, 3)
    assert len({(spec.task, spec.name) for spec in study_sets()}) == 30
    assert all(spec.hub.count("/") == 1 and spec.split and spec.columns for spec in study_sets())


def test_the_document_lists_them() -> None:
    """docs/inputs.md has every name in the row of its task."""
    text = (Path(__file__).parents[2] / "docs" / "inputs.md").read_text(encoding="utf-8")
    rows = {line.split("|")[1].strip(): line for line in text.splitlines() if line.startswith("| ")}
    assert all(f"`{spec.name}`" in rows[spec.task] for spec in study_sets())


@pytest.mark.parametrize("spec", study_sets(), ids=lambda spec: f"{spec.task}-{spec.name}")
def test_files_of_its_shape_are_read(spec: StudySet, tmp_path: Path) -> None:
    """Through the library that reads the hub: every row an input, cut as the study cut it."""
    items = load_study_set(spec.task, spec.name, folder(spec, tmp_path / "files"))
    assert len(items) == 3
    if WORKLOADS[spec.task].input is Modality.IMAGE:
        assert {(item.media_type, image_size(item.payload)) for item in items} == {("image/jpeg", (640, 480))}
        return
    sent = json.loads(items[0].payload)
    expected: dict[str, Any] = {
        "fill-mask": " ".join([*LONG.split()[:10], "[MASK]", *LONG.split()[11:20]]),
        "text-generation": " ".join(LONG.split()[:20]),
        "question-answering": {"question": LONG, "context": LONG},
    }
    assert sent == expected.get(spec.task, LONG)


def lines(path: Path, *rows: dict[str, Any]) -> str:
    path.mkdir()
    (path / "test.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    return str(path)


def test_zero_shot_tasks_have_the_task_s_own(tmp_path: Path) -> None:
    """The same rows; classification has the labels of sentiment."""
    place = lines(tmp_path / "x", {"text": "Fine.", "label": 1})
    (item,) = load_study_set("zero-shot-text-classification", "imdb", place)
    assert item.parameters == {"candidate_labels": ["positive", "negative"]}
    assert study_set("zero-shot-summarization", "xsum") == study_set("summarization", "xsum")


def test_empty_rows_are_left_out_and_a_thousand_are_enough(tmp_path: Path) -> None:
    """As WikiText has them between its paragraphs."""
    rows = [{"text": "" if number % 2 else f"row {number}"} for number in range(3 * ROWS)]
    items = load_study_set("text-generation", "wikitext", lines(tmp_path / "x", *rows))
    assert len(items) == ROWS
    assert json.loads(items[1].payload) == "row 2"
    with pytest.raises(UsageError, match="no row of it holds anything in text"):
        load_study_set("text-generation", "wikitext", lines(tmp_path / "y", {"text": " "}))


def test_what_cannot_be_read(tmp_path: Path) -> None:
    """Another column, no folder, and no file of the split are told with what there is."""
    with pytest.raises(UsageError, match=r"--dataset imdb: no column text; there are words"):
        load_study_set("text-classification", "imdb", lines(tmp_path / "x", {"words": "a"}))
    with pytest.raises(UsageError, match=r"--dataset imdb: .*none cannot be read"):
        load_study_set("text-classification", "imdb", str(tmp_path / "none"))
    with pytest.raises(UsageError, match=r"--dataset squad: .*x cannot be read"):
        load_study_set("question-answering", "squad", str(tmp_path / "x"))


@pytest.mark.parametrize(
    ("task", "name", "says"),
    [("text-classification", "squad", "has no 'squad'; it has imdb, rotten-tomatoes, sst-2"),
     ("automatic-speech-recognition", "squad", "none: the study did not measure it")],
)  # fmt: skip
def test_names_that_a_task_has_not(task: str, name: str, says: str) -> None:
    """The message lists those that it has."""
    with pytest.raises(UsageError, match=says):
        study_set(task, name)


def test_a_run_with_a_dataset(bench: Bench, tmp_path: Path) -> None:
    """Its rows are what is sent."""
    place = lines(tmp_path / "x", {"article": "One."}, {"article": "Two."})
    code, run = bench.run(
        "--dataset", "cnn-dailymail", "--dataset-from", place, "--warmup", "0", "--idle", "0"
    )  # fmt: skip
    assert (code, run["work"]["inputs"]) == (0, "dataset cnn-dailymail")
    assert {body["inputs"] for body in bench.server.bodies} == {"One.", "Two."}
