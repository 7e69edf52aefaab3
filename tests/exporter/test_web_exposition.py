"""Families to text: what prometheus_client writes, and the format that was asked for."""

import math
from collections.abc import Callable, Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    SummaryMetricFamily,
    UnknownMetricFamily,
)
from prometheus_client.exposition import choose_encoder, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar

from perjoule_exporter.exposition import OPENMETRICS, PLAIN, choose, openmetrics, plain

PROMETHEUS_2_42 = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
PROMETHEUS_3_PROTOBUF = (
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6,"
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
TEXTS = st.text(st.characters(codec="utf-8"), max_size=12) | st.sampled_from(
    ["", "\\", "\n", '"', 'a"\\\n"', "é", "{}", "\\n"]
)
VALUES = st.floats() | st.sampled_from([0.0, -0.0, 1.0, 1e5, 999999.0, 1e6, 123456789.125, 1e16, 1e300, -1e7, 5e-324])


class Fixed(Collector):
    """Families that are there already."""

    def __init__(self, *families: Metric) -> None:
        self.families = families

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterable[Metric]:
        return self.families


def registry(*families: Metric) -> CollectorRegistry:
    made = CollectorRegistry(auto_describe=False)
    made.register(Fixed(*families))
    return made


@given(TEXTS, st.lists(st.tuples(TEXTS, TEXTS, VALUES), max_size=4))
def test_the_librarys_own_bytes(text: str, samples: list[tuple[str, str, float]]) -> None:
    """Both formats, every type that we use, any help, labels and values."""
    gauge = GaugeMetricFamily("a_watts", text, labels=["z", "b"])
    counter = CounterMetricFamily("b_joules_total", text, labels=["z", "b"])
    unknown = UnknownMetricFamily("c", text, labels=["z", "b"])
    for first, second, value in samples:
        for family in (gauge, counter, unknown):
            family.add_metric([first, second], value)
    bare = GaugeMetricFamily("d_ratio", text, value=math.pi, unit="ratio")
    exemplars = [Exemplar({"request_id": text, "a": "b"}, value, 1.5e9) for _, _, value in samples]
    buckets: list[tuple[str, float] | tuple[str, float, Exemplar]] = [
        ("0.25", 1.0, Exemplar({"a": text}, 0.2)),
        ("0.5", 1.0, exemplars[0]) if exemplars else ("0.5", 1.0),
        ("+Inf", 2.0),
    ]
    histogram = HistogramMetricFamily("e_seconds", text, buckets=buckets, sum_value=3e7)
    summary = SummaryMetricFamily("f_seconds", text, count_value=2, sum_value=1e-9)
    all_of_them = registry(gauge, counter, unknown, bare, histogram, summary)
    assert plain(all_of_them) == generate_latest(all_of_them)
    encode, _ = choose_encoder("application/openmetrics-text;version=1.0.0")
    assert openmetrics(all_of_them) == encode(all_of_them)


def test_the_process_in_the_librarys_own_bytes() -> None:
    """The client library's families are written like ours."""
    process = CollectorRegistry(auto_describe=False)
    collector = ProcessCollector(registry=None)
    process.register(Fixed(*collector.collect()))
    assert plain(process) == generate_latest(process)
    assert b"process_start_time_seconds" in plain(process)


@pytest.mark.parametrize("encode", [plain, openmetrics])
def test_a_type_that_nobody_here_makes_is_an_error(encode: object) -> None:
    """Rather than a text that nobody has compared."""
    assert callable(encode)
    with pytest.raises(KeyError, match="info"):
        encode(registry(InfoMetricFamily("a", "", {"b": "c"})))


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("", PLAIN),
        ("*/*", PLAIN),
        ("text/html,application/xhtml+xml,*/*;q=0.8", PLAIN),
        ("text/plain", PLAIN),
        ("text/plain;version=1.0.0", "text/plain; version=1.0.0; charset=utf-8"),
        ("application/openmetrics-text", OPENMETRICS),
        ('Application/OpenMetrics-Text; Version="1.0.0"', OPENMETRICS),
        (PROMETHEUS_2_42, OPENMETRICS),
        (PROMETHEUS_3, f"{OPENMETRICS}; escaping=allow-utf-8"),
        (PROMETHEUS_3_PROTOBUF, f"{OPENMETRICS}; escaping=allow-utf-8"),
        ("application/openmetrics-text;version=1.0.0;q=0.2,text/plain;version=0.0.4;q=0.9", PLAIN),
        ("text/plain;q=0.5,application/openmetrics-text;version=1.0.0;q=0.5", PLAIN),
        ("application/openmetrics-text;version=1.0.0;q=0", PLAIN),
        ("application/openmetrics-text;version=1.0.0;escaping=dots", f"{OPENMETRICS}; escaping=underscores"),
        ("application/openmetrics-text;version=1.0.0;escaping=\x01", f"{OPENMETRICS}; escaping=underscores"),
        ("application/openmetrics-text;version=2.0.0", PLAIN),
        ("application/openmetrics-text;version=0.0.1", PLAIN),
        ("application/openmetrics-text;version=a.b", PLAIN),
        ("application/openmetrics-text;q=x", PLAIN),
        ("application/openmetrics-text;q=nan", PLAIN),
        ("application/openmetrics-text;q=7", PLAIN),
        ("application/json", PLAIN),
        (";;;,,,==", PLAIN),
    ],
)
def test_the_format_that_was_asked_for(accept: str, content_type: str) -> None:
    """The best of what is accepted, and plain text for whoever asks for nothing that we have."""
    chosen = choose(accept)
    assert chosen.content_type == content_type
    assert chosen.encode is (openmetrics if "openmetrics" in content_type else plain)


@pytest.mark.parametrize("write", [plain, openmetrics])
def test_a_label_that_is_no_text_costs_no_scrape(write: Callable[[CollectorRegistry], bytes]) -> None:
    """Half a character is replaced where it stands; all other series are there."""
    family = GaugeMetricFamily("a", "b", labels=["c"])
    family.add_metric(["\ud800"], 1)
    family.add_metric(["d"], 2)
    assert b'a{c="?"} 1.0\na{c="d"} 2.0\n' in write(registry(family))
