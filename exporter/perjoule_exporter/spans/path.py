"""The socket's place in the file system: bound, with its mode and group, and never in anybody's way.

What is there already is removed only if it is a socket at which nobody listens; that is looked at and changed under a
lock on the folder, so that of two exporters that start at once one gets it and the other is told.
"""

import errno
import fcntl
import grp
import logging
import os
import socket
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from perjoule.errors import PerjouleError, UsageError
from perjoule.spans.path import default_paths

_LOG = logging.getLogger(__name__)

MODE = 0o660
_BACKLOG = 128
_LOCK_SECONDS = 1.0


class SocketPathError(PerjouleError):
    """There can be no span socket at this path."""


class InUseError(SocketPathError):
    """Another program listens there."""


@dataclass(frozen=True, slots=True)
class Listening:
    """A socket that listens, and the file that is its name."""

    socket: socket.socket
    path: Path
    _file: tuple[int, int]

    def close(self) -> None:
        """Stop listening, and remove the file if it is still this socket's."""
        self.socket.close()
        with suppress(OSError), _locked(self.path.parent):
            if _identity(self.path) == self._file:
                self.path.unlink()


def listen(path: Path, group: str | None = None) -> Listening:
    """Return a socket that listens at ``path``, to which its owner, and ``group`` or the owner's, may connect.

    Raises:
        UsageError: there is no such group.
        SocketPathError: it is in use, or something else is there, or this user may not.
    """
    gid = -1 if group is None else _group_id(group)
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with _locked(path.parent):
            _remove_stale(path)
            made.bind(str(path))
            # Nobody can connect before listen(), so that nobody is let in by the mode that it is born with.
            path.chmod(MODE)
            if gid != -1:
                os.chown(path, -1, gid)
            made.listen(_BACKLOG)
            return Listening(made, path, _identity(path))
    except OSError as error:
        made.close()
        raise SocketPathError(f"no spans at {path}: {error.strerror or error}") from error
    except SocketPathError:
        made.close()
        raise


def listen_by_default(environment: Mapping[str, str], group: str | None = None) -> Listening | None:
    """Return a socket at the first default path where there can be one; None, with a warning, if there is none.

    Where another exporter has the first, that is whom clients find: this one gets none.

    Raises:
        UsageError: there is no such group.
    """
    problems = []
    for path in default_paths(environment):
        try:
            path.parent.mkdir(mode=0o755, exist_ok=True)
            return listen(path, group)
        except OSError as error:
            problems.append(f"no spans at {path}: {error.strerror}")
        except InUseError as error:
            problems.append(str(error))
            break
        except SocketPathError as error:
            problems.append(str(error))
    _LOG.warning("energy is not shared out over inferences: %s", "; ".join(problems))
    return None


def _remove_stale(path: Path) -> None:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise SocketPathError(f"no spans at {path}: what is there is not a socket, and stays")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asked:
        asked.setblocking(False)  # where nobody accepts, waiting for it would take for ever
        answer = asked.connect_ex(str(path))
    if answer == errno.ECONNREFUSED:
        path.unlink()
    elif answer in {0, errno.EAGAIN, errno.EINPROGRESS}:
        raise InUseError(f"no spans at {path}: another program listens there")
    elif answer != errno.ENOENT:
        raise SocketPathError(f"no spans at {path}: {os.strerror(answer)}")


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep other exporters from this folder for a moment.

    Raises:
        OSError: there is no such folder, or somebody else does not let go of it.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        deadline = time.monotonic() + _LOCK_SECONDS
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
        yield
    finally:
        os.close(descriptor)


def _identity(path: Path) -> tuple[int, int]:
    found = path.lstat()
    return found.st_dev, found.st_ino


def _group_id(name: str) -> int:
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError as error:
        if name.isascii() and name.isdigit():
            return int(name)
        raise UsageError(f"there is no group {name!r}") from error
