"""Fixtures of every component's tests: the outside programs that some tests need.

A user without such a program sees the test skipped and why; in continuous integration, where ``CI`` is set, its absence
is a failure, so that nothing passes there by not having run.
"""

import os
import shutil
from pathlib import Path

import pytest


def required_program(name: str, package: str) -> Path:
    """Return the path of ``name``; skip the test (fail it where ``CI`` is set) when it is not installed."""
    found = shutil.which(name)
    if found is None:
        reason = f"{name} is not on PATH (Debian: apt install {package})"
        if os.environ.get("CI"):
            pytest.fail(f"{reason}, and CI must not pass without it", pytrace=False)
        pytest.skip(reason)
    return Path(found)


@pytest.fixture(scope="session")
def promtool() -> Path:
    """Path of promtool."""
    return required_program("promtool", "prometheus")


@pytest.fixture(scope="session")
def prometheus_binary() -> Path:
    """Path of the Prometheus server."""
    return required_program("prometheus", "prometheus")


@pytest.fixture(scope="session")
def docker_compose() -> Path:
    """Path of docker-compose."""
    return required_program("docker-compose", "docker-compose")
