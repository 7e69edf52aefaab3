"""What the ledger charged to a run: numbers done by hand from two scrapes, and each reason why there is no figure."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from perjoule.errors import MeasurementError
from perjoule_loadgen.attribution import Attribution, Estimate, attribution
from perjoule_loadgen.books import books
from perjoule_loadgen.client import Result
from perjoule_loadgen.config import Rules
from perjoule_loadgen.energy import Pair
from perjoule_loadgen.figures import Carbon, figures
from perjoule_loadgen.measurement import Edge, Measurement
from perjoule_loadgen.verdict import Facts, Verdict, verdict
from tests.loadgen.test_figures import BASELINES, measurement, result

URL = "u"
MINE = 'task="summarization",model="m"'
OTHER = 'task="fill-mask",model="n"'

OPENING = {
    "process_start_time_seconds": 1000.0,
    f'inference_energy_joules_total{{{MINE},device="GPU-a",outcome="ok"}}': 500.0,
    f'inference_energy_joules_total{{{MINE},device="GPU-a",outcome="cancelled"}}': 7.0,
    f'inference_energy_joules_total{{{OTHER},device="GPU-a",outcome="ok"}}': 90.0,
    f"inference_request_energy_joules_count{{{MINE}}}": 40.0,
    f"inference_request_energy_joules_sum{{{MINE}}}": 500.0,
    f"inference_request_energy_joules_count{{{OTHER}}}": 5.0,
    f"inference_request_energy_joules_sum{{{OTHER}}}": 90.0,
    f'inference_emissions_grams_total{{{MINE},device="GPU-a",outcome="ok"}}': 2.0,
    'inference_counter_energy_joules_total{device="GPU-a"}': 1000.0,
    'inference_idle_energy_joules_total{device="GPU-a"}': 300.0,
    'inference_unattributed_energy_joules_total{device="GPU-a",reason="no_span"}': 103.0,
    'inference_open_energy_joules{device="GPU-a"}': 0.0,
    f'inference_learned_watts{{{MINE},device="GPU-a",phase="decode"}}': 250.0,
    f'inference_learned_watts_error_ratio{{{MINE},device="GPU-a",phase="prefill"}}': 0.01,
    f'inference_learned_watts_error_ratio{{{MINE},device="GPU-a",phase="decode"}}': 0.02,
    f'inference_learned_watts_error_ratio{{{MINE},device="GPU-a",phase="load"}}': 0.4,
    'gpu_embodied_emissions_grams_total{gpu="0",uuid="GPU-a"}': 10.0,
}
"""A scrape before the window: 1000 J = 597 charged + 300 idle + 103 nobody's."""

ROSE = {
    "process_start_time_seconds": 0.0,
    f'inference_energy_joules_total{{{MINE},device="GPU-a",outcome="ok"}}': 1200.0,
    f'inference_energy_joules_total{{{MINE},device="GPU-a",outcome="cancelled"}}': 30.0,
    f"inference_request_energy_joules_count{{{MINE}}}": 100.0,
    f"inference_request_energy_joules_sum{{{MINE}}}": 1200.0,
    f'inference_emissions_grams_total{{{MINE},device="GPU-a",outcome="ok"}}': 0.5,
    'inference_counter_energy_joules_total{device="GPU-a"}': 2000.0,
    'inference_idle_energy_joules_total{device="GPU-a"}': 760.0,
    'inference_unattributed_energy_joules_total{device="GPU-a",reason="no_span"}': 10.0,
    'gpu_embodied_emissions_grams_total{gpu="0",uuid="GPU-a"}': 0.022,
}
"""What the window of ``measurement()`` adds, 2000 J: its 100 requests took 1200."""


def scrape(values: Mapping[str, float]) -> str:
    return "".join(f"{name} {value!r}\n" for name, value in values.items())


def edge(values: Mapping[str, float], at: float) -> Edge:
    return Edge({URL: books(scrape(values), at)})


def closing(*changes: Mapping[str, float | None]) -> dict[str, float]:
    """The scrape after the window: what rose, and ``changes`` to what it shows; None takes a line away."""
    shown = {name: value + ROSE.get(name, 0.0) for name, value in OPENING.items()}
    for change in changes:
        for name, value in change.items():
            shown.pop(name, None)
            if value is not None:
                shown[name] = value
    return shown


def charged(made: Measurement, *changes: Mapping[str, float | None]) -> Measurement:
    made.opening, made.closing = edge(OPENING, 999.0), edge(closing(*changes), 1021.0)
    return made


def found(*changes: Mapping[str, float | None], made: Measurement | None = None) -> Attribution:
    return attribution(charged(made or measurement(), *changes))


def judge(made: Measurement) -> Verdict:
    return verdict(Facts(made, figures(made, BASELINES, None), BASELINES, Rules()))


def test_attributed_by_hand() -> None:
    """1200 J over 100 requests are 12 J each, ± two standard errors of the phase that is known worst; grams alike."""
    got = found()
    assert got.reason is None
    assert got.joules is not None
    assert got.grams is not None
    assert (got.joules.value, got.joules.low, got.joules.high) == pytest.approx((12.0, 12 * 0.96, 12 * 1.04))
    assert (got.grams.value, got.grams.low, got.grams.high) == pytest.approx((0.005, 0.005 * 0.96, 0.005 * 1.04))
    assert (got.requests, got.outside) == (100, ())


def test_where_the_rest_of_the_energy_is() -> None:
    """Waste is told apart by outcome, and the parts add up to what the counter saw."""
    balance = found().balance
    assert balance is not None
    assert balance.own == {"ok": 1200.0, "cancelled": 30.0}
    assert (balance.others, balance.idle, balance.unattributed, balance.open) == (0.0, 760.0, {"no_span": 10.0}, 0.0)
    parts = [*balance.own.values(), balance.others, balance.idle, *balance.unattributed.values(), balance.open]
    assert balance.counter == sum(parts) == 2000.0


def test_watts_that_are_not_known_well_are_marked() -> None:
    """Prefill has an error and no watts, so it is weak; loading is no part of a request, however little is known."""
    assert found().weak == ("prefill",)


def test_without_learned_watts_there_are_no_bounds() -> None:
    """The sum is there, and how right its split is nobody knows."""
    none: dict[str, float | None] = {name: None for name in OPENING if "learned_watts" in name}
    assert found(none).joules == Estimate(12.0, None, None)


def test_a_new_owner_counts_from_nothing() -> None:
    """Series that came within the window, as of a model's first request, were 0 before."""
    made = charged(measurement())
    early = {name: value for name, value in OPENING.items() if MINE not in name}
    made.opening = edge(early, 999.0)
    late = {name: value for name, value in ROSE.items() if MINE in name}
    made.closing = edge(closing(late), 1021.0)
    got = attribution(made)
    assert got.joules is not None
    assert got.joules.value == 12.0
    assert got.grams is None  # whose grams began within the window began nobody knows when


def test_grams_of_another_zone_replace_those_of_the_exporter() -> None:
    """With ``--zone`` joules are multiplied; without any zone there are no grams."""
    made = charged(measurement())
    recomputed = figures(made, BASELINES, Carbon("FRA", 36.0, None, None, 2.0, recomputed=True)).attributed
    assert recomputed.grams is not None
    assert recomputed.grams.value == pytest.approx(12.0 * 36.0 * 2.0 / 3.6e6)
    none: dict[str, float | None] = {name: None for name in OPENING if "emissions" in name}
    assert found(none).grams is None


def test_all_devices_of_the_run_are_added_up() -> None:
    """A request that used two boards is charged on both, and counted once."""
    second = f'inference_energy_joules_total{{{MINE},device="GPU-b",outcome="ok"}}'
    more: dict[str, float | None] = {second: 300.0, f"inference_request_energy_joules_sum{{{MINE}}}": 2000.0}
    made = measurement()
    (bracket,) = made.charged
    made.charged = (bracket, replace(bracket, device=replace(bracket.device, id="GPU-b")))
    got = found(more, made=made)
    assert got.joules is not None
    assert got.joules.value == 15.0
    assert got.outside == ("GPU-b",)  # it has no ledger's counter: a device of which nothing is charged


# --- No figure rather than a wrong one


def lost(made: Measurement) -> Measurement:
    made.charged = ()
    return made


NO_FIGURE: Mapping[str, tuple[Measurement, Mapping[str, float | None], str]] = {
    "restarted": (measurement(), {"process_start_time_seconds": 1010.0}, "was restarted"),
    "went back": (measurement(), {f"inference_request_energy_joules_count{{{MINE}}}": 3.0}, "was restarted"),
    "gone": (
        measurement(),
        {f'inference_energy_joules_total{{{MINE},device="GPU-a",outcome="ok"}}': None},
        "was restarted",
    ),
    "another": (
        measurement(),
        {f"inference_request_energy_joules_{what}{{{MINE}}}": None for what in ("sum", "count")},
        "was told of no summarization by m",
    ),
    "none": (
        measurement(),
        {name: value for name, value in OPENING.items() if MINE in name},
        "none of the 100 requests that were answered was charged",
    ),
    "lost spans": (
        measurement(),
        {f"inference_request_energy_joules_count{{{MINE}}}": 138.0},
        "charged 98 requests of summarization by m and 100 were answered: spans were lost",
    ),
    "others": (
        measurement(),
        {f"inference_request_energy_joules_count{{{MINE}}}": 142.0},
        "charged 102 requests of summarization by m and 100 were answered: others use it too",
    ),
    "unmeasured": (
        measurement(),
        {
            f"inference_request_energy_joules_count{{{MINE}}}": 129.0,
            f"inference_unmeasured_requests_total{{{MINE}}}": 11.0,
        },
        "does not know the energy of 11 of 100 requests",
    ),
    "elsewhere": (
        measurement(),
        {
            f'inference_energy_joules_total{{{MINE},device="GPU-b",outcome="ok"}}': 300.0,
            f"inference_request_energy_joules_sum{{{MINE}}}": 2000.0,
        },
        "energy was charged on GPU-b, and GPU-a is what pays",
    ),
    "contradiction": (
        measurement(),
        {f"inference_request_energy_joules_sum{{{MINE}}}": 1800.0},
        "requests used 1300 J, and 1200 J were charged",
    ),
    "no answer": (measurement([result("5xx")]), {}, "no request was answered"),
    "no energy": (lost(measurement()), {}, "there is no energy of the window"),
    "reset": (measurement(reset=True), {}, "there is no energy of the window"),
}


@pytest.mark.parametrize("case", NO_FIGURE)
def test_no_figure_rather_than_a_wrong_one(case: str) -> None:
    """Each way in which the ledger can be of other requests, or of none, has its sentence with the figures."""
    made, change, told = NO_FIGURE[case]
    got = found(change, made=made)
    assert (got.joules, got.grams) == (None, None)
    assert got.reason is not None
    assert told in got.reason


def test_an_exporter_that_nobody_tells() -> None:
    """No ledger at all at both edges: what it takes to have one is said."""
    made = measurement()
    made.opening = made.closing = edge({"process_start_time_seconds": 1000.0}, 999.0)
    got = attribution(made)
    assert got.reason is not None
    assert got.reason.startswith(
        "the exporter has charged no energy to any inference: no server has told its span socket"
    )


def test_ledgers_that_were_not_read() -> None:
    """A window that did not end, and an exporter that does not answer at its end, say so."""
    assert attribution(measurement()).reason == "the window did not come to its end"
    made = charged(measurement())
    made.closing = Edge({}, "u does not answer: connection refused")
    assert attribution(made).reason == "the exporter's ledger could not be read: u does not answer: connection refused"


@pytest.mark.parametrize(("count", "warned"), [(139.0, "99 requests that ended ok, and 100 were"), (140.0, None)])
def test_a_difference_within_a_percent_is_told(count: float, warned: str | None) -> None:
    """The figure stands, with both numbers beside it; where they are the same nothing is said."""
    made = charged(measurement(), {f"inference_request_energy_joules_count{{{MINE}}}": count})
    judged = judge(made)
    assert judged.valid
    assert [warning.code for warning in judged.warnings] == (["uncharged"] if warned else [])
    assert all(warned in warning.text for warning in judged.warnings if warned)


def test_unmeasured_requests_are_told_and_widen_the_interval() -> None:
    """Ten of a hundred lost energy: the mean is of the others, which may hold all of what these lost."""
    made = charged(
        measurement(),
        {
            f"inference_request_energy_joules_count{{{MINE}}}": 130.0,
            f"inference_unmeasured_requests_total{{{MINE}}}": 10.0,
        },
    )
    got = attribution(made)
    assert got.joules is not None
    assert (got.requests, got.unmeasured, got.ended) == (90, 10, 100)
    each = 1200 / 90
    assert (got.joules.value, got.joules.low, got.joules.high) == pytest.approx((each, each * 0.86, each * 1.04))
    (warning,) = judge(made).warnings
    assert "charged 90 requests that ended ok and 10 whose energy it does not know, and 100 were" in warning.text


def test_others_that_use_the_same_model_void_the_run() -> None:
    """Their joules are in the gross figure and their inferences are not counted: that is a reason against it."""
    (reason,) = judge(charged(measurement(), {f"inference_request_energy_joules_count{{{MINE}}}": 142.0})).reasons
    assert (reason.code, "charged 102 requests" in reason.text, "sent 100" in reason.text) == ("shared", True, True)


def test_answers_that_count_as_failures_here_are_no_others() -> None:
    """A client that gave up did send its requests: what the server made of them is not somebody else's."""
    made = measurement(
        [*(result(at=n / 5) for n in range(100)), *(Result(0, 0, 0.1, 200, "truncated", "", None, 0),) * 2]
    )
    judged = judge(charged(made, {f"inference_request_energy_joules_count{{{MINE}}}": 142.0}))
    assert [reason.code for reason in judged.reasons] == ["errors"]


def test_other_work_on_the_device_is_a_warning() -> None:
    """From one percent on: gross and active hold it, and the sentence says so."""
    other = f'inference_energy_joules_total{{{OTHER},device="GPU-a",outcome="ok"}}'
    (warning,) = judge(charged(measurement(), {other: 490.0})).warnings
    assert warning.text.startswith("20% of the energy of GPU-a in the window was charged to other work")
    assert judge(charged(measurement(), {other: 105.0})).warnings == ()


# --- Manufacture

FRANCE = Carbon("FRA", 36.0, None, None, 2.0, recomputed=False)


def test_sci_by_hand() -> None:
    """20 J gross at 36 g/kWh and PUE 2, and 1 mg of manufacture a second for 20 s, over 100 inferences."""
    score = figures(charged(measurement()), BASELINES, FRANCE).sci
    assert score is not None
    assert score.embodied == pytest.approx(0.001 * 20 / 100)
    assert score.value == pytest.approx(20 * 36 * 2 / 3.6e6 + 0.0002)
    assert score.value - score.low == pytest.approx(0.6 * 36 * 2 / 3.6e6)


def test_no_sci_without_all_of_its_parts() -> None:
    """Without a zone, without a stated manufacture, or without energy there is no score."""
    assert figures(charged(measurement()), BASELINES, None).sci is None
    none: dict[str, float | None] = {name: None for name in OPENING if "embodied" in name}
    assert figures(charged(measurement(), none), BASELINES, FRANCE).sci is None
    assert figures(charged(measurement(reset=True)), BASELINES, FRANCE).sci is None
    unread = measurement()
    unread.charged = (replace(unread.charged[0], start=Pair(0.0, 0.0)),)
    assert figures(unread, BASELINES, FRANCE).sci is None


# --- Scrapes


def test_books_of_a_page_without_ledgers_are_empty() -> None:
    """An exporter without inferences charges nobody, and that is no error."""
    empty = books("gpu_power_watts 3\n", 5.0)
    assert (empty.at, empty.started, empty.joules, empty.requests, empty.known) == (5.0, None, {}, {}, frozenset())


@pytest.mark.parametrize("text", [
    'inference_energy_joules_total{task="a nonsense',
    f"inference_request_energy_joules_count{{{MINE}}} 3\n",
    f"inference_request_energy_joules_count{{{MINE}}} 3\ninference_request_energy_joules_sum{{{MINE}}} NaN\n",
])  # fmt: skip
def test_garbage_in_a_ledger_is_an_error(text: str) -> None:
    """A broken sample, or a count without its sum, is not skipped in silence."""
    with pytest.raises(MeasurementError, match="not a Prometheus exposition"):
        books(text, 0.0)
