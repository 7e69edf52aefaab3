"""What a media file is by its first bytes, how large an image is and how long a clip plays by its header.

Knows the formats that the inference server takes and nothing more: no pixels or samples are decoded, so a file with a
sound header and a damaged body passes here and is refused by the server.
"""

import struct
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType

_MAGIC = (
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"BM", "image/bmp"),
    (b"fLaC", "audio/flac"),
)
_RIFF = MappingProxyType({b"WEBP": "image/webp", b"WAVE": "audio/wav"})

_STREAMINFO_BYTES = 34


def sniff(data: bytes) -> str | None:
    """Return the media type that the first bytes tell: JPEG, PNG, GIF, BMP, WebP, FLAC or WAV; else None."""
    if data[:4] == b"RIFF":
        return _RIFF.get(data[8:12])
    return next((media_type for magic, media_type in _MAGIC if data.startswith(magic)), None)


def image_size(data: bytes) -> tuple[int, int] | None:
    """Return width and height of a PNG, JPEG or WebP by its header, None where that is cut off or of another kind."""
    read = _SIZES.get(sniff(data) or "")
    try:
        size = read(data) if read is not None else None
    except (struct.error, IndexError):
        return None
    return size if size is not None and all(0 < side <= _MOST_SIDE for side in size) else None


def _png_size(data: bytes) -> tuple[int, int]:
    width, height = struct.unpack_from(">II", data, 16)  # IHDR is the first chunk
    return width, height


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    """The frame header is the segment SOF0 to SOF15; DHT, JPG and DAC have numbers in between (ITU-T T.81, B.1)."""
    at = 2
    while True:
        marker, length = struct.unpack_from(">HH", data, at)
        if marker in _FRAMES:
            height, width = struct.unpack_from(">HH", data, at + 5)
            return width, height
        if marker not in _SEGMENTS:
            return None
        at += 2 + length


_FRAMES = frozenset(range(0xFFC0, 0xFFD0)) - {0xFFC4, 0xFFC8, 0xFFCC}
_SEGMENTS = frozenset(range(0xFFC0, 0xFFFF)) - {0xFFDA}
"""What may stand before a frame header; at 0xFFDA the scan has begun without one."""


def _webp_size(data: bytes) -> tuple[int, int] | None:
    """Lossy, lossless and extended files keep it in different places (RFC 9649, section 2)."""
    kind = data[12:16]
    if kind == b"VP8X":
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if kind == b"VP8L":
        bits = int(struct.unpack_from("<I", data, 21)[0])
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    return None


_SIZES: Mapping[str, Callable[[bytes], tuple[int, int] | None]] = MappingProxyType(
    {
        "image/png": _png_size,
        "image/jpeg": _jpeg_size,
        "image/webp": _webp_size,
    }
)
_MOST_SIDE = 65535


def audio_seconds(data: bytes, media_type: str) -> float | None:
    """Return how long an ``audio/flac`` or ``audio/wav`` file plays, None where its header does not tell.

    Raises:
        ValueError: the header is cut off or contradicts itself.
    """
    try:
        return _SECONDS[media_type](data)
    except struct.error:
        raise ValueError("the header is cut off") from None


def _flac_seconds(data: bytes) -> float | None:
    """STREAMINFO is the first metadata block (RFC 9639, section 8.2): 20 bits of rate, 36 bits of sample count."""
    head, rates = (int(number) for number in struct.unpack_from(">I10xQ", data, 4))
    if (head >> 24) & 0x7F or head & 0xFF_FFFF != _STREAMINFO_BYTES:
        raise ValueError("the first block is not STREAMINFO")
    rate, samples = rates >> 44, rates & 0xF_FFFF_FFFF
    if rate == 0:
        raise ValueError("the sample rate is 0")
    return samples / rate if samples else None  # 0: written to a pipe, length unknown


def _wav_seconds(data: bytes) -> float | None:
    """Bytes of the data chunk over bytes a second; a size larger than the file (a stream's) means up to its end."""
    rate = 0
    for name, start, size in _chunks(data):
        if name == b"fmt ":
            rate = int(struct.unpack_from("<I", data, start + 8)[0])
        elif name == b"data":
            if not rate:
                raise ValueError("no format stands before the samples")
            return min(size, len(data) - start) / rate
    raise ValueError("it holds no samples")


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield (name, start, size) of each chunk of a RIFF file."""
    start = 12
    while start + 8 <= len(data):
        name, size = struct.unpack_from("<4sI", data, start)
        yield name, start + 8, size
        start += 8 + size + size % 2  # chunks begin at even offsets


_SECONDS: Mapping[str, Callable[[bytes], float | None]] = MappingProxyType(
    {
        "audio/flac": _flac_seconds,
        "audio/wav": _wav_seconds,
    }
)
