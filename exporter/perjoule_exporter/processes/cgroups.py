"""Which container, Kubernetes pod and systemd service a process is in, from the text of its /proc/<pid>/cgroup. Pure.

Paths as Docker, containerd, CRI-O, Podman, Kubernetes (both cgroup drivers), ECS and LXC make them, in cgroup v1 and
v2. Of containers within containers it is the innermost. It knows nothing that only a runtime's API tells: names,
images, namespaces; nor containers whose runtime names them by other than 64 hexadecimal digits, LXC's apart.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

_LONGEST = 128
_SHORT_ID = 12

_ID = re.compile(r"(?:(?P<runtime>[A-Za-z][A-Za-z0-9._-]*)-)?(?P<id>[0-9a-f]{64})(?:\.scope)?")
_POD = re.compile(
    r"(?:.*-)?pod(?P<uid>[0-9a-f]{8}([_-])[0-9a-f]{4}\2[0-9a-f]{4}\2[0-9a-f]{4}\2[0-9a-f]{12}|[0-9a-f]{32})(?:\.slice)?"
)
_LXC = re.compile(r"lxc\.payload\.(?P<name>[A-Za-z0-9_.-]+)")
_LXC_NAME = re.compile(r"[A-Za-z0-9_.-]+")
_UNIT = re.compile(r"[A-Za-z0-9:_.@\\-]+\.service")


class Place(NamedTuple):
    """Where a process runs. What it is not in is empty; ``unit`` is that of a process outside of containers."""

    container: str = ""
    pod_uid: str = ""
    unit: str = ""


def place_of(text: str) -> Place:
    """Return where the process with this cgroup file runs. With v1 each hierarchy may tell another part."""
    places = [_place(list(_segments(line))) for line in text.split("\n")]
    container = next((place.container for place in places if place.container), "")
    pod_uid = next((place.pod_uid for place in places if place.pod_uid), "")
    unit = next((place.unit for place in places if place.unit), "")
    return Place(container, pod_uid, "" if container or pod_uid else unit)


def _segments(line: str) -> Iterator[str]:
    _, _, path = line.partition(":")[2].partition(":")
    # containerd with the wrong driver makes one segment of several: kubepods-pod….slice:cri-containerd:<id>
    return (part for segment in path.split("/") for part in segment.split(":") if part)


def _place(segments: list[str]) -> Place:
    found = Place()
    for segment, before in zip(segments, ["", *segments], strict=False):
        if pod := _POD.fullmatch(segment):
            found = Place("", pod["uid"].replace("_", "-"))  # its containers come below it
        elif container := _container(segment, before):
            found = found._replace(container=container)
        elif _UNIT.fullmatch(segment):
            found = found._replace(unit=segment[:_LONGEST])
    return found


def _container(segment: str, before: str) -> str:
    if (match := _ID.fullmatch(segment)) and not (match["runtime"] or "").endswith("conmon"):  # the monitor, outside
        return match["id"][:_SHORT_ID]
    if match := _LXC.fullmatch(segment):
        return match["name"][:_LONGEST]
    return segment[:_LONGEST] if before == "lxc" and _LXC_NAME.fullmatch(segment) else ""
