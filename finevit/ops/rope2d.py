"""2D rotary position embedding (paper, encoder section): no learned table, so any grid of patches is a valid input.

The first half of the rotated pairs turns with the row, the second with the column; a product of a query and a key then depends on
their relative position only.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor


def rope_table(
    positions: Int[Tensor, "patches 2"], head_dim: int, theta: float, dtype: torch.dtype
) -> tuple[Float[Tensor, "patches 1 half"], Float[Tensor, "patches 1 half"]]:
    """Cosine and sine for every patch, ``half = head_dim / 2``; angles are computed in float32 at least."""
    exact = torch.float64 if dtype == torch.float64 else torch.float32
    quarter = head_dim // 4
    frequency = theta ** (-torch.arange(quarter, device=positions.device, dtype=exact) / quarter)
    angle = (positions.to(exact)[:, :, None] * frequency).flatten(1)[:, None]
    return angle.cos().to(dtype), angle.sin().to(dtype)


def rotate(
    x: Float[Tensor, "patches heads dim"],
    table: tuple[Float[Tensor, "patches 1 half"], Float[Tensor, "patches 1 half"]],
) -> Float[Tensor, "patches heads dim"]:
    """Turns the pairs ``(x[i], x[i + dim / 2])`` of every head by the angles of the table."""
    cos, sin = table
    a, b = x.chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1)
