"""Images and audio on their way in: what a body without a content type is, and base64 inside JSON.

Bytes only: a string is never a path or a URL to fetch. Decoding pixels and samples is the tasks' business.
"""

import base64
import binascii

from perjoule.errors import InvalidInputError

_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"BM", "image/bmp"),
    (b"fLaC", "audio/flac"),
)
_RIFF = {b"WEBP": "image/webp", b"WAVE": "audio/wav"}


def sniff(body: bytes) -> str | None:
    """Return the media type that the first bytes tell: PNG, JPEG, GIF, BMP, WebP, FLAC or WAV; else None."""
    if body[:4] == b"RIFF":
        return _RIFF.get(body[8:12])
    return next((media_type for magic, media_type in _MAGIC if body.startswith(magic)), None)


def from_base64(text: str) -> bytes:
    """Decode base64, bare or as a ``data:…;base64,…`` URL.

    Raises:
        InvalidInputError: anything else; other URLs and paths are refused by name, since nothing is ever fetched.
    """
    if text.startswith("data:"):
        head, comma, text = text.partition(",")
        if not comma or not head.endswith(";base64"):
            raise InvalidInputError("a data: URL in inputs must be data:<type>;base64,<data>")
    elif "://" in text[:16]:
        raise InvalidInputError("inputs must be base64 bytes; URLs and files are not fetched")
    try:
        media = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise InvalidInputError("inputs is not valid base64") from None
    if not media:
        raise InvalidInputError("inputs is empty")
    return media
