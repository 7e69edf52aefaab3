"""A missing Prometheus skips for a user and fails in continuous integration."""

import pytest

from tests.conftest import required_program


def test_a_user_sees_the_test_skipped_and_why(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason names the program and the package that brings it."""
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(pytest.skip.Exception, match=r"promtool is not on PATH \(Debian: apt install prometheus\)"):
        required_program("promtool", "prometheus")


def test_continuous_integration_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing passes in CI by not having run."""
    monkeypatch.setenv("CI", "true")
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(pytest.fail.Exception, match="promtool is not on PATH"):
        required_program("promtool", "prometheus")
