"""The study's 88 models by name: which workloads each serves, under which repository, and what stands in its way.

Facts are in ``study.toml``. Knows nothing of this machine's disk.
"""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from importlib.util import find_spec
from types import MappingProxyType

from perjoule.errors import UsageError
from perjoule.workloads import WORKLOADS, Paradigm
from perjoule_server.tasks.base import ModelSpec

ZERO_SHOT = tuple(each.id for each in WORKLOADS.values() if each.paradigm is Paradigm.ZERO_SHOT)
"""The three workloads of each multi-purpose model."""


@dataclass(frozen=True, slots=True)
class StudyModel:
    """One model of the study.

    Attributes:
        name: the study's name, which is also its id here.
        repository: its name on the hub today.
        type: ``model_type`` of its configuration, ``diffusers`` for a pipeline.
        tasks: workloads that it serves.
        parameters: as the study's repository counts them, without the head; None where it does not tell.
        needs: a package that it needs beside ours; None where it needs none.
        refused: why it cannot be served; None where it can.
        default: whether it is its workloads' default.
    """

    name: str
    repository: str
    type: str
    tasks: tuple[str, ...]
    parameters: int | None = None
    needs: str | None = None
    refused: str | None = None
    default: bool = False

    def ids(self) -> dict[str, str]:
        """Return its model id for each workload: its name, with the workload where it serves several."""
        if len(self.tasks) == 1:
            return {self.tasks[0]: self.name}
        return {task: f"{self.name}/{task}" for task in self.tasks}


@cache
def models() -> Mapping[str, StudyModel]:
    """Return the 88 models by the study's names."""
    tables = tomllib.loads(files("perjoule_server.profiles").joinpath("study.toml").read_text(encoding="utf-8"))
    found = {}
    for task, rows in tables.items():
        tasks = ZERO_SHOT if task == "zero-shot" else (task,)
        for row in rows:
            found[row["name"]] = StudyModel(**{"repository": row["name"], **row}, tasks=tasks)
    return MappingProxyType(found)


def renamed() -> Mapping[str, str]:
    """Return the repositories that have another name today: the study's name to the hub's."""
    return {model.name: model.repository for model in models().values() if model.repository != model.name}


def specs(tasks: Sequence[str], named: Sequence[str]) -> list[ModelSpec]:
    """Return the default model of each workload, or the models named (``all``: every one that can be served).

    Raises:
        UsageError: a name that is not of the study, or a model that cannot be served; the message says why.
    """
    if list(named) == ["all"]:
        chosen = [model for model in models().values() if obstacle(model) is None]
        chosen.sort(key=lambda model: not model.default)
    elif named:
        chosen = [_servable(_find(name)) for name in named]
    else:
        chosen = [_servable(model) for model in models().values() if model.default and set(model.tasks) & set(tasks)]
    return [
        ModelSpec(id_, task, model.repository, "main", "hub")
        for model in dict.fromkeys(chosen)
        for task, id_ in model.ids().items()
        if task in tasks
    ]


def obstacle(model: StudyModel) -> str | None:
    """Say why a model cannot be served here, None where it can."""
    if model.refused is not None:
        return model.refused
    if model.needs is not None and find_spec(model.needs) is None:
        return f"it needs {model.needs}: pip install {model.needs}"
    return None


def _servable(model: StudyModel) -> StudyModel:
    reason = obstacle(model)
    if reason is not None:
        raise UsageError(f"{model.name} cannot be served: {reason}")
    return model


def _find(name: str) -> StudyModel:
    for model in models().values():
        if name in {model.name, model.repository, *model.ids().values()}:
            return model
    import difflib

    near = difflib.get_close_matches(name, models(), n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else "server/README.md lists them"
    raise UsageError(f"{name!r} is none of the study's models; {hint}")
