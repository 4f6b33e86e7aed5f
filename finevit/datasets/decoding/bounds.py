"""What one image file may cost: limits that are checked before it is decoded, on what its bytes say of themselves.

On two cores of a server none then takes more than two seconds or 1 GiB, whatever it holds.
"""

import re
from typing import Any

import numpy as np
from PIL import Image

from finevit.datasets.decoding import jpeg, png, tiff
from finevit.datasets.decoding.pixels import Unusable

_CODEC = "ppm"


def tile_of(image: Image.Image) -> tuple[str, Any, int, Any]:
    """Codec, extents, offset and arguments of the first part that Pillow decodes."""
    tiles = getattr(image, "tile", None)
    return tiles[0] if tiles else ("", None, 0, None)


def loaded(image: Image.Image, data: bytes) -> Image.Image:
    """The decoded image of an opened file."""
    codec, _, start, arguments = tile_of(image)
    if image.format != "PPM" or codec != _CODEC:
        image.load()
        return image
    most, bands = arguments[-1], len(image.getbands())
    values = np.frombuffer(data, np.uint8 if most < 256 else ">u2", image.width * image.height * bands, start)
    highest = 0xFFFF if image.mode == "I" else 0xFF
    table = np.minimum(highest, np.rint(np.arange(0x10000) / most * highest))
    scaled = table.astype(np.int32 if image.mode == "I" else np.uint8)[values]
    return Image.fromarray(scaled.reshape(image.height, image.width, *([bands] if bands > 1 else [])))


MAX_BYTES = 2**29
"""Largest file in bytes: no image within the limits of memory is larger."""
MAX_MEMORY = 2**30 - 2**25
"""Most bytes that decoding takes: 1 GiB, and what Python takes besides."""
_BYTES = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2}
"""Bytes of a pixel as Pillow stores it, by mode; of all others 4."""
_RGB = 3
_BUFFERS = {"WEBP": 16, "AVIF": 12}
"""Bytes of a pixel that codecs hold besides: frames of an animation, planes and rows before they are Pillow's."""
_MOST = {
    **dict.fromkeys(("PNG", "GIF", "TIFF"), (100_000_000, MAX_BYTES)),
    "interlaced PNG": (40_000_000, MAX_BYTES),
    "WEBP": (32_000_000, 2**24),
    "AVIF": (24_000_000, 2**23),
}
"""Most pixels, and bytes of the file, in formats that decode slowly."""
_MOST_RAW = 400_000_000
"""Most bytes of pixels that a PNG may inflate to: 66 megapixels of three channels, 16 bits each."""
_IN_PYTHON = {"bmp_rle": 4_000_000, "ppm_plain": 1_000_000}
"""Most pixels, and bytes of the file, of codecs that are loops of Python."""
_BLOCKS = 4096
"""Most blocks of a GIF before its first frame, of 255 bytes each."""
_NUMBER = rb"(?:(?:\s|#[^\r\n]*[\r\n])+[^\s#]+)"
_PPM = re.compile(rb"P(?:[14]%b{2}|[^14\s][A-Za-z]{0,4}%b{3})\s" % (_NUMBER, _NUMBER))
_HEAD, _COMMENTS = 2**16, 1000


def bounded(data: bytes) -> bytes:
    """The file without metadata that no pixel depends on, where there is much; ``Unusable`` where anything else is too much."""
    if len(data) > MAX_BYTES:
        raise Unusable(f"{len(data):,} bytes, more than the limit of {MAX_BYTES:,}; scale it down, or save it compressed")
    if data.startswith(jpeg.SIGNATURE):
        return jpeg.bounded(data)
    if data.startswith(png.SIGNATURE):
        return png.without_metadata(data)[0]
    if data.startswith(tiff.SIGNATURES):
        tiff.check(data)
    elif data.startswith((b"GIF87a", b"GIF89a")):
        _check_gif(data)
    elif data[:1] == b"P" and data[1:2] in b"0123456fy":
        _check_ppm(data)
    return data


def check_cost(image: Image.Image, data: bytes, held: int) -> None:
    """``Unusable`` where decoding an opened image, of which ``held`` bytes are in memory, would take too much memory or time."""
    pixels, form = image.width * image.height, image.format or ""
    codec = tile_of(image)[0]
    most = _IN_PYTHON.get(codec, 0)
    if most and max(pixels, len(data)) > most:
        raise Unusable(
            f"{pixels:,} pixels in {len(data):,} bytes of a slow encoding ({codec}), more than the limit of {most:,}; "
            "save it in another format, such as PNG"
        )
    kind = "interlaced PNG" if form == "PNG" and data[28] else form
    if kind in _MOST and (pixels > _MOST[kind][0] or len(data) > _MOST[kind][1]):
        limits = "{:,} pixels and {:,} bytes".format(*_MOST[kind])
        raise Unusable(f"{pixels:,} pixels in {len(data):,} bytes; limits of {kind} are {limits}: scale it down or save it as JPEG")
    if form == "PNG" and (raw := png.raw_bytes(data)) > _MOST_RAW:
        raise Unusable(f"{raw:,} bytes of pixels, more than the limit of {_MOST_RAW:,}; scale it down, or save it with 8 bits")
    extra = jpeg.coefficients(data) if form in ("JPEG", "MPO") else tiff.buffer(data) if form == "TIFF" else 0
    needed = held + extra + pixels * (_BYTES.get(image.mode, 4) + _RGB + _BUFFERS.get(form, 0))
    if needed > MAX_MEMORY:
        raise Unusable(
            f"decoding it would take {needed >> 20:,} MiB, more than the limit of {MAX_MEMORY >> 20:,}; scale it down, or save it "
            "as a baseline JPEG"
        )


def _check_gif(data: bytes) -> None:
    """Count the blocks before the first frame: Pillow joins those of a comment one by one."""
    at, count = 13 + (3 << (data[10] & 7) + 1 if data[10:11] > b"\x7f" else 0), 0
    while data[at : at + 1] == b"!":
        at += 2
        while at < len(data) and data[at]:
            at, count = at + 1 + data[at], count + 1
            if count > _BLOCKS:
                raise Unusable(f"more than {_BLOCKS:,} blocks of comments before the first frame; save it without its metadata")
        at, count = at + 1, count + 1


def _check_ppm(data: bytes) -> None:
    """See that the header ends soon, and that there are few comments: each costs Pillow a loop of Python or a copy."""
    if not _PPM.match(data[:_HEAD]):
        raise Unusable(f"no header within its first {_HEAD:,} bytes; save it anew")
    if data[1:2] in b"123" and data.count(b"#") > _COMMENTS:
        raise Unusable(f"more than {_COMMENTS:,} comments; save it without them")
