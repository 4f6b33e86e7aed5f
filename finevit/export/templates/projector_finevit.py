"""FineViT's connector: 2 x 2 neighbouring patches become one visual token of a language model's width."""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu


class Projector(nn.Module):
    """Joins 2 x 2 patches and projects them by an MLP of two layers.

    Args:
        dim: width of the encoder.
        llm_dim: width of the language model's embeddings.
        mlp_dim: width of the MLP.
        frequencies: how many sines and cosines of a token's place in its image are added, per axis.
    """

    def __init__(self, *, dim: int, llm_dim: int, mlp_dim: int, frequencies: int = 0) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.first, self.second = nn.Linear(4 * dim, mlp_dim), nn.Linear(mlp_dim, llm_dim)
        self.place = nn.Linear(4 * frequencies, llm_dim, bias=False) if frequencies else None
        self.frequencies = frequencies

    def forward(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        """``[batch, rows * cols, dim]`` in raster order, ``grid`` rows and columns -> ``[batch, rows * cols / 4, llm_dim]``."""
        rows, cols = grid
        if rows % 2 or cols % 2 or rows * cols != tokens.shape[1]:
            raise ValueError(f"grid={rows} x {cols} for {tokens.shape[1]} tokens: give that of the image, of even sides")
        x = self.norm(tokens).reshape(len(tokens), rows // 2, 2, cols // 2, 2, -1).permute(0, 1, 3, 2, 4, 5)
        visual = self.second(gelu(self.first(x.reshape(len(tokens), rows * cols // 4, -1))))
        return visual if self.place is None else visual + self.place(self._waves(rows // 2, cols // 2, visual))

    def _waves(self, rows: int, cols: int, like: Tensor) -> Tensor:
        """``[visual, 4 * frequencies]``: sines and cosines of x and y, of wavelengths 2, 1, 1/2, ... of the image's side."""
        y, x = ((torch.arange(count, device=like.device) + 0.5) / count for count in (rows, cols))
        centres = torch.stack((x[None].expand(rows, cols), y[:, None].expand(rows, cols)), -1).reshape(-1, 2)
        scales = math.pi * 2.0 ** torch.arange(self.frequencies, device=like.device)
        angles = (centres[:, :, None] * scales).flatten(1)
        return torch.cat((angles.sin(), angles.cos()), -1).to(like.dtype)
