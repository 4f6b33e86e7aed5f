"""PPM and PGM files whose largest value is another than 255 or 65,535: Pillow scales them in a loop of Python, here by a table."""

from typing import Any

import numpy as np
from PIL import Image

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
