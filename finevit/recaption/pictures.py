"""Pictures as models want them: upright pixels, and bytes to be sent. Both depend on the stored bytes, box and settings alone."""

import io
import math
from functools import lru_cache

import cv2
import numpy as np
from PIL import Image

from finevit.boxes import Box
from finevit.datasets.decoding.images import decode, header_size, opened, orientation_of
from finevit.recaption.contracts import Picture

MIME = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp"}
"""Formats that servers of vision-language models read."""
_PLAIN = ("RGB", "L")
_DEEP, _DEPTH = b"\x10", slice(24, 25)
"""The byte of a PNG that says how many bits a value has, where it says 16."""
_KEPT, _KEPT_PIXELS = 8, 2**22
"""So many decoded images are kept, of at most so many pixels: 100 MB."""
_SLACK = 1e-3
"""Pixels by which a side may miss a border that it was meant to lie on: float32 holds sides of images of 16,000 pixels so well."""
_QUALITY = 95
"""Of new JPEGs, without subsampling of colours: letters keep their edges, and a photograph has a fifth of the bytes of a PNG."""


def pixels(picture: Picture) -> np.ndarray:
    """Upright RGB ``uint8 [height, width, 3]`` of a picture, of a part the pixels that its box touches; ``BadSample`` where it
    cannot be decoded."""
    found = _part(_whole(picture.read(), picture.sample_id), picture.box)
    return found if found.flags.writeable else found.copy()


def encoded(picture: Picture, *, max_pixels: int) -> tuple[bytes, str]:
    """Bytes and MIME type to be sent: the stored ones where a server sees by them what we see, else a JPEG of at most
    ``max_pixels``. What is not known to be ``readable`` is decoded first, so that a damaged file is ``BadSample`` here and no
    failure there."""
    data = picture.read()
    if not picture.readable:
        _whole(data, picture.sample_id)
    if picture.box is None and (mime := _sendable(data, max_pixels)):
        return data, mime
    part = _part(_whole(data, picture.sample_id), picture.box)
    file = io.BytesIO()
    Image.fromarray(_shrunk(part, max_pixels)).save(file, "JPEG", quality=_QUALITY, subsampling=0)
    return file.getvalue(), MIME["JPEG"]


def borders(box: Box, width: int, height: int) -> tuple[int, int, int, int]:
    """The pixels that a canonical box touches: x1, y1, x2, y2, the last two exclusive; at least one pixel, within the image."""
    left, right = _border(box[0], box[2], width)
    top, bottom = _border(box[1], box[3], height)
    return left, top, right, bottom


def _border(low: float, high: float, side: int) -> tuple[int, int]:
    first = min(max(math.floor(low * side + _SLACK), 0), side - 1)
    return first, max(min(math.ceil(high * side - _SLACK), side), first + 1)


def _part(whole: np.ndarray, box: Box | None) -> np.ndarray:
    if box is None:
        return whole
    left, top, right, bottom = borders(box, whole.shape[1], whole.shape[0])
    return np.ascontiguousarray(whole[top:bottom, left:right])


def _whole(data: bytes, name: str) -> np.ndarray:
    """The pixels of the last few images are kept: the requests of one follow each other."""
    size = header_size(data)
    small = size is not None and size[0] * size[1] <= _KEPT_PIXELS
    return _decoded(data, name) if small else decode(data, name=name)


@lru_cache(maxsize=_KEPT)
def _decoded(data: bytes, name: str) -> np.ndarray:
    pixels = decode(data, name=name)
    pixels.flags.writeable = False
    return pixels


@lru_cache(maxsize=_KEPT)
def _sendable(data: bytes, max_pixels: int) -> str:
    """The MIME type of bytes that hold one opaque upright picture of 8 bits, not too large, and little else; "" of all others."""
    with opened(data) as image:
        if image.width * image.height > max_pixels:
            return ""
        plain = image.mode in _PLAIN and not image.has_transparency_data and not getattr(image, "is_animated", False)
        upright = orientation_of(image) == 1 and not (image.format == "PNG" and data[_DEPTH] == _DEEP)
        lean = len(data) <= 2**16 + 3 * image.width * image.height
        return MIME.get(image.format or "", "") if plain and upright and lean else ""


def _shrunk(image: np.ndarray, max_pixels: int) -> np.ndarray:
    height, width = image.shape[:2]
    scale = math.sqrt(max_pixels / (height * width))
    if scale >= 1:
        return image
    size = max(1, math.floor(width * scale)), max(1, math.floor(height * scale))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA))
