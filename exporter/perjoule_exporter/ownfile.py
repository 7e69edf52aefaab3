"""Which files the exporter may set aside or replace: its own, and no one else's.

A setting that names a file may be mistyped: a folder, or somebody's notes, stay where they are and are refused. A file
is ours if it begins as what we write, or is what a torn write leaves of that: nothing, the beginning, or zeros. What a
file holds beyond its beginning is its reader's business.
"""

from pathlib import Path

from perjoule.errors import UsageError

_MOST_BYTES = 4096  # of zeros that a torn write may leave in front


def check_own(flag: str, path: Path, beginning: bytes, what: str, example: str) -> None:
    """See that ``path`` is free, or a file that begins as ours. ``what`` it is, and an ``example`` of its name.

    Raises:
        UsageError: it is a folder, a device, a file of somebody else, or cannot be read.
    """
    try:
        if path.is_dir():
            raise UsageError(f"{flag} {path} is a directory: name a file in it, such as {path / example}")
        if not path.exists():
            return
        if not path.is_file():
            raise UsageError(f"{flag} {path} is no file but a device, a pipe or a socket: name a file")
        with path.open("rb") as file:
            start = file.read(_MOST_BYTES)
    except OSError as error:
        raise UsageError(f"{flag} {path} cannot be read: {error.strerror}") from error
    if not begins_as_ours(start, beginning):
        raise UsageError(f"{flag} {path} is there and is no {what} of this exporter: remove it, or name another")


def begins_as_ours(start: bytes, beginning: bytes) -> bool:
    """Return whether a file whose first bytes are ``start`` is one that begins with ``beginning``, or was to be."""
    held = start.lstrip(b"\0")
    return held.startswith(beginning) or beginning.startswith(held)
