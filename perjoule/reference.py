"""Published energy per inference to hold a measurement against, each with its boundary in words.

Figures of other people's hardware and models: they say what order of magnitude to expect, never what this machine
should give. Two sources: the study "Power Hungry Processing" and AI Energy Score (February 2025).
"""

import csv
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from types import MappingProxyType

from perjoule.units import JOULES_PER_WH, joules_from_kwh_per_thousand
from perjoule.workloads import WORKLOADS, Workload

STUDY = "Power Hungry Processing (arXiv 2311.16863)"
STUDY_BOUNDARY = "node of 8×A100 (7 idle) + modelled RAM and CPU; mean of 8 models × 3 datasets, one at a time"
STUDY_ONE_GPU_BOUNDARY = "one A100 alone, derived from the study's logs by taking the seven idle GPUs, RAM and CPU out"
ENERGY_SCORE = "AI Energy Score (Feb 2025)"

STUDY_CAVEATS = (
    (
        "Boundary: the study's published energy is eight GPUs (seven idle, about 55 W each) plus a modelled RAM"
        " constant of 430.8 W and a CPU constant of 42.5 W; the GPU at work is a quarter to an eighth of it."
    ),
    "CO2: the study's logs used 138.75 g/kWh, not the 297.6 in its text (1,594 g ÷ 11.49 kWh = 138.7).",
    (
        "Phone charges: 0.012 kWh in the EPA figure of 2023, 0.022 in that of 2024; one image = one charge is one"
        " model's worst run (11.49 kWh per 1,000 = 957 charges at 0.012, 522 at 0.022)."
    ),
)
"""Three things to say whenever the study's figures are shown beside a measurement."""


@dataclass(frozen=True, slots=True)
class PublishedFigure:
    """One published energy per inference.

    Attributes:
        workload: workload id.
        source: who published it.
        boundary: what is inside the figure, in words.
        joules_per_inference: mean (study) or median (AI Energy Score) over models, in joules.
        std_joules: standard deviation as published, None where none was.
        low, high: range over models in joules, None where unknown.
        models: how many models it covers.
    """

    workload: str
    source: str
    boundary: str
    joules_per_inference: float
    models: int
    std_joules: float | None = None
    low: float | None = None
    high: float | None = None


@cache
def references() -> Mapping[str, tuple[PublishedFigure, ...]]:
    """Return the published figures of every workload, the study's first; an empty tuple where nobody published one."""
    study, score = _rows("study_tasks.csv"), _rows("ai_energy_score_2025.csv")
    return MappingProxyType({w.id: (*_study_figures(w, study), *_score_figures(w, score)) for w in WORKLOADS.values()})


def study_figure(workload: str) -> PublishedFigure | None:
    """Return the study's published figure of ``workload``, None where the study did not measure it."""
    return next((f for f in references().get(workload, ()) if f.boundary == STUDY_BOUNDARY), None)


def _rows(name: str) -> list[dict[str, str]]:
    text = files("perjoule").joinpath("data", name).read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


def _study_figures(workload: Workload, rows: Iterable[dict[str, str]]) -> list[PublishedFigure]:
    for row in rows:
        if row["task"] == workload.study_task and row["paradigm"] == workload.paradigm.value:
            std = row["paper_std_kWh"]
            published = PublishedFigure(
                workload.id, STUDY, STUDY_BOUNDARY,
                joules_from_kwh_per_thousand(float(row["recomputed_mean_kWh"])),
                int(row["n_models"]),
                std_joules=joules_from_kwh_per_thousand(float(std)) if std else None,
                low=joules_from_kwh_per_thousand(float(row["min_model_kWh"])),
                high=joules_from_kwh_per_thousand(float(row["max_model_kWh"])),
            )  # fmt: skip
            one_gpu = PublishedFigure(
                workload.id, f"{STUDY}, derived", STUDY_ONE_GPU_BOUNDARY,
                joules_from_kwh_per_thousand(float(row["est_1gpu_kWh"])),
                int(row["n_models"]),
            )  # fmt: skip
            return [published, one_gpu]
    return []


def _score_figures(workload: Workload, rows: Iterable[dict[str, str]]) -> list[PublishedFigure]:
    joules = [
        float(row["gpu_Wh_per_1000"]) / 1000 * JOULES_PER_WH
        for row in rows
        if row["task"] == workload.energy_score_task
    ]
    if not joules:
        return []
    boundary = "one H100 alone, batch 1; median over models"
    return [
        PublishedFigure(
            workload.id,
            ENERGY_SCORE,
            boundary,
            statistics.median(joules),
            len(joules),
            low=min(joules),
            high=max(joules),
        )
    ]
