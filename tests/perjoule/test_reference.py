"""The published figures are those of their sources, each with its boundary in words."""

import pytest

from perjoule.reference import (
    ENERGY_SCORE,
    STUDY_BOUNDARY,
    STUDY_CAVEATS,
    STUDY_ONE_GPU_BOUNDARY,
    references,
    study_figure,
)
from perjoule.workloads import WORKLOADS

STUDY = {
    "text-classification": (8.3, 1.2),
    "question-answering": (11.8, 1.8),
    "fill-mask": (12.2, 1.5),
    "token-classification": (12.9, 1.8),
    "image-classification": (25.5, 3.1),
    "object-detection": (136, 25),
    "text-generation": (169, 27),
    "summarization": (177, 22),
    "image-to-text": (227, 40),
    "text-to-image": (10_466, 2_912),
    "zero-shot-text-classification": (71, 15),
    "zero-shot-question-answering": (155, 33),
    "zero-shot-summarization": (472, 80),
}
"""Joules per inference of the study as published, and on one GPU as derived from its logs."""

ENERGY_SCORE_WH = {
    "text-classification": 0.80,
    "question-answering": 0.99,
    "feature-extraction": 0.59,
    "image-classification": 0.83,
    "object-detection": 3.28,
    "summarization": 3.52,
    "text-generation": 17.1,
    "automatic-speech-recognition": 16.5,
    "image-to-text": 102,
    "text-to-image": 354,
}
"""Watt-hours per 1,000 inferences of AI Energy Score, February 2025, median over models."""


def rounded_like(figure: float, published: float) -> float:
    """Return ``figure`` with as many decimals as ``published`` was written with."""
    decimals = len(str(published).partition(".")[2]) if published % 1 else 0
    return round(figure, decimals)


@pytest.mark.parametrize("task", STUDY)
def test_study_figures(task: str) -> None:
    """Both figures of the study are there, the published one first, each with its own boundary."""
    published, one_gpu = references()[task][:2]
    assert (published.boundary, one_gpu.boundary) == (STUDY_BOUNDARY, STUDY_ONE_GPU_BOUNDARY)
    assert rounded_like(published.joules_per_inference, STUDY[task][0]) == pytest.approx(STUDY[task][0], rel=0.006)
    assert rounded_like(one_gpu.joules_per_inference, STUDY[task][1]) == pytest.approx(STUDY[task][1], rel=0.03)
    assert study_figure(task) == published
    assert published.low is not None
    assert published.high is not None
    assert published.low <= published.joules_per_inference <= published.high


@pytest.mark.parametrize("task", [task for task in WORKLOADS if task not in STUDY])
def test_what_the_study_did_not_measure_is_absent(task: str) -> None:
    """No figure of the study is made up for a workload that it does not have."""
    assert study_figure(task) is None


@pytest.mark.parametrize("task", ENERGY_SCORE_WH)
def test_energy_score(task: str) -> None:
    """The median over models of AI Energy Score, with its range."""
    figure = references()[task][-1]
    assert figure.source == ENERGY_SCORE
    assert figure.joules_per_inference / 3.6 == pytest.approx(ENERGY_SCORE_WH[task], rel=0.006)
    assert figure.low is not None
    assert figure.high is not None
    assert figure.low <= figure.joules_per_inference <= figure.high
    assert figure.models > 1


def test_every_workload_is_a_key() -> None:
    """Each workload has an entry, an empty one where nobody published a figure."""
    assert list(references()) == list(WORKLOADS)
    assert study_figure("no-such-task") is None


def test_every_figure_says_what_it_covers() -> None:
    """Source and boundary are never empty."""
    for figures in references().values():
        assert all(figure.source and figure.boundary and figure.models for figure in figures)


def test_caveats_name_boundary_intensity_and_charge() -> None:
    """The three things to say beside the study's figures."""
    boundary, intensity, phones = STUDY_CAVEATS
    assert "430.8 W" in boundary
    assert "138.75 g/kWh" in intensity
    assert "957 charges" in phones
