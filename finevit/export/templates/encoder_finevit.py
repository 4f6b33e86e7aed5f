"""The FineViT encoder on torch alone, as it travels with exported weights (arXiv 2603.17326).

Vision transformer with pre-norm blocks, SwiGLU and 2D rotary positions, for images of any size that is a multiple of the patch.
Names of weights are those of ``finevit.backbones.FineViT``.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention, silu


class SwiGLU(nn.Module):
    """Gated feed-forward ``down(silu(gate x) * up x)`` without biases."""

    def __init__(self, *, dim: int, mlp_dim: int) -> None:
        super().__init__()
        self.gate_up = nn.Linear(dim, 2 * mlp_dim, bias=False)
        self.down = nn.Linear(mlp_dim, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate, up = self.gate_up(x).chunk(2, dim=-1)
        return self.down(silu(gate) * up)


class Attention(nn.Module):
    """Multi-head self-attention with rotary positions, ``[batch, tokens, dim]``."""

    def __init__(self, *, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim, bias=False)

    def forward(
        self,
        x: Tensor,
        table: tuple[Tensor, Tensor],
        lengths: Sequence[int] = (),
        mask: Tensor | None = None,
        attend: Callable[..., Tensor] = scaled_dot_product_attention,
    ) -> Tensor:
        """``lengths``: sequences that lie one after the other in a batch of one; ``mask [batch, 1, 1, tokens]``: what is read."""
        query, key, value = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        query, key = rotate(query, table), rotate(key, table)
        if lengths:
            parts = zip(*(t.split(list(lengths), dim=2) for t in (query, key, value)), strict=True)
            y = torch.cat([attend(*part) for part in parts], dim=2)
        else:
            y = attend(query, key, value, attn_mask=mask)
        return self.out(y.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """Pre-norm transformer block, ``[batch, tokens, dim]`` in and out."""

    def __init__(self, *, dim: int, heads: int, mlp_dim: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attention = Attention(dim=dim, heads=heads)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.feed_forward = SwiGLU(dim=dim, mlp_dim=mlp_dim)
        self.drop_path: nn.Module = nn.Identity()

    def forward(
        self,
        x: Tensor,
        table: tuple[Tensor, Tensor],
        lengths: Sequence[int] = (),
        mask: Tensor | None = None,
        attend: Callable[..., Tensor] = scaled_dot_product_attention,
    ) -> Tensor:
        x = x + self.drop_path(self.attention(self.norm1(x), table, lengths, mask, attend))
        return x + self.drop_path(self.feed_forward(self.norm2(x)))


class MeanPool(nn.Module):
    """The mean of the tokens: ``[batch, tokens, dim]`` -> ``[batch, dim]``."""

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        if mask is None:
            return tokens.mean(1)
        weight = mask.to(tokens.dtype)[:, :, None]
        return (tokens * weight).sum(1) / weight.sum(1)


class AttentionPool(nn.Module):
    """A learned query attends to the tokens, then a residual SwiGLU: ``[batch, tokens, dim]`` -> ``[batch, dim]``."""

    def __init__(self, *, dim: int, heads: int, mlp_dim: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Parameter(torch.zeros(1, heads, dim // heads))
        self.key_value = nn.Linear(dim, 2 * dim, bias=False)
        self.out = nn.Linear(dim, dim, bias=False)
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.feed_forward = SwiGLU(dim=dim, mlp_dim=mlp_dim)

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        key, value = self.key_value(tokens).unflatten(-1, (2, self.heads, -1)).unbind(2)
        score = (key * self.query).sum(-1) * key.shape[-1] ** -0.5
        if mask is not None:
            score = score.masked_fill(~mask[:, :, None], float("-inf"))
        x = self.out((score.softmax(1)[..., None] * value).sum(1).flatten(1))
        return x + self.feed_forward(self.norm(x))


class Encoder(nn.Module):
    """Images to tokens.

    Args:
        depth: number of blocks.
        dim: width.
        heads: attention heads.
        mlp_dim: width of the feed-forward layers.
        patch: side of a patch in pixels.
        pool: ``mean`` or ``attention``.
        rope_theta: base of the rotary wavelengths, in patches.
    """

    layer: type[Block] = Block
    attend: Callable[..., Tensor] = staticmethod(scaled_dot_product_attention)
    """How queries, keys and values become outputs."""

    def __init__(
        self, *, depth: int, dim: int, heads: int, mlp_dim: int, patch: int = 14, pool: str = "mean", rope_theta: float = 100.0
    ) -> None:
        super().__init__()
        self.patch, self.head_dim, self.rope_theta = patch, dim // heads, rope_theta
        self.embed = nn.Linear(3 * patch * patch, dim)
        self.blocks = nn.ModuleList(self.layer(dim=dim, heads=heads, mlp_dim=mlp_dim) for _ in range(depth))
        self.norm: nn.Module = nn.LayerNorm(dim, eps=1e-6)
        self.pool = AttentionPool(dim=dim, heads=heads, mlp_dim=mlp_dim) if pool == "attention" else MeanPool()

    def encode(self, pixels: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Normalised ``pixels [batch, 3, height, width]`` -> ``tokens [batch, patches, dim]`` after the last norm, in raster order,
        ``pooled [batch, dim]``, and ``states``: the embeddings and the output of every block, before any norm."""
        x = self.embed(patchify(pixels, self.patch))
        positions = grid_positions(pixels.shape[2] // self.patch, pixels.shape[3] // self.patch, pixels.device)
        states = self.run(x, positions)
        tokens = self.norm(states[-1])
        return tokens, self.pool(tokens), states

    def encode_packed(self, patches: Tensor, grids: Sequence[tuple[int, int]]) -> tuple[Tensor, Tensor, list[Tensor]]:
        """``patches [patches, 3 * patch * patch]`` of images with the given rows and columns, one after the other: the same with
        ``tokens [patches, dim]`` and ``pooled [images, dim]``."""
        lengths = [rows * cols for rows, cols in grids]
        if sum(lengths) != len(patches):
            raise ValueError(f"grids: {list(grids)} make {sum(lengths)} patches, but there are {len(patches)}")
        positions = torch.cat([grid_positions(rows, cols, patches.device) for rows, cols in grids])
        states = [state[0] for state in self.run(self.embed(patches)[None], positions, lengths)]
        tokens = self.norm(states[-1])
        return tokens, torch.cat([self.pool(part[None]) for part in tokens.split(lengths)]), states

    def run(self, x: Tensor, positions: Tensor, lengths: Sequence[int] = ()) -> list[Tensor]:
        """The blocks; returns their input and the output of each."""
        table, states = rope_table(positions, self.head_dim, self.rope_theta, x.dtype), [x]
        for block in self.blocks:
            states.append(block(states[-1], table, lengths, None, self.attend))
        return states


def softmax_attention(query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None) -> Tensor:
    """``scaled_dot_product_attention`` written out."""
    scores = query @ key.transpose(-2, -1) * query.shape[-1] ** -0.5
    scores = scores if attn_mask is None else scores.masked_fill(~attn_mask, float("-inf"))
    return scores.softmax(-1) @ value


def patchify(pixels: Tensor, patch: int) -> Tensor:
    """``[batch, 3, height, width]`` -> ``[batch, patches, 3 * patch * patch]`` in raster order."""
    if not torch.compiler.is_compiling() and (pixels.shape[2] % patch or pixels.shape[3] % patch):
        height, width = pixels.shape[2:]
        raise ValueError(f"images of {height} x {width} pixels: give sides that are multiples of the patch, {patch} pixels")
    batch, channels, height, width = pixels.shape
    grid = pixels.reshape(batch, channels, height // patch, patch, width // patch, patch)
    return grid.permute(0, 2, 4, 1, 3, 5).reshape(batch, (height // patch) * (width // patch), channels * patch * patch)


def grid_positions(rows: int, cols: int, device: torch.device) -> Tensor:
    """``[rows * cols, 2]``: row and column of every patch."""
    row, col = torch.arange(rows, device=device), torch.arange(cols, device=device)
    return torch.stack((row[:, None].expand(rows, cols), col[None].expand(rows, cols)), -1).reshape(rows * cols, 2)


def rope_table(positions: Tensor, head_dim: int, theta: float, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Cosine and sine ``[patches, head_dim / 2]``: the first half turns with the row, the second with the column."""
    exact = torch.float64 if dtype == torch.float64 else torch.float32
    quarter = head_dim // 4
    frequency = theta ** (-torch.arange(quarter, device=positions.device, dtype=exact) / quarter)
    angle = (positions.to(exact)[:, :, None] * frequency).flatten(1)
    return angle.cos().to(dtype), angle.sin().to(dtype)


def rotate(x: Tensor, table: tuple[Tensor, Tensor]) -> Tensor:
    """Turns the pairs ``(x[i], x[i + head_dim / 2])`` of ``[batch, heads, patches, head_dim]`` by the angles of the table."""
    cos, sin = table
    a, b = x.chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1)
