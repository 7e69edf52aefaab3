"""A hundredth of a day of the exporter's life, with faults and rude clients."""

import os
import shutil

import pytest

from benchmarks.driver import compiled
from benchmarks.soak import DAY_READINGS, Done, checks, soak

SCALE = 0.01


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Done:
    """What a soak did and found."""
    if shutil.which("cc") is None and shutil.which("gcc") is None:
        reason = "no C compiler for the fake NVIDIA driver (Debian: apt install gcc libc6-dev)"
        if os.environ.get("CI"):
            pytest.fail(f"{reason}, and CI must not pass without it", pytrace=False)
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("soak")
    (folder / "run").mkdir()
    return soak(folder / "run", compiled(folder / "driver"), SCALE)


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_nothing_leaks_is_lost_or_goes_back(done: Done) -> None:
    """Memory, threads, files and series are the start's; no counter went back, no signal was lost."""
    assert done.readings >= SCALE * DAY_READINGS
    assert [check for check in checks(done) if not check.passed] == []
