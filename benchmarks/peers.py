"""The programs that ours is compared with: each in an environment of its own, installed by pip on the first call.

``zeus`` is the package of ML.ENERGY's ``ZeusMonitor`` (``zeus-ml`` was its name until 0.11). None of them needs torch
for what is asked of it here, and an environment with torch is refused.
"""

import json
import subprocess
import sys
import time
import venv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

NVITOP, ZEUS, CODECARBON = "nvitop-exporter", "zeus", "codecarbon"
PEERS: Mapping[str, str] = {NVITOP: "nvitop_exporter", ZEUS: "zeus.monitor", CODECARBON: "codecarbon"}
"""Packages, and the module of each that must be there."""

INSTALL_SECONDS = 900.0


class PeerError(Exception):
    """A peer cannot be installed or is not what it should be."""


@dataclass(frozen=True, slots=True)
class Peer:
    """An installed peer."""

    name: str
    version: str
    python: Path


def installed(folder: Path) -> dict[str, Peer]:
    """Return all peers, and install those that ``folder`` does not have yet.

    Raises:
        PeerError: pip failed, or the package is not the right one.
    """
    return {name: _peer(name, folder / name) for name in PEERS}


def say(text: str) -> None:
    """Print a line of progress where it does not disturb the tables."""
    print(text, file=sys.stderr, flush=True)


def _peer(name: str, folder: Path) -> Peer:
    python = folder / "bin" / "python"
    stamp = folder / "installed.json"
    if not stamp.exists():
        start = time.monotonic()
        say(f"installing {name} into an environment of its own ...")
        venv.create(folder, with_pip=True, clear=True)
        _run([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", name], name)
        stamp.write_text(json.dumps({"version": _version(name, python)}), encoding="utf-8")
        say(f"installed {name} in {time.monotonic() - start:.0f} s")
    return Peer(name, str(json.loads(stamp.read_text(encoding="utf-8"))["version"]), python)


_PROBE = """
import importlib.metadata, importlib.util
assert importlib.util.find_spec({module!r}), "the package has no module {module}"
assert not importlib.util.find_spec("torch"), "torch was installed with it"
print(importlib.metadata.version({name!r}))
"""


def _version(name: str, python: Path) -> str:
    return _run([str(python), "-c", _PROBE.format(name=name, module=PEERS[name])], name).strip()


def _run(command: list[str], name: str) -> str:
    try:
        done = subprocess.run(  # noqa: S603 (pip and python of the environment that was just made)
            command, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise PeerError(f"{name}: no end after {INSTALL_SECONDS:g} s") from error
    if done.returncode:
        raise PeerError(f"{name} cannot be installed:\n{done.stderr[-2000:]}")
    return done.stdout
