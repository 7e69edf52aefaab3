"""Who a pid is: its name, and the container, pod and unit it runs in, read from /proc.

Both files are readable for everybody, unless /proc is mounted with hidepid. Names are the process's own word: at most
fifteen bytes, of any content, and changed at will. The command line is not read: it may hold secrets. What this does
not know is whether the pids that it is asked for are of the namespace whose /proc it reads.
"""

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from perjoule_exporter.processes.cgroups import place_of
from perjoule_exporter.processes.owner import UNKNOWN, Kind, Owner

_LARGEST_BYTES = 1 << 16
_LONGEST_NAME = 64
_PARENT_FIELD = 1
_START_FIELD = 19  # of those behind the name; proc(5) counts it as field 22


class _Seen(NamedTuple):
    started: int  # clock ticks since boot, which tells apart two processes that had one pid
    owner: Owner


class Names:
    """The processes of one board, remembered from one look to the next: who has ended is still known once."""

    def __init__(self, proc: Path) -> None:
        self._proc = proc
        self._seen: dict[int, _Seen] = {}

    def owners(self, pids: Iterable[int]) -> dict[int, Owner]:
        """Return who each pid is; unknown's where nobody can tell."""
        found = {pid: self._now_or_before(pid) for pid in pids}
        self._seen = {pid: seen for pid, seen in found.items() if seen is not None}
        return {pid: UNKNOWN if seen is None else seen.owner for pid, seen in found.items()}

    def _now_or_before(self, pid: int) -> _Seen | None:
        before, now = self._seen.get(pid), _read(self._proc / str(pid))
        if now is None:
            return before
        if before is not None and before.started != now.started:
            return _Seen(now.started, UNKNOWN)  # the pid was given anew: whose the use since the last look was is open
        return now


def parent(proc: Path, pid: int) -> int | None:
    """Return the pid of a process's parent; None where nobody can tell."""
    fields = (_bytes(proc / str(pid) / "stat") or b"").rpartition(b")")[2].split()
    return int(fields[_PARENT_FIELD]) if len(fields) > _PARENT_FIELD and fields[_PARENT_FIELD].isdigit() else None


def sees_host(proc: Path) -> bool:
    """Return whether this /proc shows all processes of the machine: its second one is then the kernel's."""
    return _bytes(proc / "2" / "comm") == b"kthreadd\n"


def _read(folder: Path) -> _Seen | None:
    stat, cgroup = _bytes(folder / "stat"), _bytes(folder / "cgroup")
    if stat is None or cgroup is None:  # it ended, perhaps in between
        return None
    # The name stands in brackets, and may hold brackets, blanks and newlines itself.
    head, bracket, tail = stat.rpartition(b")")
    fields = tail.split()
    if not bracket or len(fields) <= _START_FIELD or not fields[_START_FIELD].isdigit():
        return None
    place = place_of(cgroup.decode("utf-8", "replace"))
    return _Seen(int(fields[_START_FIELD]), Owner(Kind.PROCESS, _printable(head.partition(b"(")[2]), *place))


def _printable(name: bytes) -> str:
    text = name.decode("utf-8", "replace")[:_LONGEST_NAME]
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


def _bytes(path: Path) -> bytes | None:
    with suppress(OSError), path.open("rb", buffering=0) as file:
        return file.read(_LARGEST_BYTES)
    return None
