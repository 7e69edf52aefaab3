"""Which GPUs the kernel's driver has, read without NVML: a look that costs microseconds and disturbs nobody.

It is how GPUs that come and go are noticed, for NVML itself shows those of its init for ever. In WSL, and where neither
folder is visible, nobody can tell: None.
"""

import re
from collections.abc import Sequence
from pathlib import Path

FOLDERS = (Path("/proc/driver/nvidia/gpus"), Path("/sys/bus/pci/drivers/nvidia"))
"""Each has one entry for each GPU that is bound to the driver, named after its PCI address."""

_ADDRESS = re.compile(r"[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-9a-f]", re.IGNORECASE)


def bound_gpus(folders: Sequence[Path] = FOLDERS) -> frozenset[str] | None:
    """Return the PCI addresses of the GPUs, from the first folder that is there."""
    for folder in folders:
        try:
            return frozenset(entry.name for entry in folder.iterdir() if _ADDRESS.fullmatch(entry.name))
        except OSError:
            continue
    return None
