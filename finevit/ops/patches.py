"""Images to patches and back, the size at which an image enters the encoder (paper, encoder section); 2 x 2 made one token."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float
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


MERGE = 2
"""Side of the square of patches that becomes one visual token (paper, Stage III)."""


def merge_neighbours(tokens: Float[Tensor, "patches dim"], shapes: Sequence[tuple[int, int]]) -> Float[Tensor, "visual four_dim"]:
    """Tokens of whole images, in raster order -> those of 2 x 2 patches side by side (row, column), in raster order too.

    Raises ``ValueError`` for a grid with an odd side.
    """
    for rows, cols in shapes:
        if rows % MERGE or cols % MERGE:
            raise ValueError(
                f"a grid of {rows} x {cols} patches cannot be merged {MERGE} x {MERGE}: give sides of even numbers of patches"
            )
    parts = tokens.split([rows * cols for rows, cols in shapes])
    return torch.cat(
        [
            rearrange(part, "(r a c b) d -> (r c) (a b d)", a=MERGE, b=MERGE, c=cols // MERGE)
            for part, (_, cols) in zip(parts, shapes, strict=True)
        ]
    )


def cell_centres(shapes: Sequence[tuple[int, int]], device: torch.device) -> Float[Tensor, "visual 2"]:
    """Where the merged tokens lie in their images: x and y of the centres, in [0, 1]."""
    grids = [
        torch.stack(
            torch.meshgrid(_centres(rows // MERGE, device), _centres(cols // MERGE, device), indexing="ij")[::-1], -1
        ).flatten(0, 1)
        for rows, cols in shapes
    ]
    return torch.cat(grids)


def _centres(count: int, device: torch.device) -> Float[Tensor, " count"]:
    return (torch.arange(count, device=device) + 0.5) / count
