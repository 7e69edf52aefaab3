from pathlib import Path

from benchmarks.report import plain
from benchmarks.server_cost import CONCURRENCIES, Found, Layer, Plan
from benchmarks.server_environments import MOSEC, NAIVE
from benchmarks.server_load import Load
from benchmarks.server_programs import OURS
from benchmarks.server_tables import checks, section

PLAN = Plan(Path("nowhere"), {}, 1, 0.1, 1.0, 1.0)


def found(ours: float, mosec: float, *, rate: float = 300.0, layer: float = 0.0005) -> Found:
    """Return one round in which a request costs ``ours`` and ``mosec`` seconds of CPU, and the naive server 9 ms."""
    made = Found("text-classification", open_rate=70.0)
    for concurrency in CONCURRENCIES:
        made.closed[OURS, concurrency].append(Load(rate, 0.01, 0.02, 0, ours))
        made.closed[MOSEC, concurrency].append(Load(250.0, 0.02, 0.04, 0, mosec))
        made.closed[NAIVE, concurrency].append(Load(100.0, 0.03, 0.06, 0, 0.009))
        made.layer[concurrency].append(Layer(ours, ours - layer / 2, ours - layer, 8.0))
        made.useful[concurrency].append(0.8)
    made.client_cpu.append(1e-4)
    for name, p99 in ((OURS, 0.03), (MOSEC, 0.05), (NAIVE, 0.01)):
        made.open[name].append(Load(70.0, 0.01, p99, 0))
    return made


def failures(of: Found) -> set[str]:
    return {check.what for check in checks(of) if not check.passed}


def test_everything_within_its_target_passes() -> None:
    """A server that is cheaper, faster and thinner than asked fails nothing; the naive server's p99 is no target."""
    assert failures(found(0.002, 0.003)) == set()


def test_cpu_is_judged_by_the_best_peer() -> None:
    """Alone ours may cost half as much again as the best peer; under load not more."""
    assert failures(found(0.0040, 0.003)) == {
        f"text-classification, {concurrency} at a time: CPU a request" for concurrency in (16, 64)
    }
    assert "text-classification, 1 at a time: CPU a request" in failures(found(0.0046, 0.003))


def test_rate_is_judged_by_the_naive_server() -> None:
    """One and a half times as many requests a second are asked at 16 and 64, and nothing alone."""
    assert failures(found(0.002, 0.003, rate=149.0)) == {
        f"text-classification, {concurrency} at a time: requests/s" for concurrency in (16, 64)
    }


def test_layer_is_judged_over_the_plain_loop() -> None:
    """A millisecond of CPU over a loop of the same batches is too much."""
    over = {f"text-classification, {concurrency} at a time: CPU a request over a loop" for concurrency in (16, 64)}
    assert failures(found(0.002, 0.003, layer=0.0011)) == over


def test_p99_is_judged_by_the_best_batching_peer() -> None:
    """At the same rate ours may not be slower than the best peer that batches."""
    late = found(0.002, 0.003)
    late.open[OURS] = [Load(70.0, 0.01, 0.06, 0)]
    assert failures(late) == {"text-classification, 70 requests/s: p99"}


def test_errors_and_other_answers_fail() -> None:
    """An error of ours fails, and so does a peer that answers something else: it does not do the same work."""
    wrong = found(0.002, 0.003)
    wrong.closed[OURS, 16] = [Load(300.0, 0.01, 0.02, 3, 0.002)]
    wrong.differing[MOSEC] = "B, not A"
    assert failures(wrong) == {"text-classification, 16 at a time: errors", "text-classification: answer of mosec"}


def test_a_missing_peer_is_told_and_judged_no_more() -> None:
    """A peer that failed on the way is named with its reason, and its figures are in no table."""
    some = found(0.004, 0.003)
    some.missing[MOSEC] = "ended while it started"
    assert failures(some) == set()
    text = "\n".join(plain(table) for table in section(some, PLAN).tables)
    assert "mosec is missing: ended while it started." in text
    assert "  mosec  " not in text


def test_without_peers_only_what_needs_none_is_judged() -> None:
    """Ours alone is judged by its layer and its errors."""
    alone = found(0.002, 0.003)
    alone.missing.update({MOSEC: "not asked", NAIVE: "not asked"})
    assert {check.what.partition(": ")[2] for check in checks(alone)} == {"errors", "CPU a request over a loop"}


def test_capacity_is_the_best_peers() -> None:
    """The open loop's rate is taken from peers, since ours is what is judged; from ours where it is alone."""
    both = found(0.002, 0.003)
    assert both.capacity() == 250.0
    both.missing.update({MOSEC: "not asked", NAIVE: "not asked"})
    assert both.capacity() == 300.0
