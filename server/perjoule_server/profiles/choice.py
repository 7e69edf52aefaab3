"""From a word on the command line to specifications: ``NAME``, ``NAME:MODEL,MODEL`` or ``FILE.toml``."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from perjoule.errors import UsageError
from perjoule.workloads import WORKLOADS, workload
from perjoule_server.profiles import architecture, own, packaged, study
from perjoule_server.tasks.base import ModelSpec
from perjoule_server.tiny import FOLDERS, cache_root

_TINY_OPTIONS = {"text-to-image": {"num_inference_steps": 4}}

Profile = Callable[[Sequence[str], Sequence[str]], list[ModelSpec]]
"""From the wanted workloads and the models named (none: one a workload) to specifications."""


def tiny(tasks: Sequence[str], named: Sequence[str]) -> list[ModelSpec]:
    """Return the tiny model of each workload.

    Raises:
        UsageError: models are named, of which there is one a workload.
    """
    if named:
        raise UsageError("--models tiny has one model for each workload: choose with --tasks")
    return [
        ModelSpec(f"tiny/{task}", task, str(cache_root() / FOLDERS[task]), "local", "tiny", _TINY_OPTIONS.get(task, {}))
        for task in tasks
    ]


PROFILES: Mapping[str, Profile] = MappingProxyType(
    {"tiny": tiny, "packaged": packaged.specs, "study": study.specs, "architecture": architecture.specs}
)
"""Names that ``--models`` takes, beside the path of a TOML file."""


def profile(text: str, tasks: Iterable[str]) -> list[ModelSpec]:
    """Return what to load for ``tasks``, one specification or more a task, the task's default first.

    Where all workloads are asked for, which is the default, those that the profile has no model for are left out.

    Raises:
        UsageError: no such profile, model or file, a file with mistakes, or a workload asked for without a model.
    """
    wanted = [workload(task).id for task in tasks]
    name, _, models = text.partition(":")
    if text.endswith(".toml"):
        specs = [spec for spec in own.read(Path(text)) if spec.task in wanted]
    elif name in PROFILES:
        specs = PROFILES[name](wanted, _named(text, models) if ":" in text else ())
    else:
        raise UsageError(f"--models {text}: profiles are {', '.join(PROFILES)}; or name a .toml file")
    return _fitting(text, specs, wanted)


def _named(text: str, models: str) -> list[str]:
    names = list(dict.fromkeys(name.strip() for name in models.split(",") if name.strip()))
    if not names:
        raise UsageError(f"--models {text} names no model after the colon")
    return names


def _fitting(text: str, specs: list[ModelSpec], wanted: Sequence[str]) -> list[ModelSpec]:
    missing = [task for task in wanted if task not in {spec.task for spec in specs}]
    if missing and (not specs or set(wanted) != set(WORKLOADS)):
        raise UsageError(f"{text} names no model for {', '.join(missing)}: add one, or name --tasks without it")
    return specs
