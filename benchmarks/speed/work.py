"""The work that encoders are compared on: a size, the grids of images, and its FLOPs in closed form.

A FLOP is one multiplication or one addition. Counted are the products of matrices alone, and attention within an image; padding,
norms and what is computed a second time are not: they are the cost of an implementation, not the work.
"""

from collections.abc import Sequence
from typing import NamedTuple

Grid = tuple[int, int]
"""Rows and columns of an image, in patches."""


class Size(NamedTuple):
    """An encoder's size: ``mlp_dim`` is the width of a SwiGLU of three matrices, ``patch`` the side of a patch in pixels."""

    depth: int
    dim: int
    heads: int
    mlp_dim: int
    patch: int = 14

    @property
    def plain_hidden(self) -> int:
        """The width of a feed-forward of two matrices with as many weights."""
        return self.mlp_dim * 3 // 2


SIZES = {
    "quick": Size(depth=2, dim=64, heads=4, mlp_dim=128),
    "peers": Size(depth=6, dim=384, heads=4, mlp_dim=1152),
    "large": Size(depth=28, dim=1536, heads=16, mlp_dim=4608),
}
"""``peers`` is small enough for two cores; ``large`` is the paper's."""

_MIX = ((22, 32), (26, 26), (16, 40), (24, 24), (18, 24), (24, 16), (14, 20), (12, 22), (16, 14), (10, 18), (16, 8), (6, 14))
"""Twelve aspect ratios and sizes, 4,572 patches; padded to the largest image, a batch of them is 54 % full."""
WORKLOADS: dict[str, tuple[Grid, ...]] = {
    "native": _MIX,
    "native448": tuple((round(0.82 * rows) * 2, round(0.82 * cols) * 2) for rows, cols in _MIX),
    "448": ((32, 32),) * 4,
    "1008": ((72, 72),),
    "quick": ((4, 6), (2, 2), (6, 4)),
}
"""``native448`` is the mix of ``native`` around 448^2 pixels, for a GPU."""


def patches(grids: Sequence[Grid]) -> int:
    """Patches of all images."""
    return sum(rows * cols for rows, cols in grids)


def forward_flops(size: Size, grids: Sequence[Grid]) -> int:
    """FLOPs of a forward pass: per patch the matrices, per image the two products of attention."""
    return _embedding(size, grids) + _blocks(size, grids)


def training_flops(size: Size, grids: Sequence[Grid]) -> int:
    """FLOPs of forward and backward: a product has two gradients, of which the pixels need none."""
    return 2 * _embedding(size, grids) + 3 * _blocks(size, grids)


def _embedding(size: Size, grids: Sequence[Grid]) -> int:
    return 2 * patches(grids) * 3 * size.patch**2 * size.dim


def _blocks(size: Size, grids: Sequence[Grid]) -> int:
    matrices = 4 * size.dim**2 + 3 * size.dim * size.mlp_dim
    attention = sum(2 * 2 * (rows * cols) ** 2 * size.dim for rows, cols in grids)
    return size.depth * (2 * patches(grids) * matrices + attention)
