"""What a request cost, as figures: sums, digits, memory. And the account's own arithmetic, without a device."""

import time
from pathlib import Path

import pytest

from perjoule.spans import UNKNOWN, Energy, Quality, Spans
from perjoule_server.accounting import PENDING_SECONDS, Accounting
from perjoule_server.cost import Cost, decimals, energy_headers, rounded
from perjoule_server.recent import Recent
from perjoule_server.tasks.base import SilentWork


@pytest.fixture
def accounting(tmp_path: Path) -> Accounting:
    """An account that no exporter hears of, already looking for one."""
    made = Accounting(lambda: Spans("test/1", socket=tmp_path / "absent.sock"), lambda: None, 3, "cpu-0")
    made.start()
    return made


@pytest.mark.parametrize(
    ("joules", "quality", "text"),
    [
        (1.23456789, Quality.ESTIMATED, "1.235"),
        (1234.5678, Quality.ESTIMATED, "1235"),
        (123456.78, Quality.ESTIMATED, "123457"),
        (0.000012349, Quality.ESTIMATED, "0.00001235"),
        (1e-12, Quality.ESTIMATED, "0.000000000"),
        (0.0, Quality.ESTIMATED, "0.000000"),
        (1.23456789, Quality.SETTLED, "1.234568"),
        (0.0, Quality.SETTLED, "0.000000"),
        (1e7, Quality.SETTLED, "10000000.000000"),
    ],
)
def test_joules_are_plain_decimals(joules: float, quality: Quality, text: str) -> None:
    """Four digits of an estimate, the ledger's microjoules of a settled figure, and never an exponent."""
    energy = Energy(joules, quality)
    assert decimals(energy) == text
    assert rounded(energy) == float(text)
    assert energy_headers(energy) == {"x-energy-joules": text, "x-energy-quality": str(quality)}


def test_what_is_unknown_has_no_figure() -> None:
    """Neither 0 nor anything else stands for it."""
    assert (decimals(UNKNOWN), rounded(UNKNOWN)) == (None, None)
    assert energy_headers(UNKNOWN) == {"x-energy-quality": "unknown"}
    assert Cost("a", "a.1", "task", "model").energy == UNKNOWN


def test_the_newest_of_an_id_is_found_and_the_oldest_are_forgotten() -> None:
    """By its client's id, or by that of its spans; memory is bounded."""
    recent = Recent(2)
    costs = [Cost(name, f"{name}.{number}", "t", "m") for number, name in enumerate("aab")]
    for cost in costs[:2]:
        recent.add(cost)
    assert (recent.find("a"), recent.find("a.0"), recent.find("a.1")) == (costs[1], costs[0], costs[1])
    recent.add(costs[2])
    assert (recent.find("a"), recent.find("a.0"), recent.find("b"), len(recent)) == (costs[1], None, costs[2], 2)
    recent.add(Cost("c", "c.3", "t", "m"))
    assert (recent.find("a"), len(recent)) == (None, 2)


def test_no_memory_is_a_setting() -> None:
    """With none, nothing is found."""
    recent = Recent(0)
    recent.add(Cost("a", "a.1", "t", "m"))
    assert (recent.find("a"), len(recent)) == (None, 0)


def test_ids_in_spans_are_ids_of_the_protocol(accounting: Accounting) -> None:
    """However long a client's id, and however often it comes: 64 characters at most, and never the same twice."""
    ids = [accounting.cost(name, "t", "m").request for name in ("x" * 64, "x" * 64, "a", "a")]
    assert (len(set(ids)), max(map(len, ids))) == (4, 64)
    accounting.close()


def test_shares_are_weights_over_the_whole(accounting: Accounting) -> None:
    """Requests without any weight share alike; what was known when the phase ended counts."""
    costs = [accounting.cost(name, "t", "m") for name in "ab"]
    work = accounting.work(costs, SilentWork())
    with work.phase("prefill", [1, 3]):
        pass
    with work.phase("decode", [1, 1]) as decode:
        decode.weigh([0, 0])
    accounting.concluded([(cost, "ok") for cost in costs])
    assert [[part.share for part in cost.parts] for cost in costs] == [[0.25, 0.5], [0.75, 0.5]]
    assert [cost.outcome for cost in costs] == ["ok", "ok"]
    accounting.close()


def test_an_end_is_told_by_the_device_thread_where_the_event_loop_is_busy(accounting: Accounting) -> None:
    """Once it has waited long enough, with the next span that begins or ends, whosever that is: sooner it waits."""
    first, second, third = [accounting.cost(name, "t", "m") for name in "abc"]
    with accounting.work([first], SilentWork()).phase("encode", [1]):
        pass
    time.sleep(PENDING_SECONDS)
    with accounting.work([second], SilentWork()).phase("encode", [1]):
        assert (first.owing, accounting.waiting) == (True, False)
    assert (second.owing, accounting.waiting) == (False, True)
    with accounting.work([third], SilentWork()).phase("encode", [1]):
        time.sleep(PENDING_SECONDS)
    assert (second.owing, third.owing) == (True, False)
    accounting.concluded([(cost, "ok") for cost in (first, second, third)])
    assert [cost.owing for cost in (first, second, third)] == [False, False, False]
    accounting.close()


def test_a_task_that_weighs_wrongly_is_told_so_and_its_span_ends(accounting: Accounting) -> None:
    """One weight for each request, neither before a phase nor in it anything else."""
    costs = [accounting.cost(name, "t", "m") for name in "ab"]
    work = accounting.work(costs, SilentWork())
    with pytest.raises(ValueError, match="1 weights for 2 requests"), work.phase("encode", [1]):
        pass
    assert not accounting.waiting
    with pytest.raises(ValueError, match="3 weights for 2 requests"), work.phase("encode", [1, 1]) as phase:
        phase.weigh([1, 2, 3])
    assert [len(cost.parts) for cost in costs] == [1, 1]
    accounting.concluded([(cost, "error") for cost in costs])
    assert not accounting.waiting
    accounting.close()


def test_a_device_that_is_lost_ends_its_span(tmp_path: Path) -> None:
    """What waits for the device raises; the phase ends all the same, and the error goes on to the batch."""

    def lost() -> None:
        raise RuntimeError("CUDA error: unspecified launch failure")

    accounting = Accounting(lambda: Spans("test/1", socket=tmp_path / "absent.sock"), lost, 3, "cpu-0")
    accounting.start()
    cost = accounting.cost("a", "t", "m")
    with (
        pytest.raises(RuntimeError, match="launch failure"),
        accounting.work([cost], SilentWork()).phase("encode", [1]),
    ):
        pass
    assert accounting.waiting
    accounting.concluded([(cost, "error")])
    assert (accounting.waiting, cost.outcome, len(cost.parts)) == (False, "error", 1)
    accounting.close()


def test_before_it_looks_for_an_exporter_there_is_a_name_and_no_span(tmp_path: Path) -> None:
    """The device's usual name, nothing dropped; to tell of work then is a fault of ours."""
    accounting = Accounting(lambda: Spans("test/1", socket=tmp_path / "absent.sock"), lambda: None, 3, "GPU-x")
    assert (accounting.device, accounting.devices, accounting.dropped) == ("GPU-x", (), 0)
    with pytest.raises(RuntimeError, match="started"):
        _ = accounting.spans
    accounting.close()
