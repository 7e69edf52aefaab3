"""Fixtures: a server around fake tasks."""

from collections.abc import Iterator

import pytest

from tests.server.fakes import EchoTask, Running, running, spec


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
