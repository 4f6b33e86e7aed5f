"""An opened image of Pillow's to upright RGB pixels, a few rows at a time: no copy of the whole picture is made on the way."""

from collections.abc import Iterator

import numpy as np
from PIL import Image


class Unusable(ValueError):
    """A file that is beyond a limit, or says too little; the message names the limit, and the remedy, and not the file."""


_STRIP, _TURNED = 2**16, 2**20
"""Pixels that are converted at a time: they stay in a processor's cache; more where rows become columns, written side by side."""
_TURN = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""How a stored image becomes upright, by the orientation of EXIF; 1 is upright."""
ON_ITS_SIDE = (5, 6, 7, 8)
_FROM_THE_END = (3, 4, 6, 7)
"""Orientations whose first stored row is the last row or column of the upright image."""
_GREY, _MOST = ("I", "F"), 0xFFFF


def upright(image: Image.Image, orientation: int) -> np.ndarray:
    """The pixels ``uint8 [height, width, 3]`` of a decoded image, turned by its orientation; ``Unusable`` for values without a
    range. Transparency is laid on white; of 16 bits the upper 8 are taken."""
    wide, high = image.size
    pixels = np.empty((wide, high, 3) if orientation in ON_ITS_SIDE else (high, wide, 3), np.uint8)
    for top, strip in _strips(image, _TURNED if orientation in ON_ITS_SIDE else _STRIP):
        begin = high - top - strip.height if orientation in _FROM_THE_END else top
        rows = slice(begin, begin + strip.height)
        place = pixels[:, rows] if orientation in ON_ITS_SIDE else pixels[rows]
        place[...] = np.asarray(turn(_rgb(strip), orientation))
    return pixels


def turn(image: Image.Image, orientation: int) -> Image.Image:
    """A stored image upright, by its orientation; 1 leaves it as it is."""
    return image.transpose(_TURN[orientation]) if orientation in _TURN else image


def _strips(image: Image.Image, pixels: int) -> Iterator[tuple[int, Image.Image]]:
    rows = max(1, pixels // image.width)
    for top in range(0, image.height, rows):
        yield top, image.crop((0, top, image.width, min(top + rows, image.height)))


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith(_GREY):
        return _from_wide_grey(np.asarray(image))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _from_wide_grey(grey: np.ndarray) -> Image.Image:
    """Grey values of 16 bits, in whatever type they come, to RGB."""
    if grey.dtype.kind == "f" or grey.min() < 0 or grey.max() > _MOST:
        raise Unusable(f"{grey.dtype} values without a known range; convert it to 8 or 16 bits")
    return Image.fromarray((grey.astype(np.uint16) >> 8).astype(np.uint8)).convert("RGB")
