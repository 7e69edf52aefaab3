"""One Prometheus with the fleet's series for all tests of dashboards and rules."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.grafana.store import Programs, Store, fill, running
from tests.grafana.world import openmetrics


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory, prometheus_binary: Path, promtool: Path) -> Iterator[Store]:
    """A Prometheus that holds the fleet of ``world`` and everything that the rules record from it."""
    folder = tmp_path_factory.mktemp("fleet")
    fill(folder, Programs(prometheus_binary, promtool), openmetrics())
    with running(folder, prometheus_binary) as filled:
        yield filled
