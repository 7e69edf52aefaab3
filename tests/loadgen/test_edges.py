"""Where the window's edges lie, for a counter whose every pair may be one update stale."""

from tests.loadgen.conftest import Bench
from tests.loadgen.stubs import IDLE_WATTS


def test_an_end_edge_that_is_one_update_stale_holds_all_work(bench: Bench) -> None:
    """From the last answer to the end edge lies a whole update, so that being one off costs idle power only."""
    _, run = bench.run()
    end = run["window"]["end"]
    done = max(at for at, watts in bench.exporter.power.steps if watts == IDLE_WATTS and at < end)
    assert end - done >= bench.exporter.tick
