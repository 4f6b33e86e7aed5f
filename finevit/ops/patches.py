"""Images to patches and back, and the size at which an image enters the encoder (paper, encoder section)."""

import math

import numpy as np
from einops import rearrange
from torch import Tensor


def snapped_size(height: int, width: int, *, pixels: int, square: bool = False, snap: int = 28) -> tuple[int, int]:
    """The ``(height, width)``, in pixels, to which an image is resized: multiples of ``snap``, area at most about ``pixels``.

    The aspect ratio is kept as well as the snapping allows (unless ``square``) and a small image is never enlarged beyond the
    nearest multiple. The area exceeds ``pixels`` only where both sides are down to one ``snap``.
    """
    if square:
        height = width = math.isqrt(pixels)
    scale = min(1.0, math.sqrt(pixels / (height * width)))
    rows, cols = (max(1, round(side * scale / snap)) for side in (height, width))
    while rows * cols * snap * snap > pixels and max(rows, cols) > 1:
        smaller = [(r, c) for r, c in ((rows - 1, cols), (rows, cols - 1)) if r and c]
        rows, cols = min(smaller, key=lambda side: abs(math.log(side[0] / side[1] * width / height)))
    return rows * snap, cols * snap


def patchify(image: np.ndarray, patch: int) -> np.ndarray:
    """``uint8 [rows * patch, cols * patch, 3]`` -> ``[rows * cols, 3 * patch * patch]``, raster order."""
    return rearrange(image, "(r p) (s q) c -> (r s) (c p q)", p=patch, q=patch)


def unpatchify(pixels: Tensor, shape: tuple[int, int], patch: int) -> Tensor:
    """``[rows * cols, 3 * patch * patch]`` -> ``[3, rows * patch, cols * patch]``, the inverse of :func:`patchify`."""
    return rearrange(pixels, "(r s) (c p q) -> c (r p) (s q)", r=shape[0], p=patch, q=patch)
