"""Image bytes to pixels, and only bytes: no path, no URL, few formats, and the size is checked before decoding."""

import io
import struct
import zlib

from PIL import Image, ImageOps, UnidentifiedImageError

from perjoule.errors import InvalidInputError, TooLargeError

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")

MAX_PIXELS = 25_000_000
"""Most pixels of one image: 75 MB once decoded."""

MAX_ASPECT = 10
"""Most that one side may be longer than the other: resized to a model's sides, less than a patch may be left."""

# What Pillow's decoders raise on broken bytes.
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, OverflowError, struct.error, zlib.error)


def decode_image(media: bytes, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Return the (first) picture of ``media`` in RGB, turned upright as its EXIF data say.

    Raises:
        InvalidInputError: no picture of a known format, or a damaged one.
        TooLargeError: more pixels than the limit.
    """
    try:
        with Image.open(io.BytesIO(media), formats=FORMATS) as image:
            _check_size(*image.size, max_pixels)
            image.load()
            return ImageOps.exif_transpose(image).convert("RGB")
    except UnidentifiedImageError:
        raise InvalidInputError(f"the bytes are no image; known formats are {', '.join(FORMATS)}") from None
    except Image.DecompressionBombError:
        raise TooLargeError(f"the image has more than {max_pixels} pixels") from None
    except _BROKEN as error:
        raise InvalidInputError(f"the image cannot be decoded: {str(error)[:100]}") from None


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise TooLargeError(f"the image has {width}×{height} pixels; at most {max_pixels} pixels are taken")
    if min(width, height) < 1 or max(width, height) > MAX_ASPECT * min(width, height):
        raise InvalidInputError(f"the image is {width}×{height}: one side is over {MAX_ASPECT} times the other")
