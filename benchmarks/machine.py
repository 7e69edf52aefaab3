"""The machine that a benchmark ran on, in words that name neither it nor its folders."""

import importlib.metadata
import os
import platform
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from perjoule import __version__

_OURS = ("prometheus-client", "nvidia-ml-py")


def described(peers: Mapping[str, str]) -> dict[str, str]:
    """Return what a reader must know to compare figures; ``peers`` are versions by package."""
    packages = {name: importlib.metadata.version(name) for name in _OURS} | dict(peers)
    load, _, _ = os.getloadavg()
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "processor": f"{_processor()}, {os.cpu_count()} threads, load of the last minute {load:.1f}",
        "kernel": f"{platform.system()} {_kernel(platform.release())}",
        "python": platform.python_version(),
        "perjoule": __version__,
        "packages": ", ".join(f"{name} {version}" for name, version in packages.items()),
    }


def _processor() -> str:
    found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    return found.group(1) if found else platform.machine()


def _kernel(release: str) -> str:
    """Return the version without what a builder added to it, which may name a place."""
    return re.split(r"[-+]", release)[0]
