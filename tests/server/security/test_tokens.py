"""Files of bearer tokens: what they may hold, who is recognised, and that no token is ever told."""

import logging
from pathlib import Path

import pytest

from perjoule.errors import UsageError
from perjoule_server.auth import MOST, SHORTEST, Role, Tokens, match, parse

PLAIN, ADMIN = "plain-" + "p" * 20, "admin-" + "a" * 20
FILE = f"# who may ask\n\n{PLAIN}\n  {ADMIN} admin ops\n"


def test_lines_are_tokens_with_roles_and_names() -> None:
    """A bare token is plain and named after its line; comments and blank lines say nothing."""
    assert [(each.role, each.name) for each in parse(FILE)] == [(Role.PLAIN, "line-3"), (Role.ADMIN, "ops")]


@pytest.mark.parametrize(
    "line",
    ["short", "x" * (SHORTEST - 1), "s3cret" * 4 + "é", "s3cret" * 4 + " root", "s3cret" * 4 + " admin a b",
     "s3cret" * 4 + " plain \x1b[31m", "s3cret:" * 4, "=" * 20],
)  # fmt: skip
def test_a_wrong_line_is_named_by_its_number(line: str) -> None:
    """The message says which line and what belongs there, and holds nothing of it."""
    with pytest.raises(UsageError, match="line 2") as caught:
        parse(f"{PLAIN}\n{line}")
    assert line.split(maxsplit=1)[0] not in str(caught.value)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "# nothing\n", f"{PLAIN}\n{PLAIN} admin\n"])
def test_no_token_and_a_repeated_one_are_mistakes(text: str) -> None:
    """An empty file would lock everyone out, and a token of two roles would be a guess."""
    with pytest.raises(UsageError):
        parse(text)


def test_a_file_of_too_many_tokens_is_refused() -> None:
    """Each request is compared with all of them, so there is a bound."""
    lines = "\n".join(f"token-{number:020}" for number in range(MOST + 1))
    with pytest.raises(UsageError, match=str(MOST)):
        parse(lines)


@pytest.mark.parametrize("header", ["Bearer {}", "bearer {}", "BEARER  {}", "Bearer {} "])
def test_a_token_is_recognised(header: str) -> None:
    """However the scheme is spelled."""
    found = match(parse(FILE), header.format(ADMIN).encode())
    assert found is not None
    assert found.name == "ops"


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer ", f"Basic {PLAIN}", PLAIN, f"Bearer {PLAIN[:-1]}", f"Bearer {PLAIN}x",
               f"Bearer {PLAIN},{ADMIN}", f"Bearer {PLAIN.upper()}", "Bearer \xff\0"],
)  # fmt: skip
def test_anything_else_is_nobody(header: str) -> None:
    """Other schemes, parts of a token, two tokens, another case, no token."""
    assert match(parse(FILE), header.encode("latin-1")) is None


def test_the_tokens_are_not_kept(tmp_path: Path) -> None:
    """What the process keeps tells no token, so that no log, traceback or debugger can."""
    file = tmp_path / "tokens"
    file.write_text(FILE)
    tokens = Tokens(str(file))
    assert PLAIN not in repr([tokens.match(f"Bearer {PLAIN}".encode()), vars(tokens)])


def test_a_file_that_all_can_read_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """With a line that says what to do; a private file gets none."""
    file = tmp_path / "tokens"
    file.write_text(FILE)
    file.chmod(0o600)
    Tokens(str(file))
    assert caplog.messages == []
    file.chmod(0o644)
    Tokens(str(file))
    assert ["chmod o-r" in message for message in caplog.messages] == [True]


def test_a_reload_takes_the_new_tokens_or_keeps_the_old(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A file that was broken meanwhile locks nobody out, and the log says so without telling a token."""
    caplog.set_level(logging.INFO)
    file = tmp_path / "tokens"
    file.write_text(FILE)
    tokens = Tokens(str(file))
    other = "other-" + "o" * 20
    file.write_text(f"{PLAIN} nonsense")
    tokens.reload()
    assert tokens.match(f"Bearer {PLAIN}".encode()) is not None
    file.write_text(other)
    tokens.reload()
    assert tokens.match(f"Bearer {PLAIN}".encode()) is None
    assert tokens.match(f"Bearer {other}".encode()) is not None
    file.unlink()
    tokens.reload()
    assert tokens.match(f"Bearer {other}".encode()) is not None
    assert PLAIN not in caplog.text
    assert other not in caplog.text


@pytest.mark.parametrize("content", [None, b"\xff\xfe", b"short"])
def test_an_unusable_file_is_a_usage_error(tmp_path: Path, content: bytes | None) -> None:
    """Absent, binary or wrong: the message names flag and file."""
    file = tmp_path / "tokens"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(UsageError, match=r"--auth\.tokens .*tokens"):
        Tokens(str(file))
