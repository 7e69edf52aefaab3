"""Image bytes to pixels, and only bytes: no path, no URL, few formats, and the size is checked before decoding."""

import io
import struct
import warnings
import zlib

import numpy as np
from PIL import Image, UnidentifiedImageError

from perjoule.errors import InvalidInputError, TooLargeError

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")

MAX_PIXELS = 25_000_000
"""Most pixels of one image: 75 MB once decoded."""

MAX_SCANS = 100
"""Most passes over a progressive JPEG, of which cameras and programs write ten: each costs the decoder all pixels
again, and its sender a few bytes."""

MAX_ASPECT = 10
"""Most that one side may be longer than the other: resized to a model's sides, less than a patch may be left."""

# Pillow warns about large headers; they are refused below.
warnings.simplefilter("ignore", Image.DecompressionBombWarning)

_ORIENTATION = 0x0112  # EXIF tag

# How to undo what the tag says, by its value (EXIF 2.32, table 4.6.4 A).
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # fmt: skip

# What Pillow's decoders raise on broken bytes.
_BROKEN = (
    OSError,
    SyntaxError,
    TypeError,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    OverflowError,
    struct.error,
    zlib.error,
)


def decode_image(media: bytes, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Return the (first) picture of ``media`` in RGB, turned upright as its EXIF data say.

    Raises:
        InvalidInputError: no picture of a known format, or a damaged one.
        TooLargeError: more pixels than the limit.
    """
    try:
        with Image.open(io.BytesIO(media), formats=FORMATS) as image:
            _check_size(*image.size, max_pixels)
            if image.format == "JPEG" and media.count(b"\xff\xda") > MAX_SCANS:
                raise InvalidInputError(f"the image has more than {MAX_SCANS} scans")
            image.load()
            return _eight_bits(_upright(image)).convert("RGB")
    except UnidentifiedImageError:
        raise InvalidInputError(f"the bytes are no image; known formats are {', '.join(FORMATS)}") from None
    except Image.DecompressionBombError:
        raise TooLargeError(f"the image has more than {max_pixels} pixels") from None
    except _BROKEN as error:
        raise InvalidInputError(f"the image cannot be decoded: {str(error)[:100]}") from None


def _upright(image: Image.Image) -> Image.Image:
    """Turn a photograph as it was held. Only this tag is read: Pillow's own function fails on other broken tags."""
    turn = _TURNS.get(image.getexif().get(_ORIENTATION, 1))
    return image if turn is None else image.transpose(turn)


def _eight_bits(image: Image.Image) -> Image.Image:
    """Scale 16-bit grey down: Pillow itself would cut off everything above 255, and so show nearly all of it white."""
    if not image.mode.startswith("I"):
        return image
    return Image.fromarray(((np.asarray(image).astype(np.uint32) + 128) // 257).astype(np.uint8))


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise TooLargeError(f"the image has {width}×{height} pixels; at most {max_pixels} pixels are taken")
    if min(width, height) < 1 or max(width, height) > MAX_ASPECT * min(width, height):
        raise InvalidInputError(f"the image is {width}×{height}: one side is over {MAX_ASPECT} times the other")
