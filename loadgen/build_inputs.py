"""Rebuild the media of the built-in inputs: photographs from an installed scikit-image, speech from espeak-ng.

    pip install scikit-image pillow
    apt-get install espeak-ng sox
    python loadgen/build_inputs.py

Writes ``images`` and ``audio`` of ``perjoule_loadgen/data``. The texts beside them are sources themselves and are not
touched. It does not know licences: which pictures may be taken, and why, stands in ``SOURCES.md`` there. Other versions
of the tools give other bytes and the same pictures and sentences.
"""

import importlib.util
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from PIL import Image

DATA = Path(__file__).parent / "perjoule_loadgen" / "data"
SIZE = (640, 480)
"""The study resized every image to 640×480."""
QUALITY = 85
SAMPLE_RATE_HZ = 16_000
"""What speech recognition models expect."""

PHOTOGRAPHS: Mapping[str, tuple[str, float]] = MappingProxyType(
    {
        "astronaut": ("astronaut.png", 0.0),
        "bricks": ("brick.png", 0.5),
        "cat": ("chelsea.png", 0.5),
        "coffee": ("coffee.png", 0.4),
        "galaxies": ("hubble_deep_field.jpg", 0.5),
        "photographer": ("camera.png", 0.4),
        "retina": ("retina.jpg", 0.5),
        "rocket": ("rocket.jpg", 0.5),
    }
)
"""Name → file in scikit-image, and where the 4:3 window lies: 0 = top or left, 1 = bottom or right."""


def main() -> int:
    """Build everything; 2 when a tool is missing."""
    missing = [tool for tool in ("espeak-ng", "sox") if shutil.which(tool) is None]
    source = _scikit_image()
    if missing or source is None:
        print(f"missing: {', '.join(missing) or 'scikit-image'} (the docstring of this file says how to install it)")
        return 2
    for name, (file, position) in PHOTOGRAPHS.items():
        _photograph(source / file, DATA / "images" / f"{name}.jpg", position)
    for line in (DATA / "speech.jsonl").read_text(encoding="utf-8").splitlines():
        _speech(json.loads(line))
    print(f"wrote {len(PHOTOGRAPHS)} images and the clips of speech.jsonl under {DATA}")
    return 0


def _scikit_image() -> Path | None:
    """The folder of sample pictures of an installed scikit-image."""
    spec = importlib.util.find_spec("skimage")
    return None if spec is None or spec.origin is None else Path(spec.origin).parent / "data"


def _photograph(source: Path, target: Path, position: float) -> None:
    """Cut the largest 4:3 window out of ``source`` and write it at 640×480."""
    with Image.open(source) as opened:
        image = opened.convert("RGB")
    width = min(image.width, image.height * SIZE[0] // SIZE[1])
    height = min(image.height, image.width * SIZE[1] // SIZE[0])
    left, top = round((image.width - width) * position), round((image.height - height) * position)
    window = image.crop((left, top, left + width, top + height)).resize(SIZE, Image.Resampling.LANCZOS)
    target.parent.mkdir(parents=True, exist_ok=True)
    window.save(target, "JPEG", quality=QUALITY, optimize=True)


def _speech(clip: Mapping[str, str | int]) -> None:
    """Let espeak-ng speak one line of speech.jsonl and store it as FLAC, 16 kHz, mono, 16 bit."""
    target = DATA / str(clip["file"])
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        spoken = f"{folder}/spoken.wav"
        voice = ["-v", str(clip["voice"]), "-s", str(clip["words_per_minute"])]
        subprocess.run(["espeak-ng", *voice, "-w", spoken, str(clip["text"])], check=True, stdin=subprocess.DEVNULL)
        # -R: the same dither in every run.
        form = ["-r", str(SAMPLE_RATE_HZ), "-c", "1", "-b", "16"]
        subprocess.run(["sox", "-R", spoken, *form, str(target)], check=True, stdin=subprocess.DEVNULL)


if __name__ == "__main__":
    sys.exit(main())
