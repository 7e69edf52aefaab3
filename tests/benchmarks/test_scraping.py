import math

from benchmarks.scraping import Answer, sample_count, samples

TEXT = """# HELP a_total Something.
# TYPE a_total counter
a_total{gpu="1",uuid="GPU-1"} 5.0
a_total{gpu="11",uuid="GPU-11"} 7.0
a_total_more{gpu="1"} 9.0
b{name="with space, and gpu=\\"3\\""} NaN
c 1e+06

# EOF
"""


def test_samples_of_a_text() -> None:
    """Comments and empty lines are no samples; a label may hold spaces."""
    found = dict(samples(TEXT))
    assert sample_count(TEXT) == len(found) == 5
    assert found["c"] == 1e6
    assert math.isnan(found['b{name="with space, and gpu=\\"3\\""}'])


def test_one_sample_by_name_and_label() -> None:
    """A sample is found by its whole name and whole label values."""
    answer = Answer(0.001, 100, TEXT)
    assert answer.of("a_total", gpu="1") == 5.0
    assert answer.of("a_total", gpu="1", uuid="GPU-1") == 5.0
    assert answer.of("a_total", gpu="2") is None
    assert answer.of("c") == 1e6
    assert answer.of("a") is None
