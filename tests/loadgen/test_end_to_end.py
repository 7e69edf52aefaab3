"""``loadgen`` against a stub server and a stub exporter whose truth is known."""

import pytest

from tests.loadgen.conftest import Bench


def test_gross_and_active_joules_are_the_truth(bench: Bench) -> None:
    """The bracket holds exactly the energy between its edges, and idle power is taken out of the active figure."""
    code, run = bench.run()
    assert (code, run["verdict"], run["reasons"]) == (0, "valid", [])
    start, end = run["window"]["start"], run["window"]["end"]
    truth = bench.exporter.power.joules(end) - bench.exporter.power.joules(start)
    ok = run["requests"]["ok"]
    gross, active = run["joules_per_inference"]["gross"], run["joules_per_inference"]["active"]
    assert gross["value"] * ok == pytest.approx(truth, rel=1e-6)
    assert run["devices"][0]["idle_watts"] == pytest.approx(50.0, rel=1e-3)
    assert active["value"] * ok == pytest.approx(truth - 50.0 * (end - start), rel=1e-3)
    assert gross["low"] < gross["value"] < gross["high"]
