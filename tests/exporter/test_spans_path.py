"""The span socket's file: made with its mode, never in the way of others, removed when it is stale and only then."""

import grp
import logging
import os
import socket
import stat
import threading
from pathlib import Path

import pytest

from perjoule.errors import UsageError
from perjoule_exporter.spans import path as socket_path
from perjoule_exporter.spans.path import Listening, SocketPathError, listen, listen_by_default


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "spans.sock"


def stale(path: Path) -> None:
    """Leave behind what a killed exporter leaves."""
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(path))
    dead.listen()
    dead.close()


def connects(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0


def test_owner_and_group_may_connect_and_nobody_else(path: Path) -> None:
    """The mode is 0660 whatever the umask, and the group is the one that was asked for, by name or number."""
    groups = (grp.getgrgid(os.getgid()).gr_name, str(os.getgid()))
    for group in groups:
        before = os.umask(0)
        try:
            listening = listen(path, group)
        finally:
            os.umask(before)
        found = path.stat()
        assert (stat.S_IMODE(found.st_mode), found.st_gid) == (0o660, os.getgid())
        assert connects(path)
        listening.close()
        assert not path.exists()


def test_an_unknown_group_is_a_usage_error(path: Path) -> None:
    """It is said before anything is made."""
    with pytest.raises(UsageError, match="there is no group 'no-such-group'"):
        listen(path, "no-such-group")
    assert not path.exists()


def test_a_stale_socket_is_replaced(path: Path) -> None:
    """After SIGKILL the file is still there; the next exporter takes its place."""
    stale(path)
    listening = listen(path)
    assert connects(path)
    listening.close()


def test_a_socket_in_use_stays_its_owners(path: Path) -> None:
    """The second exporter is told so, and the first keeps its file and clients, even if it is too busy to accept."""
    first = listen(path)
    first.socket.listen(0)
    busy = [socket.socket(socket.AF_UNIX) for _ in range(4)]
    for client in busy:
        client.setblocking(False)
        with pytest.raises(SocketPathError, match="another program listens there"):
            listen(path)
        client.connect_ex(str(path))
    assert path.exists()
    for client in busy:
        client.close()
    first.close()


def test_what_is_not_a_socket_stays(path: Path, tmp_path: Path) -> None:
    """A file, a folder or a link of that name is never removed."""
    precious = tmp_path / "precious"
    precious.write_text("data", encoding="utf-8")
    stale(tmp_path / "other.sock")
    makers = (
        lambda: path.write_text("data", encoding="utf-8"),
        path.mkdir,
        lambda: path.symlink_to(precious),
        lambda: path.symlink_to(tmp_path / "other.sock"),
    )
    for make in makers:
        make()
        with pytest.raises(SocketPathError, match="is not a socket, and stays"):
            listen(path)
        assert os.path.lexists(path)
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        else:
            path.unlink()
    assert precious.read_text(encoding="utf-8") == "data"


@pytest.mark.parametrize("name", ["missing/spans.sock", "a" * 120])
def test_a_path_that_cannot_be_is_one_error(tmp_path: Path, name: str) -> None:
    """No folder, or more than the 107 bytes that the kernel takes: one sentence with the path."""
    with pytest.raises(SocketPathError, match="no spans at"):
        listen(tmp_path / name)


def test_of_many_at_once_one_gets_a_stale_socket(path: Path) -> None:
    """Exporters that start together after a crash: one listens, the others are told, nobody removes its file."""
    stale(path)
    got: list[Listening] = []
    refused: list[SocketPathError] = []
    start = threading.Barrier(8)

    def begin() -> None:
        start.wait()
        try:
            got.append(listen(path))
        except SocketPathError as error:
            refused.append(error)

    threads = [threading.Thread(target=begin) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(got), len(refused)) == (1, 7)
    assert connects(path)
    got[0].close()


def test_an_exporter_that_ends_leaves_its_successors_file(path: Path) -> None:
    """If somebody removed the file and another exporter made its own, that one stays."""
    first = listen(path)
    path.unlink()
    second = listen(path)
    first.close()
    assert connects(path)
    second.close()


def test_by_default_it_is_the_system_folder_or_else_the_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where the first cannot be made, the second is; where none can, there are no spans, and one warning says why."""
    environment = {"XDG_RUNTIME_DIR": str(tmp_path)}
    system = tmp_path / "run" / "perjoule" / "spans.sock"
    monkeypatch.setattr("perjoule.spans.path.SYSTEM", system)
    in_users = listen_by_default(environment)
    assert in_users is not None
    assert in_users.path == tmp_path / "perjoule" / "spans.sock"
    with caplog.at_level(logging.WARNING, socket_path.__name__):
        assert listen_by_default(environment) is None
    in_users.close()
    assert len(caplog.records) == 1
    assert "another program listens there" in caplog.text
    assert str(system) in caplog.text
    system.parent.parent.mkdir()
    in_systems = listen_by_default(environment)
    assert in_systems is not None
    assert in_systems.path == system
    assert listen_by_default(environment) is None
    in_systems.close()
