"""Where the server's peers live: each in an environment of its own, installed by pip on the first call.

All of them get the versions of torch, transformers and diffusers that ours runs with, so that the device does the same
work everywhere. A peer that cannot be installed is told by name and reason and the others go on. How a peer is started
is not known here.
"""

import json
import re
import subprocess
import time
import venv
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.driver import ROOT
from benchmarks.peers import INSTALL_SECONDS, Peer, PeerError, say

NAIVE, LITSERVE, MOSEC, RAY, TRANSFORMERS = "naive FastAPI", "LitServe", "mosec", "Ray Serve", "transformers serve"

SAME = ("torch", "transformers", "tokenizers", "diffusers", "safetensors", "numpy", "pillow", "huggingface_hub")
"""Packages whose versions are those of ``constraints.txt`` in every environment."""

_MODELS = ("torch", "transformers", "diffusers", "pillow")

REQUIREMENTS: Mapping[str, tuple[str, ...]] = {
    NAIVE: ("fastapi", "uvicorn[standard]", *_MODELS),
    LITSERVE: ("litserve", *_MODELS),
    MOSEC: ("mosec", *_MODELS),
    RAY: ("ray[serve]", *_MODELS),
    TRANSFORMERS: ("transformers[serving]", "torch"),
}
"""What pip is asked for; the first is the program itself, whose version is told."""


@dataclass(frozen=True, slots=True)
class Installed:
    """The peers that are there, and why the others are not."""

    peers: Mapping[str, Peer]
    missing: Mapping[str, str]

    @property
    def versions(self) -> dict[str, str]:
        """Return the versions by package, as a reader looks for them."""
        return {package_of(peer.name): peer.version for peer in self.peers.values()}


def package_of(name: str) -> str:
    """Return the package of a peer, without extras."""
    return REQUIREMENTS[name][0].partition("[")[0]


def installed(folder: Path, names: Iterable[str]) -> Installed:
    """Return the peers called ``names``, and install those that ``folder`` does not have yet."""
    return collected(names, lambda name: _peer(name, folder / name.replace(" ", "-").lower()))


def collected(names: Iterable[str], install: Callable[[str], Peer]) -> Installed:
    """Return what ``install`` gives for each name, and the first line of why it failed where it did."""
    peers, missing = {}, {}
    for name in names:
        try:
            peers[name] = install(name)
        except PeerError as error:
            missing[name] = str(error).splitlines()[0]
            say(f"{name} is left out: {error}")
    return Installed(peers, missing)


def same_versions(constraints: str) -> list[str]:
    """Return the lines of a constraints file that pin a package of ``SAME``."""
    wanted = {_normal(name) for name in SAME}
    return [line for line in constraints.splitlines() if _normal(line.partition("==")[0]) in wanted]


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name.strip()).lower()


def _peer(name: str, folder: Path) -> Peer:
    pins = same_versions((ROOT / "constraints.txt").read_text(encoding="utf-8"))
    asked = {"requirements": list(REQUIREMENTS[name]), "pins": pins}
    stamp, python = folder / "installed.json", folder / "bin" / "python"
    found = json.loads(stamp.read_text(encoding="utf-8")) if stamp.exists() else {}
    if found.get("asked") != asked:
        found = {"asked": asked, "version": _install(name, folder, pins)}
        stamp.write_text(json.dumps(found), encoding="utf-8")
    return Peer(name, str(found["version"]), python)


def _install(name: str, folder: Path, pins: list[str]) -> str:
    start = time.monotonic()
    say(f"installing {name} into an environment of its own ...")
    python = folder / "bin" / "python"
    venv.create(folder, with_pip=True, clear=True)
    (folder / "constraints.txt").write_text("\n".join([*pins, ""]), encoding="utf-8")
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    _run([*pip, "-c", str(folder / "constraints.txt"), *REQUIREMENTS[name]])
    probe = f"import importlib.metadata; print(importlib.metadata.version({package_of(name)!r}))"
    version = _run([str(python), "-c", probe]).strip()
    say(f"installed {name} in {time.monotonic() - start:.0f} s")
    return version


def _run(command: list[str]) -> str:
    try:
        done = subprocess.run(  # noqa: S603 (pip and python of the environment that was just made)
            command, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise PeerError(f"no end of its installation after {INSTALL_SECONDS:g} s") from error
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"pip ended with {done.returncode}"]
        raise PeerError("\n".join(["cannot be installed: " + lines[-1], *lines[-8:-1]]))
    return done.stdout
