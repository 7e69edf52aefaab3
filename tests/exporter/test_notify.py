"""Word to the service manager, heard at a real socket, and the unit that makes it listen."""

import os
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from perjoule.errors import UsageError
from perjoule_exporter.flags import parser
from perjoule_exporter.notify import Notifier
from tests.exporter.running import DEADLINE_SECONDS, StartExporter, request


class Manager:
    """What systemd is to a service: a datagram socket by name."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + name[1:] if name.startswith("@") else name)
        self.socket.settimeout(DEADLINE_SECONDS)

    def heard(self) -> list[str]:
        """Return the lines of the next message."""
        return self.socket.recv(4096).decode().split("\n")

    def hears_nothing(self) -> bool:
        self.socket.setblocking(False)
        try:
            return not self.socket.recv(4096)
        except BlockingIOError:
            return True
        finally:
            self.socket.settimeout(DEADLINE_SECONDS)


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    """Both kinds of address that systemd uses."""
    made = Manager(str(tmp_path / "notify") if request.param == "path" else f"@perjoule-{uuid4()}")
    yield made
    made.socket.close()


def test_the_words(manager: Manager) -> None:
    """Ready, reloading with its time, stopping; a status is one line whatever it is made of."""
    notifier = Notifier({"NOTIFY_SOCKET": manager.name}, lambda: 1_234_567_890)
    notifier.ready("listening on\nhttp://x\nREADY=1")
    assert manager.heard() == ["READY=1", "STATUS=listening on http://x READY=1"]
    notifier.reloading()
    assert manager.heard()[:2] == ["RELOADING=1", "MONOTONIC_USEC=1234567"]
    notifier.stopping()
    assert manager.heard() == ["STOPPING=1", "STATUS=ending"]


def test_the_heart_beats_while_all_is_well(manager: Manager) -> None:
    """At half of the time that is given; what is wrong is said instead, and nothing once it stops."""
    notifier = Notifier({"NOTIFY_SOCKET": manager.name, "WATCHDOG_USEC": "20000", "WATCHDOG_PID": str(os.getpid())})
    states: list[str | None] = [None, None]
    notifier.watch(lambda: states.pop(0) if states else "sampling has stopped")
    assert [manager.heard() for _ in range(4)] == [["WATCHDOG=1"]] * 2 + [["STATUS=sampling has stopped"]] * 2
    notifier.stopping()
    while manager.heard() != ["STOPPING=1", "STATUS=ending"]:
        pass


@pytest.mark.parametrize(
    "environment",
    [{}, {"WATCHDOG_USEC": "0"}, {"WATCHDOG_USEC": "soon"}, {"WATCHDOG_USEC": "9", "WATCHDOG_PID": "1"}],
)
def test_no_heart_beats_unasked(manager: Manager, environment: dict[str, str]) -> None:
    """Without a time, or with one that is another process's."""
    notifier = Notifier({"NOTIFY_SOCKET": manager.name, **environment})
    notifier.watch(lambda: pytest.fail("asked for its health"))
    notifier.ready("x")
    assert manager.heard() == ["READY=1", "STATUS=x"]


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"NOTIFY_SOCKET": ""},
        {"NOTIFY_SOCKET": "relative"},
        {"NOTIFY_SOCKET": "vsock:2:1234"},
        {"NOTIFY_SOCKET": "/none/of/these"},
        {"NOTIFY_SOCKET": "/" + "x" * 200},
        {"NOTIFY_SOCKET": "@none", "WATCHDOG_USEC": "1"},
    ],
)
def test_nobody_to_tell_is_no_error(environment: dict[str, str]) -> None:
    """Started by hand, in a container, or with a socket that is gone."""
    notifier = Notifier(environment)
    notifier.ready("x")
    notifier.reloading()
    notifier.watch(lambda: None)
    notifier.stopping()


def test_a_manager_that_does_not_listen_holds_up_nobody(tmp_path: Path) -> None:
    """A full socket: messages are lost after half a second, not waited for."""
    full = Manager(str(tmp_path / "notify"))
    notifier = Notifier({"NOTIFY_SOCKET": full.name})
    filler = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    filler.setblocking(False)
    filler.connect(full.name)
    with pytest.raises(BlockingIOError):
        [filler.send(b"x") for _ in range(100_000)]
    notifier.ready("x")
    assert full.heard() == ["x"]
    filler.close()
    full.socket.close()


def test_the_program_tells_its_manager(start_exporter: StartExporter, manager: Manager) -> None:
    """READY when a scrape can be answered, a beating heart, RELOADING around SIGHUP, STOPPING before the end."""
    environment = {"NOTIFY_SOCKET": manager.name, "WATCHDOG_USEC": "10000000"}
    exporter = start_exporter("--meter", "simulated", environment=environment)
    ready, status = manager.heard()
    assert (ready, status) == ("READY=1", f"STATUS=listening on {exporter.url}/metrics")
    assert manager.heard() == ["WATCHDOG=1"]
    assert request(exporter.url + "/readyz").status == 200
    exporter.process.send_signal(signal.SIGHUP)
    assert manager.heard()[0] == "RELOADING=1"
    assert manager.heard()[0] == "READY=1"
    exporter.process.send_signal(signal.SIGTERM)
    assert manager.heard()[0] == "STOPPING=1"
    assert exporter.ended() == 0
    assert manager.hears_nothing()


SYSTEMD = Path(__file__).parents[2] / "deploy" / "systemd"


def settings_of_unit() -> dict[str, list[str]]:
    """Return the settings of the unit file, each of which may stand several times."""
    found: dict[str, list[str]] = {}
    for line in (SYSTEMD / "gpu-energy-exporter.service").read_text(encoding="utf-8").splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(name, []).append(value)
    return found


def test_the_unit_uses_flags_that_exist() -> None:
    """Its own, and those of the file of flags beside it, examples in comments included."""
    (command,) = settings_of_unit()["ExecStart"]
    program, *arguments = command.replace("${STATE_DIRECTORY}", "/var/lib/perjoule").split()
    assert Path(program).name == "gpu-energy-exporter"
    assert arguments.pop() == "$ARGS"
    text = (SYSTEMD / "gpu-energy-exporter.default").read_text(encoding="utf-8")
    examples = re.findall(r'^#?ARGS="(.*)"$', text, re.MULTILINE)
    assert len(examples) == 2
    for example in examples:
        parser().parse_args([*arguments, *example.split()])


def test_the_unit_and_the_program_agree() -> None:
    """What is told is waited for, a bad setting is not tried again, and the heart beats often enough."""
    unit = settings_of_unit()
    assert unit["Type"] == ["notify"]
    assert unit["ExecReload"] == ["/bin/kill -HUP $MAINPID"]
    assert unit["RestartPreventExitStatus"] == [str(UsageError.exit_code)]
    assert int(unit["WatchdogSec"][0]) >= 10
    assert unit["DynamicUser"] == ["yes"]


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    """systemd-analyze has nothing to say about it."""
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("no systemd-analyze here (Debian: apt install systemd)")
    text = (SYSTEMD / "gpu-energy-exporter.service").read_text(encoding="utf-8")
    copy = tmp_path / "gpu-energy-exporter.service"  # its program must be there
    copy.write_text(text.replace("/opt/perjoule/bin/gpu-energy-exporter", "/bin/true"), encoding="utf-8")
    ended = subprocess.run([analyze, "verify", copy], capture_output=True, text=True, check=False, timeout=60)
    assert (ended.returncode, ended.stdout + ended.stderr) == (0, "")
