"""Fixtures: the real program with all tiny models."""

import threading
from collections.abc import Iterator

import pytest

from tests.server.fakes import Running
from tests.server.test_program import Program

STARTING = 100.0
"""Seconds that the program may take to load all models on a busy machine."""


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The server as a user starts it, without an exporter."""
    program = Program("--span.socket", str(tmp_path_factory.mktemp("none") / "no.sock"))
    pause = threading.Event()
    try:
        for _ in range(int(STARTING / 0.1)):
            if program.server.ready:
                break
            assert program.process.poll() is None, program.ended()
            pause.wait(0.1)
        yield program.server
    finally:
        program.process.kill()
        program.process.communicate()
