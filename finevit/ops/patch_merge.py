"""Merging 2 x 2 neighbouring patches into one token (paper, Stage III: projector)."""

from collections.abc import Sequence

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

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
