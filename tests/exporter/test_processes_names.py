"""Who a pid is: cgroup files as each runtime writes them, and trees of /proc with all that a process may do to it."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perjoule_exporter.processes.cgroups import Place, place_of
from perjoule_exporter.processes.owner import UNKNOWN, Kind, Owner
from perjoule_exporter.processes.procfs import Names, sees_host

ID = "0123456789abcdef" * 4
SHORT = ID[:12]
OUTER = "f" * 64
UID = "0f6c1a2b-3c4d-4e5f-8a9b-0c1d2e3f4a5b"
SYSTEMD_UID = UID.replace("-", "_")
BESTEFFORT = f"kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{SYSTEMD_UID}.slice"


@pytest.mark.parametrize(
    ("runtime", "text", "expected"),
    [
        ("Docker, v2, systemd", f"0::/system.slice/docker-{ID}.scope\n", Place(SHORT)),
        ("Docker, v2, cgroupfs", f"0::/docker/{ID}\n", Place(SHORT)),
        (
            "Docker, rootless",
            f"0::/user.slice/user-1000.slice/user@1000.service/user.slice/docker-{ID}.scope",
            Place(SHORT),
        ),
        (
            "Docker, v1",
            f"12:pids:/docker/{ID}\n11:cpu,cpuacct:/docker/{ID}\n1:name=systemd:/docker/{ID}\n0::/system.slice/containerd.service\n",
            Place(SHORT),
        ),
        ("Podman", f"0::/machine.slice/libpod-{ID}.scope/container", Place(SHORT)),
        (
            "Podman, rootless",
            f"0::/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{ID}.scope/container",
            Place(SHORT),
        ),
        (
            "Podman, in one of its own pods",
            f"0::/machine.slice/machine-libpod_pod_{OUTER}.slice/libpod-{ID}.scope",
            Place(SHORT),
        ),
        ("Podman's monitor is outside", f"0::/machine.slice/libpod-conmon-{ID}.scope", Place()),
        ("nerdctl", f"0::/system.slice/nerdctl-{ID}.scope", Place(SHORT)),
        ("containerd by hand", f"0::/default/{ID}", Place(SHORT)),
        ("containerd, Kubernetes, systemd", f"0::/{BESTEFFORT}/cri-containerd-{ID}.scope", Place(SHORT, UID)),
        ("CRI-O, Kubernetes", f"0::/{BESTEFFORT}/crio-{ID}.scope", Place(SHORT, UID)),
        ("CRI-O, a group of its own inside", f"0::/{BESTEFFORT}/crio-{ID}.scope/container", Place(SHORT, UID)),
        ("CRI-O's monitor", f"0::/{BESTEFFORT}/crio-conmon-{ID}.scope", Place("", UID)),
        ("Docker below Kubernetes", f"0::/{BESTEFFORT}/docker-{ID}.scope", Place(SHORT, UID)),
        (
            "Kubernetes, guaranteed",
            f"0::/kubepods.slice/kubepods-pod{SYSTEMD_UID}.slice/cri-containerd-{ID}.scope",
            Place(SHORT, UID),
        ),
        ("Kubernetes, cgroupfs", f"0::/kubepods/besteffort/pod{UID}/{ID}", Place(SHORT, UID)),
        ("Kubernetes, cgroupfs, v1", f"5:memory:/kubepods/burstable/pod{UID}/{ID}\n1:cpu:/", Place(SHORT, UID)),
        ("Kubernetes, a static pod", f"0::/kubepods/burstable/pod{ID[:32]}/{OUTER}", Place("f" * 12, ID[:32])),
        (
            "Kubernetes, the driver set wrongly",
            f"0::/system.slice/containerd.service/kubepods-burstable-pod{SYSTEMD_UID}.slice:cri-containerd:{ID}",
            Place(SHORT, UID),
        ),
        (
            "kind: Kubernetes in Docker",
            f"0::/docker/{OUTER}/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{SYSTEMD_UID}.slice/cri-containerd-{ID}.scope",
            Place(SHORT, UID),
        ),
        ("Docker in a pod", f"0::/kubepods/pod{UID}/{OUTER}/docker/{ID}", Place(SHORT, UID)),
        ("seen from another cgroup namespace", f"0::/../../pod{UID}/{ID}", Place(SHORT, UID)),
        ("ECS", f"9:memory:/ecs/0f6c1a2b3c4d4e5f8a9b0c1d2e3f4a5b/{ID}", Place(SHORT)),
        ("LXC, v2", "0::/lxc.payload.web-1/system.slice/app.service", Place("web-1")),
        ("LXC, v1", "4:memory:/lxc/web-1", Place("web-1")),
        ("a service", "0::/system.slice/ollama.service", Place("", "", "ollama.service")),
        ("a service, v1", "3:cpu:/\n1:name=systemd:/system.slice/ollama.service", Place("", "", "ollama.service")),
        ("a service's own group", "0::/system.slice/ollama.service/runner", Place("", "", "ollama.service")),
        (
            "a user's service",
            "0::/user.slice/user-1000.slice/user@1000.service/app.slice/jupyter.service",
            Place("", "", "jupyter.service"),
        ),
        ("a login", "0::/user.slice/user-1000.slice/session-3.scope", Place()),
        ("nothing", "0::/\n", Place()),
        ("empty", "", Place()),
    ],
)
def test_the_place_of_each_runtime(runtime: str, text: str, expected: Place) -> None:
    """The innermost container, the pod, or the service."""
    assert place_of(text) == expected, runtime


@pytest.mark.parametrize(
    "text",
    [
        "0",
        "::",
        ":::::",
        "/",
        "0::" + "/" * 60_000,
        "0::/" + "a" * 60_000,
        "0::/" + "pod-" * 15_000,
        "\0\x1b[2J\n\ufffd",
        f"0::/docker/{ID}0",
        f"0::/docker/{ID.upper()}",
        '0::/lxc/na"me',
        "0::/lxc.payload.",
        "0::/ev\nil.service\n",
        "0::/lxc/lxc/\x7f",
    ],
)
def test_a_hostile_cgroup_is_nowhere(text: str) -> None:
    """What is no runtime's path names nothing, however long it is."""
    found = place_of(text)
    assert found._replace(container="", unit="") == Place()
    assert found.unit in {"", "il.service"}
    assert found.container in {"", "lxc"}


@given(st.text(alphabet=st.sampled_from("0123456789abcdef-_:/.\npodlxc servi\0é")))
def test_any_cgroup_gives_short_printable_names(text: str) -> None:
    """Labels are bounded and printable whatever stands there."""
    for name in place_of(text):
        assert len(name) <= 128
        assert name.isprintable()


class Proc:
    """A tree of /proc."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def process(self, pid: int, name: bytes = b"python", started: int = 100, cgroup: bytes = b"0::/\n") -> None:
        folder = self.root / str(pid)
        folder.mkdir(exist_ok=True)
        rest = b"S 1 1 1 0 -1 4194304 1 0 0 0 1 1 0 0 20 0 1 0 %d 1 1 18446744073709551615" % started
        (folder / "stat").write_bytes(b"%d (%s) %s\n" % (pid, name, rest))
        (folder / "cgroup").write_bytes(cgroup)

    def ended(self, pid: int) -> None:
        for file in (self.root / str(pid)).iterdir():
            file.unlink()
        (self.root / str(pid)).rmdir()


@pytest.fixture
def proc(tmp_path: Path) -> Proc:
    return Proc(tmp_path)


def process(command: str, *place: str) -> Owner:
    return Owner(Kind.PROCESS, command, *place)


@pytest.mark.parametrize(
    ("name", "command"),
    [
        (b"python", "python"),
        (b"VLLM::EngineCor", "VLLM::EngineCor"),
        (b"a) S 1 (b", "a) S 1 (b"),
        (b"new\nline\t", "new\ufffdline\ufffd"),
        (b'"quo\\te"', '"quo\\te"'),
        (b"\xff\xfe\x00", "\ufffd\ufffd\ufffd"),
        ("modèle".encode(), "modèle"),
        (b"x" * 1000, "x" * 64),
        (b"", ""),
    ],
)
def test_a_name_is_the_process_s_own_word(proc: Proc, name: bytes, command: str) -> None:
    """Whatever it is, it is a label's value: valid, printable, bounded."""
    proc.process(7, name, cgroup=f"0::/docker/{ID}\n".encode())
    assert Names(proc.root).owners([7]) == {7: process(command, SHORT)}


def test_who_has_ended_is_still_known_once(proc: Proc) -> None:
    """Its last use is told after its end; a pid that was never seen is unknown's."""
    names = Names(proc.root)
    proc.process(7)
    assert names.owners([7, 8]) == {7: process("python"), 8: UNKNOWN}
    proc.ended(7)
    assert names.owners([7]) == {7: process("python")}
    assert names.owners([]) == {}
    assert names.owners([7]) == {7: UNKNOWN}


def test_a_pid_that_is_given_anew_is_another_process(proc: Proc) -> None:
    """In the interval of the change nobody can tell whose the use was; after it, it is the new one's."""
    names = Names(proc.root)
    proc.process(7, b"old", started=100)
    assert names.owners([7]) == {7: process("old")}
    proc.process(7, b"new", started=101)
    assert names.owners([7]) == {7: UNKNOWN}
    assert names.owners([7]) == {7: process("new")}


@pytest.mark.parametrize("stat", [b"", b"7", b"7 (python", b"7 (python) S 1", b"7 (p) " + b"x " * 60, b"\0" * 70_000])
def test_a_stat_that_makes_no_sense_is_unknowns(proc: Proc, stat: bytes) -> None:
    """A truncated or foreign file names nobody."""
    proc.process(7)
    (proc.root / "7" / "stat").write_bytes(stat)
    assert Names(proc.root).owners([7]) == {7: UNKNOWN}


def test_a_process_that_ends_between_two_files_is_not_half_known(proc: Proc) -> None:
    """Without its cgroup it would be a row of its own, outside of its container."""
    proc.process(7)
    (proc.root / "7" / "cgroup").unlink()
    assert Names(proc.root).owners([7]) == {7: UNKNOWN}


def test_whether_proc_is_the_whole_machines(proc: Proc) -> None:
    """Its second process is the kernel's; in a container's it is any or none."""
    assert not sees_host(proc.root)
    proc.process(2)
    (proc.root / "2" / "comm").write_bytes(b"sh\n")
    assert not sees_host(proc.root)
    (proc.root / "2" / "comm").write_bytes(b"kthreadd\n")
    assert sees_host(proc.root)
