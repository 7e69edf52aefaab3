"""The two files: a token that shows nowhere, and a cache that costs a warning at worst."""

import json
import logging
import os
from pathlib import Path

import pytest

from perjoule.errors import IntensityError, UsageError
from perjoule_exporter.clock import Moment
from perjoule_exporter.intensity.cache import CacheFile, check_cache
from perjoule_exporter.intensity.force import Held
from perjoule_exporter.intensity.secret import MOST_BYTES, Secret, TokenFile
from perjoule_exporter.intensity.settings import CarbonSettings, Source, source_of
from perjoule_exporter.intensity.value import Intensity

NOON = 1.8e9
NOW = Moment(5000.0, NOON)
VALUE = Intensity("GBR", "uk", "average", 163.0, NOON - 600, estimated=True)
HELD = Held(VALUE, NOW)


def source(**settings: str) -> Source:
    found = source_of(CarbonSettings(zone="GBR", provider="uk", **settings))  # type: ignore[arg-type] # texts only
    assert found is not None
    return found


def written(path: Path, content: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(content)
    path.chmod(mode)
    return path


def test_a_secret_shows_nowhere() -> None:
    """Not printed, not formatted, not in a container; and still equal to itself."""
    secret = Secret("s3cret")
    assert "s3cret" not in f"{secret} {secret!r} {[secret]} {vars(Secret)}"
    assert secret.reveal() == "s3cret"
    assert (secret == Secret("s3cret"), secret == Secret("other"), hash(secret) == hash(Secret("s3cret"))) == (
        True, False, True,
    )  # fmt: skip


def test_a_token_file_is_read_each_time(tmp_path: Path) -> None:
    """White space around the token is no part of it; a new token needs no restart."""
    path = written(tmp_path / "token", b"  first\n")
    file = TokenFile(path, "token")
    assert file.read() == Secret("first")
    replacement = written(tmp_path / "new", b"second\n")
    replacement.replace(path)
    assert file.read() == Secret("second")


@pytest.mark.parametrize(
    ("content", "what", "sentence"),
    [
        (b"", "token", "must hold one line with the token"),
        (b" \n\n", "token", "must hold one line"),
        (b"s3cret\ns3cret\n", "token", "must hold one line"),
        (b"s3cret\x00", "token", "must hold one line"),
        (b"\xff\xfes3cret", "token", "must hold one line"),
        (b"s3cret" * MOST_BYTES, "token", "must hold one line"),
        (b"s3cret s3cret", "token", "without spaces"),
        ("s3crét".encode(), "token", "of ASCII"),
        (b"s3cret", "user:password", "must hold user:password"),
    ],
)
def test_files_that_hold_no_token(tmp_path: Path, content: bytes, what: str, sentence: str) -> None:
    """Refused with the file's name and nothing of what it holds."""
    with pytest.raises(IntensityError, match=sentence) as error:
        TokenFile(written(tmp_path / "token", content), what).read()
    assert "s3cr" not in str(error.value)


def test_user_and_password_may_be_any_text(tmp_path: Path) -> None:
    """Spaces, colons and other letters belong to passwords."""
    path = written(tmp_path / "token", "zoé:a b:c\n".encode())
    assert TokenFile(path, "user:password").read() == Secret("zoé:a b:c")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    """Missing, a folder, a pipe (which would never end)."""
    os.mkfifo(tmp_path / "pipe")
    for path, sentence in (
        (tmp_path / "none", "does not exist"),
        (tmp_path, "no file"),
        (tmp_path / "pipe", "no file"),
    ):
        with pytest.raises(IntensityError, match=sentence):
            TokenFile(path, "token").read()


@pytest.mark.parametrize(("mode", "warnings"), [(0o600, 0), (0o640, 0), (0o644, 1), (0o606, 1)])
def test_a_file_that_all_can_read(tmp_path: Path, caplog: pytest.LogCaptureFixture, mode: int, warnings: int) -> None:
    """One warning, however often it is read; a group's file is the group's business."""
    file = TokenFile(written(tmp_path / "token", b"s3cret", mode), "token")
    for _ in range(3):
        file.read()
    assert len(caplog.records) == warnings
    assert "s3cret" not in caplog.text


def test_the_cache_gives_back_what_was_stored(tmp_path: Path) -> None:
    """After a restart, on another monotonic clock, the value is as old as it is."""
    path = tmp_path / "cache.json"
    CacheFile(path, source()).store(HELD)
    restarted = Moment(7.0, NOON + 100)
    assert CacheFile(path, source()).load(restarted) == Held(VALUE, Moment(-93.0, NOON))
    assert [file.name for file in tmp_path.iterdir()] == ["cache.json"]


def test_no_cache_yet(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing to say about a file that is not there."""
    assert CacheFile(tmp_path / "cache.json", source()).load(NOW) is None
    assert caplog.text == ""


@pytest.mark.parametrize("settings", [{"region": "13"}, {"url": "https://mirror.example"}])
def test_a_cache_of_another_source(tmp_path: Path, caplog: pytest.LogCaptureFixture, settings: dict[str, str]) -> None:
    """Not used, not complained about, not moved: the settings have changed."""
    path = tmp_path / "cache.json"
    CacheFile(path, source()).store(HELD)
    assert CacheFile(path, source(**settings)).load(NOW) is None
    assert caplog.text == ""
    assert path.exists()


@pytest.mark.parametrize("member", ["valid_at", "fetched_at"])
def test_a_cache_from_the_future(tmp_path: Path, member: str) -> None:
    """One of two clocks is wrong: not used."""
    path = tmp_path / "cache.json"
    CacheFile(path, source()).store(HELD)
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(content | {member: NOON + 1000}), encoding="utf-8")
    assert CacheFile(path, source()).load(NOW) is None


def _changes() -> list[dict[str, object]]:
    bad: list[dict[str, object]] = [{"grams_per_kwh": value} for value in (None, "163", -1, 1e9, True)]
    return bad + [{name: value} for name in ("valid_at", "fetched_at") for value in (None, "x", -1, 1e300, True)]


@pytest.mark.parametrize("change", _changes())
def test_a_cache_with_impossible_members_is_set_aside(tmp_path: Path, change: dict[str, object]) -> None:
    """It is held to the same bounds as a live answer."""
    path = tmp_path / "cache.json"
    CacheFile(path, source()).store(HELD)
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(content | change), encoding="utf-8")
    assert CacheFile(path, source()).load(NOW) is None
    assert [file.name for file in tmp_path.iterdir()] == ["cache.json.corrupt"]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff", b"{}", b"[" * 60_000, b"1" * 100_000])
def test_a_corrupt_cache_is_set_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes) -> None:
    """With one warning; the next value is stored as if nothing had been."""
    path = written(tmp_path / "cache.json", content)
    cache = CacheFile(path, source())
    assert cache.load(NOW) is None
    assert (tmp_path / "cache.json.corrupt").read_bytes() == content
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    cache.store(HELD)
    assert cache.load(NOW) == HELD


@pytest.mark.parametrize(
    ("content", "ours"),
    [(b"", True), (b"{", True), (b"\0\0", True), (b'{\n "format": 7}', True),
     (b"notes", False), (b'{"format": 1, "boot_id": ""}', False), (b"[]", False)],
)  # fmt: skip
def test_a_file_of_somebody_else_is_never_taken_as_the_cache(tmp_path: Path, content: bytes, *, ours: bool) -> None:
    """Notes, or the state file: refused before anything is set aside or written over."""
    path = written(tmp_path / "x", content)
    if ours:
        check_cache(path)
    else:
        with pytest.raises(UsageError, match=r"x is there and is no carbon cache of this exporter"):
            check_cache(path)
    assert path.read_bytes() == content


def test_what_the_cache_writes_is_its_own(tmp_path: Path) -> None:
    """The next start takes it."""
    CacheFile(tmp_path / "cache.json", source()).store(HELD)
    check_cache(tmp_path / "cache.json")
    with pytest.raises(UsageError, match=r"is a directory: name a file in it, such as .*/carbon\.json"):
        check_cache(tmp_path)


def test_a_cache_that_cannot_be_written(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One warning, however often it is tried, and no temporary file left."""
    (tmp_path / "cache.json").mkdir()
    (tmp_path / "cache.json" / "x").touch()
    for path in (tmp_path / "cache.json", tmp_path / "none" / "cache.json"):
        caplog.clear()
        cache = CacheFile(path, source())
        for _ in range(3):
            cache.store(HELD)
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        assert "cannot be written" in caplog.text
    assert [file.name for file in tmp_path.iterdir()] == ["cache.json"]


def test_a_cache_that_cannot_be_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A folder of that name, or a pipe, which would never end: one warning each."""
    os.mkfifo(tmp_path / "pipe")
    with caplog.at_level(logging.WARNING):
        assert CacheFile(tmp_path, source()).load(NOW) is None
        assert CacheFile(tmp_path / "pipe", source()).load(NOW) is None
    assert len(caplog.records) == 2
    assert "is no file" in caplog.text


def test_the_cache_holds_no_secret(tmp_path: Path) -> None:
    """Its members are a source, a value and two times."""
    path = tmp_path / "cache.json"
    CacheFile(path, source()).store(HELD)
    assert set(json.loads(path.read_text(encoding="utf-8"))) == {
        "format", "provider", "basis", "zone", "region", "url", "grams_per_kwh", "valid_at", "estimated", "fetched_at",
    }  # fmt: skip
