"""Hostile and honest bytes: pictures and recordings are decoded or refused, and never cost more than the limits."""

import io
import struct
import zlib
from collections.abc import Callable
from contextlib import suppress

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from perjoule.errors import InvalidInputError, TooLargeError
from perjoule_server.tasks.audio import decode_audio, resample
from perjoule_server.tasks.base import SilentWork, Task, TaskRequest
from perjoule_server.tasks.images import decode_image
from tests.server.tasks.material import IMAGE_TASKS, SPEECH, picture, recording, sine

KINDS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")


def png_header(width: int, height: int) -> bytes:
    """Return a PNG that claims a size and holds no pixels."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(b"")), (b"IEND", b""))
    body = b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize("kind", KINDS)
def test_known_formats(kind: str) -> None:
    """Five formats are read, in RGB and at their size."""
    image = decode_image(picture(40, 30, kind=kind))
    assert (image.mode, image.size) == ("RGB", (40, 30))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "I;16"])
def test_other_colours(mode: str) -> None:
    """Grey, transparent and indexed pictures become RGB."""
    file = io.BytesIO()
    Image.new(mode, (8, 8)).save(file, "PNG")
    assert decode_image(file.getvalue()).mode == "RGB"


def test_sixteen_bits_of_grey() -> None:
    """Grey of 16 bits keeps its brightness: black, a third, half, white."""
    file = io.BytesIO()
    Image.fromarray(np.array([[0, 21_845, 32_896, 65_535]], np.uint16)).save(file, "PNG")
    assert decode_image(file.getvalue()).convert("L").tobytes() == bytes([0, 85, 128, 255])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_upright(orientation: int) -> None:
    """A photograph is turned as its EXIF data say, like Pillow's own function turns it."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    Image.open(io.BytesIO(picture(12, 8))).save(file, "PNG", exif=exif)
    expected = ImageOps.exif_transpose(Image.open(file)).convert("RGB")
    assert list(decode_image(file.getvalue()).tobytes()) == list(expected.tobytes())


@pytest.mark.parametrize(
    "media",
    [
        b"x", b"\x89PNG\r\n\x1a\n", b"<svg/>", b"%PDF-1.4", b"GIF89a", recording(0.1), b"http://127.0.0.1/a.png",
        b"/etc/hostname", bytes(1000), png_header(8, 8), picture(10, 10, kind="TIFF"), picture(10, 10, kind="ICO"),
    ],
)  # fmt: skip
def test_no_image(media: bytes) -> None:
    """Bytes that are no picture of a known format are refused; a path or URL is bytes like any."""
    with pytest.raises(InvalidInputError, match="image"):
        decode_image(media)


@pytest.mark.parametrize("kind", KINDS)
def test_truncated_image(kind: str) -> None:
    """A picture that ends in the middle is refused."""
    whole = picture(64, 64, kind=kind)
    with pytest.raises(InvalidInputError):
        decode_image(whole[: len(whole) // 2])


@pytest.mark.parametrize("size", [(100_000, 100_000), (5_001, 5_000), (2**31 - 1, 1), (60_000, 60_000)])
def test_bomb(size: tuple[int, int]) -> None:
    """A picture of too many pixels is refused from its header, before a pixel is decoded."""
    with pytest.raises(TooLargeError, match="pixels"):
        decode_image(png_header(*size))


def test_needle() -> None:
    """A picture whose sides differ by more than ten times is refused: no model sees anything in it."""
    with pytest.raises(InvalidInputError, match="10 times"):
        decode_image(picture(111, 11))


@pytest.mark.parametrize("size", [(1, 1), (1, 10), (10, 1), (3, 2), (3000, 300)])
@pytest.mark.parametrize("task", IMAGE_TASKS)
def test_odd_sizes(load: Callable[[str], Task], task: str, size: tuple[int, int]) -> None:
    """Every picture that passes is one that the model's own processor can take."""
    served = load(task)
    prepared = served.prepare(TaskRequest(None, {}, picture(*size)))
    assert len(served.run([prepared], SilentWork())) == 1


@settings(max_examples=150, deadline=None)
@given(kind=st.sampled_from(KINDS), place=st.integers(0, 10_000), junk=st.binary(min_size=1, max_size=8))
def test_damaged_images(kind: str, place: int, junk: bytes) -> None:
    """A picture with some bytes overwritten is decoded or refused, and raises nothing else."""
    whole = bytearray(picture(24, 24, kind=kind))
    place %= len(whole)
    whole[place : place + len(junk)] = junk
    with suppress(InvalidInputError, TooLargeError):
        decode_image(bytes(whole))


@pytest.mark.parametrize("kind", ["WAV", "FLAC"])
@pytest.mark.parametrize("channels", [1, 2])
def test_recordings(kind: str, channels: int) -> None:
    """WAV and FLAC are read, mixed to one channel, at the rate of the model."""
    samples, seconds = decode_audio(recording(0.5, 8_000, channels, kind), 16_000, 30.0)
    assert (len(samples), samples.dtype.name, seconds) == (8_000, "float32", 0.5)


@pytest.mark.parametrize(
    "media",
    [b"x", b"RIFF\0\0\0\0WAVE", picture(), recording(0.1, kind="OGG"), recording(0.0), bytes(100),
     recording(0.1, channels=9), recording(0.1, rate=200_000), recording(0.1, rate=500), b"fLaC"],
)  # fmt: skip
def test_no_recording(media: bytes) -> None:
    """Bytes that are no recording, or one of strange rate or channels, are refused."""
    with pytest.raises(InvalidInputError, match="recording"):
        decode_audio(media, 16_000, 30.0)


def test_samples_that_are_no_numbers() -> None:
    """A recording that holds NaN is refused: it would silence the model's whole window."""
    wav = bytearray(sine(0.1, 16_000, 440))
    wav[-4:] = struct.pack("<f", float("nan"))
    with pytest.raises(InvalidInputError, match="finite"):
        decode_audio(bytes(wav), 16_000, 30.0)


def test_samples_out_of_range(load: Callable[[str], Task]) -> None:
    """A recording so loud that its spectrum is no longer finite is refused, not transcribed as noise."""
    file = io.BytesIO()
    soundfile.write(file, np.full(16_000, 3e38), 16_000, format="WAV", subtype="FLOAT")
    with pytest.raises(InvalidInputError, match="too large"):
        load(SPEECH).prepare(TaskRequest(None, {}, file.getvalue()))


def test_long_recording(load: Callable[[str], Task]) -> None:
    """A recording over the model's window is too large, and the message says both lengths."""
    with pytest.raises(TooLargeError, match=r"31\.0 s; at most 30 s"):
        load(SPEECH).prepare(TaskRequest(None, {}, recording(31.0, 8_000)))


@settings(max_examples=100, deadline=None)
@given(kind=st.sampled_from(["WAV", "FLAC"]), place=st.integers(0, 400), junk=st.binary(min_size=1, max_size=8))
def test_damaged_recordings(kind: str, place: int, junk: bytes) -> None:
    """A recording with some bytes overwritten is decoded within the limit or refused, and raises nothing else."""
    whole = bytearray(recording(0.1, 8_000, kind=kind))
    whole[place : place + len(junk)] = junk
    with suppress(InvalidInputError, TooLargeError):
        samples, _ = decode_audio(bytes(whole), 16_000, 2.0)
        assert samples.size <= 2 * 16_000


@pytest.mark.parametrize(("own", "wanted"), [(8_000, 16_000), (44_100, 16_000), (48_000, 16_000), (22_050, 16_000)])
def test_resampling_keeps_a_tone(own: int, wanted: int) -> None:
    """A tone below both limits has the same samples as if it had been recorded at the other rate."""
    seconds, hertz = 1.0, 440.0
    tone = np.sin(2 * np.pi * hertz * np.arange(int(own * seconds)) / own).astype(np.float32)
    expected = np.sin(2 * np.pi * hertz * np.arange(int(wanted * seconds)) / wanted)
    middle = slice(wanted // 10, -wanted // 10)
    assert np.abs(resample(tone, own, wanted)[middle] - expected[middle]).max() < 2e-3


def test_resampling_does_not_alias() -> None:
    """A tone above the new rate's limit disappears instead of coming back as another."""
    tone = np.sin(2 * np.pi * 12_000 * np.arange(48_000) / 48_000).astype(np.float32)
    middle = slice(1_600, -1_600)
    assert np.abs(resample(tone, 48_000, 16_000)[middle]).max() < 5e-3
