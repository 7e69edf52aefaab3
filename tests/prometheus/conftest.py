"""Alertmanager's programs, for the tests of routes and inhibitions."""

from pathlib import Path

import pytest

from tests.conftest import required_program

PACKAGE = "prometheus-alertmanager"


@pytest.fixture(scope="session")
def amtool() -> Path:
    """Path of amtool."""
    return required_program("amtool", PACKAGE)


@pytest.fixture(scope="session")
def alertmanager_binary() -> Path:
    """Path of Alertmanager, under the name that Debian gives it."""
    return required_program("prometheus-alertmanager", PACKAGE)
