"""Fixtures: a server around fake tasks."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.server.fakes import EchoTask, Running, running, spec


@pytest.fixture(autouse=True)
def no_exporter(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keep servers from telling this machine's own exporter, should it have one."""
    monkeypatch.setenv("PERJOULE_SPAN_SOCKET", str(tmp_path / "absent.sock"))


@pytest.fixture
def task() -> EchoTask:
    """A task that echoes."""
    return EchoTask()


@pytest.fixture
def server(task: EchoTask) -> Iterator[Running]:
    """A server with a text task and a media task, both echoing."""
    specs = [spec("text-classification"), spec("image-classification")]
    with running(specs, lambda _: task) as started:
        yield started
