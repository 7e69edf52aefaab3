"""The study's 30 datasets by name: the first 1,000 rows of each, cut and resized as the study did.

Which they are, where the hub has them and in which columns is in ``data/datasets.csv``; names, tasks and cuts are the
study's ("Power Hungry Processing", section 3.2 and its repository), places on the hub are those of 2025. The library
``datasets`` reads them; loading scripts are never run. These are the only requests beside those to the target.
"""

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from itertools import islice
from types import MappingProxyType
from typing import Any

from perjoule.errors import MissingExtraError, UsageError
from perjoule_loadgen.inputs import Item, media_item, text_item

ROWS = 1000
"""As many as the study drew of each."""
_SIZE = (640, 480)
_PROMPT_WORDS = 50
_FIRST_WORDS = 20
_LOCAL = MappingProxyType({"val": "validation"})
"""What files of a split are taken for where nobody says otherwise, as a repository does."""
_ZERO_SHOT = "zero-shot-"
_LABELS = MappingProxyType({"candidate_labels": ["positive", "negative"]})


@dataclass(frozen=True, slots=True)
class StudySet:
    """One dataset for one task.

    Attributes:
        task: workload id.
        dataset: as the study calls it.
        name: as ``--dataset`` does.
        hub: where the hub has it.
        config: which part of it, empty for its only one.
        split: which rows.
        columns: that make an input.
        revision: branch, empty for the main one.
        note: what to know of it.
    """

    task: str
    dataset: str
    name: str
    hub: str
    config: str
    split: str
    columns: tuple[str, ...]
    revision: str
    note: str


@cache
def study_sets() -> tuple[StudySet, ...]:
    """Return all of them."""
    text = (resources.files(__package__) / "data" / "datasets.csv").read_text(encoding="utf-8")
    rows = csv.DictReader(io.StringIO(text))
    return tuple(
        StudySet(
            row["task"], row["dataset"], row["name"], row["hub"], row["config"], row["split"],
            tuple(row["columns"].split()), row["revision"], row["note"],
        )
        for row in rows
    )  # fmt: skip


def study_set(task: str, name: str) -> StudySet:
    """Return the dataset called ``name`` for ``task``; a zero-shot task has those of the task itself.

    Raises:
        UsageError: the task has none of that name; the message lists what it has.
    """
    own = [one for one in study_sets() if one.task == task.removeprefix(_ZERO_SHOT)]
    found = next((one for one in own if one.name == name), None)
    if found is None:
        there = ", ".join(one.name for one in own) or "none: the study did not measure it"
        raise UsageError(f"--dataset: {task} has no {name!r}; it has {there}")
    return found


def load_study_set(task: str, name: str, place: str | None = None) -> tuple[Item, ...]:
    """Return the inputs of a dataset; from ``place``, a folder of files of the same columns, instead of the hub's.

    Raises:
        UsageError: no such dataset for the task, or it cannot be read.
        MissingExtraError: ``datasets`` is not installed.
    """
    spec = study_set(task, name)
    items = tuple(islice(_items(task, spec, _rows(spec, place)), ROWS))
    if not items:
        raise UsageError(f"--dataset {name}: no row of it holds anything in {', '.join(spec.columns)}")
    return items


def _rows(spec: StudySet, place: str | None) -> Iterator[Mapping[str, Any]]:
    try:
        import datasets
        from datasets.exceptions import DatasetsError
    except ModuleNotFoundError as error:
        raise MissingExtraError("loadgen --dataset", "datasets", error.name or "datasets") from error
    try:
        if place is not None:
            yield from datasets.load_dataset(place, split=_LOCAL.get(spec.split, spec.split), streaming=True)
        else:
            yield from datasets.load_dataset(
                spec.hub, spec.config or None, split=spec.split, streaming=True, revision=spec.revision or None
            )
    except (DatasetsError, OSError, ValueError, RuntimeError) as error:
        said = " ".join(str(error).split())[:200]
        hint = f" ({spec.note})" if spec.note else ""
        raise UsageError(f"--dataset {spec.name}: {place or spec.hub} cannot be read{hint}: {said}") from error


def _items(task: str, spec: StudySet, rows: Iterable[Mapping[str, Any]]) -> Iterator[Item]:
    make = _MAKERS.get(spec.task, _text)
    for number, row in enumerate(rows):
        missing = [column for column in spec.columns if column not in row]
        if missing:
            raise UsageError(f"--dataset {spec.name}: no column {missing[0]}; there are {', '.join(row)}")
        item = make(f"{spec.name}:{number}", [row[column] for column in spec.columns])
        if item is not None:
            yield _labelled(item) if task == "zero-shot-text-classification" else item


def _labelled(item: Item) -> Item:
    return Item(item.label, item.payload, parameters=_LABELS)


def _words(value: Any) -> str:
    """Return a text on one line; tokens are joined."""
    return " ".join((" ".join(map(str, value)) if isinstance(value, list) else str(value or "")).split())


def _text(label: str, values: list[Any]) -> Item | None:
    text = _words(values[0])
    return text_item(label, text) if text else None


def _first(words: int) -> Callable[[str, list[Any]], Item | None]:
    return lambda label, values: _text(label, [_words(values[0]).split()[:words]])


def _masked(label: str, values: list[Any]) -> Item | None:
    """The word in the middle is to be found: the study does not say which one it hid."""
    words = _words(values[0]).split()[:_FIRST_WORDS]
    if len(words) < 2:  # noqa: PLR2004 (a mask, and something to find it by)
        return None
    words[len(words) // 2] = "[MASK]"
    return text_item(label, " ".join(words))


def _question(label: str, values: list[Any]) -> Item | None:
    question, context = map(_words, values)
    return text_item(label, {"question": question, "context": context}) if question and context else None


def _image(label: str, values: list[Any]) -> Item | None:
    """A picture of 640×480, whatever its own size, as the study had them."""
    out = io.BytesIO()
    values[0].convert("RGB").resize(_SIZE).save(out, "JPEG", quality=95)
    return media_item(label, out.getvalue())


_MAKERS: Mapping[str, Callable[[str, list[Any]], Item | None]] = MappingProxyType(
    {
        "fill-mask": _masked,
        "text-generation": _first(_FIRST_WORDS),
        "text-to-image": _first(_PROMPT_WORDS),
        "question-answering": _question,
        **dict.fromkeys(("image-classification", "object-detection", "image-to-text"), _image),
    }
)
