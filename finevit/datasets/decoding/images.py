"""Encoded image bytes to upright RGB pixels, whatever people's image files hold.

One function, ``decode``. A file that cannot be used raises ``BadSample``, and nothing else: it says why and what to do.
Colour profiles are ignored; transparency is laid on white; of an animation the first frame counts; of 16 bits the
upper 8.
"""

import io
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError, features

from finevit.contracts import BadSample
from finevit.datasets.decoding import jpeg
from finevit.datasets.decoding.bounds import bounded, check_cost, loaded
from finevit.datasets.decoding.pixels import ON_ITS_SIDE, Unusable, upright
from finevit.datasets.decoding.png import SIGNATURE, without_metadata

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
_NOT_IMAGES = {
    **{b"<svg": "an SVG drawing", b"<html": "an HTML page", b"<!doctype html": "an HTML page", b"%pdf": "a PDF"},
    **{
        b"<?xml": "an XML page",
        b"ftyphei": "a HEIC photograph",
        b"ftypmif1": "a HEIF photograph",
        b"ftypjp2": "a JPEG 2000 picture",
    },
    b"git-lfs.github.com/spec": "a pointer of Git LFS (git lfs pull fetches what it points at)",
}


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
        kept = bounded(data)
        with _opened(kept, formats) as image:
            _check_size(image, name, max_pixels)
            if target is not None:
                _draft(image, target)
            check_cost(image, kept, held=len(data) + (0 if kept is data else len(kept)))
            return upright(loaded(image, kept), orientation_of(image))
    except BadSample:
        raise
    except Unusable as error:
        raise BadSample(f"{name}: {error}") from None
    except UnidentifiedImageError:
        raise BadSample(f"{name}: {_guess(data)}; supported are {', '.join(formats)}: convert or remove it") from None
    except Image.DecompressionBombError as error:
        raise BadSample(f"{name}: too large ({error}); scale it down to at most {max_pixels:,} pixels") from None
    except Exception as error:  # the codecs raise nearly every built-in exception on damaged files
        raise BadSample(f"{name}: damaged or truncated ({type(error).__name__}: {error}); fetch it again or remove it") from None


class Header(NamedTuple):
    """What an image file says of itself: ``height`` and ``width`` as stored, and by which ``orientation`` of EXIF it is turned."""

    height: int
    width: int
    orientation: int = 1

    @property
    def stored(self) -> tuple[int, int]:
        """Height and width before the image is turned."""
        return self.height, self.width

    @property
    def upright(self) -> tuple[int, int]:
        """Height and width once it is turned."""
        return (self.width, self.height) if self.orientation in ON_ITS_SIDE else self.stored


def header(data: bytes, *, whole: bool = False) -> Header | None:
    """What the beginning of an image file, or the ``whole`` file, says; None where it does not say so. Nothing is decoded."""
    try:
        whole = whole or not data.startswith(SIGNATURE) or without_metadata(data)[1]
        with opened(data) as image:
            orientation = orientation_of(image)
            if orientation == 1 and not whole:
                return None  # a PNG may say behind its pixels that it is turned
            width, height = image.size
            turned = image.format == "TIFF" and orientation in ON_ITS_SIDE  # of which Pillow says the upright size
            return Header(width, height, orientation) if turned else Header(height, width, orientation)
    except Exception:  # damaged headers raise nearly anything
        return None


def header_size(data: bytes) -> tuple[int, int] | None:
    """Height and width of the upright image that these bytes begin, None where they do not say so."""
    found = header(data)
    return found.upright if found else None


@contextmanager
def opened(data: bytes, formats: tuple[str, ...] = _FORMATS) -> Iterator[Image.Image]:
    """The image, by Pillow, without its remarks on odd files, and without the metadata on which it stumbles."""
    with _opened(bounded(data), formats) as image:
        yield image


@contextmanager
def _opened(data: bytes, formats: tuple[str, ...]) -> Iterator[Image.Image]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with _open(data, formats) as image:
            yield image


def _open(data: bytes, formats: tuple[str, ...]) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data), formats=formats)
    except UnidentifiedImageError:
        if not data.startswith(jpeg.SIGNATURE):
            raise
        return Image.open(io.BytesIO(jpeg.without_segments(data)), formats=formats)


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


def orientation_of(image: Image.Image) -> int:
    """The EXIF entry that says how the stored pixels are turned; an unreadable one counts as upright, 1."""
    try:
        found = Image.Image.getexif(image).get(_ORIENTATION, 1)  # that of PNG would decode the pixels first
        return found if found in range(1, 9) else 1
    except Exception:  # damaged EXIF data raises nearly anything, and says nothing about the pixels
        return 1


def _guess(data: bytes) -> str:
    head = data[:1024].lower()
    found = [text for mark, text in _NOT_IMAGES.items() if mark in head]
    return f"not an image but {found[0]}" if found else "not an image of a known format, or its beginning is damaged"
