"""Encoded image bytes to upright RGB pixels, whatever people's image files hold.

One function, ``decode``. A file that cannot be used raises ``BadSample``, and nothing else: it says why and what to do.
Colour profiles are ignored; transparency is laid on white; of an animation the first frame counts; of 16 bits the
upper 8.
"""

import io
import math
import warnings

import numpy as np
from PIL import Image, UnidentifiedImageError, features

from finevit.contracts import BadSample

MAX_PIXELS = 128_000_000
"""Largest image in pixels: a 108-megapixel photograph passes."""
MAX_ASPECT = 20
"""Longest side over shortest side: beyond it an image is a strip, and snapping would leave little of its content."""
MIN_SIDE = 2
"""Shortest side in pixels: a single row or column of pixels is no picture."""

FROM_STRANGERS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", *(("AVIF",) if features.check("avif") else ()))
"""Formats whose decoding costs what their header says: of PPM a comment, of TIFF a tile can take far more."""
_FORMATS = (*FROM_STRANGERS, "TIFF", "PPM")
_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ON_ITS_SIDE = (5, 6, 7, 8)
_NOT_IMAGES = {b"<svg": "an SVG drawing", b"<html": "an HTML page", b"<!doctype html": "an HTML page", b"%pdf": "a PDF"}


def decode(
    data: bytes,
    *,
    name: str,
    max_pixels: int = MAX_PIXELS,
    target: int | None = None,
    formats: tuple[str, ...] = _FORMATS,
) -> np.ndarray:
    """Return the upright RGB pixels of an encoded image, ``uint8 [height, width, 3]``.

    ``name`` is what error messages call the image. One of more than ``max_pixels`` pixels is refused before it is
    decoded. ``target`` is the number of pixels the caller needs: a JPEG is then decoded at 1/2, 1/4 or 1/8 of its size,
    the smallest that still has that many. ``formats`` are those that are read, in Pillow's names.

    Raises ``BadSample``, and nothing else, for bytes that cannot be used.
    """
    if not data:
        raise BadSample(f"{name}: the file is empty (0 bytes); fetch it again or remove it")
    try:
        with warnings.catch_warnings(), Image.open(_quiet(data), formats=formats) as image:
            _check_size(image, name, max_pixels)
            if target is not None:
                _draft(image, target)
            image.load()
            return np.array(_upright(_rgb(image, name), image))
    except BadSample:
        raise
    except UnidentifiedImageError:
        raise BadSample(f"{name}: {_guess(data)}; supported are {', '.join(formats)}: convert or remove it") from None
    except Image.DecompressionBombError as error:
        raise BadSample(f"{name}: too large ({error}); scale it down to at most {max_pixels:,} pixels") from None
    except Exception as error:  # the codecs raise nearly every built-in exception on damaged files
        raise BadSample(f"{name}: damaged or truncated ({type(error).__name__}: {error}); fetch it again or remove it") from None


def header_size(data: bytes) -> tuple[int, int] | None:
    """Height and width of the upright image that these bytes begin, None where they do not say so."""
    try:
        with warnings.catch_warnings(), Image.open(_quiet(data), formats=_FORMATS) as image:
            turned = image.getexif().get(_ORIENTATION, 1) in _ON_ITS_SIDE
            return image.size if turned else image.size[::-1]
    except Exception:  # damaged headers raise nearly anything
        return None


def _quiet(data: bytes) -> io.BytesIO:
    """Open the bytes as a file; inside ``catch_warnings``, this also silences the codecs' remarks on odd files."""
    warnings.simplefilter("ignore")
    return io.BytesIO(data)


def _check_size(image: Image.Image, name: str, max_pixels: int) -> None:
    width, height = image.size
    size = f"{name}: {width} x {height} pixels"
    if min(width, height) < MIN_SIDE:
        raise BadSample(f"{size}; both sides must be at least {MIN_SIDE}: remove it")
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise BadSample(f"{size}; one side is more than {MAX_ASPECT} times the other: cut it into pieces or remove it")
    if width * height > max_pixels:
        raise BadSample(f"{size}; more than the limit of {max_pixels:,} pixels: scale it down")


def _draft(image: Image.Image, target: int) -> None:
    """Let the JPEG codec decode at a reduced scale; other formats ignore it."""
    scale = min(1.0, math.sqrt(target / (image.width * image.height)))
    image.draft(None, (max(1, math.floor(image.width * scale)), max(1, math.floor(image.height * scale))))


def _rgb(image: Image.Image, name: str) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        return _from_wide_grey(np.asarray(image), name)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


def _from_wide_grey(grey: np.ndarray, name: str) -> Image.Image:
    """Grey values of 16 bits, in whatever type they come, to RGB."""
    if grey.dtype.kind == "f" or grey.min() < 0 or grey.max() > 0xFFFF:
        raise BadSample(f"{name}: {grey.dtype} values without a known range; convert it to 8 or 16 bits")
    return Image.fromarray((grey.astype(np.uint16) >> 8).astype(np.uint8)).convert("RGB")


def _upright(pixels: Image.Image, source: Image.Image) -> Image.Image:
    """Turn the pixels as the EXIF entry of their source says; an unreadable entry counts as upright."""
    try:
        method = _UPRIGHT.get(source.getexif().get(_ORIENTATION, 1))
    except Exception:  # damaged EXIF data raises nearly anything, and says nothing about the pixels
        method = None
    return pixels if method is None else pixels.transpose(method)


def _guess(data: bytes) -> str:
    head = data[:1024].lower()
    found = [text for mark, text in _NOT_IMAGES.items() if mark in head]
    return f"not an image but {found[0]}" if found else "not an image of a known format, or its beginning is damaged"
