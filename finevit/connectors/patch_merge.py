"""The connector: 2 x 2 neighbouring patches become one visual token of the language model's width (paper, Stage III)."""

import math
from typing import Annotated

import torch
from annotated_types import Ge, Le
from mmengine.model import BaseModule
from pydantic import PositiveInt
from torch import Tensor, nn

from finevit.contracts import Connector
from finevit.hub.origins import mark
from finevit.ops.patches import MERGE, cell_centres, merge_neighbours
from finevit.packing.images import check_whole
from finevit.packing.packs import PackedImages
from finevit.registry import MODELS

FINEST = 16
"""The most frequencies: the finest wave is then far shorter than a pixel, and many more are no numbers."""


@MODELS.register_module()
class MergeConnector(BaseModule, Connector):
    """Joins 2 x 2 patches and projects them by an MLP of two layers.

    Args:
        dim: width of the encoder; the stage gives it.
        llm_dim: width of the language model's embeddings; the stage gives it.
        mlp_dim: width of the MLP; None is that of four joined patches.
        frequencies: how many sines and cosines of a token's place in its image are added, per axis; 0, the paper's, for none. The
            encoder's RoPE tells where patches lie to each other, not where in the image, which a box is about: with few images to
            learn from, it helps to say so.
    """

    def __init__(
        self,
        *,
        dim: PositiveInt,
        llm_dim: PositiveInt,
        mlp_dim: PositiveInt | None = None,
        frequencies: Annotated[int, Ge(0), Le(FINEST)] = 0,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        joined = MERGE * MERGE * dim
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.first = nn.Linear(joined, mlp_dim or joined)
        self.second = nn.Linear(mlp_dim or joined, llm_dim)
        self.place = nn.Linear(4 * frequencies, llm_dim, bias=False) if frequencies else None
        self.frequencies = frequencies
        mark(self)

    def forward(self, tokens: Tensor, images: PackedImages) -> Tensor:
        """``[patches, dim]`` of whole images -> ``[visual, llm_dim]``, a quarter as many, in raster order."""
        check_whole(images)
        hidden = self.first(merge_neighbours(self.norm(tokens), images.shapes))
        visual = self.second(nn.functional.gelu(hidden))
        return visual if self.place is None else visual + self.place(self._waves(images, visual))

    def visual(self, images: PackedImages) -> list[int]:
        """Visual tokens of each image."""
        return [rows * cols // MERGE**2 for rows, cols in images.shapes]

    def _waves(self, images: PackedImages, like: Tensor) -> Tensor:
        """``[visual, 4 * frequencies]``: sines and cosines of x and y, of wavelengths 2, 1, 1/2, ... of the image's side."""
        centres = cell_centres(images.shapes, like.device)
        scales = math.pi * 2.0 ** torch.arange(self.frequencies, device=like.device)
        angles = (centres[:, :, None] * scales).flatten(1)
        return torch.cat((angles.sin(), angles.cos()), -1).to(like.dtype)
