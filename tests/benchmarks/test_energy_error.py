import pytest

from benchmarks import driver as fake
from benchmarks.energy_error import GPUS, Errors
from tests.exporter.driver import joules

START, END = 1000.03, 1005.13


def test_the_truth_has_no_error() -> None:
    """Joules that are the integral are off by nothing, for each GPU and in sum."""
    errors = Errors()
    errors.add({gpu: joules(gpu, START, END) for gpu in range(GPUS)}, dict.fromkeys(range(GPUS), (START, END)))
    assert errors.of_gpus == pytest.approx([0.0] * GPUS)
    assert errors.of_sums == pytest.approx([0.0])
    assert errors.beyond_bound == 0


def test_the_bound_is_power_times_tick_at_each_edge() -> None:
    """An error of just more than power × tick at both edges is counted, one of just less is not."""
    edges = sum(fake.edge_watts(0, edge) for edge in (START, END)) * fake.TICK_SECONDS
    for off, counted in ((edges - 1, 0), (-edges + 1, 0), (edges + 1, 1), (-edges - 1, 1)):
        errors = Errors()
        errors.add({0: joules(0, START, END) + off}, {0: (START, END)})
        assert errors.beyond_bound == counted


def test_a_sum_is_held_against_all_gpus() -> None:
    """A program that tells one sum is held against what all GPUs drew."""
    errors = Errors()
    errors.add_sum(1.01 * sum(joules(gpu, START, END) for gpu in range(GPUS)), START, END)
    assert errors.worst == pytest.approx(0.01)


@pytest.mark.parametrize(
    ("time", "watts"), [(1000.30, 310.0), (1000.12, 110.0), (1000.20, 310.0), (1000.05, 310.0), (1000.58, 310.0)]
)
def test_edge_watts(time: float, watts: float) -> None:
    """The power at an edge is the most within a tick of it: the wave is low in the first quarter second."""
    assert fake.edge_watts(1, time) == watts
