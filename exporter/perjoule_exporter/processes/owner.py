"""Who energy is counted for: a process by its name, container, pod and unit, or nobody.

There is no pid in it: pids are new with each start, and series would never end. Processes of one name in one container
are one owner.
"""

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What an owner is.

    ``IDLE``: what the board draws whether or not anybody uses it. ``OTHER``: processes beyond the limit of series.
    ``UNKNOWN``: nobody can tell. ``OPEN``: not shared out yet; the most that ever was, for a counter cannot go back.
    """

    PROCESS = "process"
    IDLE = "idle"
    OTHER = "other"
    UNKNOWN = "unknown"
    OPEN = "open"


@dataclass(frozen=True, slots=True)
class Owner:
    """One row. Texts that are not known, and those of everybody but processes, are empty.

    ``container`` is the first twelve digits of its id, or its name where the runtime has only that; ``unit`` the
    systemd service of a process that is in no container.
    """

    kind: Kind
    command: str = ""
    container: str = ""
    pod_uid: str = ""
    unit: str = ""


IDLE, OTHER, UNKNOWN, OPEN = (Owner(kind) for kind in (Kind.IDLE, Kind.OTHER, Kind.UNKNOWN, Kind.OPEN))
