"""Whether this machine has an AMD GPU, as the kernel tells without any library.

What is on the bus, not what can be measured: the graphics of an AMD processor are among them.
"""

from pathlib import Path

KFD = Path("/dev/kfd")
"""The compute driver's device, which is there with ROCm."""

_VENDOR = "0x1002"


def amd_gpu_present(sysfs: Path, kfd: Path = KFD) -> bool:
    """Return whether a graphics card of AMD's is below ``sysfs``, or its compute driver is there."""
    return kfd.exists() or any(_text(file) == _VENDOR for file in sysfs.glob("class/drm/card*/device/vendor"))


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):  # a card that goes away, or no text: not one that we know
        return ""
