"""Passwords: who is let in, how seldom that costs, and what an outsider can learn."""

import base64
import threading
from http import HTTPStatus
from types import SimpleNamespace

import bcrypt
import pytest

from perjoule_exporter import access
from perjoule_exporter.access import BCRYPT_HASH, BasicAuth


def hashed(password: str, cost: int = 4) -> str:
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(cost)).decode()


def header(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The hashes that were compared with, which is what costs time."""
    made: list[bytes] = []
    check = bcrypt.checkpw

    def counting(password: bytes, user_hash: bytes) -> bool:
        made.append(user_hash)
        return check(password, user_hash)

    monkeypatch.setattr(bcrypt, "checkpw", counting)
    return made


@pytest.mark.parametrize(
    ("authorization", "let_in"),
    [
        (header("prometheus", "secret"), True),
        (header("prometheus", "secret").replace("Basic", "bASIC"), True),
        (header("müller", "pässwört:with:colons"), True),
        (header("long", "x" * 80), True),
        (header("prometheus", "Secret"), False),
        (header("prometheus", ""), False),
        (header("prometheus", "secret\0"), False),
        (header("nobody", "secret"), False),
        (header("", ""), False),
        ("", False),
        ("Basic", False),
        ("Basic ????", False),
        ("Basic " + base64.b64encode(b"no colon").decode(), False),
        ("Basic " + base64.b64encode(b"\xff\xfe:\xff").decode(), False),
        ("Bearer abc", False),
    ],
)
def test_who_is_let_in(authorization: str, let_in: bool) -> None:  # noqa: FBT001 (a table's column)
    """The right password of a known user, and nothing else; what is no header is a no and no error."""
    users = {"prometheus": hashed("secret"), "müller": hashed("pässwört:with:colons"), "long": hashed("x" * 72)}
    assert BasicAuth(users).refusal(authorization) is (None if let_in else HTTPStatus.UNAUTHORIZED)


@pytest.mark.parametrize("prefix", ["$2a$", "$2b$", "$2y$"])
def test_the_variants_of_bcrypt(prefix: str) -> None:
    """What htpasswd writes ($2y$) is what Python's package writes ($2b$)."""
    user_hash = hashed("secret").replace("$2b$", prefix)
    assert BCRYPT_HASH.fullmatch(user_hash)
    assert BasicAuth({"a": user_hash}).refusal(header("a", "secret")) is None


def test_an_answer_is_computed_once(compared: list[bytes]) -> None:
    """Yes and no alike; a scrape every few seconds costs one comparison."""
    users = BasicAuth({"a": hashed("secret")})
    for _ in range(5):
        assert users.refusal(header("a", "secret")) is None
        assert users.refusal(header("a", "wrong")) is HTTPStatus.UNAUTHORIZED
    assert len(compared) == 2


def test_an_unknown_user_costs_the_same(compared: list[bytes]) -> None:
    """One comparison, as costly as the costliest of the known."""
    users = BasicAuth({"a": hashed("x", 4), "b": hashed("y", 5)})
    assert users.refusal(header("nobody", "x")) is HTTPStatus.UNAUTHORIZED
    (user_hash,) = compared
    assert user_hash.startswith(b"$2b$05$")


def test_guessing_does_not_push_out_who_is_let_in(compared: list[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """Guesses have a memory of their own, and it is bounded."""
    monkeypatch.setattr(access, "_REMEMBERED", 3)
    users = BasicAuth({"a": hashed("secret")})
    assert users.refusal(header("a", "secret")) is None
    for guess in range(8):
        users.refusal(header("a", str(guess)))
    before = len(compared)
    assert users.refusal(header("a", "secret")) is None
    assert len(compared) == before
    users.refusal(header("a", "0"))  # forgotten meanwhile
    assert len(compared) == before + 1


def test_users_and_passwords_do_not_run_into_each_other() -> None:
    """An answer that is remembered for one pair is not another pair's."""
    users = BasicAuth({"a": hashed("b:c")})
    assert users.refusal(header("a", "b:c")) is None
    assert users.refusal(header("a:b", "c")) is None  # basic auth cannot tell these apart: the same bytes
    assert users.refusal(header("ab", ":c")) is HTTPStatus.UNAUTHORIZED


def test_one_comparison_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next one waits a while and is then told to come again; what is remembered does not wait."""
    monkeypatch.setattr(access, "_BUSY_SECONDS", 0.05)
    begun, go_on = threading.Event(), threading.Event()

    def slow(password: bytes, user_hash: bytes) -> bool:  # noqa: ARG001 (the library's signature)
        if password == b"slow":
            begun.set()
            go_on.wait(10)
        return password == b"right"

    monkeypatch.setitem(__import__("sys").modules, "bcrypt", SimpleNamespace(checkpw=slow))
    users = BasicAuth({"a": "$2b$04$" + "." * 53})
    assert users.refusal(header("a", "right")) is None
    thread = threading.Thread(target=users.refusal, args=(header("a", "slow"),))
    thread.start()
    assert begun.wait(10)
    assert users.refusal(header("a", "other")) is HTTPStatus.SERVICE_UNAVAILABLE
    assert users.refusal(header("a", "right")) is None
    go_on.set()
    thread.join()
    assert users.refusal(header("a", "other")) is HTTPStatus.UNAUTHORIZED
