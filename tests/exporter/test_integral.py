"""Power integrated by trapezoids: what is added, and what is not."""

from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perjoule_exporter.meters.integral import PowerIntegral

BREAK = None


def integrated(samples: list[tuple[float, float] | None]) -> PowerIntegral:
    integral = PowerIntegral()
    for sample in samples:
        if sample is BREAK:
            integral.break_off()
        else:
            integral.add(*sample)
    return integral


@pytest.mark.parametrize(
    ("samples", "joules", "time"),
    [
        ([], 0.0, None),
        ([(10.0, 100.0)], 0.0, 10.0),  # one sample is no time
        ([(10.0, 100.0), (10.5, 100.0)], 50.0, 10.5),
        ([(10.0, 100.0), (10.5, 300.0)], 100.0, 10.5),
        ([(10.0, 100.0), (11.0, 100.0)], 100.0, 11.0),  # a gap of just a second is one interval
        ([(10.0, 100.0), (11.1, 100.0)], 0.0, 11.1),  # a longer one is nobody's
        ([(10.0, 100.0), (20.0, 100.0), (20.5, 100.0)], 50.0, 20.5),
        ([(10.0, 100.0), (10.0, 900.0), (10.5, 100.0)], 50.0, 10.5),  # the same moment again tells nothing
        ([(10.0, 100.0), (9.0, 900.0), (10.5, 100.0)], 50.0, 10.5),  # nor does the past
        ([(10.0, 100.0), BREAK, (10.1, 100.0), (10.2, 100.0)], 10.0, 10.2),
        ([(10.0, 100.0), BREAK, (5.0, 100.0), (5.1, 100.0)], 10.0, 5.1),  # after a break time may begin anew
        ([(10.0, 100.0), BREAK], 0.0, None),
        ([(10.0, -50.0), (10.5, -50.0)], 0.0, 10.5),  # no board gives energy back
    ],
)
def test_what_is_integrated(samples: list[tuple[float, float] | None], joules: float, time: float | None) -> None:
    """Each row: samples in order, the joules between the first and the last, and the time of the last."""
    integral = integrated(samples)
    assert integral.microjoules == round(joules * 1e6)
    assert integral.time == time


@given(
    st.lists(st.floats(0.0, 0.999), max_size=50),
    st.floats(0.0, 1000.0),
)
def test_constant_power_is_exact(gaps: list[float], watts: float) -> None:
    """Whenever the samples come, constant power integrates to watts × seconds."""
    times = list(accumulate(gaps, initial=0.0))
    integral = integrated([(time, watts) for time in times])
    assert integral.microjoules == pytest.approx(watts * times[-1] * 1e6, abs=1, rel=1e-9)


@given(st.lists(st.tuples(st.floats(-1e3, 1e10), st.floats(-1e4, 1e4))))
def test_it_never_falls(samples: list[tuple[float, float]]) -> None:
    """Whatever comes, joules are only added."""
    integral, seen = PowerIntegral(), [0]
    for sample in samples:
        integral.add(*sample)
        seen.append(integral.microjoules)
    assert seen == sorted(seen)
