"""From brackets and idle baselines to figures, and from figures to a verdict: numbers done by hand."""

from collections.abc import Iterable

import pytest

from perjoule_loadgen.client import Prepared, Result
from perjoule_loadgen.config import Rules
from perjoule_loadgen.energy import Device, Exposition, Factor, Pair
from perjoule_loadgen.figures import Baseline, Carbon, carbon_factor, figures
from perjoule_loadgen.load import Load
from perjoule_loadgen.measurement import Bracket, CrossCheck, Measurement, Plan
from perjoule_loadgen.meter import Idle
from perjoule_loadgen.target import Model
from perjoule_loadgen.verdict import Facts, Verdict, lengths, verdict

GPU = Device("GPU-a", "gpu", "H100", "counter", "u")
BASELINES = {"GPU-a": Baseline(Idle(Pair(0, 0), Pair(500, 10)), Idle(Pair(0, 100), Pair(500, 110)))}


def result(error: str = "", tokens: int | None = 12, at: float = 0.0, lag: float = 0.0) -> Result:
    return Result(at, at + lag, at + 0.05, 200, error, error and "detail", tokens, 0)


def measurement(
    results: Iterable[Result] | None = None, joules: float = 2000.0, seconds: float = 20.0, *,
    scheduled: int | None = None, sent: int | None = None, tick: float = 0.1, reset: bool = False,
    task: str = "summarization",
) -> Measurement:  # fmt: skip
    """A window of 20 s and 2000 J with 100 good requests, half a second of quiet at each end."""
    plan = Plan(task, Model("m"), [Prepared("a", b"", "", 10, 15, audio_seconds=4.0)], ("GPU-a",))
    made = Measurement(plan, began=1000.5, ended=1000.0 + seconds - 0.5)
    for one in [result(at=n / 5) for n in range(100)] if results is None else results:
        made.steady.add(one)
    made.steady.scheduled, made.steady.sent = scheduled, len(made.steady.results) if sent is None else sent
    made.charged = (Bracket(GPU, Pair(100.0, 1000.0), Pair(100.0 + joules, 1000.0 + seconds), tick, reset),)
    return made


def judge(made: Measurement, baselines: dict[str, Baseline] = BASELINES) -> Verdict:
    return verdict(Facts(made, figures(made, baselines, None), baselines, Rules()))


def test_gross_and_active_by_hand() -> None:
    """2000 J, 100 requests, 50 W idle for 20 s, ticks of 0.1 s: gross 20 J, active 10 J, and their bounds."""
    found = figures(measurement(), BASELINES, Carbon("FRA", 36.0, None, None, 2.0, recomputed=False))
    assert found.gross is not None
    assert found.active is not None
    assert found.grams is not None
    assert found.gross.value == pytest.approx(20.0)
    # two edges of 50 W × 0.1 s are 10 J; the quiet is 50 W × 1 s
    assert (found.gross.low, found.gross.high) == pytest.approx((19.4, 20.1))
    assert found.active.value == pytest.approx(10.0)
    # the edges' 10 J, and idle watts known to 4 × 0.1 s × 50 W ÷ 20 s = 1 W (two baselines of two edges), over 20 s
    assert (found.active.low, found.active.high) == pytest.approx((9.7, 10.3))
    assert found.grams.value == pytest.approx(20.0 * 36.0 * 2.0 / 3.6e6)
    assert found.joules_per_unit == pytest.approx(2000 / 1200)
    assert found.per_second == pytest.approx(100 / 19)


def test_drift_of_idle_power_widens_active() -> None:
    """Half the difference of the two baselines, times the window, is in the interval of the active figure."""
    drifted = {"GPU-a": Baseline(Idle(Pair(0, 0), Pair(450, 10)), Idle(Pair(0, 100), Pair(550, 110)))}
    found = figures(measurement(), drifted, None)
    assert found.active is not None
    assert found.active.high == pytest.approx((1000 + 10 + (5 + 1) * 20) / 100)
    assert [warning.code for warning in judge(measurement(), drifted).warnings] == ["drift"]


@pytest.mark.parametrize(("joules", "codes"), [(1020.0, ["busy"]), (1250.0, ["busy"]), (1260.0, []), (2000.0, [])])
def test_a_device_that_is_busy_when_idle_is_a_warning(joules: float, codes: list[str]) -> None:
    """From 80 % of the power under load on, idle power says that others use the device; the run stays valid."""
    found = judge(measurement(joules=joules))
    assert (found.valid, [warning.code for warning in found.warnings]) == (True, codes)


def test_the_warning_of_a_busy_device_has_its_figure() -> None:
    """The sentence names the device and the share; without a baseline nothing is known and nothing said."""
    (warning,) = judge(measurement(joules=1020.0)).warnings
    assert warning.text.startswith("idle power of GPU-a was 98% of the power under load: something else uses")
    assert judge(measurement(joules=1020.0), {}).warnings == ()


def test_below_the_resolution_there_is_no_figure() -> None:
    """Active energy that is smaller than its uncertainty has no value, only bounds."""
    found = figures(measurement(joules=1015.0), BASELINES, None)
    assert found.active is not None
    assert found.active.value is None
    assert found.active.low < 0 < found.active.high


def test_without_idle_there_is_no_active_figure() -> None:
    """No baseline: gross only, with the window's own mean power as the bound of an edge."""
    found = figures(measurement(), {}, None)
    assert found.active is None
    assert found.gross is not None
    assert found.gross.high == pytest.approx((2000 + 2 * 100 * 0.1) / 100)


@pytest.mark.parametrize("made", [measurement([result("5xx")]), measurement(reset=True), measurement([])])
def test_no_energy_figure_rather_than_a_wrong_one(made: Measurement) -> None:
    """Without a success, or over a reset, nothing is divided."""
    assert figures(made, BASELINES, None).gross is None


@pytest.mark.parametrize(
    ("task", "tokens", "units"),
    [("summarization", 12, 1200.0), ("summarization", None, None), ("fill-mask", None, 100.0),
     ("object-detection", None, 100.0), ("automatic-speech-recognition", 3, 400.0)],
)  # fmt: skip
def test_units_of_work(task: str, tokens: int | None, units: float | None) -> None:
    """Tokens from the answers, seconds of audio from the inputs, images and inferences by count; absent if not told."""
    made = measurement([result(tokens=tokens, at=n / 5) for n in range(100)], task=task)
    assert figures(made, BASELINES, None).units == units


def test_failed_requests_have_no_latency() -> None:
    """The latency of a failed request is not in the statistics; its energy is in the gross figure."""
    made = measurement([result(at=n / 5) for n in range(100)] + [Result(0, 0, 60, 0, "timeout", "", None, 0)])
    found = figures(made, BASELINES, None)
    assert found.latency.mean == pytest.approx(0.05)
    assert found.gross is not None
    assert found.gross.value == pytest.approx(20.0)


def test_factor_of_the_exporter_and_of_a_zone() -> None:
    """The exporter's factor carries source and year where it is the table's; ``--zone`` replaces it and says so."""
    own = carbon_factor(None, "FRA")
    assert own is not None
    assert own.recomputed
    assert own.year is not None
    said = Exposition({}, (Factor("FRA", "static", "average", own.grams_per_kwh),), 1.4, None)
    assert carbon_factor(said, None) == Carbon("FRA", own.grams_per_kwh, own.source, own.year, 1.4, recomputed=False)
    live = Exposition({}, (Factor("FRA", "uk", "average", 12.0),), None, None)
    assert carbon_factor(live, None) == Carbon("FRA", 12.0, "uk", None, None, recomputed=False)
    assert carbon_factor(Exposition({}, (), 1.0, None), None) is None
    assert carbon_factor(None, None) is None


# --- Verdicts: each planted fault gives its reason and no other


def with_energy_gone(made: Measurement) -> Measurement:
    made.charged = ()
    return made


def checked(made: Measurement, joules: float) -> Measurement:
    made.crosscheck = CrossCheck(joules, joules / 100, "query", 1.0)
    return made


def gave_up(made: Measurement) -> Measurement:
    made.steady.gave_up = "the server accepted no connection for 3.1 s: refused"
    made.charged = ()
    return made


def faulty(made: Measurement) -> Measurement:
    made.faults.append("the exporter stopped answering")
    made.charged = ()
    return made


def interrupted(made: Measurement) -> Measurement:
    made.interrupted = True
    made.charged = ()
    return made


GOOD = [result(at=n / 5) for n in range(100)]

PLANTED = {
    "unsent": (measurement(scheduled=102, sent=100), "2.0% fewer"),
    "lag": (measurement([result(at=n / 5, lag=0.15) for n in range(100)], scheduled=100), "150 ms"),
    "errors": (measurement(GOOD + [result("429")] * 2), "2.0% of 102 requests failed"),
    "short": (measurement(joules=800.0, seconds=8.0), "8.0 s, less than 10 s"),
    "ticks": (measurement(tick=0.25), "80 of its updates"),
    "reset": (measurement(reset=True), "GPU-a was reset"),
    "energy": (with_energy_gone(measurement()), "no energy of GPU-a"),
    "lengths": (measurement([*GOOD[:-1], result(tokens=16)]), "16 output tokens instead of 10 to 15"),
    "crosscheck": (checked(measurement(), 2200.0), "+10.0%, beyond the bound of 3.5%"),
    "server": (gave_up(measurement([*GOOD, *[result("connect")] * 50])), "accepted no connection"),
    "fault": (faulty(measurement()), "stopped answering"),
    "interrupted": (interrupted(measurement([])), "interrupted"),
    "empty": (measurement([]), "no request"),
}


@pytest.mark.parametrize("code", PLANTED)
def test_a_planted_fault_gives_its_reason_and_no_other(code: str) -> None:
    """One cause, one reason, and the figure that caused it is in the sentence."""
    made, figure = PLANTED[code]
    reasons = judge(made).reasons
    assert [reason.code for reason in reasons] == [code]
    assert figure in reasons[0].text


@pytest.mark.parametrize(
    "made",
    [
        measurement(),
        measurement(scheduled=101, sent=100),
        measurement([*GOOD, result("5xx")]),
        measurement([result(tokens=n) for n in (10, 15)] * 50),
        measurement([result(tokens=None)] * 100),
        checked(measurement(), 2060.0),
        measurement(tick=0.202),
    ],
)
def test_a_run_within_the_rules_is_valid(made: Measurement) -> None:
    """At the edge of each rule, a run is valid."""
    assert judge(made).reasons == ()


def test_some_lag_is_a_warning() -> None:
    """Between 10 and 100 ms of dispatch lag the run stands, with a warning."""
    found = judge(measurement([result(at=n / 5, lag=0.03) for n in range(100)], scheduled=100))
    assert (found.valid, [warning.code for warning in found.warnings]) == (True, ["lag"])


def test_lengths_are_told_apart() -> None:
    """Checked when every answer tells or nothing was asked, unknown when one does not tell."""
    assert lengths(measurement()) == "checked"
    assert lengths(measurement([*GOOD, result(tokens=None)])) == "unknown"
    unasked = measurement()
    unasked.plan = Plan("fill-mask", Model("m"), [Prepared("a", b"", "")], ("GPU-a",))
    assert lengths(unasked) == "checked"


def test_load_says_how_long_nobody_answered() -> None:
    """Only an unbroken row of refused connections counts as dead time."""
    load = Load(began=0.0)
    load.add(Result(0, 0, 1.0, 200, "", "", None, 0))
    load.add(Result(1, 1, 2.0, 0, "connect", "", None, 0))
    assert load.dead_since(5.0) == 4.0
    load.add(Result(2, 2, 6.0, 503, "5xx", "", None, 0))
    assert load.dead_since(7.0) == 0.0
